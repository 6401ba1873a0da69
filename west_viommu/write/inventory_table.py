# SPDX-License-Identifier: Apache-2.0
"""The inventory of a host for people: each IOMMU with its masters, and where IDs meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from west_viommu.host.intervals import Interval, merged
from west_viommu.host.inventory import (
    Inventory,
    Iommu,
    Master,
    all_intervals,
    collisions,
    shared_ids,
    stream_intervals,
)
from west_viommu.problems import printable

# Keeps path, state and a few IDs within 80 columns; a longer path pushes its own line only.
_WIDEST_PATH = 44


def inventory_table(found: Inventory) -> str:
    """The text of `viommu list`."""
    lines = [found.model or "host without a model name", ""]
    lines += _iommus(found)
    lines += _section(
        "Stream IDs behind more than one SMMU, by iommus or iommu-map:",
        [(_ids([Interval(m.first, m.last)]), m.paths) for m in collisions(found)],
    )
    lines += _section(
        "Stream IDs that masters of one SMMU share:",
        [(_ids([Interval(m.first, m.last)]), m.paths) for _, m in shared_ids(found)],
    )
    return "\n".join(map(printable, lines)) + "\n"


def _iommus(found: Inventory) -> Iterator[str]:
    if not found.iommus:
        yield "no IOMMU: the devices of this host are unprotected"
    behind: dict[str, list[Master]] = {iommu.path: [] for iommu in found.iommus}
    for master in found.masters:
        for path in master.iommus:
            behind[path].append(master)
    paths = [len(master.path) for master in found.masters]
    width = min(max(paths, default=0), _WIDEST_PATH)
    for iommu in found.iommus:
        yield _iommu(iommu)
        for master in behind[iommu.path]:
            state = "" if master.enabled else f"{master.status}  "
            yield f"  {master.path:{width}}  {state}{_master_ids(master, iommu)}"
        if not behind[iommu.path]:
            yield "  no masters"
    for master in found.masters:
        if not master.iommus:
            yield f"{master.path}  behind no IOMMU: no entry remains"


def _iommu(iommu: Iommu) -> str:
    facts = [iommu.path, iommu.compatible[0] if iommu.compatible else "no compatible"]
    if iommu.status != "okay":
        facts.append(iommu.status)
    if not iommu.supported:
        facts.append("unsupported")
    return "  ".join(facts)


def _master_ids(master: Master, iommu: Iommu) -> str:
    """The IDs of `master` on `iommu`: those of `iommus`, then those that iommu-map gives out."""
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
    return " ".join(
        f"{first:#x}" if first == last else f"{first:#x}-{last:#x}"
        for first, last in merged(intervals)
    )


def _section(title: str, rows: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    if rows:
        yield ""
        yield title
    for ids, paths in rows:
        yield f"  {ids}"
        yield from (f"    {path}" for path in paths)
