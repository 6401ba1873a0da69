# SPDX-License-Identifier: Apache-2.0
"""The interrupt controller of the guest, and the guest's interrupts on it."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from west_viommu.guest.source import BASE, GuestTree
from west_viommu.tree.cells import TreeError, cells, counted, rows
from west_viommu.tree.interrupts import (
    FIRST_SPI,
    LAST_SPI,
    PPI,
    SPI,
    Intid,
    cut,
    gic_intid,
    interrupt_cells,
    interrupt_parent,
    interrupts,
    is_gic,
)
from west_viommu.tree.node import Node

# The cells of an interrupt in Linux and Xen: type, number, flags. Zephyr adds a priority.
LINUX_CELLS = 3
ZEPHYR_CELLS = 4
# Linux's <dt-bindings/interrupt-controller/irq.h>: rising edge, level high.
LINUX_EDGE, LINUX_LEVEL = 1, 4
# Zephyr's <zephyr/dt-bindings/interrupt-controller/arm-gic.h>: IRQ_TYPE_EDGE, IRQ_TYPE_LEVEL,
# IRQ_DEFAULT_PRIORITY.
ZEPHYR_EDGE, ZEPHYR_LEVEL, ZEPHYR_PRIORITY = 4, 2, 0xA0
# GUEST_PHANDLE_GIC of Xen (xen/include/public/arch-arm.h).
XEN_GIC_PHANDLE = 65000


class Gic(NamedTuple):
    """The guest's GIC: `path` (None if the tree has no GIC), `reference` ("&gic"; "" without a
    reference) and `cells`, the width of an interrupt specifier.
    """

    path: str | None
    reference: str
    cells: int


class GuestInterrupt(NamedTuple):
    """An interrupt of a guest's node: edge-triggered (rising) or level-sensitive (high)."""

    intid: Intid
    is_edge: bool


class Specifier(NamedTuple):
    """An interrupt as its node writes it. `controller` is the node that gives `numbers` a meaning;
    None for the GIC that Xen will put into the tree.
    """

    controller: Node | None
    numbers: tuple[int, ...]


NO_GIC = Gic(None, "", LINUX_CELLS)


def interrupt_entry(width: int, number: int, flags: int) -> str:
    """Return an entry of `interrupts` for SPI `number` with Linux's `flags`, as source for a GIC
    with `width` cells.
    """
    if width != ZEPHYR_CELLS:
        return f"<0 {number} {flags}>"
    trigger = "EDGE" if flags == LINUX_EDGE else "LEVEL"
    return f"<GIC_SPI {number} IRQ_TYPE_{trigger} IRQ_DEFAULT_PRIORITY>"


def guest_gic(guest: GuestTree) -> Gic:
    """Return the GIC of the guest.

    A partial tree for Xen has no GIC, or a stub named /gic, which Xen replaces by its own (Xen,
    docs/misc/arm/passthrough.txt); its interrupts have three cells.
    """
    for node in guest.tree.nodes():
        if _is_guest_gic(node):
            width = node.number("#interrupt-cells", LINUX_CELLS)
            labels = [label for label, path in guest.tree.labels.items() if path == node.path]
            reference = f"&{labels[0]}" if labels else f"&{{{node.path}}}"
            if node.path.startswith(BASE) and "gic" not in guest.open_labels:
                # We put the node there; it is not known whether the base tree has the label. The
                # root of every base names its GIC, so the node needs no reference.
                reference = ""
            return Gic(node.path, reference, width)
    return NO_GIC


def guest_interrupts(
    guest: GuestTree, gic: Gic, node: Node, *, is_finished: bool = False
) -> tuple[GuestInterrupt, ...]:
    """Return the interrupts of `node` on the guest's GIC, in their order. Raises TreeError for a
    specifier without an INTID.

    Nothing adds a GIC to a tree that `is_finished`: a node without an interrupt parent has no
    interrupts there.
    """
    written = specifiers(guest, gic, node, is_finished=is_finished)
    if any(specifier.controller and is_nexus(specifier.controller) for specifier in written):
        on_gic = [
            interrupt.specifier
            for interrupt in interrupts(guest.tree, node)
            if interrupt.controller.path == gic.path
        ]
    else:
        on_gic = [specifier.numbers for specifier in written if is_on_gic(gic, specifier)]
    return tuple(
        GuestInterrupt(_intid(node, specifier), _is_edge(gic, node, specifier))
        for specifier in on_gic
    )


