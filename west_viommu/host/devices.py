# SPDX-License-Identifier: Apache-2.0
"""Look-ups in one host tree: devices by path, address or stream ID, interrupts, RAM."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from west_viommu.diagnostics import Comparisons, refusal
from west_viommu.host.intervals import Spans
from west_viommu.host.inventory import Inventory, Iommu, Master, StreamId, map_intervals
from west_viommu.tree.addresses import AddressMap, Region, address_map
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import Intid, Received, primary_gic, received
from west_viommu.tree.node import Node, Tree, name_of

T = TypeVar("T")


class Numbered(Generic[T]):
    """Values, each under a number of at most 64 bits. Values under the same number keep their
    order.
    """

    def __init__(self, pairs: Iterable[tuple[int, T]]):
        ordered = sorted(pairs, key=lambda pair: pair[0])
        # A dict of lists needs ten times the memory.
        self._numbers = array("Q", (number for number, _ in ordered))
        self._values = [value for _, value in ordered]

    def under(self, number: int) -> Iterator[T]:
        """Yield the values under `number` one by one, as there may be thousands."""
        at = bisect_left(self._numbers, number)
        while at < len(self._numbers) and self._numbers[at] == number:
            yield self._values[at]
            at += 1

    def first_from(self, number: int) -> int | None:
        """Return the lowest number, not below `number`, that has values."""
        at = bisect_left(self._numbers, number)
        return self._numbers[at] if at < len(self._numbers) else None


# About two seconds. 20,000 devices side by side need less than a tenth of it; 20,000 that share
# something, each with all others, would need the square of their number.
_MOST = 1 << 21
_ANYTHING = "the same stream ID, interrupt or page"


class StepLimit:
    """Counts the steps of all look-ups in the host that messages call `host_name`."""

    def __init__(self, host_name: str):
        self._host_name = host_name
        self._steps = 0

    def count(self, shared: str = _ANYTHING, steps: int = 1) -> None:
        """Count `steps` more of a search for devices that share what `shared` names. Raises Refused
        if the run has taken too many.
        """
        self._steps += steps
        if self._steps > _MOST:
            what = f"too many devices of this host have {shared}"
            hint = "correct the host tree: on real hosts few devices share anything"
            raise refusal("malformed", what, hint, self._host_name)


# An ID and the place of an IOMMU, packed into one number: both have 32 bits.
_PLACE_BITS = 32
_LAST_PLACE = (1 << _PLACE_BITS) - 1
_SHARED = "the same stream ID"


def grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """Return the values of each key, in their order."""
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
        """Return the interrupts of `node`. Raises TreeError."""
        if node.path not in self._received:
            self._received[node.path] = received(self._tree, node, self.gic)
        return self._received[node.path]

    def regions(self, node: Node) -> tuple[Region | None, ...]:
        """Return the regions of `node` at absolute addresses; of a malformed node those that Xen
        finds, as Xen maps these.
        """
        try:
            regions = self._addresses.regions(node)
        except TreeError:
            regions = (None,)
        return self._if_any(self._as_xen.regions, node) if None in regions else regions

    def untranslated(self, node: Node) -> tuple[Region, ...]:
        """Return the regions of `node` by the addresses of its own bus, as Xen finds them."""
        return self._if_any(self._as_xen.reg, node)

    def lost_address(self, node: Node) -> int | None:
        """Return the place of the first region of `node` without an address, for which Xen creates
        no dom0; None if every region has one.
        """
        return self._as_xen.first_lost(node)

    def windows(self, bridge: Node) -> tuple[Region | None, ...]:
        """Return the windows of a PCI bridge at absolute addresses, as Xen finds them."""
        ranges = self._if_any(lambda node: self._as_xen.ranges(node) or (), bridge)
        return tuple(self._as_xen.absolute(bridge, Region(r.parent, r.size)) for r in ranges)

    @staticmethod
    def _if_any(read: Callable[[Node], tuple[T, ...]], node: Node) -> tuple[T, ...]:
        try:
            return read(node)
        except TreeError:
            return ()

    def at(self, base: int) -> tuple[str, ...]:
        """Return the paths of the nodes that have a region at address `base`, in tree order."""
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
    """The stream IDs of `masters`, which are in tree order. Look-ups count as `steps`."""

    def __init__(self, masters: Iterable[Master], steps: StepLimit):
        self._masters = tuple(masters)
        self._steps = steps

    def owners(self, stream_id: StreamId) -> Iterator[tuple[Master, str]]:
        """Yield each master with the ID, by its `iommus` or by its iommu-map, and the IOMMU on
        which it has it. Masters come one by one, as thousands may have one ID, and one may come
        twice.
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
        """The IDs that the iommu-maps yield, by IOMMU."""
        by_iommu = grouped(
            (entry.iommu, (*interval, master))
            for master in self._masters
            for entry in master.maps
            for interval in map_intervals(entry, master.map_mask)
        )
        return {iommu: Spans(spans) for iommu, spans in by_iommu.items()}


