# SPDX-License-Identifier: Apache-2.0
"""Which nodes have an interrupt of the GIC."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, Intid, gic_intids
from west_viommu.tree.node import Node, Tree

# The first of them counts (devicetree specification 0.4, 2.4.1).
_NAMES = ("interrupts-extended", "interrupts")


class InterruptIndex:
    """The interrupts of all nodes of `tree`. A node whose interrupts are malformed has none: that
    is no device's business but its own.
    """

    def __init__(self, tree: Tree):
        self._tree = tree
        self._known: dict[str, tuple[Intid, ...]] = {}

    def near(self, intid: Intid) -> Iterator[Node]:
        """Each node that may have that SPI, in tree order; none for a PPI."""
        # To decode the interrupts of every node would cost more than the rest of a plan. Only
        # behind a nexus is the number another one than the GIC's.
        if intid < FIRST_SPI:
            return iter(())
        if self._has_nexus:
            return iter(self._by_intid.get(intid, ()))
        return iter(self._by_cell.get((intid - FIRST_SPI).to_bytes(4, "big"), {}).values())

    def has(self, node: Node, intid: Intid) -> bool:
        """Whether `node` has that interrupt."""
        return intid in self._intids(node)

    def _intids(self, node: Node) -> tuple[Intid, ...]:
        if node.path not in self._known:
            try:
                self._known[node.path] = gic_intids(self._tree, node)
            except TreeError:
                self._known[node.path] = ()
        return self._known[node.path]

    @cached_property
    def _interrupting(self) -> dict[str, Node]:
        """The nodes with interrupts, by path."""
        return {
            node.path: node
            for node in self._tree.nodes()
            if any(name in node.properties for name in _NAMES)
        }

    @cached_property
    def _by_intid(self) -> dict[Intid, list[Node]]:
        """The nodes with interrupts by each INTID of those."""
        found: dict[Intid, list[Node]] = {}
        for node in self._interrupting.values():
            for intid in dict.fromkeys(self._intids(node)):
                found.setdefault(intid, []).append(node)
        return found

    @cached_property
    def _by_cell(self) -> dict[bytes, dict[str, Node]]:
        """The nodes with interrupts by each cell of those."""
        found: dict[bytes, dict[str, Node]] = {}
        for path, node in self._interrupting.items():
            value = next(node.properties[name] for name in _NAMES if name in node.properties)
            for i in range(0, len(value), 4):
                found.setdefault(value[i : i + 4], {})[path] = node
        return found

    @cached_property
    def _has_nexus(self) -> bool:
        """Whether a bus other than PCI maps interrupts; functions of PCI have no nodes' numbers."""
        return any(
            "interrupt-map" in node.properties
            and node.properties.get("device_type", b"") != b"pci\0"
            for node in self._tree.nodes()
        )