def own_lines(guest: GuestTree, gic: Gic, asking: Collection[str]) -> Iterator[tuple[str, Intid]]:
    """Yield the SPIs of each enabled node of the guest, except the nodes at the paths `asking`.
    Malformed nodes are left for Zephyr to complain about.
    """
    for node in guest.tree.nodes() if gic.path else ():
        is_interrupting = (
            "interrupts" in node.properties or "interrupts-extended" in node.properties
        )
        if not is_interrupting or node.path in asking:
            continue
        try:
            if guest.tree.status(node) == "okay":
                for interrupt in interrupts(guest.tree, node):
                    intid = gic_intid(interrupt.specifier)
                    if interrupt.controller.path == gic.path and intid and intid >= FIRST_SPI:
                        yield node.path, intid
        except TreeError:
            continue


def specifiers(
    guest: GuestTree, gic: Gic, node: Node, *, is_finished: bool = False
) -> tuple[Specifier, ...]:
    """Return the interrupts of `node` as it writes them, before any nexus. Raises TreeError."""
    if "interrupts-extended" in node.properties:
        return tuple(_extended(guest, gic, node, is_finished))
    if "interrupts" not in node.properties:
        return ()
    if not is_finished and _means_xens_gic(guest, gic, node):
        controller, width = None, gic.cells
        what = "interrupts does not fit the GIC"
        expected = f"{width} cells each"
        if gic.path is None:
            expected += ", as the tree has no GIC that says otherwise"
    else:
        _check_parent(guest, node)
        controller = interrupt_parent(guest.tree, node)
        if controller is None:
            return ()
        width = interrupt_cells(controller)
        what = "interrupts does not fit its interrupt parent"
        expected = f"entries of {width} cells, as {controller.path} says"
    values = rows(node.properties["interrupts"], width, node.path, "interrupts", what, expected)
    return tuple(Specifier(controller, numbers) for numbers in values)


def _check_parent(guest: GuestTree, node: Node) -> None:
    """Raise TreeError if the interrupt-parent of `node` is a label of a base tree that is not
    given: the node that stands in for it passes interrupts on to the GIC; the base's may not.
    """
    for current in guest.tree.lineage(node):
        phandle = current.number("interrupt-parent", 0)
        if phandle:
            _check_known(guest.tree.with_phandle(phandle), current, "interrupt-parent")
            return


def _check_known(controller: Node | None, user: Node, prop: str) -> None:
    if (
        controller
        and controller.path.startswith(BASE)
        and "interrupt-controller" not in controller.properties
    ):
        raise TreeError(
            "this label is not in the files given, and may not be a GIC",
            user.path,
            prop,
            f"{BASE}/gic",
            controller.path,
        )


def is_nexus(node: Node) -> bool:
    """Return whether `node` passes interrupts on by its interrupt-map; a controller does not."""
    return "interrupt-map" in node.properties and "interrupt-controller" not in node.properties


def is_on_gic(gic: Gic, specifier: Specifier) -> bool:
    """Return whether `specifier` is for the guest's GIC itself, not for a nexus before it."""
    return specifier.controller is None or specifier.controller.path == gic.path


def names_xens_gic(guest: GuestTree, node: Node) -> str | None:
    """Return the path of `node` or of the nearest node above it whose interrupt-parent is the
    number that Xen gives its GIC; None without such a node, or if a node of the tree has that
    phandle. Raises TreeError.
    """
    for current in guest.tree.lineage(node):
        phandle = current.number("interrupt-parent", 0)
        if phandle:
            is_xens = phandle == XEN_GIC_PHANDLE and guest.tree.with_phandle(phandle) is None
            return current.path if is_xens else None
    return None