class Device(NamedTuple):
    """A host node as a candidate for passthrough; `master` is None for a node behind no IOMMU.

    `regions` has None for a region without an absolute address; `interrupts` are those on the
    hypervisor's GIC, each an INTID and its flags in Linux's numbers; `other_controllers` are the
    other controllers that receive interrupts of the device; `unroutable` gives for each remaining
    interrupt the reason why it has no INTID.
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


class Host(NamedTuple):
    """A host: the name of its file or directory as given, the `model` of its root, and
    its devices.
    """

    name: str
    model: str | None
    devices: Devices


class Devices:
    """The devices of a host tree and of its inventory; messages call the host `host_name`. `index`
    knows the registers and interrupts of each node; `close_names` finds names similar to a mistyped
    one.

    Look-ups of devices that share something raise Refused if together they would take too long.
    """

    def __init__(self, host_name: str, tree: Tree, inventory: Inventory):
        self.host_name = host_name
        self.model = inventory.model
        self.tree = tree
        self.masters = inventory.masters
        self.faults = inventory.faults
        self.iommus: dict[str, Iommu] = {iommu.path: iommu for iommu in inventory.iommus}
        self.index = NodeIndex(tree)
        self.steps = StepLimit(host_name)
        self._addresses = address_map(tree)
        self._masters = {master.path: master for master in inventory.masters}
        self.close_names = Comparisons().close_matches
        self._last_owners: tuple[StreamId, list[tuple[Master, str]]] | None = None
        self._streams = StreamIndex(inventory.masters, self.steps)

    def device(self, path: str) -> Device | None:
        """Return the device at `path`; None if the tree has no such node. Raises TreeError."""
        node = self.tree.node(path)
        if node is None:
            return None
        if path in self.faults:
            raise self.faults[path]
        interrupts = self.index.interrupts(node)
        return Device(
            path=node.path,
            name=node.name,
            status=self.tree.status(node),
            regions=self._addresses.regions(node),
            interrupts=interrupts.by_gic,
            other_controllers=interrupts.others,
            unroutable=interrupts.unroutable,
            master=self._masters.get(path),
        )

    def or_fault(self, hint: str) -> str:
        """Return `hint`, with the first malformed node of the host, if there is one: the device
        that was not found may be that node.
        """
        fault = next(iter(self.faults.values()), None)
        return f"{hint}; or correct the host tree: {fault}" if fault else hint

    def master(self, path: str) -> Master | None:
        """Return the master at `path`; None if the node is not a master."""
        return self._masters.get(path)

    def at(self, base: int) -> tuple[str, ...]:
        """Return the paths of the nodes that have a region at address `base`, in tree order."""
        return self.index.at(base)

    def alike(self, path: str) -> list[str]:
        """Return the paths that differ from `path` at most in the case of letters, in tree order:
        Xen compares paths by strcasecmp (dt_find_node_by_path(), 4.17 to 4.21).
        """
        return self._by_folded.get(path.lower(), [])

    def iommu_with_phandle(self, phandle: int) -> Iommu | None:
        """Return the IOMMU with `phandle` in the host tree."""
        node = self.tree.with_phandle(phandle)
        return None if node is None else self.iommus.get(node.path)

    def owners(self, stream_id: StreamId) -> list[tuple[Master, str]]:
        """Return each master with the ID, by `iommus` or iommu-map, and the IOMMU on which it has
        it, in tree order.
        """
        # The caller repeats the question at once, and hundreds of requests may have one ID.
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

    def named(self, name: str) -> list[str]:
        """Return the paths of the nodes with that name, in tree order."""
        return self._by_name.get(name, [])

    @cached_property
    def paths(self) -> list[str]:
        """The paths of all nodes, in tree order."""
        return [node.path for node in self.tree.nodes()]

    @cached_property
    def listing_by_name(self) -> dict[str, Master]:
        """The masters with `iommus`, by name; the last one for each name."""
        return {name_of(master.path): master for master in self.masters if master.streams}

    def mapped_at(self, name: str, bases: Iterable[int]) -> list[Master]:
        """Return the masters with an iommu-map that have that name or one of those addresses, in
        tree order.
        """
        masters = {master.path: master for master in self._mapping_by_name.get(name, ())}
        for path in (path for base in bases for path in self.at(base)):
            master = self._masters.get(path)
            if master and master.maps:
                masters[path] = master
        return sorted(masters.values(), key=lambda master: self._order[master.path])

    def whole(self, path: str) -> str | None:
        """Return the only device that names the node at `path` as a part of itself; None if there
        is not exactly one.
        """
        return self._wholes.get(path)

    @cached_property
    def _wholes(self) -> dict[str, str]:
        # Imported late: only bind needs it, and the tables of providers take time to import.
        from west_viommu.host.needs import wholes

        return wholes(self.tree)

    @cached_property
    def _by_folded(self) -> dict[str, list[str]]:
        return grouped(zip(map(str.lower, self.paths), self.paths, strict=True))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return grouped((name_of(path), path) for path in self.paths)

    @cached_property
    def _mapping_by_name(self) -> dict[str, list[Master]]:
        """The masters with an iommu-map, by name."""
        mapping = (master for master in self.masters if master.maps)
        return grouped((name_of(master.path), master) for master in mapping)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {master.path: i for i, master in enumerate(self.masters)}


def ram(devices: Devices) -> tuple[Region, ...]:
    """Return the banks of RAM that the host tree states, joined if adjacent, in order. If the tree
    states none, the boot loader of a board fills them in.
    """
    banks = [
        region
        for node in devices.tree.nodes()
        if _is_memory(node)
        for region in devices.index.untranslated(node)
        if region.size
    ]
    joined: list[Region] = []
    for bank in sorted(banks):
        if joined and bank.base <= joined[-1].end:
            base = joined[-1].base
            joined[-1] = Region(base, max(joined[-1].end, bank.end) - base)
        else:
            joined.append(bank)
    return tuple(joined)


def reserved(devices: Devices) -> dict[Region, str]:
    """Return the parts of RAM that Xen must not use, each with its name: the nodes below
    /reserved-memory and the entries of the /memreserve/ block.
    """
    node = devices.tree.node("/reserved-memory")
    parts = {
        region: child.path
        for child in (node.children if node else ())
        for region in devices.index.untranslated(child)
        if region.size
    }
    return parts | {Region(*row): "/memreserve/" for row in devices.tree.memreserve if row[1]}


def _is_memory(node: Node) -> bool:
    is_named = node.name == "memory" or node.name.startswith("memory@")
    is_typed = node.properties.get("device_type") == b"memory\0"
    return (is_named or is_typed) and not node.path.startswith("/reserved-memory/")
