# SPDX-License-Identifier: Apache-2.0
"""`reg` and `xen,reg` of a request: the host memory that the guest sees, and its guest addresses.

A bus with wrong cells, or without `ranges`, spoils the `reg` of each node on it: that is one
mistake, reported once, at the bus.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.source import BASE, PASSTHROUGH, GuestTree
from west_viommu.tree.addresses import AddressMap, Range, Region, Windows, bus_cells
from west_viommu.tree.cells import TreeError, cells, joined, rows
from west_viommu.tree.node import Node, unit_address

# The cells that people write, the usual first.
_USUAL = ((2, 2), (1, 1), (2, 1), (1, 2))


def misread(guest: GuestTree, asking: Sequence[Node]) -> Iterator[tuple[str, Diagnostic]]:
    """Yield the path of each bus that does not suit any of the `asking` nodes on it, and the
    diagnostic.
    """
    on_bus: dict[str, list[Node]] = {}
    for node in asking:
        bus = guest.tree.parent(node)
        if bus and "reg" in node.properties and not bus.path.startswith(BASE):
            on_bus.setdefault(bus.path, []).append(node)
    for path, nodes in on_bus.items():
        bus = guest.tree.node(path)
        meant = _meant_cells(bus, nodes) if bus else None
        if bus and meant:
            yield path, _other_cells(guest, bus, meant)
            continue
        lineage = guest.tree.lineage(bus) if bus else ()
        hole = next((e.path for e in lineage if e.path != "/" and "ranges" not in e.properties), "")
        if hole and any(node.properties["reg"] for node in nodes):
            yield path, _no_ranges(guest, hole)


def _meant_cells(bus: Node, nodes: Sequence[Node]) -> tuple[int, int] | None:
    """Return the cells for which the nodes of `bus` are written, by their unit addresses; None if
    `bus` has these cells.
    """
    try:
        stated = bus_cells(bus)
        regs = [
            (cells(node.properties["reg"], "", "reg"), unit_address(node.name)) for node in nodes
        ]
    except TreeError:
        return None
    telling = [(reg, unit) for reg, unit in regs if unit is not None]
    if any(_fits(reg, unit, *stated) for reg, unit in telling):
        return None
    fitting = [pair for pair in _USUAL if all(_fits(reg, unit, *pair) for reg, unit in telling)]
    return fitting[0] if telling and len(fitting) == 1 else None


def _fits(reg: tuple[int, ...], unit: int, address: int, size: int) -> bool:
    """Return whether `reg`, read in such cells, begins at the unit address without empty
    entries.
    """
    width = address + size
    if not reg or not address or len(reg) % width or joined(reg[:address]) != unit:
        return False
    return all(joined(reg[i + address : i + width]) for i in range(0, len(reg), width))


def _other_cells(guest: GuestTree, bus: Node, meant: tuple[int, int]) -> Diagnostic:
    stated = bus_cells(bus)
    names = ("#address-cells", "#size-cells")
    wrong = [name for name, is_, other in zip(names, stated, meant, strict=True) if is_ != other]
    has = [name for name in wrong if name in bus.properties]
    verb = "does" if len(wrong) == 1 else "do"
    return Diagnostic(
        id="malformed",
        what=f"{' and '.join(wrong)} of {bus.path} {verb} not fit the reg of the nodes on it"
        if has
        else f"{bus.path} lacks {' and '.join(wrong)}, which the reg of the nodes on it needs",
        hint=f"write {' '.join(f'{n} = <{c}>;' for n, c in zip(names, meant, strict=True))} in "
        f"{bus.path}",
        node=bus.path,
        expected=f"#address-cells = <{meant[0]}> and #size-cells = <{meant[1]}>",
        found=f"<{stated[0]}> and <{stated[1]}>" if has else "none",
        where=guest.locate(bus.path, (has or wrong)[0]),
    )


def _no_ranges(guest: GuestTree, path: str) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what=f"{path} has no `ranges`, so that nothing on it has an address in the guest",
        hint=f"write `ranges;` in {path}",
        node=path,
        expected="`ranges;` in each bus from the node to the root",
        found="none",
        where=guest.locate(path, ""),
    )


class RegionPair(NamedTuple):
    """A guest region, and the host region that appears there; None if xen,reg does not map it."""

    guest: Region
    host: Region | None


class Mapped(NamedTuple):
    """A triple of `xen,reg`: host memory, and its address for the guest."""

    host: Region
    guest: Region


def one_where_touching(mapped: Iterable[Mapped]) -> tuple[Mapped, ...]:
    """Return `mapped` in the order of the host, with triples joined that touch on both sides."""
    one: list[Mapped] = []
    for this in sorted(mapped, key=lambda pair: (pair.host.base - pair.guest.base, pair)):
        host, guest = this
        if one:
            last = one[-1]
            is_along = host.base - last.host.base == guest.base - last.guest.base
            if is_along and host.base <= last.host.end:
                size = max(last.host.end, host.end) - last.host.base
                one[-1] = Mapped(Region(last.host.base, size), Region(last.guest.base, size))
                continue
        one.append(this)
    return tuple(sorted(one))


def region_pairs(
    guest: GuestTree, addresses: AddressMap, node: Node, mapped: tuple[Mapped, ...]
) -> tuple[RegionPair, ...]:
    """Return each `reg` entry of `node` and its host region, which has the same address unless
    xen,reg maps another.
    """
    bus = guest.tree.parent(node)
    if "reg" in node.properties and bus and bus_cells(bus)[1] == 0:
        raise TreeError(
            "reg has no size", node.path, "reg", "a bus with #size-cells", f"{bus.path} with 0"
        )
    windows = Windows(
        Range(child=there.base, parent=host.base, size=host.size)
        for host, there in one_where_touching(mapped)
    )
    pairs = []
    for region in addresses.regions(node):
        if region is None:
            raise TreeError(
                "reg has no address in the guest",
                node.path,
                "reg",
                f"`ranges;` in {PASSTHROUGH} and in every bus below it",
                "a region that does not translate",
            )
        pairs.append(RegionPair(region, _host_region(region, windows) if mapped else region))
    return tuple(pairs)


def _host_region(region: Region, windows: Windows) -> Region | None:
    """Return the host region that xen,reg maps to the guest's `region`; None if it does not map all
    of it.
    """
    window = windows.around(region.base, region.size)
    return Region(window.parent + region.base - window.child, region.size) if window else None


def xen_reg(guest: GuestTree, node: Node) -> tuple[Mapped, ...]:
    """Return the triples <host-address size guest-address> of `xen,reg`, in the cells of the parent
    (Xen, docs/misc/arm/passthrough.txt).
    """
    address, size = bus_cells(guest.tree.parent(node) or guest.tree.root)
    triples = rows(
        node.properties.get("xen,reg", b""),
        2 * address + size,
        node.path,
        "xen,reg",
        "xen,reg is not a list of triples",
        f"<host size guest> in {address} + {size} + {address} cells",
    )
    mapped = tuple(
        Mapped(
            host=Region(joined(triple[:address]), joined(triple[address : address + size])),
            guest=Region(
                joined(triple[address + size :]), joined(triple[address : address + size])
            ),
        )
        for triple in triples
    )
    if any(host.size == 0 for host, _ in mapped):
        raise TreeError("xen,reg maps nothing", node.path, "xen,reg", "a size", "0")
    return mapped
