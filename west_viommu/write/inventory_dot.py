# SPDX-License-Identifier: Apache-2.0
"""The inventory of a host as a picture, for Graphviz: who is behind which SMMU, and whose stream
IDs meet.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from west_viommu.host.intervals import Interval, merged
from west_viommu.host.inventory import Iommu, Master, all_intervals, masters_behind
from west_viommu.host.selection import Selection
from west_viommu.problems import Problem, Refused, printable

_HEAD = """digraph host {
  rankdir=LR; ranksep=1.5; nodesep=0.3;
  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif", fontsize=10];
  edge [fontname="sans-serif", fontsize=9, dir=none];
  graph [fontname="sans-serif", fontsize=11, style="rounded", color=gray50, labeljust=l];
"""
# More ranges of IDs than this are left out of a label, and more masters of one collision.
_MOST = 6
# Collisions times masters: nobody can read the edges of more.
_MOST_DRAWN = 1 << 18
# Colours that also differ in brightness: colliding IDs, shared IDs, what is not enabled.
_COLLIDING, _SHARED, _OFF = "#d62728", "#ff9f1c", "#dddddd"


def inventory_dot(selected: Selection) -> str:
    """The text of `viommu list --format dot`. A cluster is an SMMU, and in it the masters that
    share an ID are a group: to the SMMU they are one device. A red edge joins masters whose IDs
    collide behind two SMMUs.
    """
    found = selected.inventory
    paths = [*(iommu.path for iommu in found.iommus), *(m.path for m in found.masters)]
    names = {path: f"n{i}" for i, path in enumerate(paths)}
    lines = [f"  label={_quoted(found.model or 'host without a model name')}; labelloc=t;\n"]
    behind = masters_behind(found)
    shared: dict[str, list[set[str]]] = {}
    for path, meeting in selected.shared:
        shared.setdefault(path, []).append(set(meeting.paths))
    for iommu in found.iommus:
        lines += _cluster(iommu, behind[iommu.path], shared.get(iommu.path, ()), names)
    if len(selected.collisions) * len(found.masters) > _MOST_DRAWN:
        lines.append("  // too many collisions to draw: the table has them\n")
    else:
        lines += _collisions(selected, names)
    return "".join([_HEAD, *lines, "}\n"])


def svg(dot: str) -> str:
    """What Graphviz draws. Raises Refused where it is not installed."""
    try:
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=dot.encode(), capture_output=True, check=True
        )
    except FileNotFoundError:
        hint = "install graphviz, or take --format dot to where it is"
        raise Refused([Problem("unreadable", "a picture needs Graphviz's dot", hint)]) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise Refused([Problem("unreadable", f"Graphviz's dot cannot draw it: {error}")]) from None
    return drawn.stdout.decode()


def _cluster(
    iommu: Iommu,
    behind: Sequence[Master],
    groups: Sequence[set[str]],
    names: Mapping[str, str],
) -> Iterator[str]:
    """An IOMMU and the masters behind it. A master behind two stands with the first."""
    about = iommu.compatible[0] if iommu.compatible else "no compatible"
    if iommu.status != "okay":
        about += f", {iommu.status}"
    if not iommu.supported:
        about += ", unsupported"
    name = names[iommu.path]
    title = _quoted(f"{iommu.path}\n{about}")
    yield f"  subgraph cluster_{name} {{\n    label={title};\n"
    fill = "#cfe8ff" if iommu.supported and iommu.status == "okay" else _OFF
    kind = "SMMU" if iommu.supported else "IOMMU"
    yield f'    {name} [label="{kind}", shape=hexagon, fillcolor="{fill}"];\n'
    own = [master for master in behind if master.iommus[0] == iommu.path]
    for i, group in enumerate(_joined(groups)):
        members = [names[master.path] for master in own if master.path in group]
        if members:
            yield f"    subgraph cluster_{name}_{i} {{\n"
            yield f'      label="one device to the SMMU"; color="{_SHARED}"; penwidth=2;\n'
            yield f"      {' '.join(f'{member};' for member in members)}\n    }}\n"
    for master in own:
        off = "" if master.enabled else f', fillcolor="{_OFF}"'
        lines = [master.path, *([] if master.enabled else [master.status])]
        lines += [_ids(all_intervals(master, path)) for path in master.iommus]
        label = _quoted("\n".join(lines))
        yield f"    {names[master.path]} [label={label}{off}];\n"
    yield "  }\n"
    for master in behind:
        yield f"  {name} -> {names[master.path]};\n"


def _collisions(selected: Selection, names: Mapping[str, str]) -> Iterator[str]:
    """An edge for each two masters with the same IDs behind different SMMUs; of many on one SMMU,
    the first few stand for all.
    """
    found: dict[tuple[str, str], list[Interval]] = {}
    for first, last, iommus in selected.collisions:
        users = [
            (iommu, path)
            for iommu in iommus
            for path in islice(_users(selected.inventory.masters, iommu, first, last), _MOST)
        ]
        for i, (iommu, one) in enumerate(users):
            for other_iommu, other in users[i + 1 :]:
                if iommu != other_iommu and one != other:
                    found.setdefault((one, other), []).append(Interval(first, last))
    for (one, other), collided in found.items():
        label = _quoted(_ids(collided))
        yield (
            f'  {names[one]} -> {names[other]} [label={label}, color="{_COLLIDING}", '
            f'fontcolor="{_COLLIDING}", penwidth=2, constraint=false];\n'
        )


def _users(masters: Sequence[Master], iommu: str, first: int, last: int) -> Iterator[str]:
    """The enabled masters with one of the IDs on `iommu`."""
    for master in masters:
        has = any(a <= last and first <= b for a, b in all_intervals(master, iommu))
        if has and master.enabled:
            yield master.path


def _joined(groups: Sequence[set[str]]) -> list[set[str]]:
    """`groups`, those that have a member in common made one."""
    result: list[set[str]] = []
    for group in groups:
        apart = [other for other in result if other.isdisjoint(group)]
        touching = [other for other in result if not other.isdisjoint(group)]
        result = [*apart, group.union(*touching)]
    return result


def _ids(intervals: Iterable[Interval]) -> str:
    """The first few of the IDs."""
    shown = [f"{a:#x}" if a == b else f"{a:#x}-{b:#x}" for a, b in merged(intervals)]
    return " ".join(shown[:_MOST] + (["..."] if len(shown) > _MOST else []))


def _quoted(text: str) -> str:
    """A string of the dot language: only quotes and backslashes mean something in it."""
    lines = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'
