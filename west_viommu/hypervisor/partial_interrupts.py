# SPDX-License-Identifier: Apache-2.0
"""The interrupts of a node in a partial tree: on the GIC of Xen, or on what comes along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, SPI
from west_viommu.tree.node import Node


class Kept(NamedTuple):
    """Properties for the node; of them, name -> cells that are phandles, by their index; and what
    of its interrupts it does not keep.
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
    """The interrupts of `node` that its guest can have: SPIs of the GIC, in the three cells of
    Xen's, and those of a controller that comes along. Raises TreeError.

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
    """With interrupt-names, but where an interrupt was dropped: which names are left cannot be
    told then.
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
    """Those on the GIC and those on what comes along, in the order of the node; with a nexus among
    the controllers, those on the GIC first.
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
    """Index of a cell of interrupts-extended -> the phandle that it is."""
    phandles = {}
    at = 0
    for phandle, specifier in entries:
        phandles[at] = phandle
        at += 1 + len(specifier) // 4
    return phandles


def _cells_of(interrupt: GuestInterrupt) -> bytes:
    flags = LINUX_EDGE if interrupt.is_edge else LINUX_LEVEL
    return pack(">III", SPI, interrupt.intid - FIRST_SPI, flags)
