# SPDX-License-Identifier: Apache-2.0
"""`reg` as absolute addresses, through the `ranges` of every bus up to the root."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from west_viommu.tree.cells import TreeError, cells, counted, joined, rows, whole_rows
from west_viommu.tree.node import Node, Tree

# Devicetree specification 0.4, 2.3.5: the value if a parent lacks the property.
DEFAULT_ADDRESS_CELLS = 2
DEFAULT_SIZE_CELLS = 1
# Linux reads no wider ones either (OF_MAX_ADDR_CELLS); PCI has 3.
MAX_CELLS = 4
_END_OF_MEMORY = 1 << 64
_PCI_TYPES = (b"pci\0", b"pciex\0", b"vci\0", b"ht\0")
# Real buses have 30 entries of ranges at most. More entries are sorted before they are searched.
_FEW = 64


class Region(NamedTuple):
    """A range of addresses, in bytes. `base` is absolute, as the CPU sees it."""

    base: int
    size: int

    @classmethod
    def between(cls, first: int, last: int) -> Region:
        """Return the region from the address `first` to `last`, both included."""
        return cls(first, last - first + 1)

    @property
    def end(self) -> int:
        """The address after the region's last one."""
        return self.base + self.size

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last address."""
        base, size = self
        return base, base + size - 1

    def contains(self, address: int) -> bool:
        """Return whether `address` lies in the region."""
        return self.base <= address < self.end

    def overlaps(self, other: Region) -> bool:
        """Return whether the two regions have an address in common."""
        return self.base < other.end and other.base < self.end

    def __str__(self) -> str:
        """Return the region as people read it: 0x20000000/0x1000."""
        return f"{self.base:#x}/{self.size:#x}"


class Range(NamedTuple):
    """One entry of `ranges`: [child, child + size) of the bus is [parent, ...) of its parent."""

    child: int
    parent: int
    size: int


def address_map(tree: Tree) -> AddressMap:
    """Return the AddressMap of a host `tree`, made once."""
    return tree.decoded(_of_host, tree.root)


def _of_host(tree: Tree, root: Node) -> AddressMap:
    return AddressMap(tree, inherits=True)


class AddressMap:
    """Translates the addresses of one tree; reads each bus and node once.

    Without #address-cells or #size-cells, a bus has the defaults of the specification; if the map
    `inherits`, the cells of the nearest bus above that has the property, as Xen and Linux read a
    host (__dt_n_addr_cells() and of_bus_n_addr_cells(); booted).

    Raises TreeError for malformed properties. With `as_xen`, reads them as Xen maps them: whole
    entries count, a rest does not, and a region goes to the address of its first byte
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
        """Return #address-cells and #size-cells for the children of `bus`. Raises TreeError."""
        if bus.path not in self._cells:
            saying = [self._saying(bus, name) for name in ("#address-cells", "#size-cells")]
            self._cells[bus.path] = bus_cells(saying[0])[0], bus_cells(saying[1])[1]
        return self._cells[bus.path]

    def _saying(self, bus: Node, name: str) -> Node:
        """Return the node with property `name` that counts for `bus`."""
        if self._inherits and name not in bus.properties:
            for above in self._tree.lineage(bus):
                if name in above.properties:
                    return above
        return bus

    def reg(self, node: Node) -> tuple[Region, ...]:
        """Return the `reg` entries of `node` in the addresses of its bus; () if the bus has 0 size
        cells.

        Raises TreeError if the length is no whole number of entries.
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
        """Return the `reg` entries of `node` at absolute addresses; None for an entry without an
        absolute address. Raises TreeError as `reg` does.
        """
        known = self._regions.get(node.path)
        if known is None:
            known = tuple(self.absolute(node, entry) for entry in self.reg(node))
            self._regions[node.path] = known
        return known

    def first_lost(self, node: Node) -> int | None:
        """Return the place of the first `reg` entry for which Xen finds no address, and stops; None
        if Xen finds all (dt_device_get_address(), __dt_translate_address(), 4.17 to 4.22).

        Below a node that is no bus (dt_match_bus()), or that has cells out of range, a node has no
        registers for Xen; on a PCI bus, Xen reads assigned-addresses.
        """
        bus = self._tree.parent(node)
        if bus is None or "reg" not in node.properties or _is_pci(bus):
            return None
        if bus.path != "/" and "ranges" not in bus.properties:
            return None
        try:
            if not all(self.cells(bus)):
                return None
        except TreeError:
            return None
        try:
            regions = self.regions(node)
            is_bus = all(all(self.cells(above)) for above in self._tree.lineage(bus))
        except TreeError:
            return 0
        if regions and not is_bus:
            return 0
        return regions.index(None) if None in regions else None

    def ranges(self, bus: Node) -> tuple[Range, ...] | None:
        """Return the entries of `ranges`; () for the identity, None if the bus has no mapping."""
        if bus.path not in self._ranges:
            self._ranges[bus.path] = self._decoded_ranges(bus)
        return self._ranges[bus.path]

    def dma_ranges(self, bus: Node) -> tuple[Range, ...]:
        """Return the entries of `dma-ranges`, at which the devices of `bus` see the memory of its
        parent; () for the identity. Raises TreeError.
        """
        return self._decoded_ranges(bus, "dma-ranges") or ()

    def absolute(self, node: Node, entry: Region) -> Region | None:
        """Return `entry`, an address range on the bus of `node`, as the root sees it.

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
        """Return the entry of the `ranges` of `bus` that holds the region."""
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
        if self._as_xen and value:
            value = whole_rows(value, middle + size_cells)
            if not value:
                # If no whole row is there, nothing is mapped; only an empty property is the
                # identity.
                return (Range(0, 0, 0),)
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
    """Entries of one property, to be searched. If several hold an address, the first counts
    (dt_translate_one() of Xen, of_translate_one() of Linux).
    """

    def __init__(self, ranges: Iterable[Range]):
        self._ranges = tuple(ranges)
        self._pieces = _pieces(self._ranges) if len(self._ranges) > _FEW else None

    def at(self, address: int) -> Range | None:
        """Return the entry that counts for `address`."""
        if self._pieces:
            starts, firsts = self._pieces
            at = bisect_right(starts, address)
            return firsts[at - 1] if at else None
        for window in self._ranges:
            if window.child <= address < window.child + window.size:
                return window
        return None

    def around(self, base: int, size: int) -> Range | None:
        """Return the entry that counts for `base`, if it holds all of `size` bytes from there."""
        window = self.at(base)
        return window if window and base + size <= window.child + window.size else None


def _is_pci(bus: Node) -> bool:
    """Return dt_bus_pci_match() of Xen for `bus`."""
    kind = bus.properties.get("device_type", b"")
    return kind in _PCI_TYPES or bus.name.partition("@")[0] in ("pci", "pcie")


def _pieces(ranges: Sequence[Range]) -> tuple[list[int], list[Range | None]]:
    """Return the addresses at which another entry of `ranges` begins to count, and that entry."""
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
    """Return #address-cells and #size-cells that `bus` sets for its children. Raises TreeError."""
    return (
        cell_count(bus, "#address-cells", DEFAULT_ADDRESS_CELLS),
        cell_count(bus, "#size-cells", DEFAULT_SIZE_CELLS),
    )


def cell_count(bus: Node, prop: str, default: int) -> int:
    """Return the number of cells in `prop` of `bus`; `default` without the property. Raises
    TreeError.
    """
    count = bus.number(prop, default)
    if count > MAX_CELLS:
        raise TreeError(
            f"{prop} is out of range", bus.path, prop, f"at most {MAX_CELLS}", str(count)
        )
    return count
