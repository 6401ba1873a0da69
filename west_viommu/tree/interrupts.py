# SPDX-License-Identifier: Apache-2.0
"""Interrupts as GIC INTIDs: through interrupt-parent, interrupts-extended and interrupt-map."""

from __future__ import annotations

from typing import NamedTuple, NewType

from west_viommu.tree.addresses import DEFAULT_ADDRESS_CELLS
from west_viommu.tree.cells import TreeError, cells, joined, rows
from west_viommu.tree.node import Node, Tree

Intid = NewType("Intid", int)

# The GIC bindings of Linux (arm,gic.yaml, arm,gic-v3.yaml) and Zephyr's arm,gic*.yaml.
GIC_COMPATIBLES = frozenset(
    {
        "arm,arm11mp-gic",
        "arm,cortex-a15-gic",
        "arm,cortex-a5-gic",
        "arm,cortex-a7-gic",
        "arm,cortex-a9-gic",
        "arm,gic",
        "arm,gic-400",
        "arm,gic-v1",
        "arm,gic-v2",
        "arm,gic-v3",
        "brcm,brahma-b15-gic",
        "nvidia,tegra210-agic",
        "qcom,msm-8660-qgic",
        "qcom,msm-qgic2",
    }
)
# First cell of a GIC specifier -> INTID of interrupt number 0 of that type.
SPI, PPI = 0, 1
FIRST_SPI = Intid(32)
_FIRST_INTID = {SPI: FIRST_SPI, PPI: Intid(16)}
# Nexus upon nexus: real trees have two at most. The bound also ends any loop of maps.
_MAX_NEXUS_DEPTH = 16


class Interrupt(NamedTuple):
    """An interrupt specifier and the node that gives it its meaning (a controller or a nexus)."""

    controller: Node
    specifier: tuple[int, ...]


def interrupts(tree: Tree, node: Node) -> tuple[Interrupt, ...]:
    """The interrupts of `node` as specifiers of the controllers that receive them.

    interrupts-extended wins over interrupts (devicetree specification 0.4, 2.4.1). An interrupt
    that a nexus does not map, or that has no controller, is left out.
    """
    address = cells(node.properties.get("reg", b""), node.path, "reg")
    generated = _generated(tree, node)
    routed = (_routed(tree, node, address, interrupt) for interrupt in generated)
    return tuple(interrupt for interrupt in routed if interrupt is not None)


def is_gic(node: Node) -> bool:
    """Whether `node` is an Arm generic interrupt controller."""
    return not GIC_COMPATIBLES.isdisjoint(node.compatible)


def gic_intid(specifier: tuple[int, ...]) -> Intid | None:
    """The INTID that a GIC specifier (type, number, ...) names: SPI + 32, PPI + 16.

    None for a type that neither Xen nor Zephyr knows, as the extended ranges of GICv3.1.
    """
    first = _FIRST_INTID.get(specifier[0]) if len(specifier) > 1 else None
    return None if first is None else Intid(first + specifier[1])


def gic_interrupts(tree: Tree, node: Node) -> tuple[tuple[Intid, int], ...]:
    """The INTIDs of `node` and the flags of each (0 where the GIC has no cell for them), in the
    order of its interrupts, those of other controllers left out.
    """
    return tuple(
        (intid, specifier[2] if len(specifier) > 2 else 0)
        for controller, specifier in interrupts(tree, node)
        if is_gic(controller) and (intid := gic_intid(specifier)) is not None
    )


def gic_intids(tree: Tree, node: Node) -> tuple[Intid, ...]:
    """The INTIDs of `node`, as `gic_interrupts` has them."""
    return tuple(intid for intid, _ in gic_interrupts(tree, node))


def other_controllers(tree: Tree, node: Node) -> tuple[str, ...]:
    """The paths of the controllers, no GICs, that receive interrupts of `node`."""
    found = (interrupt.controller for interrupt in interrupts(tree, node))
    return tuple(dict.fromkeys(each.path for each in found if not is_gic(each)))


def interrupt_parent(tree: Tree, node: Node) -> Node | None:
    """Who receives the `interrupts` of `node`.

    The first node with #interrupt-cells on the way that goes from a node to its interrupt-parent,
    or else to its parent (devicetree specification 0.4, 2.4; of_irq_find_parent in Linux).
    """
    current = node
    seen = {node.path}
    while True:
        value = current.properties.get("interrupt-parent")
        if value is None:
            parent = tree.parent(current)
        else:
            phandle = joined(cells(value, current.path, "interrupt-parent"))
            parent = tree.phandle_target(phandle, current, "interrupt-parent")
        if parent is None or parent.path in seen:
            return None
        if "#interrupt-cells" in parent.properties:
            return parent
        seen.add(parent.path)
        current = parent


