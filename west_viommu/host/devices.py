# SPDX-License-Identifier: Apache-2.0
"""Look-ups in one host tree: a device by path, address or stream ID, an IOMMU by phandle."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from west_viommu.host.inventory import Inventory, Iommu, Master
from west_viommu.host.streams import StreamId, map_intervals
from west_viommu.tree.addresses import AddressMap, Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import (
    FIRST_SPI,
    Intid,
    gic_interrupts,
    gic_intids,
    other_controllers,
)
from west_viommu.tree.node import Node, Tree

# Regions are looked up by slots of 64 KiB; one of more slots than this is wide.
_SLOT = 1 << 16
_WIDE = 64


class Device(NamedTuple):
    """A host node as a candidate for passthrough; `master` is None behind no IOMMU.

    `regions` has None for a region without an absolute address; `interrupts` are those on the
    GIC, each an INTID and its flags in Linux's numbers; `other_controllers` are those
    that are no GIC and receive interrupts of the device.
    """

    path: str
    name: str
    status: str
    regions: tuple[Region | None, ...]
    interrupts: tuple[tuple[Intid, int], ...]
    other_controllers: tuple[str, ...]
    master: Master | None

    @property
    def intids(self) -> tuple[Intid, ...]:
        """The INTIDs of its interrupts on the GIC, in order."""
        return tuple(intid for intid, _ in self.interrupts)


class Devices:
    """The devices of a host tree and of its inventory; `host_name` is what its user calls it."""

    def __init__(self, host_name: str, tree: Tree, inventory: Inventory):
        self.host_name = host_name
        self.tree = tree
        self.masters = inventory.masters
        self.iommus: dict[str, Iommu] = {iommu.path: iommu for iommu in inventory.iommus}
        self._addresses = AddressMap(tree)
        self._masters = {master.path: master for master in inventory.masters}
        self._known_intids: dict[str, tuple[Intid, ...]] = {}

    def device(self, path: str) -> Device | None:
        """The device at `path`; None where the tree has no such node. Raises TreeError."""
        node = self.tree.node(path)
        if node is None:
            return None
        return Device(
            node.path,
            node.name,
            self.tree.status(node),
            self._addresses.regions(node),
            gic_interrupts(self.tree, node),
            other_controllers(self.tree, node),
            self._masters.get(path),
        )

    def at(self, base: int) -> tuple[str, ...]:
        """The paths of the nodes that have a region at address `base`, in tree order."""
        return tuple(self._by_base.get(base, ()))

    def iommu_with_phandle(self, phandle: int) -> Iommu | None:
        """The IOMMU that the host tree gives `phandle`."""
        node = self.tree.with_phandle(phandle)
        return None if node is None else self.iommus.get(node.path)

    def owners(self, stream_id: StreamId) -> list[tuple[Master, str]]:
        """Each master with the ID, by `iommus` or iommu-map, and the IOMMU on which it has it."""
        return list(dict.fromkeys(self.each_owner(stream_id)))

    def each_owner(self, stream_id: StreamId) -> Iterator[tuple[Master, str]]:
        """As `owners`, one after the other, and perhaps one twice: thousands may have one ID."""
        yield from self._by_stream_id.get(stream_id, ())
        for first, last, master, iommu in self._mapped:
            if first <= stream_id <= last:
                yield master, iommu

    def with_intid(self, intid: Intid) -> list[Node]:
        """The nodes with that SPI (none for a PPI), in tree order. A node whose interrupts are
        malformed has none: that is no device's business but its own.
        """
        if intid < FIRST_SPI:
            return []
        # To decode the interrupts of every node would cost more than the rest of a plan. Only
        # behind a nexus is the number another one than the GIC's.
        number = (intid - FIRST_SPI).to_bytes(4, "big")
        nodes = self._interrupting if self._has_nexus else self._by_cell.get(number, {})
        return [node for node in nodes.values() if intid in self._intids(node)]

    def _intids(self, node: Node) -> tuple[Intid, ...]:
        if node.path not in self._known_intids:
            try:
                self._known_intids[node.path] = gic_intids(self.tree, node)
            except TreeError:
                self._known_intids[node.path] = ()
        return self._known_intids[node.path]

    @cached_property
    def _interrupting(self) -> dict[str, Node]:
        """The nodes with interrupts, by path."""
        names = ("interrupts", "interrupts-extended")
        return {
            node.path: node
            for node in self.tree.nodes()
            if any(name in node.properties for name in names)
        }

    @cached_property
    def _by_cell(self) -> dict[bytes, dict[str, Node]]:
        """The nodes with interrupts by each cell of those."""
        found: dict[bytes, dict[str, Node]] = {}
        for path, node in self._interrupting.items():
            value = node.properties.get("interrupts-extended") or node.properties["interrupts"]
            for i in range(0, len(value), 4):
                found.setdefault(value[i : i + 4], {})[path] = node
        return found

    @cached_property
    def _has_nexus(self) -> bool:
        """Whether a bus other than PCI maps interrupts; functions of PCI have no nodes' numbers."""
        return any(
            "interrupt-map" in node.properties
            and node.properties.get("device_type", b"") != b"pci\0"
            for node in self.tree.nodes()
        )

    @cached_property
    def _by_stream_id(self) -> dict[StreamId, list[tuple[Master, str]]]:
        """The masters that list an ID in their `iommus`."""
        found: dict[StreamId, list[tuple[Master, str]]] = {}
        for master in self.masters:
            for stream in master.streams:
                if stream.id is not None:
                    found.setdefault(stream.id, []).append((master, stream.iommu))
        return found

    @cached_property
    def _mapped(self) -> list[tuple[int, int, Master, str]]:
        """The intervals of IDs that the iommu-maps give out: few, on any real host."""
        return [
            (first, last, master, entry.iommu)
            for master in self.masters
            for entry in master.maps
            for first, last in map_intervals(entry, master.map_mask)
        ]

    @cached_property
    def _by_base(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for node, region in self.regions:
            found.setdefault(region.base, []).append(node.path)
        return found

    def overlapping(self, region: Region) -> list[tuple[Node, Region]]:
        """Every node with a region that has an address in common with `region`, in tree order."""
        first, last = _slots(region)
        if last - first > _WIDE:
            candidates = list(self.regions)
        else:
            slots = (self._by_slot.get(slot, ()) for slot in range(first, last + 1))
            candidates = [*self._wide, *(each for slot in slots for each in slot)]
        found = dict.fromkeys(
            (node.path, other)
            for node, other in candidates
            if other.base < region.base + region.size and region.base < other.base + other.size
        )
        nodes = {node.path: node for node, _ in candidates}
        order = self._order
        return [
            (nodes[path], other) for path, other in sorted(found, key=lambda each: order[each[0]])
        ]

    @cached_property
    def _order(self) -> dict[str, int]:
        return {node.path: i for i, node in enumerate(self.tree.nodes())}

    @cached_property
    def _by_slot(self) -> dict[int, list[tuple[Node, Region]]]:
        """The regions of an ordinary size by the slots of 64 KiB that they touch."""
        found: dict[int, list[tuple[Node, Region]]] = {}
        for each in self.regions:
            first, last = _slots(each[1])
            if last - first <= _WIDE:
                for slot in range(first, last + 1):
                    found.setdefault(slot, []).append(each)
        return found

    @cached_property
    def _wide(self) -> tuple[tuple[Node, Region], ...]:
        """The others, few on any host: windows of PCI, memory."""
        spans = ((each, _slots(each[1])) for each in self.regions)
        return tuple(each for each, (first, last) in spans if last - first > _WIDE)

    @cached_property
    def regions(self) -> tuple[tuple[Node, Region], ...]:
        """Every node with a region, once for each, in tree order."""
        return tuple(
            (node, region)
            for node in self.tree.nodes()
            if "reg" in node.properties
            for region in self._readable_regions(node)
            if region
        )

    def _readable_regions(self, node: Node) -> tuple[Region | None, ...]:
        """The regions of `node`; () where its reg is malformed, which is no device's business
        but its own.
        """
        try:
            return self._addresses.regions(node)
        except TreeError:
            return ()


def _slots(region: Region) -> tuple[int, int]:
    """The first and the last slot that `region` touches."""
    return region.base // _SLOT, (region.base + max(region.size, 1) - 1) // _SLOT
