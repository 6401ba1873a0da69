# SPDX-License-Identifier: Apache-2.0
"""The inventory of a host as a picture, for Graphviz: the masters behind each SMMU, the masters
that a guest could have, and the shared stream IDs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.host.collisions import Hub, Place, Selection, hubs
from west_viommu.host.intervals import Interval, TooManyIntervals, merged
from west_viommu.host.inventory import Iommu, all_intervals, masters_behind
from west_viommu.write.graphviz import marked_up, quoted

if TYPE_CHECKING:
    from west_viommu.plan.host_devices import DeviceReport

# No clusters: dot 2.43 fails on edges between the nodes of four of them ("trouble in init_rank").
# An SMMU is one node, a table with a row for each master, so no label can lie on another.
_HEAD = """graph host {
  rankdir=LR; ranksep=0.7; nodesep=0.25;
  node [shape=plain, fontname="sans-serif", fontsize=10];
  edge [penwidth=1.5];
  graph [fontname="sans-serif", fontsize=12, labelloc=t];
  // For a page of any colour.
  graph [bgcolor=transparent, fontcolor="#808080"];
"""
# A label shows at most this many ranges of IDs.
_MOST_IDS = 6
# More lines than these, from one hub or in all, cannot be followed: hubs with more masters are put
# into a list without lines, with at most _MOST_LISTED entries.
_MOST_OF_ONE, _MOST_LINES, _MOST_LISTED = 12, 48, 60
_COLLIDING, _SHARED, _OFF, _ON, _FRAME = "#c00000", "#ffd9a0", "#dddddd", "#cfe8ff", "#707070"
# The key for masters without any entry.
_NOWHERE = ""
# The width of a picture, relative to its height; and of a character, relative to its line height.
_WIDE, _CHARACTER = 1.5, 0.45
# The characters between two columns of SMMUs, and in a line of reasons.
_GAP, _REASONS = 24, 40


class _Row(NamedTuple):
    """The row of one master in an SMMU's table; `group` is the same number for masters that the
    SMMU cannot tell apart.
    """

    at: int
    path: str
    ids: str
    remarks: tuple[str, ...]
    is_passable: bool
    group: int | None


def inventory_dot(selected: Selection, known: Mapping[str, DeviceReport]) -> str:
    """Return the text of `viommu list --format dot`. `known` has the report of each master, which
    shows whether a guest can have it.
    """
    found = selected.inventory
    behind = masters_behind(found)
    behind[_NOWHERE] = [master for master in found.masters if not master.iommus]
    boxes = [path for path in behind if path or behind[path]]
    places = [Place(path, master) for path in boxes for master in behind[path]]
    joins = _joins(places, selected)
    colliding = {at for hub in joins or () for at in hub.members}
    drawn, listed = _drawn(joins or ())
    rows: dict[str, list[_Row]] = {path: [] for path in boxes}
    groups = _groups(selected)
    for at, place in enumerate(places):
        group = groups.get(place)
        rows[place.iommu].append(_row(at, place, known[place.master.path], group))
    columns = _columns(rows)
    names = {path: f"n{i}" for i, path in enumerate(boxes)}
    heads = {_NOWHERE: _head(_OFF, "behind no IOMMU")}
    heads |= {iommu.path: _iommu_head(iommu) for iommu in found.iommus}
    lines = [f"  label={_title(selected, rows, joins)};\n"]
    for path in boxes:
        body = _body(_together(rows[path]), colliding)
        lines.append(f"  {names[path]} [label=<\n{_framed([heads[path], *body])}  >];\n")
    lines += _in_columns(columns, names, has_hubs=bool(drawn))
    if listed:
        lines.append(f"  listed [label=<\n{_list(listed, places)}  >];\n")
        lines.append(f"  listed -- {names[columns[0][0]]} [style=invis];\n")
    column_of = {path: i for i, column in enumerate(columns) for path in column}
    for i, hub in enumerate(drawn):
        lines += _hub(f"h{i}", hub, places, names, column_of)
    return "".join([_HEAD, *lines, "}\n"])


def _joins(places: Sequence[Place], selected: Selection) -> list[Hub] | None:
    """Return the IDs behind several SMMUs, with the masters that have them; None if too many."""
    try:
        return hubs(places, selected.collisions)
    except TooManyIntervals:
        return None


def _drawn(joins: Sequence[Hub]) -> tuple[list[Hub], list[Hub]]:
    """Return the hubs with lines to their masters, and the hubs without, which have most
    masters.
    """
    left = _MOST_LINES
    drawn: set[Hub] = set()
    for hub in sorted(joins, key=lambda hub: len(hub.members)):
        left -= len(hub.members)
        if left < 0 or len(hub.members) > _MOST_OF_ONE:
            break
        drawn.add(hub)
    return [hub for hub in joins if hub in drawn], [hub for hub in joins if hub not in drawn]


def _groups(selected: Selection) -> dict[Place, int]:
    """Return a number for each master that has IDs in common with another one on its SMMU: the same
    number for all masters that such pairs connect.
    """
    masters = {master.path: master for master in selected.inventory.masters}
    leaders: dict[tuple[str, str], tuple[str, str]] = {}

    def leader(member: tuple[str, str]) -> tuple[str, str]:
        while leaders.setdefault(member, member) != member:
            leaders[member] = member = leaders[leaders[member]]
        return member

    for iommu, meeting in selected.shared:
        first = leader((iommu, meeting.paths[0]))
        for path in meeting.paths[1:]:
            leaders[leader((iommu, path))] = first
    numbers: dict[tuple[str, str], int] = {}
    return {
        Place(member[0], masters[member[1]]): numbers.setdefault(leader(member), len(numbers))
        for member in list(leaders)
        if member[1] in masters
    }


def _row(at: int, place: Place, known: DeviceReport, group: int | None) -> _Row:
    master = place.master
    remarks = [] if master.enabled else [master.status]
    if known.refused:
        remarks += wrap(f"not for a guest: {', '.join(known.refused)}", _REASONS)
    ids = _ids(all_intervals(master, place.iommu))
    return _Row(at, master.path, ids, tuple(remarks), not known.refused, group)


def _together(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Yield the rows with each group in one piece, at the place of its first row."""
    members: dict[int, list[_Row]] = {}
    for row in rows:
        if row.group is not None:
            members.setdefault(row.group, []).append(row)
    for row in rows:
        if row.group is None:
            yield row
        else:
            yield from members.pop(row.group, ())


def _columns(rows: Mapping[str, Sequence[_Row]]) -> list[list[str]]:
    """Return the paths of the IOMMUs, in as many columns as make a picture that fits a screen."""
    heights = {
        path: 4 + sum(1.6 + len(row.remarks) for row in of_iommu) for path, of_iommu in rows.items()
    }
    total = sum(heights.values())
    texts = [len(row.path) + len(row.ids) for of_iommu in rows.values() for row in of_iommu]
    width = (max(texts, default=0) + _GAP) * _CHARACTER
    count = max(1, min(len(rows), round(sqrt(_WIDE * total / width))))
    columns: list[list[str]] = [[] for _ in range(count)]
    above = 0.0
    for path, height in heights.items():
        # By its middle, so that a tall IOMMU does not push the next ones into another column.
        columns[int((above + height / 2) / total * count)].append(path)
        above += height
    return [column for column in columns if column]


def _in_columns(
    columns: Sequence[Sequence[str]], names: Mapping[str, str], *, has_hubs: bool
) -> Iterator[str]:
    """Yield invisible lines that hold the IOMMUs in place; hubs have columns between the
    IOMMUs'.
    """
    apart = 2 if has_hubs else 1
    for column in columns:
        chain = " -- ".join(names[path] for path in column)
        yield f"  {{ rank=same; edge [style=invis]; {chain}; }}\n"
    for one, other in zip(columns, columns[1:], strict=False):
        yield f"  {names[one[0]]} -- {names[other[0]]} [style=invis, minlen={apart}];\n"


def _title(
    selected: Selection, rows: Mapping[str, Sequence[_Row]], joins: Sequence[Hub] | None
) -> str:
    """Return the host's name, and the meaning of the colours that the picture uses."""
    lines = [selected.inventory.model or "host without a model name"]
    every = [row for of_iommu in rows.values() for row in of_iommu]
    if not all(row.is_passable for row in every):
        lines.append("grey: cannot go to a guest of Xen as is")
    if any(row.group is not None for row in every):
        lines.append("orange: masters with the same stream IDs on one SMMU")
    if joins:
        lines.append("red: the same stream IDs behind several SMMUs")
    if joins is None:
        lines.append("too many stream IDs collide to be drawn: the table of `viommu list` has all")
    return quoted("\n".join(lines) + "\n ")


def _iommu_head(iommu: Iommu) -> str:
    about = [iommu.compatible[0] if iommu.compatible else "no compatible"]
    about += [] if iommu.base is None else [f"{iommu.base:#x}"]
    about += [] if iommu.status == "okay" else [iommu.status]
    about += [] if iommu.supported else ["unsupported"]
    fill = _ON if iommu.supported and iommu.status == "okay" else _OFF
    return _head(fill, iommu.path, ", ".join(about))


def _head(fill: str, title: str, *about: str) -> str:
    text = _lines([f"<B>{marked_up(title)}</B>", *map(marked_up, about)])
    return f'    <TR><TD COLSPAN="2" ALIGN="LEFT" BGCOLOR="{fill}">{text}</TD></TR>\n'


def _body(rows: Iterable[_Row], colliding: set[int]) -> Iterator[str]:
    group: int | None = None
    for row in rows:
        if row.group is not None and row.group != group:
            text = "one device to the SMMU"
            yield f'    <TR><TD COLSPAN="2" BGCOLOR="{_SHARED}">{text}</TD></TR>\n'
        group = row.group
        yield _row_text(row, is_colliding=row.at in colliding)


def _framed(rows: Iterable[str]) -> str:
    style = 'BORDER="0" CELLBORDER="1" CELLSPACING="0" CELLPADDING="4"'
    style += f' COLOR="{_FRAME}" BGCOLOR="white"'
    return f"    <TABLE {style}>\n{''.join(rows)}    </TABLE>\n"


def _row_text(row: _Row, *, is_colliding: bool) -> str:
    off = "" if row.is_passable else f' BGCOLOR="{_OFF}"'
    shared = off if row.group is None else f' BGCOLOR="{_SHARED}"'
    ids = marked_up(row.ids) or "no ID"
    if is_colliding:
        ids = f'<FONT COLOR="{_COLLIDING}"><B>{ids}</B></FONT>'
    small = (f'<FONT POINT-SIZE="8">{marked_up(remark)}</FONT>' for remark in row.remarks)
    text = _lines([marked_up(row.path), *small])
    return (
        f'    <TR><TD PORT="l{row.at}" ALIGN="LEFT"{off}>{text}</TD>'
        f'<TD PORT="r{row.at}" ALIGN="LEFT"{shared}>{ids}</TD></TR>\n'
    )


def _lines(lines: Sequence[str]) -> str:
    """Return the lines, each left-aligned; a single line needs no line break."""
    return lines[0] if len(lines) == 1 else "".join(f'{line}<BR ALIGN="LEFT"/>' for line in lines)


def _list(listed: Sequence[Hub], places: Sequence[Place]) -> str:
    """Return the hubs without lines, as a table: its red IDs appear in the tables of the SMMUs
    too.
    """
    rows = [("<B>behind several SMMUs</B>", "<B>SMMUs</B>", "<B>masters</B>")]
    for hub in listed[:_MOST_LISTED]:
        iommus = {places[at].iommu for at in hub.members} | set(hub.elsewhere)
        ids = f'<FONT COLOR="{_COLLIDING}">{marked_up(_ids(hub.ids))}</FONT>'
        rows.append((ids, str(len(iommus)), str(len(hub.members))))
    if len(listed) > _MOST_LISTED:
        rows.append((f"and {len(listed) - _MOST_LISTED} more", "", ""))
    return _framed(
        "    <TR>" + "".join(f'<TD ALIGN="LEFT">{cell}</TD>' for cell in row) + "</TR>\n"
        for row in rows
    )


def _hub(
    name: str,
    hub: Hub,
    places: Sequence[Place],
    names: Mapping[str, str],
    column_of: Mapping[str, int],
) -> Iterator[str]:
    """Yield the node of a hub's IDs, and a line to each master that has them. The hub stands in the
    middle of its masters' columns.
    """
    label = _ids(hub.ids)
    if hub.elsewhere:
        label += "\nalso behind " + "\n".join(hub.elsewhere[:_MOST_IDS])
        label += "\n..." if len(hub.elsewhere) > _MOST_IDS else ""
    yield (
        f'  {name} [shape=box, style="rounded,filled", fillcolor=white, label={quoted(label)}, '
        f'color="{_COLLIDING}", fontcolor="{_COLLIDING}"];\n'
    )
    columns = sorted(column_of[places[at].iommu] for at in hub.members)
    middle = columns[(len(columns) - 1) // 2]
    for at in hub.members:
        iommu = places[at].iommu
        if column_of[iommu] <= middle:
            line = f"{names[iommu]}:r{at}:e -- {name}:w"
        else:
            line = f"{name}:e -- {names[iommu]}:l{at}:w"
        yield f'  {line} [color="{_COLLIDING}"];\n'


def _ids(intervals: Iterable[Interval]) -> str:
    """Return the first few of the IDs."""
    shown = [*map(str, merged(intervals))]
    return " ".join(shown[:_MOST_IDS] + (["..."] if len(shown) > _MOST_IDS else []))
