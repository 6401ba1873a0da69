# SPDX-License-Identifier: Apache-2.0
"""`ranges` of /passthrough in a partial tree, whose root has the cells of Xen's guests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from west_viommu.hypervisor.pages import PAGE, widest
from west_viommu.tree.addresses import AddressMap, Range, Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node


def bus_ranges(
    bus: Node,
    cells: tuple[int, int],
    root_cells: tuple[int, int],
    addresses: AddressMap,
    below: Iterable[Node],
) -> bytes | None:
    """The property for `bus`, which sets `cells` for its children: the guest's own, else the
    identity of as much as the cells can say and the nodes `below` need. None where the bus has no
    addresses or no sizes, and so nothing to map. Raises TreeError.
    """
    if 0 in cells:
        return None
    ranges = addresses.ranges(bus) or ()
    if not ranges:
        if cells == root_cells:
            return b""
        ranges = tuple(_identity(cells, sorted(set(_needed(addresses, below)))))
    widths = (cells[0], root_cells[0], cells[1])
    return b"".join(
        number.to_bytes(4 * width, "big")
        for entry in ranges
        for number, width in zip((entry.child, entry.parent, entry.size), widths, strict=True)
    )


def _needed(addresses: AddressMap, below: Iterable[Node]) -> Iterator[Region]:
    for node in below:
        try:
            yield from (region for region in addresses.regions(node) if region and region.size)
        except TreeError:
            # Whoever asks for the node is told so.
            continue


def _identity(cells: tuple[int, int], needed: Iterable[Region]) -> Iterator[Range]:
    """Entries that map each address to itself: one from 0, in whole pages, as large as a size can
    be, and where a region is not inside of that, or ends beyond it, another from there on. Each
    region is inside of one of them, as a translation takes one entry.
    """
    start, end = 0, widest(cells)
    most = end + PAGE - 1
    for region in needed:
        if region.end > end:
            if start == 0 or region.end - start > most:
                yield Range(start, start, end - start)
                start = region.base
            end = region.end
    yield Range(start, start, end - start)
