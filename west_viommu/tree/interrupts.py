# SPDX-License-Identifier: Apache-2.0
"""Interrupts as GIC INTIDs: through interrupt-parent, interrupts-extended and interrupt-map."""

from typing import NamedTuple, NewType

from west_viommu.tree.cells import TreeError, cells, joined, rows
from west_viommu.tree.interrupt_map import Interrupt, cut, interrupt_cells, interrupt_map
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
# The same for interrupt-parent, from node to node; by way of parents a tree has 64 levels at most.
_MAX_PARENTS = 80


class Received(NamedTuple):
    """The interrupts of a node, in their order: `by_gic` the INTIDs, and the flags of each (0 where
    the GIC has no cell for them); `others` the paths of the controllers, no GICs, that receive
    some.
    """

    by_gic: tuple[tuple[Intid, int], ...]
    others: tuple[str, ...]


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


def received(tree: Tree, node: Node) -> Received:
    """Who receives the interrupts of `node`. Raises TreeError."""
    by_gic = []
    others: dict[str, None] = {}
    for controller, specifier in interrupts(tree, node):
        if not is_gic(controller):
            others[controller.path] = None
            continue
        intid = gic_intid(specifier)
        if intid is not None:
            by_gic.append((intid, specifier[2] if len(specifier) > 2 else 0))
    return Received(tuple(by_gic), tuple(others))


def gic_interrupts(tree: Tree, node: Node) -> tuple[tuple[Intid, int], ...]:
    """The INTIDs of `node` and their flags, as `Received` has them."""
    return received(tree, node).by_gic


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
        if len(seen) > _MAX_PARENTS:
            raise TreeError(
                "interrupt-parent leads from node to node too often",
                node.path,
                "interrupt-parent",
                f"a controller after at most {_MAX_PARENTS} nodes",
            )
        current = parent


def _generated(tree: Tree, node: Node) -> list[Interrupt]:
    """The interrupts of `node` before any nexus translates them."""
    if "interrupts-extended" in node.properties:
        return _extended(tree, node)
    value = node.properties.get("interrupts")
    parent = interrupt_parent(tree, node) if value is not None else None
    if value is None or parent is None:
        return []
    width = interrupt_cells(parent)
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
        end = at + 1 + interrupt_cells(controller)
        if end > len(numbers):
            raise cut(node, "interrupts-extended")
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
        mapped = interrupt_map(tree, nexus).parent_interrupt(address, specifier)
        if mapped is None:
            return None
        interrupt, address = mapped
    raise TreeError(
        "interrupt-map nodes form a loop", node.path, "interrupts", "a path to a controller"
    )
