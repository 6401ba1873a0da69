# SPDX-License-Identifier: Apache-2.0
"""Which nodes have registers at an address."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import cached_property

from west_viommu.tree.addresses import AddressMap, Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree

# Regions are looked up by slots of 64 KiB; one of more slots than this is wide.
_SLOT = 1 << 16
_WIDE = 64

# The place of a node in the tree, the node, and a region of it.
_Placed = tuple[int, Node, Region]


class RegionIndex:
    """The regions of all nodes of `tree`. A node whose reg is malformed has none: that is no
    device's business but its own.
    """

    def __init__(self, tree: Tree, addresses: AddressMap):
        self._tree = tree
        self._addresses = addresses

    def at(self, base: int) -> tuple[str, ...]:
        """The paths of the nodes that have a region at address `base`, in tree order."""
        return tuple(self._by_base.get(base, ()))

    def near(self, region: Region) -> Iterator[tuple[Node, Region]]:
        """Each node with a region that may have an address in common with `region`, in tree order.
        One after the other, and perhaps one twice.
        """
        first, last = _slots(region)
        if last - first > _WIDE:
            candidates: Iterator[_Placed] = iter(self._placed)
        else:
            slots = (self._by_slot.get(slot, ()) for slot in range(first, last + 1))
            lists = [each for each in (self._wide, *slots) if each]
            candidates = heapq.merge(*lists, key=lambda placed: placed[0])
        for _, node, other in candidates:
            yield node, other

    @cached_property
    def _placed(self) -> tuple[_Placed, ...]:
        return tuple(
            (place, node, region)
            for place, node in enumerate(self._tree.nodes())
            if "reg" in node.properties
            for region in self._regions(node)
            if region
        )

    def _regions(self, node: Node) -> tuple[Region | None, ...]:
        try:
            return self._addresses.regions(node)
        except TreeError:
            return ()

    @cached_property
    def _by_base(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for _, node, region in self._placed:
            found.setdefault(region.base, []).append(node.path)
        return found

    @cached_property
    def _by_slot(self) -> dict[int, list[_Placed]]:
        """The regions of an ordinary size by the slots of 64 KiB that they touch."""
        found: dict[int, list[_Placed]] = {}
        for each in self._placed:
            first, last = _slots(each[2])
            if last - first <= _WIDE:
                for slot in range(first, last + 1):
                    found.setdefault(slot, []).append(each)
        return found

    @cached_property
    def _wide(self) -> list[_Placed]:
        """The others, few on any host: windows of PCI, memory."""
        spans = ((each, _slots(each[2])) for each in self._placed)
        return [each for each, (first, last) in spans if last - first > _WIDE]


def _slots(region: Region) -> tuple[int, int]:
    """The first and the last slot that `region` touches."""
    return region.base // _SLOT, (region.base + max(region.size, 1) - 1) // _SLOT
