# SPDX-License-Identifier: Apache-2.0
"""The `interrupts` and `ranges` of a partial tree, by the GIC and the cells of a guest of Xen."""

from collections.abc import Iterable, Iterator, Mapping
from struct import pack
from typing import NamedTuple

from west_viommu.guest.gic import (
    LINUX_EDGE,
    LINUX_LEVEL,
    Gic,
    GuestInterrupt,
    Specifier,
    guest_interrupts,
    is_nexus,
    is_on_gic,
    specifiers,
)
from west_viommu.guest.source import GuestTree
from west_viommu.hypervisor.links import LeftOut, Links, phandle_of
from west_viommu.hypervisor.pages import PAGE, widest
from west_viommu.tree.addresses import AddressMap, Range, Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, SPI
from west_viommu.tree.node import Node


def bus_ranges(
    bus: Node,
    cells: tuple[int, int],
    root_cells: tuple[int, int],
    addresses: AddressMap,
    below: Iterable[Node],
) -> bytes | None:
    """Return the property for `bus`, which sets `cells` for its children: the guest's own, else the
    identity of as many addresses as the cells can express and the nodes `below` need. None if the
    bus has no addresses or no sizes, and so nothing to map. Raises TreeError.
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
            # The code that requests the node reports this.
            continue


def _identity(cells: tuple[int, int], needed: Iterable[Region]) -> Iterator[Range]:
    """Yield entries that map each address to itself: one from 0, in whole pages, with the largest
    possible size, and if a region is not inside it, or ends beyond it, another from that region on.
    Each region is inside one of them, as a translation uses one entry.
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


class Kept(NamedTuple):
    """Properties for the node; their phandle cells, by name and index; and the interrupts that it
    does not keep, with the reason.
    """

    properties: dict[str, bytes]
    phandles: dict[str, dict[int, int]]
    left_out: tuple[LeftOut, ...]


class _Entry(NamedTuple):
    """An interrupt that is kept: the phandle of its controller, and the specifier in bytes."""

    phandle: int
    specifier: bytes


def kept_interrupts(
    guest: GuestTree, gic: Gic, links: Links, node: Node, gic_phandle: int, *, is_named: bool
) -> Kept:
    """Return the interrupts of `node` that its guest can have: SPIs of the GIC, in the three cells
    of Xen's, and interrupts of a controller that is copied along. Raises TreeError.

    `gic_phandle`: of Xen's GIC. `is_named`: whether the node has to name it, as dom0less gives the
    root no interrupt-parent, and libxl gives it one.
    """
    written = specifiers(guest, gic, node)
    on_gic = [
        interrupt
        for interrupt in guest_interrupts(guest, gic, node)
        if interrupt.intid >= FIRST_SPI
    ]
    local = [specifier for specifier in written if links.local(specifier)]
    lost = tuple(_lost(links, gic, node, written))
    if on_gic and local:
        entries = list(_mixed(guest, gic, links, node, written, gic_phandle))
        properties = {"interrupts-extended": b"".join(pack(">I", p) + s for p, s in entries)}
        return _named(node, properties, len(entries), _phandles(entries), lost)
    if on_gic:
        properties = {"interrupts": b"".join(map(_cells_of, on_gic))}
        if is_named:
            properties = {"interrupt-parent": pack(">I", gic_phandle), **properties}
        return _named(node, properties, len(on_gic), {}, lost)
    if not local:
        return Kept({}, {}, lost)
    if "interrupts-extended" in node.properties:
        entries = [_local_entry(links, specifier) for specifier in local]
        properties = {"interrupts-extended": b"".join(pack(">I", p) + s for p, s in entries)}
        return _named(node, properties, len(entries), _phandles(entries), lost)
    properties = {"interrupts": node.properties["interrupts"]}
    parent = _local_entry(links, local[0]).phandle
    if parent:
        properties = {"interrupt-parent": pack(">I", parent), **properties}
    return _named(node, properties, len(local), {}, lost)


def _named(
    node: Node,
    properties: dict[str, bytes],
    count: int,
    phandles: Mapping[int, int],
    lost: tuple[LeftOut, ...],
) -> Kept:
    """Return the properties with interrupt-names, unless an interrupt was dropped: it is then
    unknown which names remain.
    """
    try:
        names = node.string_list("interrupt-names")
    except TreeError as error:
        names = ()
        lost = (*lost, LeftOut(("interrupt-names",), error.diagnostic.what))
    if len(names) == count:
        properties["interrupt-names"] = node.properties["interrupt-names"]
    return Kept(properties, {"interrupts-extended": dict(phandles)} if phandles else {}, lost)


def _mixed(
    guest: GuestTree,
    gic: Gic,
    links: Links,
    node: Node,
    written: tuple[Specifier, ...],
    gic_phandle: int,
) -> Iterator[_Entry]:
    """Yield the interrupts on the GIC and on controllers copied along, in the order of the node;
    with a nexus among the controllers, those on the GIC first.
    """
    on_gic = guest_interrupts(guest, gic, node)
    is_in_order = len(on_gic) == sum(is_on_gic(gic, specifier) for specifier in written)
    left = iter(on_gic)
    for specifier in written if is_in_order else ():
        if is_on_gic(gic, specifier):
            interrupt = next(left)
            if interrupt.intid >= FIRST_SPI:
                yield _Entry(gic_phandle, _cells_of(interrupt))
        elif links.local(specifier):
            yield _local_entry(links, specifier)
    if not is_in_order:
        for interrupt in on_gic:
            if interrupt.intid >= FIRST_SPI:
                yield _Entry(gic_phandle, _cells_of(interrupt))
        yield from (
            _local_entry(links, specifier) for specifier in written if links.local(specifier)
        )


def _local_entry(links: Links, written: Specifier) -> _Entry:
    controller = links.local(written)
    cells = pack(f">{len(written.numbers)}I", *written.numbers)
    return _Entry(phandle_of(controller) if controller else 0, cells)


def _lost(links: Links, gic: Gic, node: Node, written: tuple[Specifier, ...]) -> Iterator[LeftOut]:
    prop = "interrupts-extended" if "interrupts-extended" in node.properties else "interrupts"
    outside = dict.fromkeys(
        specifier.controller.path
        for specifier in written
        if specifier.controller
        and not is_on_gic(gic, specifier)
        and not links.local(specifier)
        and not is_nexus(specifier.controller)
    )
    if outside:
        yield LeftOut((prop,), "what goes to {}", outside)


def _phandles(entries: list[_Entry]) -> dict[int, int]:
    """Return the phandle cells of interrupts-extended, by index."""
    phandles = {}
    at = 0
    for phandle, specifier in entries:
        phandles[at] = phandle
        at += 1 + len(specifier) // 4
    return phandles


def _cells_of(interrupt: GuestInterrupt) -> bytes:
    flags = LINUX_EDGE if interrupt.is_edge else LINUX_LEVEL
    return pack(">III", SPI, interrupt.intid - FIRST_SPI, flags)
