# SPDX-License-Identifier: Apache-2.0
"""`reg` as absolute addresses, through the `ranges` of every bus up to the root."""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.tree.cells import TreeError, joined, rows
from west_viommu.tree.node import Node, Tree

# Devicetree specification 0.4, 2.3.5: what a parent without the property means.
DEFAULT_ADDRESS_CELLS = 2
DEFAULT_SIZE_CELLS = 1
# Linux reads no wider ones either (OF_MAX_ADDR_CELLS); PCI has 3.
MAX_CELLS = 4
_END_OF_MEMORY = 1 << 64


class Region(NamedTuple):
    """A range of addresses, in bytes. `base` is absolute, as the CPU sees it."""

    base: int
    size: int


class Range(NamedTuple):
    """One entry of `ranges`: [child, child + size) of the bus is [parent, ...) of its parent."""

    child: int
    parent: int
    size: int


class AddressMap:
    """Translates the addresses of one tree; keeps what it learnt of each bus."""

    def __init__(self, tree: Tree):
        self._tree = tree
        self._ranges: dict[str, tuple[Range, ...] | None] = {}

    def reg(self, node: Node) -> tuple[Region, ...]:
        """The `reg` entries of `node` as its bus numbers them; () where the bus has 0 size cells.

        Raises TreeError where the length fits no number of entries.
        """
        value = node.properties.get("reg")
        parent = self._tree.parent(node)
        if value is None or parent is None:
            return ()
        address_cells, size_cells = bus_cells(parent)
        if size_cells == 0:
            return ()
        entries = rows(
            value,
            address_cells + size_cells,
            node.path,
            "reg",
            "reg does not fit the cells of its bus",
            f"entries of {address_cells} + {size_cells} cells",
        )
        return tuple(
            Region(joined(entry[:address_cells]), joined(entry[address_cells:]))
            for entry in entries
        )

    def regions(self, node: Node) -> tuple[Region | None, ...]:
        """The `reg` entries of `node` at absolute addresses; None for one that has none."""
        return tuple(self.absolute(node, entry) for entry in self.reg(node))

    def ranges(self, bus: Node) -> tuple[Range, ...] | None:
        """The entries of `ranges`; () for the identity, None where the bus has no mapping."""
        if bus.path not in self._ranges:
            self._ranges[bus.path] = self._decoded_ranges(bus)
        return self._ranges[bus.path]

    def absolute(self, node: Node, entry: Region) -> Region | None:
        """`entry`, at an address of the bus that `node` is on, seen from the root.

        A bus without `ranges` has no mapping to its parent, an empty `ranges` is the identity
        (devicetree specification 0.4, 2.3.8). An entry must lie inside one range as a whole.
        """
        base, size = entry
        bus = self._tree.parent(node)
        while bus is not None and bus.path != "/":
            ranges = self.ranges(bus)
            if ranges is None:
                return None
            if ranges:
                for child, parent, length in ranges:
                    if child <= base and base + size <= child + length:
                        base += parent - child
                        break
                else:
                    return None
            bus = self._tree.parent(bus)
        return Region(base, size) if base + size <= _END_OF_MEMORY else None

    def _decoded_ranges(self, bus: Node) -> tuple[Range, ...] | None:
        value = bus.properties.get("ranges")
        parent = self._tree.parent(bus)
        if value is None or parent is None:
            return None
        child_cells, size_cells = bus_cells(bus)
        parent_cells, _ = bus_cells(parent)
        middle = child_cells + parent_cells
        entries = rows(
            value,
            middle + size_cells,
            bus.path,
            "ranges",
            "ranges does not fit the cells of the bus",
            f"entries of {child_cells} + {parent_cells} + {size_cells} cells",
        )
        return tuple(
            Range(
                joined(entry[:child_cells]),
                joined(entry[child_cells:middle]),
                joined(entry[middle:]),
            )
            for entry in entries
        )


def bus_cells(bus: Node) -> tuple[int, int]:
    """#address-cells and #size-cells that `bus` sets for its children. Raises TreeError."""
    address_cells = bus.number("#address-cells", DEFAULT_ADDRESS_CELLS)
    size_cells = bus.number("#size-cells", DEFAULT_SIZE_CELLS)
    for prop, count in (("#address-cells", address_cells), ("#size-cells", size_cells)):
        if count > MAX_CELLS:
            raise TreeError(
                f"{prop} is out of range", bus.path, prop, f"at most {MAX_CELLS}", str(count)
            )
    return address_cells, size_cells
