# SPDX-License-Identifier: Apache-2.0
"""The interrupt controller of the guest, and the guest's interrupts on it."""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.guest.source import BASE, GuestTree
from west_viommu.tree.cells import TreeError, cells, counted
from west_viommu.tree.interrupts import Intid, gic_intid, interrupts, is_gic
from west_viommu.tree.node import Node

# What Linux and Xen write: type, number, flags. Zephyr adds a priority.
LINUX_CELLS = 3
ZEPHYR_CELLS = 4


class Gic(NamedTuple):
    """The guest's GIC: `path` (None if the tree has none), `reference` ("&gic"; "" if there is
    nothing to refer to) and `cells`, the width of an interrupt specifier.
    """

    path: str | None
    reference: str
    cells: int


def guest_gic(guest: GuestTree) -> Gic:
    """The GIC of the guest.

    A partial tree for Xen has none, or a stub named /gic that Xen puts its own in place of
    (Xen, docs/misc/arm/passthrough.txt); its interrupts have three cells.
    """
    for node in guest.tree.nodes():
        if _is_guest_gic(node):
            width = node.number("#interrupt-cells", LINUX_CELLS)
            labels = [label for label, path in guest.labels.items() if path == node.path]
            reference = f"&{labels[0]}" if labels else f"&{{{node.path}}}"
            if node.path.startswith(BASE) and "gic" not in guest.open_labels:
                # We put it there; whether the base tree has the label is not known. The root
                # of every base names its GIC, so the node needs no reference.
                reference = ""
            return Gic(node.path, reference, width)
    return Gic(None, "", LINUX_CELLS)


def guest_intids(guest: GuestTree, gic: Gic, node: Node) -> tuple[Intid, ...]:
    """The INTIDs of `node` on the guest's GIC, in the order of its interrupts."""
    if gic.path is not None:
        found = [
            gic_intid(interrupt.specifier)
            for interrupt in interrupts(guest.tree, node)
            if interrupt.controller.path == gic.path
        ]
    else:
        numbers = cells(node.properties.get("interrupts", b""), node.path, "interrupts")
        if len(numbers) % LINUX_CELLS:
            raise TreeError(
                "interrupts is not of the GIC's form",
                node.path,
                "interrupts",
                f"{LINUX_CELLS} cells each, as the tree has no GIC that says otherwise",
                counted(len(numbers), "cell"),
            )
        found = [
            gic_intid(numbers[i : i + LINUX_CELLS]) for i in range(0, len(numbers), LINUX_CELLS)
        ]
    return tuple(intid for intid in found if intid is not None)


def _is_guest_gic(node: Node) -> bool:
    return "interrupt-controller" in node.properties and (is_gic(node) or node.path == "/gic")
