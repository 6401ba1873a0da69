# SPDX-License-Identifier: Apache-2.0
"""Where a node's registers are for Xen, and the pages that a domain is mapped for them.

Read in common/device_tree.c (4.17; alike in master): dt_number_of_address(),
__dt_translate_address(), dt_for_each_range(); and map_range_to_domain(), domain_build.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.xen.host import Host, address_cells, size_cells, type_of, u64
from tests.xen.nodes import Node, Span

PAGE_SHIFT = 12
MAX_ADDR_CELLS = 4


class NoAddress(Exception):
    """dt_device_get_address() or dt_for_each_range() fails; the message is Xen's."""


@dataclass(frozen=True)
class Pages:
    """`count` page frames from `host`, seen at `guest`. `of` is the node that they are of."""

    host: int
    count: int
    guest: int
    of: str

    def shares_with(self, other: Pages) -> bool:
        return self.host < other.host + other.count and other.host < self.host + self.count


def pages_mapped(base: int, size: int, of: str) -> Pages:
    """map_range_to_domain(): PFN_UP(len) pages from that of the address, one to one. A region that
    starts inside a page can end in one page more, which is not mapped.
    """
    return Pages(base >> PAGE_SHIFT, -(-size >> PAGE_SHIFT), base >> PAGE_SHIFT, of)


def pages_touched(base: int, size: int, of: str) -> Pages:
    """All pages that the region lies in."""
    first, end = base >> PAGE_SHIFT, -(-(base + size) >> PAGE_SHIFT)
    return Pages(first, end - first, first, of)


def _is_pci(node: Node) -> bool:
    """dt_bus_pci_match(): by device_type, else by the name pci or pcie."""
    name = node.name.partition("@")[0]
    return type_of(node) in ("pci", "pciex", "vci", "ht") or name in ("pcie", "pci")


def _bus(node: Node) -> str | None:
    """dt_match_bus(): without `ranges` no address goes further up."""
    if _is_pci(node):
        return "pci"
    return "default" if node.parent is None or "ranges" in node.props else None


def _counts(bus: str, node: Node) -> tuple[int, int]:
    """count_cells() of the bus that `node` stands on."""
    return (3, 2) if bus == "pci" else (address_cells(node), size_cells(node))


def _sane(counts: tuple[int, int]) -> bool:
    """DT_CHECK_COUNTS()."""
    return 0 < counts[0] <= MAX_ADDR_CELLS and counts[1] > 0


