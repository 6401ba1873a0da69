# SPDX-License-Identifier: Apache-2.0
"""Which nodes have an interrupt of the GIC."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from struct import unpack

from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, Intid, Received, received
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.numbered import Numbered

# The first of them counts (devicetree specification 0.4, 2.4.1).
_NAMES = ("interrupts-extended", "interrupts")


class InterruptIndex:
    """The interrupts of all nodes of `tree`, each decoded once."""

    def __init__(self, tree: Tree):
        self._tree = tree
        self._known: dict[str, Received] = {}

    def of(self, node: Node) -> Received:
        """The interrupts of `node`. Raises TreeError."""
        if node.path not in self._known:
            self._known[node.path] = received(self._tree, node)
        return self._known[node.path]

    def near(self, intid: Intid) -> Iterator[Node]:
        """Each node that may have that SPI, in tree order; none for a PPI."""
        # To decode the interrupts of every node would cost more than the rest of a plan. Only
        # behind a nexus is the number another one than the GIC's.
        if intid < FIRST_SPI:
            return iter(())
        if self._has_nexus:
            return self._by_intid.under(intid)
        return self._by_cell.under(intid - FIRST_SPI)

    def has(self, node: Node, intid: Intid) -> bool:
        """Whether `node` has that interrupt. One whose interrupts are malformed has none: that is
        no device's business but its own.
        """
        return intid in self._intids(node)

    def _intids(self, node: Node) -> frozenset[Intid]:
        try:
            return frozenset(intid for intid, _ in self.of(node).by_gic)
        except TreeError:
            return frozenset()

    @cached_property
    def _by_intid(self) -> Numbered[Node]:
        """The nodes with interrupts by each INTID of those."""
        return Numbered(
            (intid, node) for node in self._interrupting() for intid in self._intids(node)
        )

    @cached_property
    def _by_cell(self) -> Numbered[Node]:
        """The nodes with interrupts by each cell of those."""
        return Numbered(
            (cell, node) for node in self._interrupting() for cell in frozenset(_cells(node))
        )

    def _interrupting(self) -> Iterator[Node]:
        for node in self._tree.nodes():
            if "interrupts" in node.properties or "interrupts-extended" in node.properties:
                yield node

    @cached_property
    def _has_nexus(self) -> bool:
        """Whether a bus other than PCI maps interrupts; functions of PCI have no nodes' numbers."""
        return any(
            "interrupt-map" in node.properties
            and node.properties.get("device_type", b"") != b"pci\0"
            for node in self._tree.nodes()
        )


def _cells(node: Node) -> tuple[int, ...]:
    value = next(node.properties[name] for name in _NAMES if name in node.properties)
    count = len(value) // 4
    return unpack(f">{count}I", value[: 4 * count])
