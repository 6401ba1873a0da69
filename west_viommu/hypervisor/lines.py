# SPDX-License-Identifier: Apache-2.0
"""The lines of a host node as Xen reads them, even if the node is malformed: whole entries count,
and a trailing rest does not (dt_number_of_irq(), dt_device_get_raw_irq() and dt_irq_map_raw() in
common/device_tree.c, 4.17 to 4.21). If an entry leads to no line, Xen creates no dom0.
"""

from collections.abc import Iterator

from west_viommu.tree.cells import TreeError, cells, rows, whole_rows
from west_viommu.tree.interrupts import (
    Interrupt,
    Intid,
    address_cells,
    cut,
    interrupt_cells,
    interrupt_map,
    interrupt_parent,
    routed,
    xen_intid,
)
from west_viommu.tree.node import Node, Tree

# IRQ_TYPE_SENSE_MASK, of the third cell of a GIC specifier.
_TRIGGERS = 0xF
# The same number of steps as in `routed`.
_MAX_STEPS = 80


def lines(tree: Tree, node: Node, gic: Node | None) -> Iterator[Intid]:
    """Yield the INTIDs that Xen derives from the interrupts of `node` on its `gic`, in their
    order.
    """
    return (intid for intid, _ in typed_lines(tree, node, gic))


def typed_lines(tree: Tree, node: Node, gic: Node | None) -> Iterator[tuple[Intid, int]]:
    """Yield the INTIDs of `lines`, each with its trigger (gic_irq_xlate())."""
    for interrupt in _counted(tree, node):
        found = _retrieved(tree, node, interrupt)
        if found:
            yield from _on_gic(found, gic)


def named_line(tree: Tree, node: Node, gic: Node | None, name: str) -> tuple[Intid, int] | None:
    """Return the INTID and the trigger of the interrupt called `name` in interrupt-names; None if
    there is no such name (platform_get_irq_byname()).
    """
    try:
        place = node.string_list("interrupt-names").index(name)
    except (TreeError, ValueError):
        return None
    counted = _counted(tree, node)
    found = _retrieved(tree, node, counted[place]) if place < len(counted) else None
    return next(_on_gic(found, gic), None) if found else None


def first_lost(tree: Tree, node: Node) -> int | None:
    """Return the place of the first interrupt of `node` that Xen counts and cannot retrieve, for
    which it creates no dom0; None if it retrieves all (dt_device_get_raw_irq(), dt_irq_map_raw()).
    """
    for place, interrupt in enumerate(_counted(tree, node)):
        if _retrieved(tree, node, interrupt) is None:
            return place
    return None


def targets(tree: Tree, bridge: Node, gic: Node | None) -> Iterator[tuple[Intid, int]]:
    """Yield the INTIDs to which the interrupt-map of a PCI `bridge` leads, each with its trigger:
    Xen gives each to dom0 (map_device_children() in domain_build.c, 4.17).
    """
    try:
        source = bridge if "#interrupt-cells" in bridge.properties else None
        source = source or interrupt_parent(tree, bridge)
        if source is None or "interrupt-map" not in bridge.properties:
            return
        widths = address_cells(tree, source), interrupt_cells(source)
        found = interrupt_map(tree, bridge, *widths).targets
    except TreeError:
        return
    for interrupt in found:
        yield from _on_gic(interrupt, gic)


def _retrieved(tree: Tree, node: Node, interrupt: Interrupt | None) -> Interrupt | None:
    """Return an interrupt of `node` at the controller to which it leads; None if Xen finds no
    controller.
    """
    try:
        if interrupt is None or _lacks_address(tree, node, interrupt.controller):
            return None
        return routed(tree, node, interrupt)
    except TreeError:
        return None


def _lacks_address(tree: Tree, node: Node, at: Node) -> bool:
    """Return whether a map on the way from the controller `at` needs the address of `node`, which
    has no address: "no reg passed in when needed".
    """
    if "reg" in node.properties or not address_cells(tree, at):
        return False
    for _ in range(_MAX_STEPS):
        if "interrupt-controller" in at.properties:
            return False
        if "interrupt-map" in at.properties:
            return True
        parent = interrupt_parent(tree, at)
        if parent is None:
            return False
        at = parent
    return False


def _counted(tree: Tree, node: Node) -> list[Interrupt | None]:
    """Return the interrupts of `node` that Xen counts: by interrupts-extended, if that can be
    counted (dt_count_phandle_with_args()). An entry with the phandle 0 counts, and yields None.
    """
    if "interrupts-extended" in node.properties:
        try:
            return _extended(tree, node)
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


def _extended(tree: Tree, node: Node) -> list[Interrupt | None]:
    value = whole_rows(node.properties["interrupts-extended"], 1)
    numbers = cells(value, node.path, "interrupts-extended")
    found: list[Interrupt | None] = []
    at = 0
    while at < len(numbers):
        phandle = numbers[at]
        at += 1
        if not phandle:
            found.append(None)
            continue
        controller = tree.phandle_target(phandle, node, "interrupts-extended")
        end = at + interrupt_cells(controller)
        if end > len(numbers):
            raise cut(node, "interrupts-extended")
        found.append(Interrupt(controller, numbers[at:end]))
        at = end
    return found


def _on_gic(interrupt: Interrupt, gic: Node | None) -> Iterator[tuple[Intid, int]]:
    if gic and interrupt.controller.path == gic.path and len(interrupt.specifier) > 1:
        flags = interrupt.specifier[2] if len(interrupt.specifier) > 2 else 0
        yield xen_intid(interrupt.specifier), flags & _TRIGGERS
