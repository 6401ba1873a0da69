# SPDX-License-Identifier: Apache-2.0
"""`iommus` that a guest copied from behind an IOMMU with other than one cell.

A placeholder does not tell how many cells follow it, so a guest's tree alone is read in pairs. The
host's tells: by the device that the request names or lies at, or by an IOMMU's phandle that the
copy still has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from west_viommu.guest.entries import PLACEHOLDERS, STREAM_IDS, Entry
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId
from west_viommu.plan.match import named_device
from west_viommu.tree.node import Phandle


def with_pairs(request: Request, devices: Devices) -> Request:
    """`request` with the stream IDs of such a copy. The same where its `iommus` is a list of pairs,
    or of no width that the host knows.
    """
    if not request.iommus or _are_pairs(request, devices):
        return request
    device = named_device(request, devices)
    behind = device.master.iommus if device and device.master else ()
    widths = {devices.iommus[path].cells for path in behind}
    copied = list(_entries(request.iommus, widths.pop() if len(widths) == 1 else None, devices))
    if None in copied:
        return request
    others = [entry for entry in request.entries if entry.prop == STREAM_IDS]
    read = {entry.id: entry for entry in (*others, *filter(None, copied))}
    return request._replace(entries=tuple(read.values()), malformed_ids=None)


def _are_pairs(request: Request, devices: Devices) -> bool:
    return request.malformed_ids is None and all(
        entry.phandle is None
        or entry.phandle in PLACEHOLDERS
        or devices.iommu_with_phandle(entry.phandle)
        for entry in request.entries
    )


def _entries(cells: Sequence[int], width: int | None, devices: Devices) -> Iterator[Entry | None]:
    """Each entry, by its IOMMU's number of cells, `width` where it names none; None where that is
    not known, or there are not as many.
    """
    at = 0
    while at < len(cells):
        phandle = Phandle(cells[at])
        named = None if phandle in PLACEHOLDERS else devices.iommu_with_phandle(phandle)
        following = named.cells if named else width if phandle in PLACEHOLDERS else None
        if not following or at + following >= len(cells):
            yield None
            return
        yield Entry(phandle, StreamId(cells[at + 1]))
        at += 1 + following