def _generated(tree: Tree, node: Node) -> list[Interrupt]:
    """The interrupts of `node` before any nexus translates them."""
    if "interrupts-extended" in node.properties:
        return _extended(tree, node)
    value = node.properties.get("interrupts")
    parent = interrupt_parent(tree, node) if value is not None else None
    if value is None or parent is None:
        return []
    width = _interrupt_cells(parent)
    specifiers = rows(
        value,
        width,
        node.path,
        "interrupts",
        "interrupts does not fit its interrupt parent",
        f"entries of {width} cells, as {parent.path} says",
    )
    return [Interrupt(parent, specifier) for specifier in specifiers]


def _extended(tree: Tree, node: Node) -> list[Interrupt]:
    numbers = cells(node.properties["interrupts-extended"], node.path, "interrupts-extended")
    result = []
    at = 0
    while at < len(numbers):
        controller = tree.phandle_target(numbers[at], node, "interrupts-extended")
        end = at + 1 + _interrupt_cells(controller)
        if end > len(numbers):
            raise _cut(node, "interrupts-extended")
        result.append(Interrupt(controller, numbers[at + 1 : end]))
        at = end
    return result


def _routed(
    tree: Tree, node: Node, address: tuple[int, ...], interrupt: Interrupt
) -> Interrupt | None:
    """`interrupt` followed through every interrupt-map on its way; None where one drops it."""
    for _ in range(_MAX_NEXUS_DEPTH):
        nexus, specifier = interrupt
        if "interrupt-map" not in nexus.properties:
            return interrupt
        mapped = _mapped(tree, nexus, address, specifier)
        if mapped is None:
            return None
        interrupt, address = mapped
    raise TreeError(
        "interrupt-map nodes form a loop", node.path, "interrupts", "a path to a controller"
    )


def _mapped(
    tree: Tree, nexus: Node, address: tuple[int, ...], specifier: tuple[int, ...]
) -> tuple[Interrupt, tuple[int, ...]] | None:
    """What the interrupt-map of `nexus` makes of `specifier` from a child at `address`.

    A row is: child unit address, child specifier, parent phandle, parent unit address, parent
    specifier. A row matches where address and specifier, both ANDed with interrupt-map-mask, are
    equal to its own (devicetree specification 0.4, 2.4.3.1).
    """
    numbers = cells(nexus.properties["interrupt-map"], nexus.path, "interrupt-map")
    address_cells = nexus.number("#address-cells", DEFAULT_ADDRESS_CELLS)
    key_cells = address_cells + _interrupt_cells(nexus)
    mask_value = nexus.properties.get("interrupt-map-mask")
    mask = (
        (0xFFFFFFFF,) * key_cells
        if mask_value is None
        else cells(mask_value, nexus.path, "interrupt-map-mask")
    )
    if len(mask) != key_cells:
        raise _cut(nexus, "interrupt-map-mask")
    # A child without reg has unit address 0, as in Linux (of_irq_parse_one).
    unit_address = (*address, *(0,) * address_cells)[:address_cells]
    wanted = tuple(k & m for k, m in zip((*unit_address, *specifier), mask, strict=True))
    at = 0
    while at < len(numbers):
        if at + key_cells >= len(numbers):
            raise _cut(nexus, "interrupt-map")
        parent = tree.phandle_target(numbers[at + key_cells], nexus, "interrupt-map")
        start = at + key_cells + 1 + parent.number("#address-cells", 0)
        end = start + _interrupt_cells(parent)
        if end > len(numbers):
            raise _cut(nexus, "interrupt-map")
        row = numbers[at : at + key_cells]
        if tuple(r & m for r, m in zip(row, mask, strict=True)) == wanted:
            return Interrupt(parent, numbers[start:end]), numbers[at + key_cells + 1 : start]
        at = end
    return None


def _interrupt_cells(controller: Node) -> int:
    count = controller.number("#interrupt-cells", 0)
    if not 0 < count <= 16:
        raise TreeError(
            "#interrupt-cells is out of range",
            controller.path,
            "#interrupt-cells",
            "1 to 16",
            str(count),
        )
    return count


def _cut(node: Node, prop: str) -> TreeError:
    return TreeError(f"the last entry of {prop} is cut off", node.path, prop, "a whole entry")