def _extended(guest: GuestTree, gic: Gic, node: Node, is_finished: bool) -> Iterator[Specifier]:
    prop = "interrupts-extended"
    numbers = cells(node.properties[prop], node.path, prop)
    at = 0
    while at < len(numbers):
        controller = guest.tree.with_phandle(numbers[at])
        if controller is None and numbers[at] == XEN_GIC_PHANDLE and not is_finished:
            width = gic.cells
        elif controller is None and gic.path is None and not is_finished:
            what = "interrupts-extended needs a controller, and the tree has no GIC"
            raise TreeError(what, node.path, prop, "`interrupts`")
        else:
            controller = guest.tree.phandle_target(numbers[at], node, prop)
            _check_known(controller, node, prop)
            width = interrupt_cells(controller)
        end = at + 1 + width
        if end > len(numbers):
            raise cut(node, prop)
        yield Specifier(controller, numbers[at + 1 : end])
        at = end


def _is_edge(gic: Gic, node: Node, specifier: tuple[int, ...]) -> bool:
    """Return whether `specifier` of the guest's GIC is edge-triggered; if not, it is
    level-sensitive. Raises TreeError for an SPI that is neither.

    Bits 15:8 of the flags are the CPU mask of a PPI (Linux, arm,gic.yaml), which Xen sets.
    """
    if len(specifier) < LINUX_CELLS:
        cells = counted(len(specifier), "cell")
        raise TreeError("the GIC has too few cells", node.path, "interrupts", "3 or 4 cells", cells)
    if specifier[0] != SPI:
        return False
    edge, level, names = LINUX_EDGE, LINUX_LEVEL, ("IRQ_TYPE_LEVEL_HIGH", "IRQ_TYPE_EDGE_RISING")
    if gic.cells == ZEPHYR_CELLS:
        edge, level, names = ZEPHYR_EDGE, ZEPHYR_LEVEL, ("IRQ_TYPE_LEVEL", "IRQ_TYPE_EDGE")
    flags = specifier[2] & 0xFF
    if flags not in (edge, level):
        raise TreeError(
            "an interrupt has a trigger that its GIC does not have",
            node.path,
            "interrupts",
            f"{names[0]} ({level}) or {names[1]} ({edge})",
            str(specifier[2]),
        )
    return flags == edge


def _intid(node: Node, specifier: tuple[int, ...]) -> Intid:
    intid = gic_intid(specifier)
    if intid is None and specifier[0] == SPI and len(specifier) > 1:
        raise TreeError(
            "an interrupt is beyond the last SPI",
            node.path,
            "interrupts",
            f"a number up to {LAST_SPI - FIRST_SPI}",
            str(specifier[1]),
        )
    if intid is None:
        raise TreeError(
            "an interrupt is of a type that cannot be passed through",
            node.path,
            "interrupts",
            "type 0, an SPI",
            f"type 1, PPI {specifier[1]}"
            if specifier[0] == PPI and len(specifier) > 1
            else f"type {specifier[0]}",
        )
    return intid


def _means_xens_gic(guest: GuestTree, gic: Gic, node: Node) -> bool:
    """Return whether the interrupts of `node` go to the GIC that Xen will put into the tree.

    They do in a partial tree without a GIC. In a tree with a stub, they do if the node names no
    interrupt parent, or names it by the phandle that Xen gives its GIC.
    """
    if gic.path is None:
        return not _has_controller(guest, node)
    for current in guest.tree.lineage(node):
        phandle = current.number("interrupt-parent", 0)
        if phandle:
            return phandle == XEN_GIC_PHANDLE and guest.tree.with_phandle(phandle) is None
        if current is not node and "#interrupt-cells" in current.properties:
            return False
    return True


def _has_controller(guest: GuestTree, node: Node) -> bool:
    """Return whether the tree has the controller of `node`. In a tree without a GIC, a phandle that
    no node has means Xen's GIC.
    """
    try:
        return interrupt_parent(guest.tree, node) is not None
    except TreeError:
        return False


def _is_guest_gic(node: Node) -> bool:
    if "interrupt-controller" not in node.properties:
        return False
    try:
        return node.path == "/gic" or is_gic(node)
    except TreeError:
        # An unknown node is not the controller that counts.
        return False
