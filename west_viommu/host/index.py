# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a host have an address, an interrupt or a stream ID, each read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeVar

from west_viommu.host.intervals import Spans
from west_viommu.host.inventory import Master
from west_viommu.host.step_limit import StepLimit
from west_viommu.host.streams import StreamId, map_intervals
from west_viommu.tree.addresses import AddressMap, Region, address_map
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import Received, primary_gic, received
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.numbered import Numbered

T = TypeVar("T")
# An ID and the place of an IOMMU in one number: both have 32 bits.
_PLACE_BITS = 32
_LAST_PLACE = (1 << _PLACE_BITS) - 1
_SHARED = "the same stream ID"


def grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """The values under each key, in their order."""
    groups: dict[str, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


class NodeIndex:
    """The registers and interrupts of the nodes of `tree`."""

    def __init__(self, tree: Tree):
        self._tree = tree
        self._addresses = address_map(tree)
        self._as_xen = AddressMap(tree, as_xen=True)
        self._received: dict[str, Received] = {}

    @cached_property
    def gic(self) -> Node | None:
        """The GIC of the hypervisor."""
        return primary_gic(self._tree)

    def interrupts(self, node: Node) -> Received:
        """The interrupts of `node`. Raises TreeError."""
        if node.path not in self._received:
            self._received[node.path] = received(self._tree, node, self.gic)
        return self._received[node.path]

    def regions(self, node: Node) -> tuple[Region | None, ...]:
        """The regions of `node` at absolute addresses; of a malformed node those that Xen finds, as
        it gives them out.
        """
        try:
            regions = self._addresses.regions(node)
        except TreeError:
            regions = (None,)
        return self._if_any(self._as_xen.regions, node) if None in regions else regions

    def untranslated(self, node: Node) -> tuple[Region, ...]:
        """The regions of `node` by the numbers of its own bus, as Xen finds them."""
        return self._if_any(self._as_xen.reg, node)

    def windows(self, bridge: Node) -> tuple[Region | None, ...]:
        """The windows of a PCI bridge at absolute addresses, as Xen finds them."""
        ranges = self._if_any(lambda node: self._as_xen.ranges(node) or (), bridge)
        return tuple(self._as_xen.absolute(bridge, Region(r.parent, r.size)) for r in ranges)

    @staticmethod
    def _if_any(read: Callable[[Node], tuple[T, ...]], node: Node) -> tuple[T, ...]:
        try:
            return read(node)
        except TreeError:
            return ()

    def at(self, base: int) -> tuple[str, ...]:
        """The paths of the nodes that have a region at address `base`, in tree order."""
        return tuple(dict.fromkeys(self._by_base.under(base)))

    @cached_property
    def _by_base(self) -> Numbered[str]:
        return Numbered(
            (region.base, node.path)
            for node in self._tree.nodes()
            if "reg" in node.properties
            for region in self.regions(node)
            if region
        )


class StreamIndex:
    """The stream IDs of `masters`, which stand in tree order. Look-ups count as `steps`."""

    def __init__(self, masters: Iterable[Master], steps: StepLimit):
        self._masters = tuple(masters)
        self._steps = steps

    def owners(self, stream_id: StreamId) -> Iterator[tuple[Master, str]]:
        """Each master with the ID, by its `iommus` or by its iommu-map, and the IOMMU on which it
        has it. One after the other, and perhaps one twice: thousands may have one ID.
        """
        number = self._listed.first_from(stream_id << _PLACE_BITS)
        while number is not None and number >> _PLACE_BITS == stream_id:
            iommu = self._iommus[number & _LAST_PLACE]
            for master in self._listed.under(number):
                self._steps.count(_SHARED)
                yield master, iommu
            number = self._listed.first_from(number + 1)
        for iommu, spans in self._mapped.items():
            for master in spans.around(stream_id):
                self._steps.count(_SHARED)
                yield master, iommu

    @cached_property
    def _iommus(self) -> list[str]:
        """The IOMMUs that the masters list."""
        return list(
            dict.fromkeys(stream.iommu for master in self._masters for stream in master.streams)
        )

    @cached_property
    def _listed(self) -> Numbered[Master]:
        """The masters that list an ID in their `iommus`, by the ID and the place of the IOMMU."""
        places = {iommu: place for place, iommu in enumerate(self._iommus)}
        return Numbered(
            (stream.id << _PLACE_BITS | places[stream.iommu], master)
            for master in self._masters
            for stream in master.streams
            if stream.id is not None
        )

    @cached_property
    def _mapped(self) -> dict[str, Spans[Master]]:
        """The IDs that the iommu-maps give out, by IOMMU."""
        by_iommu = grouped(
            (entry.iommu, (*interval, master))
            for master in self._masters
            for entry in master.maps
            for interval in map_intervals(entry, master.map_mask)
        )
        return {iommu: Spans(spans) for iommu, spans in by_iommu.items()}
