# SPDX-License-Identifier: Apache-2.0
"""Look-ups in one host tree: a device by path, address or stream ID, an IOMMU by phandle."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from west_viommu.diagnostics import Comparisons
from west_viommu.host.index import NodeIndex, StreamIndex, grouped
from west_viommu.host.inventory import Inventory, Iommu, Master
from west_viommu.host.parts import wholes
from west_viommu.host.step_limit import StepLimit
from west_viommu.host.streams import StreamId
from west_viommu.tree.addresses import Region, address_map
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Tree, name_of


class Device(NamedTuple):
    """A host node as a candidate for passthrough; `master` is None behind no IOMMU.

    `regions` has None for a region without an absolute address; `interrupts` are those on the
    hypervisor's GIC, each an INTID and its flags in Linux's numbers; `other_controllers` are those
    that receive interrupts of the device and are not that GIC; `unroutable` says of each of the
    rest why it has no INTID.
    """

    path: str
    name: str
    status: str
    regions: tuple[Region | None, ...]
    interrupts: tuple[tuple[Intid, int], ...]
    other_controllers: tuple[str, ...]
    unroutable: tuple[str, ...]
    master: Master | None

    @property
    def intids(self) -> tuple[Intid, ...]:
        """The INTIDs of its interrupts on the GIC, in order."""
        return tuple(intid for intid, _ in self.interrupts)


class Devices:
    """The devices of a host tree and of its inventory; `host_name` is what its user calls it.
    `index` knows the registers and interrupts of each node.

    Look-ups of who shares something raise Refused where together they would take too long.
    """

    def __init__(self, host_name: str, tree: Tree, inventory: Inventory):
        self.host_name = host_name
        self.model = inventory.model
        self.tree = tree
        self.masters = inventory.masters
        self.iommus: dict[str, Iommu] = {iommu.path: iommu for iommu in inventory.iommus}
        self.index = NodeIndex(tree)
        self.steps = StepLimit(host_name)
        self._addresses = address_map(tree)
        self._masters = {master.path: master for master in inventory.masters}
        self._comparisons = Comparisons()
        self._last_owners: tuple[StreamId, list[tuple[Master, str]]] | None = None
        self._streams = StreamIndex(inventory.masters, self.steps)

    def device(self, path: str) -> Device | None:
        """The device at `path`; None where the tree has no such node. Raises TreeError."""
        node = self.tree.node(path)
        if node is None:
            return None
        interrupts = self.index.interrupts(node)
        return Device(
            node.path,
            node.name,
            self.tree.status(node),
            self._addresses.regions(node),
            interrupts.by_gic,
            interrupts.others,
            interrupts.unroutable,
            self._masters.get(path),
        )

    def master(self, path: str) -> Master | None:
        """The master at `path`; None where the node is none."""
        return self._masters.get(path)

    def at(self, base: int) -> tuple[str, ...]:
        """The paths of the nodes that have a region at address `base`, in tree order."""
        return self.index.at(base)

    def alike(self, path: str) -> list[str]:
        """The paths that are `path` but for the case of letters, in tree order: Xen compares paths
        by strcasecmp (dt_find_node_by_path(), 4.17 to 4.21).
        """
        return self._by_folded.get(path.lower(), [])

    def iommu_with_phandle(self, phandle: int) -> Iommu | None:
        """The IOMMU that the host tree gives `phandle`."""
        node = self.tree.with_phandle(phandle)
        return None if node is None else self.iommus.get(node.path)

    def owners(self, stream_id: StreamId) -> list[tuple[Master, str]]:
        """Each master with the ID, by `iommus` or iommu-map, and the IOMMU on which it has it, in
        tree order.
        """
        # The caller asks again at once, and hundreds of requests may be for one ID.
        if self._last_owners is None or self._last_owners[0] != stream_id:
            self._last_owners = stream_id, self._all_owners(stream_id)
        return self._last_owners[1]

    def _all_owners(self, stream_id: StreamId) -> list[tuple[Master, str]]:
        owners: dict[tuple[str, str], Master] = {}
        for master, iommu in self._streams.owners(stream_id):
            owners[master.path, iommu] = master
        if len(owners) == 1:
            return [(master, iommu) for (_, iommu), master in owners.items()]
        in_order = sorted(owners, key=lambda key: self._order[key[0]])
        return [(owners[key], key[1]) for key in in_order]

    def close_names(self, name: str, known: Iterable[str], most: int = 3) -> list[str]:
        """Those of `known` names of the host that `name` may be a slip of; none once a run has
        compared so much that more would take too long.
        """
        return self._comparisons.close_matches(name, known, most)

    def named(self, name: str) -> list[str]:
        """The paths of the nodes of that name, in tree order."""
        return self._by_name.get(name, [])

    @cached_property
    def paths(self) -> list[str]:
        """The paths of all nodes, in tree order."""
        return [node.path for node in self.tree.nodes()]

    @cached_property
    def listing_by_name(self) -> dict[str, Master]:
        """The masters with `iommus`, by name; of one name, the last."""
        return {name_of(master.path): master for master in self.masters if master.streams}

    def mapped_at(self, name: str, bases: Iterable[int]) -> list[Master]:
        """The masters with an iommu-map of that name, or at one of those addresses, in tree
        order.
        """
        masters = {master.path: master for master in self._mapping_by_name.get(name, ())}
        for path in (path for base in bases for path in self.at(base)):
            master = self._masters.get(path)
            if master and master.maps:
                masters[path] = master
        return sorted(masters.values(), key=lambda master: self._order[master.path])

    def whole(self, path: str) -> str | None:
        """The device that, and no other, names the node at `path` as a part of itself."""
        return self._wholes.get(path)

    @cached_property
    def _wholes(self) -> dict[str, str]:
        return wholes(self.tree)

    @cached_property
    def _by_folded(self) -> dict[str, list[str]]:
        return grouped(zip(map(str.lower, self.paths), self.paths, strict=True))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return grouped((name_of(path), path) for path in self.paths)

    @cached_property
    def _mapping_by_name(self) -> dict[str, list[Master]]:
        """The masters with an iommu-map by their names."""
        mapping = (master for master in self.masters if master.maps)
        return grouped((name_of(master.path), master) for master in mapping)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {master.path: i for i, master in enumerate(self.masters)}
