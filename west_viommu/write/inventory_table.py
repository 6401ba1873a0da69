# SPDX-License-Identifier: Apache-2.0
"""The inventory of a host for people: each IOMMU with its masters, and the shared IDs."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import first_few, printable, wrapped
from west_viommu.host.collisions import Selection
from west_viommu.host.intervals import Interval, merged
from west_viommu.host.inventory import (
    Iommu,
    Master,
    all_intervals,
    masters_behind,
    stream_intervals,
)
from west_viommu.plan.host_devices import DeviceReport
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import counted

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
# A longer path shifts only its own line.
_WIDEST_PATH = 44
_REFUSED = "not for a guest: "
_INDENT = "      "
_NO_IOMMU = (
    "no IOMMU: the devices of this host are unprotected, unless this is the tree of a guest, or an "
    "overlay with its SMMUs is not applied"
)


class _Row(NamedTuple):
    """A master behind one IOMMU, as cells of the table."""

    path: str
    ids: str
    interrupts: str
    regions: str
    unrouted: str
    refused: str


def inventory_lines(selected: Selection, known: Mapping[str, DeviceReport]) -> Iterator[str]:
    """Yield a line of tab-separated cells for each master: ok or no, the path, the first
    compatible, its IDs, its INTIDs and the hazards that refuse it.
    """
    iommus = {iommu.path: iommu for iommu in selected.inventory.iommus}
    for master in selected.inventory.masters:
        report = known[master.path]
        cells = (
            "no" if report.refused else "ok",
            master.path,
            master.compatible[0] if master.compatible else "",
            "  ".join(_master_ids(master, iommus[path]) for path in master.iommus),
            " ".join(map(str, dict.fromkeys(report.intids))),
            " ".join(report.refused),
        )
        yield "\t".join(map(printable, cells)) + "\n"


class Shown(NamedTuple):
    """The data of the table beside the inventory. `known`: the report of each master, by its path;
    `terms`: the profile of the reports, for people; `taken`: the paths of the masters that are
    refused here and accepted by another `profile`; `why`: lines for each master; `unlisted`: the
    paths of devices that are not masters; `unbehind`: why a master is behind no IOMMU.
    """

    known: Mapping[str, DeviceReport]
    terms: str
    profile: str = ""
    taken: Collection[str] = ()
    why: Mapping[str, Sequence[str]] = {}
    unlisted: Collection[str] = ()
    unbehind: Mapping[str, str] = {}


def inventory_table(
    selected: Selection, shown: Shown, width: int, *, colour: bool
) -> Iterator[str]:
    """Yield the lines of `viommu list` for a terminal of `width` columns."""
    paint = _painted if colour else printable
    for line in _table(selected, shown, width):
        yield f"{paint(line)}\n"


def _table(selected: Selection, shown: Shown, width: int) -> Iterator[str]:
    yield selected.inventory.model or "host without a model name"
    yield ""
    yield from _iommus(selected, shown, width)
    yield from _section(
        "Stream IDs behind more than one SMMU, by iommus or iommu-map:",
        [(_ids([Interval(m.first, m.last)]), m.paths) for m in selected.collisions],
    )
    yield from _section(
        "Stream IDs that masters of one SMMU share:",
        [(_ids([Interval(m.first, m.last)]), m.paths) for _, m in selected.shared],
    )
    yield from _summary(selected, shown)


def _iommus(selected: Selection, shown: Shown, width: int) -> Iterator[str]:
    found = selected.inventory
    if not found.iommus:
        yield from wrapped(_NO_IOMMU, width, "")
    behind = masters_behind(found)

    # Made again for each use: the rows of a large host take more memory than the host.
    def rows(iommu: Iommu) -> Iterator[_Row]:
        return (_row(master, _ids_behind(master, iommu), shown) for master in behind[iommu.path])

    paths = (master.path for masters in behind.values() for master in masters)
    widest = min(max(map(len, paths), default=0), _WIDEST_PATH)
    every = (row for iommu in found.iommus for row in rows(iommu))
    widths = None if shown.why else _widths(every, width)
    for iommu in found.iommus:
        yield _iommu(iommu)
        for row in rows(iommu):
            yield from _one_line(row, widths) if widths else _lines(row, widest, width)
            yield from _why(row.path, shown, width)
        if not behind[iommu.path]:
            yield "  no masters"
    for master in found.masters:
        if not master.iommus and master.path not in shown.unlisted:
            why = shown.unbehind.get(master.path, "no entry remains")
            yield from wrapped(f"{master.path}  behind no IOMMU: {why}", width, _INDENT)
            yield from _why(master.path, shown, width)
    yield from _unlisted(found.masters, shown, width)


def _unlisted(masters: Iterable[Master], shown: Shown, width: int) -> Iterator[str]:
    """Yield the devices that are not masters."""
    unlisted = [master for master in masters if master.path in shown.unlisted]
    if unlisted:
        yield from ("", "Behind no IOMMU:")
    widest = min(max((len(master.path) for master in unlisted), default=0), _WIDEST_PATH)
    for master in unlisted:
        state = "" if master.enabled else master.status
        yield from _lines(_row(master, state, shown), widest, width)
        yield from _why(master.path, shown, width)


def _why(path: str, shown: Shown, width: int) -> Iterator[str]:
    for line in shown.why.get(path, ()):
        yield from wrapped(f"{_INDENT}  {line}", width, f"{_INDENT}    ")


def _widths(rows: Iterable[_Row], width: int) -> list[int] | None:
    """Return the widths of the columns for the cells of `rows`; None if they do not fit into
    `width`.
    """
    widths = [0] * len(_Row._fields)
    for row in rows:
        widths = [max(have, len(cell)) for have, cell in zip(widths, row, strict=True)]
        widths[0] = min(widths[0], _WIDEST_PATH)
        if sum(widths) + 2 * len(widths) > width:
            return None
    return widths


def _iommu(iommu: Iommu) -> str:
    facts = [iommu.path, iommu.compatible[0] if iommu.compatible else "no compatible"]
    if iommu.base is not None:
        facts.append(f"{iommu.base:#x}")
    if iommu.status != "okay":
        facts.append(iommu.status)
    if not iommu.supported:
        facts.append("unsupported")
    return "  ".join(facts)


def _ids_behind(master: Master, iommu: Iommu) -> str:
    state = "" if master.enabled else f"{master.status}  "
    return f"{state}{_master_ids(master, iommu)}"


def _row(master: Master, ids: str, shown: Shown) -> _Row:
    known = shown.known[master.path]
    intids = " ".join(map(str, dict.fromkeys(known.intids)))
    refused = f"{_REFUSED}{', '.join(known.refused)}" if known.refused else ""
    if master.path in shown.taken:
        refused += f"; --profile {shown.profile} takes it"
    return _Row(
        master.path,
        ids,
        f"INTID {intids}" if intids else "",
        " ".join(_region(region) for region in known.regions),
        f"not routed: {'; '.join(first_few(known.unroutable))}" if known.unroutable else "",
        refused,
    )


def _region(region: Region | None) -> str:
    return str(region) if region else "no address"


def _one_line(row: _Row, widths: Sequence[int]) -> Iterator[str]:
    cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True) if width)
    yield "  " + "  ".join(cells).rstrip()


def _lines(row: _Row, widest: int, width: int) -> Iterator[str]:
    yield from wrapped(f"  {row.path:{widest}}  {row.ids}".rstrip(), width, _INDENT)
    details = [row.interrupts, row.regions]
    if any(details):
        yield from wrapped(_INDENT + "  ".join(filter(None, details)), width, _INDENT)
    for told in (row.unrouted, row.refused):
        if told:
            yield from wrapped(_INDENT + told, width, _INDENT)


def _summary(selected: Selection, shown: Shown) -> Iterator[str]:
    masters = selected.inventory.masters
    can = sum(not shown.known[master.path].refused for master in masters)
    yield ""
    if can < len(masters):
        yield "`viommu explain HAZARD` says why, and what to do."
    kind = "device" if shown.unlisted else "master"
    more = f"; --profile {shown.profile} takes {len(shown.taken)} more" if shown.taken else ""
    yield f"profile {shown.terms}: {can} of {counted(len(masters), kind)} can go{more}"


def _painted(line: str) -> str:
    """Return `line` with the reasons for a refusal in red."""
    before, marker, after = printable(line).partition(_REFUSED)
    return f"{before}{_RED}{marker}{after}{_PLAIN}" if marker else before


def _master_ids(master: Master, iommu: Iommu) -> str:
    """Return the IDs of `master` on `iommu`: first from `iommus`, then from iommu-map."""
    parts = []
    masked = [s for s in master.streams if s.iommu == iommu.path and s.mask is not None]
    if masked:
        parts.append(" ".join(f"{s.id or 0:#x}/{s.mask or 0:#x}" for s in masked))
    else:
        parts.append(_ids(stream_intervals(master, iommu.path)))
    if any(entry.iommu == iommu.path for entry in master.maps):
        mapped = master._replace(streams=())
        parts.append(f"{_ids(all_intervals(mapped, iommu.path))} (iommu-map)")
    return "  ".join(part for part in parts if part) or "no ID cells"


def _ids(intervals: Iterable[Interval]) -> str:
    return " ".join(map(str, merged(intervals)))


def _section(title: str, rows: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    if rows:
        yield ""
        yield title
    for ids, paths in rows:
        yield f"  {ids}"
        yield from (f"    {path}" for path in paths)