def regions(node: Node) -> list[Span]:
    """The (address, size) of each entry of the node's reg, as the CPU sees it.

    None at all where the parent is no bus, or has no address or size cells; NoAddress where it is
    a bus, and an entry does not translate: "Unable to retrieve address", which stops Xen.
    """
    parent = node.parent
    bus = None if parent is None else _bus(parent)
    if parent is None or bus is None or not _sane(_counts(bus, node)):
        return []
    address, size = _counts(bus, node)
    values = node.cells("assigned-addresses" if bus == "pci" else "reg")
    width, found = address + size, []
    for i in range(0, len(values) // width * width, width):
        base = _translated(node, values[i : i + address])
        if base is None:
            raise NoAddress(f"Unable to retrieve address {i // width} for {node.path}")
        found.append((base, u64(values[i + address : i + width])))
    return found


def windows(node: Node) -> list[Span]:
    """dt_for_each_range(): the (address, size) of each entry of a bus' own `ranges`."""
    bus, parent = _bus(node), node.parent
    if bus is None:
        return []
    if parent is None or "ranges" not in node.props:
        raise NoAddress(f"no ranges; cannot enumerate {node.path}")
    if not node.props["ranges"]:
        return []
    above = _bus(parent)
    here = (3, 2) if bus == "pci" else (address_cells(node), size_cells(node))
    if above is None or not _sane(here) or not _sane(_counts(above, node)):
        raise NoAddress(f"Bad cell count for {node.path}")
    pna, values, found = _counts(above, node)[0], node.cells("ranges"), []
    width = here[0] + pna + here[1]
    for i in range(0, len(values) // width * width, width):
        row = values[i : i + width]
        base = _translated(node, row[here[0] : here[0] + pna])
        if base is None:
            raise NoAddress(f"a window of {node.path} does not translate")
        found.append((base, u64(row[here[0] + pna :])))
    return found


def _translated(node: Node, address: list[int]) -> int | None:
    """__dt_translate_address(): through the ranges of each bus up to the root."""
    parent = node.parent
    bus = None if parent is None else _bus(parent)
    if parent is None or bus is None:
        return None
    counts = _counts(bus, node)
    if not _sane(counts):
        return None
    while True:
        node, above = parent, parent.parent
        if above is None:
            return u64(address)
        bus_above = _bus(above)
        if bus_above is None or not _sane(_counts(bus_above, node)):
            return None
        counts_above = _counts(bus_above, node)
        moved = _through(node, bus, address, counts, counts_above[0])
        if moved is None:
            return None
        skip = 1 if bus_above == "pci" else 0
        address = moved[:skip] + _split(u64(moved[skip:]), len(moved) - skip)
        parent, bus, counts = above, bus_above, counts_above


def _split(value: int, cells: int) -> list[int]:
    """dt_bus_default_translate(): the two last cells, the rest 0."""
    return [0] * (cells - 2) + [value >> 32 & 0xFFFFFFFF, value & 0xFFFFFFFF][-cells:]


def _through(
    node: Node, bus: str, address: list[int], counts: tuple[int, int], above: int
) -> list[int] | None:
    """dt_translate_one(): `address` in the cells of the bus above, by the first row that has it.

    Only its start is looked at: a region may end outside the row.
    """
    if "ranges" not in node.props:
        return None
    if not node.props["ranges"]:
        return _split(u64(address), above)
    values, (na, ns) = node.cells("ranges"), counts
    width = na + above + ns
    for i in range(0, len(values) // width * width, width):
        row = values[i : i + width]
        offset = _offset(bus, address, row, counts, above)
        if offset is not None:
            target = row[na : na + above]
            return _split((u64(target) + offset) & 0xFFFFFFFFFFFFFFFF, above)
    return None


def _offset(
    bus: str, address: list[int], row: list[int], counts: tuple[int, int], above: int
) -> int | None:
    """dt_bus_default_map(), dt_bus_pci_map()."""
    na, first = counts[0], 1 if bus == "pci" else 0
    if bus == "pci" and _space(address[0]) != _space(row[0]):
        return None
    if bus == "default" and na > 2 and address[:na] != row[:na]:
        return None
    start, size = u64(row[first:na]), u64(row[na + above :])
    wanted = u64(address[first:na])
    return wanted - start if start <= wanted < start + size else None


def _space(cell: int) -> str:
    return {0: "", 1: "io", 2: "mem", 3: "mem"}[cell >> 24 & 3]


def memory(host: Host, by_type: bool) -> list[Pages]:
    """What Xen takes for RAM: early_scan_node(), arch/arm/bootfdt.c, by the name memory or
    memory@...; get_memory..., common/device-tree/bootinfo-fdt.c of master, by device_type too. The
    reg is read as it stands, not through `ranges`.
    """
    found = []
    for node in host.nodes[1:]:
        named = node.name.partition("@")[0] == "memory"
        if named and (not by_type or type_of(node) == "memory"):
            found += _raw(node, "memory")
    return found


def reserved(host: Host) -> list[Pages]:
    """process_reserved_memory(): the children of /reserved-memory."""
    found = []
    for node in host.root.children:
        if node.name.lower() == "reserved-memory":
            for child in node.children:
                found += _raw(child, "reserved memory")
    return found


def _raw(node: Node, what: str) -> list[Pages]:
    address, size = address_cells(node), size_cells(node)
    values, width = node.cells("reg"), address + size
    return [
        pages_touched(u64(values[i : i + address]), u64(values[i + address : i + width]), what)
        for i in range(0, len(values) // (width or 1) * (width or 1), width or 1)
    ]
