# SPDX-License-Identifier: Apache-2.0
"""The lines of a host node as Xen reads them, however malformed the node is: whole entries count,
and what trails them does not (dt_number_of_irq(), dt_device_get_raw_irq() and dt_irq_map_raw() in
common/device_tree.c, 4.17 to 4.21). Where it finds none, Xen creates no dom0.
"""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.tree.cells import TreeError, rows, whole_rows
from west_viommu.tree.interrupts import (
    Interrupt,
    Intid,
    address_cells,
    extended,
    interrupt_cells,
    interrupt_map,
    interrupt_parent,
    routed,
    xen_intid,
)
from west_viommu.tree.node import Node, Tree

# IRQ_TYPE_SENSE_MASK, of the third cell of a GIC specifier.
_TRIGGERS = 0xF


def lines(tree: Tree, node: Node, gic: Node | None) -> Iterator[Intid]:
    """Yield the INTIDs that Xen makes of the interrupts of `node` on its `gic`, in their order."""
    return (intid for intid, _ in typed_lines(tree, node, gic))


def typed_lines(tree: Tree, node: Node, gic: Node | None) -> Iterator[tuple[Intid, int]]:
    """Yield the INTIDs of `lines`, each with its trigger (gic_irq_xlate())."""
    for interrupt in _counted(tree, node):
        try:
            found = routed(tree, node, interrupt)
        except TreeError:
            continue
        if found:
            yield from _on_gic(found, gic)


def map_targets(tree: Tree, bridge: Node, gic: Node | None) -> Iterator[Intid]:
    """The INTIDs to which the interrupt-map of a PCI `bridge` leads: Xen gives dom0 each
    (map_device_children() in domain_build.c, 4.17).
    """
    try:
        source = bridge if "#interrupt-cells" in bridge.properties else None
        source = source or interrupt_parent(tree, bridge)
        if source is None or "interrupt-map" not in bridge.properties:
            return
        widths = address_cells(tree, source), interrupt_cells(source)
        targets = interrupt_map(tree, bridge, *widths).targets
    except TreeError:
        return
    for interrupt in targets:
        yield from (intid for intid, _ in _on_gic(interrupt, gic))


def _counted(tree: Tree, node: Node) -> list[Interrupt]:
    """The interrupts of `node`: those of interrupts-extended, if that can be counted."""
    if "interrupts-extended" in node.properties:
        try:
            return extended(tree, node)
        except TreeError:
            pass
    try:
        parent = tree.decoded(interrupt_parent, node) if "interrupts" in node.properties else None
        if parent is None:
            return []
        width = interrupt_cells(parent)
    except TreeError:
        return []
    value = whole_rows(node.properties["interrupts"], width)
    specifiers = rows(value, width, node.path, "interrupts", "", "")
    return [Interrupt(parent, specifier) for specifier in specifiers]


def _on_gic(interrupt: Interrupt, gic: Node | None) -> Iterator[tuple[Intid, int]]:
    if gic and interrupt.controller.path == gic.path and len(interrupt.specifier) > 1:
        flags = interrupt.specifier[2] if len(interrupt.specifier) > 2 else 0
        yield xen_intid(interrupt.specifier), flags & _TRIGGERS
