# SPDX-License-Identifier: Apache-2.0
"""Which nodes have registers at an address."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from west_viommu.tree.addresses import AddressMap, Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.numbered import Numbered
from west_viommu.tree.slots import Slots


class RegionIndex:
    """The regions of all nodes of `tree`. A node whose reg is malformed has none: that is no
    device's business but its own.
    """

    def __init__(self, tree: Tree, addresses: AddressMap):
        self._tree = tree
        self._addresses = addresses

    def at(self, base: int) -> tuple[str, ...]:
        """The paths of the nodes that have a region at address `base`, in tree order."""
        return tuple(dict.fromkeys(self._by_base.under(base)))

    def near(self, region: Region) -> Iterator[tuple[Region, Node]]:
        """Each node with a region that may have an address in common with `region`, in tree order.
        One after the other, and perhaps one twice.
        """
        return self._slots.near(region)

    @cached_property
    def _slots(self) -> Slots[Node]:
        return Slots(self._regions())

    @cached_property
    def _by_base(self) -> Numbered[str]:
        return Numbered((region.base, node.path) for region, node in self._regions())

    def _regions(self) -> Iterator[tuple[Region, Node]]:
        for node in self._tree.nodes():
            if "reg" in node.properties:
                for region in self._readable(node):
                    if region:
                        yield region, node

    def _readable(self, node: Node) -> tuple[Region | None, ...]:
        try:
            return self._addresses.regions(node)
        except TreeError:
            return ()
