# SPDX-License-Identifier: Apache-2.0
"""Interrupts as GIC INTIDs: through interrupt-parent, interrupts-extended and interrupt-map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NewType

from west_viommu.tree.addresses import DEFAULT_ADDRESS_CELLS, cell_count
from west_viommu.tree.cells import TreeError, cells, joined, rows, whole_rows
from west_viommu.tree.node import Node, Tree


class Interrupt(NamedTuple):
    """An interrupt specifier and the node that gives it its meaning (a controller or a nexus)."""

    controller: Node
    specifier: tuple[int, ...]


def interrupt_map(tree: Tree, nexus: Node, address: int, specifier: int) -> InterruptMap:
    """Return the interrupt-map of `nexus`, read once for each count of cells of a unit address and
    of a specifier. Raises TreeError.
    """
    known = tree.decoded(_no_maps, nexus)
    if (address, specifier) not in known:
        known[address, specifier] = InterruptMap(tree, nexus, address, specifier)
    return known[address, specifier]


def _no_maps(tree: Tree, nexus: Node) -> dict[tuple[int, int], InterruptMap]:
    return {}


def address_cells(tree: Tree, nexus: Node) -> int:
    """Return how many cells a unit address has in the interrupt-map of `nexus`: by its own
    #address-cells or the nearest above ("the old linux trick", dt_irq_map_raw() of Xen,
    of_irq_parse_raw() of Linux).
    """
    saying = (above for above in tree.lineage(nexus) if "#address-cells" in above.properties)
    return cell_count(next(saying, nexus), "#address-cells", DEFAULT_ADDRESS_CELLS)


class InterruptMap:
    """The interrupt-map of a nexus, its rows by their keys.

    A row is: child unit address, child specifier, parent phandle, parent unit address, parent
    specifier. A row matches if address and specifier, both ANDed with interrupt-map-mask, are equal
    to its own (devicetree specification 0.4, 2.4.3.1). Of rows that match alike, the first counts;
    a malformed row counts only if no row before it matches. `targets`: the parent interrupts of all
    rows before a malformed one.
    """

    def __init__(self, tree: Tree, nexus: Node, address: int, specifier: int):
        self._address_cells = address
        key_cells = address + specifier
        mask = nexus.properties.get("interrupt-map-mask", b"\xff" * 4 * key_cells)
        self._mask = cells(mask, nexus.path, "interrupt-map-mask")[:key_cells]
        if len(self._mask) < key_cells:
            raise cut(nexus, "interrupt-map-mask")
        self._rows: dict[tuple[int, ...], tuple[Interrupt, tuple[int, ...]]] = {}
        self.targets: list[Interrupt] = []
        self._error: TreeError | None = None
        numbers = cells(nexus.properties["interrupt-map"], nexus.path, "interrupt-map")
        try:
            self._read(tree, nexus, numbers, key_cells)
        except TreeError as error:
            self._error = error

    def parent_interrupt(
        self, address: tuple[int, ...], specifier: tuple[int, ...]
    ) -> tuple[Interrupt, tuple[int, ...]] | None:
        """Return the interrupt of the parent for `specifier` from a child at `address`, and the
        unit address there; None if no row matches. Raises TreeError.
        """
        # A child without reg has unit address 0, as in Linux (of_irq_parse_one).
        unit_address = (*address, *(0,) * self._address_cells)[: self._address_cells]
        row = self._rows.get(self._masked((*unit_address, *specifier)))
        if row is None and self._error:
            raise self._error
        return row

    def _read(self, tree: Tree, nexus: Node, numbers: tuple[int, ...], key_cells: int) -> None:
        at = 0
        while at < len(numbers):
            if at + key_cells >= len(numbers):
                raise cut(nexus, "interrupt-map")
            parent = tree.phandle_target(numbers[at + key_cells], nexus, "interrupt-map")
            start = at + key_cells + 1 + cell_count(parent, "#address-cells", 0)
            end = start + interrupt_cells(parent)
            if end > len(numbers):
                raise cut(nexus, "interrupt-map")
            row = Interrupt(parent, numbers[start:end]), numbers[at + key_cells + 1 : start]
            self.targets.append(row[0])
            self._rows.setdefault(self._masked(numbers[at : at + key_cells]), row)
            at = end

    def _masked(self, key: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(k & m for k, m in zip(key, self._mask, strict=True))


def interrupt_cells(controller: Node) -> int:
    """Return how many cells an interrupt of `controller` has. Raises TreeError."""
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


def cut(node: Node, prop: str) -> TreeError:
    """Return the error of a list with an incomplete last entry."""
    return TreeError(f"the last entry of {prop} is cut off", node.path, prop, "a whole entry")


Intid = NewType("Intid", int)

# The compatible of a GICv3, as Xen knows it.
GICV3 = "arm,gic-v3"
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
        GICV3,
        "brcm,brahma-b15-gic",
        "nvidia,tegra210-agic",
        "qcom,msm-8660-qgic",
        "qcom,msm-qgic2",
    }
)
# The GICs that Xen drives (DT_MATCH_GIC_V2, DT_MATCH_GIC_V3 in asm/gic.h, 4.17 and 4.21).
XEN_GICS = frozenset({"arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,gic-400", GICV3})
# First cell of a GIC specifier: the type of the interrupt.
SPI, PPI = 0, 1
FIRST_SPI = Intid(32)
FIRST_PPI = Intid(16)
# INTIDs from 1020 on are special (Arm GIC architecture, 2.2.1).
LAST_SPI = Intid(1019)
# Type -> INTID of interrupt number 0 of that type, and the last one.
_FIRST_INTID = {SPI: FIRST_SPI, PPI: FIRST_PPI}
_LAST_INTID = {SPI: LAST_SPI, PPI: Intid(31)}
# From one node to the next: a tree has 64 levels, and real trees two maps on the way of an
# interrupt. The bound ends any loop.
_MAX_STEPS = 80


class Received(NamedTuple):
    """The interrupts of a node, in their order. `by_gic`: the INTIDs on the GIC, with the flags of
    each (0 without a cell for flags); `others`: the other controllers that receive some;
    `unroutable`: for each of the rest, why it has no INTID.
    """

    by_gic: tuple[tuple[Intid, int], ...]
    others: tuple[str, ...]
    unroutable: tuple[str, ...]


def interrupts(tree: Tree, node: Node) -> tuple[Interrupt, ...]:
    """Return the interrupts of `node` as specifiers of the controllers that receive them.

    interrupts-extended wins over interrupts (devicetree specification 0.4, 2.4.1). An interrupt
    that a nexus does not map, or that has no controller, is left out.
    """
    return tuple(routed for _, routed in _all_routed(tree, node) if routed is not None)


def is_gic(node: Node) -> bool:
    """Return whether `node` is an Arm generic interrupt controller."""
    return not GIC_COMPATIBLES.isdisjoint(node.compatible)


def primary_gic(tree: Tree) -> Node | None:
    """Return the GIC that a hypervisor drives: the first node that Xen knows as a GIC, is an
    interrupt-controller below the root, and is enabled by its own status (gic_dt_preinit() and
    device_init() of Xen, 4.17 to 4.21). On a host without such a node, return the first GIC of any
    kind.
    """
    other = None
    for node in tree.nodes():
        is_controller = "interrupt-controller" in node.properties and node is not tree.root
        if is_controller and node.is_available:
            compatible = node.compatible_for_xen
            if not XEN_GICS.isdisjoint(compatible):
                return node
            if other is None and not GIC_COMPATIBLES.isdisjoint(compatible):
                other = node
    return other


def gic_intid(specifier: tuple[int, ...]) -> Intid | None:
    """Return the INTID of a GIC specifier (type, number, ...): SPI + 32, PPI + 16.

    None for a type that neither Xen nor Zephyr knows, as the extended ranges of GICv3.1, and for a
    number beyond the last of its type.
    """
    first = _FIRST_INTID.get(specifier[0]) if len(specifier) > 1 else None
    if first is None or first + specifier[1] > _LAST_INTID[specifier[0]]:
        return None
    return Intid(first + specifier[1])


def xen_intid(specifier: tuple[int, ...]) -> Intid:
    """Return the INTID that Xen makes of a GIC specifier: it takes type 0 for an SPI, and any other
    for a PPI (gic_irq_xlate() in arch/arm/gic.c, 4.17 to 4.21; booted: type 2 came out as another
    line).
    """
    return Intid(specifier[1] + (FIRST_SPI if specifier[0] == SPI else _FIRST_INTID[PPI]))


def received(tree: Tree, node: Node, gic: Node | None) -> Received:
    """Return the interrupts of `node`, sorted by their receiver; `gic` is the GIC of the
    hypervisor. Raises TreeError.
    """
    by_gic = []
    others: dict[str, None] = {}
    unroutable = []
    for (source, said), routed in _all_routed(tree, node):
        if routed is None:
            has_map = "interrupt-map" in source.properties
            lost = "has no row in the interrupt-map of" if has_map else "reaches no controller by"
            unroutable.append(f"<{' '.join(map(str, said))}> {lost} {source.path}")
            continue
        controller, specifier = routed
        if gic is None or controller.path != gic.path:
            others[controller.path] = None
            continue
        intid = gic_intid(specifier)
        if intid is None:
            unroutable.append(_unroutable(specifier))
        else:
            by_gic.append((intid, specifier[2] if len(specifier) > 2 else 0))
    return Received(tuple(by_gic), tuple(others), tuple(unroutable))


def interrupt_parent(tree: Tree, node: Node) -> Node | None:
    """Return the node that receives the `interrupts` of `node`.

    It is the first node with #interrupt-cells on the way from a node to its interrupt-parent, or
    else to its parent (devicetree specification 0.4, 2.4; of_irq_find_parent in Linux).
    """
    current = node
    seen = {node.path}
    for _ in range(_MAX_STEPS):
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
    raise TreeError(
        "interrupt-parent leads through too many nodes",
        node.path,
        "interrupt-parent",
        f"a controller after at most {_MAX_STEPS} nodes",
    )


def _receiver(tree: Tree, node: Node) -> Node | None:
    """Return `interrupt_parent` of `node`, computed once for all nodes of a bus that have no
    interrupt-parent of their own.
    """
    bus = tree.parent(node)
    if bus is None or "interrupt-parent" in node.properties:
        return interrupt_parent(tree, node)
    receiver = tree.decoded(_receiver_of_children, bus)
    return receiver if receiver is not node else None


def _receiver_of_children(tree: Tree, bus: Node) -> Node | None:
    return bus if "#interrupt-cells" in bus.properties else interrupt_parent(tree, bus)


def _generated(tree: Tree, node: Node) -> list[Interrupt]:
    """Return the interrupts of `node` before any nexus translates them."""
    if "interrupts-extended" in node.properties:
        return extended(tree, node)
    value = node.properties.get("interrupts")
    parent = _receiver(tree, node) if value is not None else None
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


def extended(tree: Tree, node: Node) -> list[Interrupt]:
    """Return the entries of `interrupts-extended`. Raises TreeError."""
    numbers = cells(node.properties["interrupts-extended"], node.path, "interrupts-extended")
    generated = []
    at = 0
    while at < len(numbers):
        controller = tree.phandle_target(numbers[at], node, "interrupts-extended")
        end = at + 1 + interrupt_cells(controller)
        if end > len(numbers):
            raise cut(node, "interrupts-extended")
        generated.append(Interrupt(controller, numbers[at + 1 : end]))
        at = end
    return generated


def _all_routed(tree: Tree, node: Node) -> Iterator[tuple[Interrupt, Interrupt | None]]:
    """Yield each interrupt of `node` with the interrupt that the controller receives; None if it is
    mapped nowhere.
    """
    for interrupt in _generated(tree, node):
        yield interrupt, routed(tree, node, interrupt)


def routed(tree: Tree, node: Node, interrupt: Interrupt) -> Interrupt | None:
    """Return `interrupt` of `node` after every interrupt-map on its way; None if a map drops it.
    Raises TreeError.

    It ends at an interrupt-controller, even at one with a map. A node with #interrupt-cells that
    has neither property hands it on to its interrupt parent (dt_irq_map_raw() of Xen,
    of_irq_parse_raw() of Linux).
    """
    if "interrupt-controller" in interrupt.controller.properties:
        return interrupt
    address = cells(whole_rows(node.properties.get("reg", b""), 1), node.path, "reg")
    width = address_cells(tree, interrupt.controller)
    for _ in range(_MAX_STEPS):
        nexus, specifier = interrupt
        if "interrupt-controller" in nexus.properties:
            return interrupt
        if "interrupt-map" not in nexus.properties:
            parent = interrupt_parent(tree, nexus)
            if parent is None:
                return None
            interrupt = Interrupt(parent, specifier)
            continue
        rows_of = interrupt_map(tree, nexus, width, len(specifier))
        mapped = rows_of.parent_interrupt(address, specifier)
        if mapped is None:
            return None
        interrupt, address = mapped
        width = len(address)
    raise TreeError(
        "interrupt-map nodes form a loop", node.path, "interrupts", "a path to a controller"
    )


def _unroutable(specifier: tuple[int, ...]) -> str:
    """Return why a specifier of the GIC has no INTID that Xen could route."""
    numbers = " ".join(map(str, specifier))
    if len(specifier) < 2:
        return f"<{numbers}> is too short"
    if specifier[0] in _FIRST_INTID:
        kind = "SPI" if specifier[0] == SPI else "PPI"
        return f"<{numbers}> is beyond the last {kind}"
    return (
        f"<{numbers}> is of type {specifier[0]}, which Xen takes for INTID {xen_intid(specifier)}"
    )
