# SPDX-License-Identifier: Apache-2.0
"""`reg` as absolute addresses, through the `ranges` of every bus up to the root."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from west_viommu.tree.cells import TreeError, cells, counted, joined, rows, whole_rows
from west_viommu.tree.node import Node, Tree

# Devicetree specification 0.4, 2.3.5: what a parent without the property means.
DEFAULT_ADDRESS_CELLS = 2
DEFAULT_SIZE_CELLS = 1
# Linux reads no wider ones either (OF_MAX_ADDR_CELLS); PCI has 3.
MAX_CELLS = 4
_END_OF_MEMORY = 1 << 64
# Real buses have 30 entries of ranges at most. More are sorted before they are searched.
_FEW = 64


class Region(NamedTuple):
    """A range of addresses, in bytes. `base` is absolute, as the CPU sees it."""

    base: int
    size: int

    @classmethod
    def between(cls, first: int, last: int) -> Region:
        """The region from the address `first` to `last`, both included."""
        return cls(first, last - first + 1)

    @property
    def end(self) -> int:
        """The address after its last one."""
        return self.base + self.size

    @property
    def ends(self) -> tuple[int, int]:
        """Its first and its last address."""
        base, size = self
        return base, base + size - 1

    def contains(self, address: int) -> bool:
        """Whether `address` is one of its own."""
        return self.base <= address < self.end

    def overlaps(self, other: Region) -> bool:
        """Whether the two have an address in common."""
        return self.base < other.end and other.base < self.end

    def __str__(self) -> str:
        """As a person reads it: 0x20000000/0x1000."""
        return f"{self.base:#x}/{self.size:#x}"


class Range(NamedTuple):
    """One entry of `ranges`: [child, child + size) of the bus is [parent, ...) of its parent."""

    child: int
    parent: int
    size: int


def address_map(tree: Tree) -> AddressMap:
    """The one AddressMap of a host `tree`."""
    return tree.decoded(_of_host, tree.root)


def _of_host(tree: Tree, root: Node) -> AddressMap:
    return AddressMap(tree, inherits=True)


class AddressMap:
    """Translates the addresses of one tree, each once; keeps what it learnt of each bus.

    A bus without #address-cells or #size-cells has those of the specification; where it `inherits`,
    those of the next node above that says them, as Xen and Linux read a host (__dt_n_addr_cells()
    and of_bus_n_addr_cells(); booted).

    What is malformed raises TreeError; but not where all is read `as_xen` would map it: whole
    entries count and what trails does not, and a region goes where its first byte does
    (dt_number_of_address() and dt_translate_one(), 4.17 to 4.21).
    """

    def __init__(self, tree: Tree, *, inherits: bool = False, as_xen: bool = False):
        self._tree = tree
        self._inherits = inherits or as_xen
        self._as_xen = as_xen
        self._cells: dict[str, tuple[int, int]] = {}
        self._regions: dict[str, tuple[Region | None, ...]] = {}
        self._ranges: dict[str, tuple[Range, ...] | None] = {}
        self._windows: dict[str, Windows] = {}

    def cells(self, bus: Node) -> tuple[int, int]:
        """#address-cells and #size-cells for the children of `bus`. Raises TreeError."""
        if bus.path not in self._cells:
            saying = [self._saying(bus, name) for name in ("#address-cells", "#size-cells")]
            self._cells[bus.path] = bus_cells(saying[0])[0], bus_cells(saying[1])[1]
        return self._cells[bus.path]

    def _saying(self, bus: Node, name: str) -> Node:
        """The node that says `name` for `bus`."""
        if self._inherits and name not in bus.properties:
            for above in self._tree.lineage(bus):
                if name in above.properties:
                    return above
        return bus

    def reg(self, node: Node) -> tuple[Region, ...]:
        """The `reg` entries of `node` as its bus numbers them; () where the bus has 0 size cells.

        Raises TreeError where the length fits no number of entries.
        """
        value = node.properties.get("reg")
        parent = self._tree.parent(node)
        if value is None or parent is None:
            return ()
        address_cells, size_cells = self.cells(parent)
        if size_cells == 0:
            return ()
        width = 4 * (address_cells + size_cells)
        if len(value) % width and not self._as_xen:
            raise _unfit(value, node, address_cells, size_cells)
        entries = []
        for at in range(0, len(value) - width + 1, width):
            middle = at + 4 * address_cells
            base = int.from_bytes(value[at:middle], "big")
            entries.append(Region(base, int.from_bytes(value[middle : at + width], "big")))
        return tuple(entries)

    def regions(self, node: Node) -> tuple[Region | None, ...]:
        """The `reg` entries of `node` at absolute addresses; None for one that has none. Raises
        TreeError as `reg` does.
        """
        known = self._regions.get(node.path)
        if known is None:
            known = tuple(self.absolute(node, entry) for entry in self.reg(node))
            self._regions[node.path] = known
        return known

    def ranges(self, bus: Node) -> tuple[Range, ...] | None:
        """The entries of `ranges`; () for the identity, None where the bus has no mapping."""
        if bus.path not in self._ranges:
            self._ranges[bus.path] = self._decoded_ranges(bus)
        return self._ranges[bus.path]

    def dma_ranges(self, bus: Node) -> tuple[Range, ...]:
        """The entries of `dma-ranges`: where the devices of `bus` see the memory of its parent; ()
        where they see it as that does. Raises TreeError.
        """
        return self._decoded_ranges(bus, "dma-ranges") or ()

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
                window = self._around(bus, ranges, base, size)
                if window is None:
                    return None
                base += window.parent - window.child
            bus = self._tree.parent(bus)
        if base + size > _END_OF_MEMORY:
            return None
        return entry if base == entry.base else Region(base, size)

    def _around(self, bus: Node, ranges: tuple[Range, ...], base: int, size: int) -> Range | None:
        """Which of the `ranges` of `bus` holds the entry."""
        if bus.path not in self._windows:
            self._windows[bus.path] = Windows(ranges)
        windows = self._windows[bus.path]
        return windows.at(base) if self._as_xen else windows.around(base, size)

    def _decoded_ranges(self, bus: Node, prop: str = "ranges") -> tuple[Range, ...] | None:
        value = bus.properties.get(prop)
        parent = self._tree.parent(bus)
        if value is None or parent is None:
            return None
        child_cells, size_cells = self.cells(bus)
        parent_cells, _ = self.cells(parent)
        middle = child_cells + parent_cells
        if self._as_xen:
            value = whole_rows(value, middle + size_cells)
        entries = rows(
            value,
            middle + size_cells,
            bus.path,
            prop,
            f"{prop} does not fit the cells of the bus",
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


class Windows:
    """Ranges of one property, to be searched: of several that hold an address, the first counts
    (dt_translate_one() of Xen, of_translate_one() of Linux).
    """

    def __init__(self, ranges: Iterable[Range]):
        self._ranges = tuple(ranges)
        self._pieces = _pieces(self._ranges) if len(self._ranges) > _FEW else None

    def at(self, address: int) -> Range | None:
        """The one that counts for `address`."""
        if self._pieces:
            starts, firsts = self._pieces
            at = bisect_right(starts, address)
            return firsts[at - 1] if at else None
        for window in self._ranges:
            if window.child <= address < window.child + window.size:
                return window
        return None

    def around(self, base: int, size: int) -> Range | None:
        """The one that counts for `base`, if it holds all of `size` bytes from there."""
        window = self.at(base)
        return window if window and base + size <= window.child + window.size else None


def _pieces(ranges: Sequence[Range]) -> tuple[list[int], list[Range | None]]:
    """The addresses at which another of `ranges` begins to count, and which that is."""
    # Late: real buses have few ranges.
    from heapq import heappop, heappush

    starts = sorted({edge for entry in ranges for edge in (entry.child, entry.child + entry.size)})
    begin = sorted(range(len(ranges)), key=lambda place: ranges[place].child, reverse=True)
    firsts: list[Range | None] = []
    is_open: list[int] = []
    for start in starts:
        while begin and ranges[begin[-1]].child <= start:
            heappush(is_open, begin.pop())
        while is_open and ranges[is_open[0]].child + ranges[is_open[0]].size <= start:
            heappop(is_open)
        firsts.append(ranges[is_open[0]] if is_open else None)
    return starts, firsts


def _unfit(value: bytes, node: Node, address_cells: int, size_cells: int) -> TreeError:
    numbers = cells(value, node.path, "reg")
    return TreeError(
        "reg does not fit the cells of its bus",
        node.path,
        "reg",
        f"entries of {address_cells} + {size_cells} cells",
        counted(len(numbers), "cell"),
    )


def bus_cells(bus: Node) -> tuple[int, int]:
    """#address-cells and #size-cells that `bus` sets for its children. Raises TreeError."""
    return (
        cell_count(bus, "#address-cells", DEFAULT_ADDRESS_CELLS),
        cell_count(bus, "#size-cells", DEFAULT_SIZE_CELLS),
    )


def cell_count(bus: Node, prop: str, default: int) -> int:
    """How many cells `prop` of `bus` says; `default` without it. Raises TreeError."""
    count = bus.number(prop, default)
    if count > MAX_CELLS:
        raise TreeError(
            f"{prop} is out of range", bus.path, prop, f"at most {MAX_CELLS}", str(count)
        )
    return count
