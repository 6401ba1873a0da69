# SPDX-License-Identifier: Apache-2.0
"""What a guest is to hold that another hand holds as well, and what host.overlay settles of
that.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.host.intervals import meetings
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.holdings import Claim, Holdings, Standing
from west_viommu.hypervisor.pages import in_pages, mapped_pages
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, Intid
from west_viommu.tree.node import Node

# Buses whose registers, if any, are those of what is on them.
_BUSES = frozenset({"simple-bus", "simple-pm-bus"})
_LINES = frozenset({"interrupts", "interrupts-extended", "iommus"})
# What a node alone is refused for. Two sweeps find it sooner than one that goes on after the first.
_HARD = (Standing.STAYS, Standing.OWN)


class Contest(NamedTuple):
    """The numbers from `first` to `last` are held by `this` device and by the host node at `other`.
    `standing` tells whose that node is; None where it is the guest's as well. `part_of`: the
    assigned device that, and no other, names it as a part of itself; "" where none does.
    """

    this: Assignment
    other: str
    standing: Standing | None
    part_of: str
    first: int
    last: int


class Mark(NamedTuple):
    """A node that gets xen,passthrough, so that dom0 does not get it: the device itself where `why`
    is "", else what keeps `device` from being its guest's alone.
    """

    path: str
    device: str
    why: str


class Contests(NamedTuple):
    """All that is contested of what a guest asks for. `children`: each assigned device with a DMA
    master below it that stays with dom0. `marks`: what host.overlay says.
    """

    streams: tuple[Contest, ...]
    pages: tuple[Contest, ...]
    lines: tuple[Contest, ...]
    children: tuple[tuple[Assignment, str], ...]
    marks: tuple[Mark, ...]


def contests(assignments: Sequence[Assignment], holdings: Holdings) -> Contests:
    """What is contested where one guest gets all of `assignments`, after host.overlay."""
    return _Court(assignments, holdings).contests()


def contests_alone(assignments: Sequence[Assignment], holdings: Holdings) -> Contests:
    """For each of `assignments`, as if its guest got nothing else: whether a node that is enabled,
    or the hypervisor's own, contests it. One of each kind is enough.
    """
    return _Court(assignments, holdings, alone=True).contests()


def routed(this: Assignment, holdings: Holdings) -> list[Intid]:
    """The SPIs that Xen routes with a device: under dom0less all of the host node, else those in
    the guest's.
    """
    own = frozenset(this.device.intids)
    intids = [intid for intid in this.request.intids if intid in own]
    if holdings.profile.routes_all:
        node = holdings.devices.tree.node(this.device.path)
        intids += holdings.devices.index.interrupts(node).taken if node else ()
    return [intid for intid in dict.fromkeys(intids) if intid >= FIRST_SPI]


class _Court:
    def __init__(
        self, assignments: Sequence[Assignment], holdings: Holdings, *, alone: bool = False
    ):
        self._assignments = assignments
        self._holdings = holdings
        self._devices = holdings.devices
        self._alone = alone
        # The first of several requests for one device; that there are more is a hazard itself.
        self._assigned: dict[str, Assignment] = {}
        for each in assignments:
            self._assigned.setdefault(each.device.path, each)

    def contests(self) -> Contests:
        streams = self._contested(self._streams(), self._holdings.all_streams())
        pages = self._contested(self._pages(), self._holdings.all_pages(), of_pages=True)
        mine = list(self._lines())
        wanted = None if self._alone else frozenset(intid for intid, _, _ in mine)
        lines = self._contested(mine, self._holdings.all_lines(wanted)) if mine else ()
        children = tuple(self._children())
        marks = () if self._alone else tuple(self._marks(streams, pages, lines, children))
        return Contests(streams, pages, lines, children, marks)

    def _streams(self) -> Iterator[tuple[int, int, int]]:
        maps = self._holdings.profile.programs_maps
        for place, this in enumerate(self._assignments):
            if this.device.master:
                for first, last, _ in self._holdings.streams(this.device.master, maps=maps):
                    yield first, last, place

    def _pages(self) -> Iterator[tuple[int, int, int]]:
        for place, this in enumerate(self._assignments):
            if self._alone:
                regions = [in_pages(region) for region in this.device.regions if region]
            else:
                regions = [host for host, _ in mapped_pages(this.request)]
            for base, size in regions:
                if size:
                    yield base, base + size - 1, place

    def _lines(self) -> Iterator[tuple[int, int, int]]:
        for place, this in enumerate(self._assignments):
            for intid in routed(this, self._holdings):
                yield intid, intid, place

    def _contested(
        self,
        mine: Iterable[tuple[int, int, int]],
        claims: Sequence[Claim],
        *,
        of_pages: bool = False,
    ) -> tuple[Contest, ...]:
        standing = self._holdings.standing
        if self._alone:
            claims = [claim for claim in claims if standing(claim.path) in _HARD]
        settled: set[int] = set()
        found = []
        seen: set[tuple[int, str]] = set()
        count = self._devices.effort.count
        for place, other, first, last in meetings(mine, claims, settled):
            this = self._assignments[place]
            if other == this.device.path:
                continue
            count("the same stream ID, interrupt or page")
            contest = self._contest(this, other, first, last, of_pages=of_pages)
            # One node may have many registers on a page.
            if contest and (not of_pages or (place, other) not in seen):
                seen.add((place, other))
                found.append((place, contest))
                if self._alone and not contest.part_of:
                    settled.add(place)
        found.sort(key=lambda each: each[0])
        return tuple(contest for _, contest in found)

    def _contest(
        self, this: Assignment, other: str, first: int, last: int, *, of_pages: bool
    ) -> Contest | None:
        """The contest of `this` and the node at `other`, if it is one."""
        path = this.device.path
        if not self._alone and other in self._assigned:
            return Contest(this, other, None, "", first, last)
        standing = self._holdings.standing(other)
        if standing is Standing.NOBODY or (
            standing is not Standing.OWN and self._is_marked_child(other)
        ):
            return None
        if _is_below(other, path):
            # A master below it is told as that; the rest is marked.
            return None
        if of_pages and _is_below(path, other) and self._is_bus(other):
            return None
        whole = self._devices.whole(other)
        is_part = whole == path or (not self._alone and whole in self._assigned)
        return Contest(this, other, standing, whole or "" if is_part else "", first, last)

    def _is_marked_child(self, path: str) -> bool:
        """Whether the node is below an assigned one, and so comes off dom0 with it."""
        if self._alone or self._is_active_master(path):
            return False
        return any(above in self._assigned for above in _above(path))

    def _is_active_master(self, path: str) -> bool:
        """Whether the node is a DMA master that dom0 uses."""
        master = self._devices.master(path)
        maps = self._holdings.profile.programs_maps
        is_master = bool(master and (master.streams or (maps and master.maps)))
        return is_master and self._holdings.standing(path) is Standing.STAYS

    def _is_bus(self, path: str) -> bool:
        node = self._devices.tree.node(path)
        try:
            return node is not None and not _BUSES.isdisjoint(node.compatible)
        except TreeError:
            return False

    def _children(self) -> Iterator[tuple[Assignment, str]]:
        """Each assigned device with an active master below it that nobody asks for."""
        for master in self._devices.masters:
            if (self._alone or master.path not in self._assigned) and master.path.count("/") > 1:
                for above in _above(master.path):
                    this = self._assigned.get(above)
                    if this and self._is_active_master(master.path):
                        yield this, master.path

    def _holders_below(self, node: Node | None) -> Iterator[Node]:
        """The nodes below `node` of which dom0 would get something."""
        for child in node.children if node else ():
            has_lines = not _LINES.isdisjoint(child.properties)
            if has_lines or any(self._devices.index.regions(child)):
                yield child
            yield from self._holders_below(child)

    def _marks(
        self,
        streams: Iterable[Contest],
        pages: Iterable[Contest],
        lines: Iterable[Contest],
        children: Iterable[tuple[Assignment, str]],
    ) -> Iterator[Mark]:
        """The devices; what is below them and holds something; who is not enabled, or a part of the
        device, and holds a page, a stream or an interrupt of it.
        """
        marked: dict[str, Mark] = {}
        for path in self._assigned:
            marked[path] = Mark(path, path, "")
        stay = {path for _, path in children}
        for path in self._assigned:
            for node in self._holders_below(self._devices.tree.node(path)):
                if node.path not in stay and self._holdings.has_dom0:
                    marked.setdefault(node.path, Mark(node.path, path, f"below {path}"))
        for what, of_kind in (
            ("has a stream ID", streams),
            ("is on a page", pages),
            ("has an interrupt", lines),
        ):
            for each in of_kind:
                if each.standing is Standing.OFF or each.part_of:
                    why = f"{what} of {each.this.device.path}"
                    mark = Mark(each.other, each.this.device.path, why)
                    marked.setdefault(each.other, mark)
        return iter(marked.values())


def _is_below(path: str, above: str) -> bool:
    return path.startswith(f"{above}/")


def _above(path: str) -> Iterator[str]:
    """The paths of the nodes above the one at `path`, but for the root."""
    at = path.rfind("/")
    while at > 0:
        path = path[:at]
        yield path
        at = path.rfind("/")
