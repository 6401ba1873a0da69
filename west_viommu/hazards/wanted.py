# SPDX-License-Identifier: Apache-2.0
"""The stream IDs that a request names, and whether a host device has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.requests import PLACEHOLDERS, Request
from west_viommu.hazards.findings import NoMatch
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import covered_by
from west_viommu.host.inventory import Master, StreamId, map_intervals


class Wanted(NamedTuple):
    """A stream ID of a request. `iommu` is the host SMMU that an unmodified copy still names."""

    id: StreamId
    iommu: str | None


def wanted_ids(request: Request, devices: Devices) -> tuple[Wanted, ...]:
    """What the request's pairs ask for. Where a pair has a number that is no placeholder, that
    must be the phandle of a host IOMMU: an unmodified copy. Raises NoMatch.
    """
    result = []
    for phandle, stream_id, _ in request.entries:
        if phandle is None or phandle in PLACEHOLDERS:
            result.append(Wanted(stream_id, None))
            continue
        iommu = devices.iommu_with_phandle(phandle)
        if iommu is None:
            raise NoMatch(
                "malformed",
                Diagnostic(
                    what="iommus names an IOMMU that the host does not have",
                    hint="write 0x0 in place of the host's SMMU",
                    prop="iommus",
                    expected="0x0, 0xfdea or the phandle of a host IOMMU",
                    found=f"{phandle:#x}",
                ),
            )
        result.append(Wanted(stream_id, iommu.path))
    return tuple(result)


def candidates(wanted: Sequence[Wanted], devices: Devices) -> list[Master]:
    """The masters that have every one of the IDs, by `iommus` or by iommu-map."""
    left: dict[str, Master] | None = None
    for stream_id, iommu in wanted:
        owners = {m.path: m for m, behind in devices.owners(stream_id) if iommu in (None, behind)}
        left = owners if left is None else {path: left[path] for path in left if path in owners}
    return list(left.values()) if left else []


def has_all(master: Master | None, wanted: Sequence[Wanted]) -> bool:
    """Whether the IDs are those of `master`: listed, or mapped where it lists none."""
    return master is not None and (lists_all(master, wanted) or maps_all(master, wanted))


def lists_all(master: Master, wanted: Sequence[Wanted]) -> bool:
    """Whether `master` has all of the IDs in its `iommus`."""
    listed = {(stream.id, iommu) for stream in master.streams for iommu in (stream.iommu, None)}
    return listed.issuperset(wanted)


def maps_all(master: Master, wanted: Sequence[Wanted]) -> bool:
    """Whether `master`, which lists none, gives out all of the IDs by its iommu-map."""
    if master.streams:
        return False
    is_mapped = covered_by(
        interval for entry in master.maps for interval in map_intervals(entry, master.map_mask)
    )
    return all(is_mapped(stream_id, stream_id) for stream_id, _ in wanted)
