# SPDX-License-Identifier: Apache-2.0
"""Conflicts: streams, pages and interrupt lines that a guest gets and that another holder has as
well. The holders are dom0, the hypervisor itself, and the other devices that guests get.

One sweep over the claims of all holders finds them, for a guest with all its devices (bind), for
several guests (system), and for each device by itself (list). `Marks` are the nodes that
host.overlay takes from dom0.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from west_viommu.host.intervals import meetings
from west_viommu.hypervisor.assignment import Assigned, RawMapping
from west_viommu.hypervisor.dom0 import TriggerClash, trigger_clashes
from west_viommu.hypervisor.holdings import ID_BITS, ID_MASK, Claim, Holdings, Standing
from west_viommu.tree.interrupts import FIRST_SPI, Intid
from west_viommu.tree.node import Node, paths_above

_LINES = frozenset({"interrupts", "interrupts-extended", "iommus"})


class Mark(NamedTuple):
    """A node that gets xen,passthrough, so that dom0 does not get it: the device itself if `why` is
    "", else a node with a resource of `device`, which dom0 would share.
    """

    node: str
    device: str
    why: str


def marked(
    assigned: Iterable[str],
    stay: Collection[str],
    contested: Mapping[str, Iterable[tuple[str, str]]],
    holdings: Holdings,
) -> tuple[Mark, ...]:
    """Return the marks of the `assigned` devices; of the nodes below them with resources, except
    those that `stay`; and of the `contested` nodes: by the reason of the conflict, each with the
    device.
    """
    marks = {path: Mark(path, path, "") for path in assigned}
    tree = holdings.devices.tree
    for path in tuple(marks):
        for node in _holders_below(tree.node(path), holdings):
            if node.path not in stay and holdings.has_dom0:
                marks.setdefault(node.path, Mark(node.path, path, f"below {path}"))
    for why, nodes in contested.items():
        for path, device in nodes:
            marks.setdefault(path, Mark(path, device, f"{why} {device}"))
    return tuple(marks.values())


def _holders_below(node: Node | None, holdings: Holdings) -> Iterator[Node]:
    """Yield the nodes below `node` of which dom0 would get resources: not Xen's SMMUs and its
    console, which it drives only if they are not marked.
    """
    index = holdings.devices.index
    for child in node.children if node else ():
        regions = index.regions(child)
        has_lines = not _LINES.isdisjoint(child.properties)
        if holdings.is_bridge(child.path):
            # Its windows, and the targets of its map (map_device_children()).
            regions += index.windows(child)
            has_lines = has_lines or "interrupt-map" in child.properties
        holds = has_lines or any(region and region.size for region in regions)
        if holds and not holdings.role(child.path) and child.path != holdings.console:
            yield child
        yield from _holders_below(child, holdings)


# The most stream IDs that are shown of one conflict.
MOST_IDS = 16
# Buses: their registers, if any, belong to the devices on them.
_BUSES = frozenset({"simple-bus", "simple-pm-bus"})
# The cost, in steps of a run, of comparing two claims that overlap, and of a conflict.
_OF_A_MEETING = 1
OF_A_CONFLICT = 64


class Conflict(NamedTuple):
    """A guest gets the numbers from `first` to `last` by its node `node`, and another holder has
    them.

    `host`: the host node that the guest node gets; "" if it maps memory without one. `other`: the
    host node that has them as well, and `standing` its owner if no guest gets it. `rival`: the
    guest node that gets them as well; "" if no other guest node does. `part_of`: the assigned
    device that is the only one to name `other` as a part of itself; "" if there is no such device.
    `ids`: the first stream IDs that both have on one IOMMU.
    """

    node: str
    host: str
    other: str
    rival: str
    standing: Standing | None
    part_of: str
    first: int
    last: int
    ids: tuple[int, ...] = ()


class Conflicts(NamedTuple):
    """All conflicts of the resources that guests get. `raw`: conflicts of memory that a guest maps
    without a device. `triggers`: lines with two triggers, of any nodes. `children`: each guest node
    with a DMA master below its host node that stays with dom0. `marks`: the nodes that host.overlay
    keeps from dom0.
    """

    streams: tuple[Conflict, ...]
    pages: tuple[Conflict, ...]
    lines: tuple[Conflict, ...]
    raw: tuple[Conflict, ...]
    triggers: tuple[TriggerClash, ...]
    children: tuple[tuple[str, str], ...]
    marks: tuple[Mark, ...]


class _Resource(Enum):
    """The kind of resource in a claim, and the reason for which host.overlay marks another node
    with it.
    """

    STREAMS = "has a stream ID of"
    PAGES = "is on a page of"
    LINES = "has an interrupt of"

    def once(self, number: int) -> int:
        """Return a key that numbers share if two holders get only one conflict over all of them:
        the IOMMU for stream IDs, one key for all pages, and each line its own.
        """
        if self is _Resource.STREAMS:
            return number >> ID_BITS
        return 0 if self is _Resource.PAGES else number


class _Other(NamedTuple):
    """A host node in conflicts, with any holder: `whole` is the device that it is a part of."""

    standing: Standing
    whole: str | None
    is_bus: bool
    is_for_all: bool


def routed(assigned: Assigned, holdings: Holdings) -> list[Intid]:
    """Return the SPIs that Xen routes with a device: under dom0less all of the host node, else
    those that the guest's node lists.
    """
    own = frozenset(assigned.device.intids)
    intids = [intid for intid in assigned.intids if intid in own]
    if holdings.profile.routes_all:
        node = holdings.devices.tree.node(assigned.device.path)
        intids += holdings.lines(node) if node else ()
    return [intid for intid in dict.fromkeys(intids) if intid >= FIRST_SPI]


def conflicts(
    assigned: Sequence[Assigned], holdings: Holdings, mappings: Sequence[RawMapping] = ()
) -> Conflicts:
    """Return the conflicts if guests get all of `assigned` and `mappings`, and host.overlay is
    applied.
    """
    return _Sweep(assigned, holdings, mappings).conflicts()


def conflicts_of_each(assigned: Sequence[Assigned], holdings: Holdings) -> Conflicts:
    """Return, for each of `assigned`, conflicts as if no guest got another device: enough of them
    to find the hazards that refuse the device.
    """
    return _Sweep(assigned, holdings, (), is_each_alone=True).conflicts()


class _Sweep:
    """The claims of `assigned` and `mappings` against the claims of the host's other nodes, and
    against each other. With `is_each_alone`, each guest gets one device, and every other node is
    the host's.
    """

    def __init__(
        self,
        assigned: Sequence[Assigned],
        holdings: Holdings,
        mappings: Sequence[RawMapping],
        *,
        is_each_alone: bool = False,
    ):
        self._assigned = assigned
        self._holders: list[Assigned | RawMapping] = [*assigned, *mappings]
        self._holdings = holdings
        self._devices = holdings.devices
        self._is_each_alone = is_each_alone
        # The first guest node of each host node; further ones are a hazard themselves.
        self._nodes: dict[str, str] = {}
        for each in assigned:
            self._nodes.setdefault(each.device.path, each.node)
        self._taken = frozenset(() if is_each_alone else self._nodes)
        self._others: dict[str, _Other | None] = {}

    def conflicts(self) -> Conflicts:
        streams = self._search(_Resource.STREAMS, self._streams(), self._holdings.all_streams())
        pages = self._search(_Resource.PAGES, self._pages(), self._holdings.all_pages())
        mine = list(self._lines())
        claims = self._holdings.all_lines if mine else []
        lines = self._search(_Resource.LINES, mine, claims)
        clashes = trigger_clashes(self._holdings, self._nodes, is_each_alone=self._is_each_alone)
        children = tuple(self._children())
        if self._is_each_alone:
            return Conflicts(streams, pages, lines, (), clashes, children, ())
        to_mark = {
            resource.value: [(each.other, each.host) for each in found if _is_to_mark(each)]
            for resource, found in zip(_Resource, (streams, pages, lines), strict=True)
        }
        marks = marked(self._nodes, {path for _, path in children}, to_mark, self._holdings)
        kept = {mark.node for mark in marks}
        raw = [each for each in pages if not (each.host or each.rival or each.other in kept)]
        of_devices = [each for each in pages if each.host or each.rival]
        return Conflicts(streams, tuple(of_devices), lines, tuple(raw), clashes, children, marks)

    def _streams(self) -> Iterator[tuple[int, int, int]]:
        maps = self._holdings.profile.programs_maps
        for place, assigned in enumerate(self._assigned):
            if assigned.device.master:
                for first, last, _ in self._holdings.streams(assigned.device.master, maps=maps):
                    yield first, last, place

    def _pages(self) -> Iterator[tuple[int, int, int]]:
        for place, holder in enumerate(self._holders):
            for pages in holder.pages:
                if pages.host.size:
                    yield *pages.host.ends, place

    def _lines(self) -> Iterator[tuple[int, int, int]]:
        for place, assigned in enumerate(self._assigned):
            for intid in routed(assigned, self._holdings):
                yield intid, intid, place

    def _search(
        self,
        resource: _Resource,
        mine: Iterable[tuple[int, int, int]],
        claims: Sequence[Claim],
    ) -> tuple[Conflict, ...]:
        """Return the conflicts of `mine`, the claims of holders by their indexes, with the host's
        `claims` and with each other: by holder, then in the order of the tree, then of the rivals.
        """
        # A node may list one region or one ID many times.
        mine, claims = list(dict.fromkeys(mine)), list(dict.fromkeys(claims))
        size = len(claims)
        theirs = [
            (first, last, at)
            for at, (first, last, path) in enumerate(claims)
            if path not in self._taken
        ]
        if not self._is_each_alone:
            theirs += ((first, last, size + place) for first, last, place in mine)
        count = self._devices.steps.count
        settled: set[int] = set()
        found: list[tuple[int, int, int, int]] = []
        for place, at, first, last in meetings(mine, theirs, settled):
            if at >= size:
                is_one = self._are_rivals(resource, place, at - size)
            else:
                is_one = self._is_conflict(resource, self._holders[place].host, claims[at].path)
            count(steps=OF_A_CONFLICT if is_one else _OF_A_MEETING)
            if is_one:
                found.append((place, at, first, last))
                if self._is_each_alone and self._refuses(place, claims[at].path):
                    settled.add(place)
        merged: dict[tuple[int, str, int], Conflict] = {}
        for place, at, first, last in sorted(found):
            if at >= size:
                conflict = self._with_rival(place, at - size, first, last)
            else:
                conflict = self._with_host(place, claims[at].path, first, last)
            once = resource.once(first) if conflict.host or conflict.rival else first
            key = place, conflict.other or conflict.rival, once
            before = merged.get(key)
            if resource is _Resource.STREAMS:
                room = MOST_IDS - len(before.ids if before else ())
                ids = range(first, min(last + 1, first + room))
                known = before.ids if before else ()
                before = before or conflict
                merged[key] = before._replace(ids=(*known, *(i & ID_MASK for i in ids)))
            elif before is None:
                merged[key] = conflict
        return tuple(merged.values())

    def _are_rivals(self, resource: _Resource, place: int, other: int) -> bool:
        """Return whether the holders at two places must not both have one of `resource`; only the
        later one gets the conflict. One guest may have a page or a line for two devices
        (route_irq_to_guest(); booted).
        """
        mine, theirs = self._holders[place], self._holders[other]
        is_apart = resource is _Resource.STREAMS or mine.guest != theirs.guest
        return other < place and is_apart and not (mine.host and mine.host == theirs.host)

    def _is_conflict(self, resource: _Resource, host: str, path: str) -> bool:
        """Return whether the host's node at `path` is in conflict with the guest that gets
        `host`.
        """
        if path == host:
            return False
        other = self._other(path)
        if other is None:
            return False
        # `_children` finds a DMA master below the device; the other nodes are marked.
        if host and path.startswith(f"{host}/"):
            return False
        is_above = other.is_bus and host.startswith(f"{path}/")
        return not (resource is _Resource.PAGES and is_above)

    def _refuses(self, place: int, path: str) -> bool:
        """Return whether a conflict of a device by itself ends the search."""
        other = self._other(path)
        is_part = other is not None and other.whole == self._holders[place].host
        return other is not None and not is_part and not other.is_for_all

    def _with_host(self, place: int, path: str, first: int, last: int) -> Conflict:
        holder, other = self._holders[place], self._other(path)
        whole = other.whole if other else None
        is_part = whole is not None and (whole == holder.host or whole in self._taken)
        return Conflict(
            node=holder.node,
            host=holder.host,
            other=path,
            rival="",
            standing=other.standing if other else None,
            part_of=whole or "" if is_part else "",
            first=first,
            last=last,
        )

    def _with_rival(self, place: int, rival: int, first: int, last: int) -> Conflict:
        holder, other = self._holders[place], self._holders[rival]
        return Conflict(
            node=holder.node,
            host=holder.host,
            other=other.host,
            rival=other.node,
            standing=None,
            part_of="",
            first=first,
            last=last,
        )

    def _other(self, path: str) -> _Other | None:
        """Return the facts of the host node at `path`; None if it conflicts with no guest."""
        if path not in self._others:
            holdings = self._holdings
            standing = holdings.standing(path)
            is_harmless = standing is Standing.NOBODY or (
                standing not in (Standing.STAYS, Standing.OWN)
                if self._is_each_alone
                else standing is not Standing.OWN and self._is_marked_child(path)
            )
            node = self._devices.tree.node(path)
            self._others[path] = (
                None
                if is_harmless
                else _Other(
                    standing=standing,
                    whole=self._devices.whole(path),
                    is_bus=node is not None and not _BUSES.isdisjoint(node.known_compatible),
                    is_for_all=holdings.is_for_all(path),
                )
            )
        return self._others[path]

    def _is_marked_child(self, path: str) -> bool:
        """Return whether the node is below an assigned one, and is marked with it."""
        return not self._is_active_master(path) and any(
            above in self._taken for above in paths_above(path)
        )

    def _is_active_master(self, path: str) -> bool:
        """Return whether the node is a DMA master that dom0 uses."""
        master = self._devices.master(path)
        maps = self._holdings.profile.programs_maps
        is_master = bool(master and (master.streams or (maps and master.maps)))
        return is_master and self._holdings.standing(path) is Standing.STAYS

    def _children(self) -> Iterator[tuple[str, str]]:
        """Yield each guest node and each DMA master below its device that stays with dom0."""
        for master in self._devices.masters:
            if master.path not in self._taken and master.path.count("/") > 1:
                for above in paths_above(master.path):
                    if above in self._nodes and self._is_active_master(master.path):
                        yield self._nodes[above], master.path


def _is_to_mark(conflict: Conflict) -> bool:
    return bool(conflict.host) and (conflict.standing is Standing.OFF or bool(conflict.part_of))
