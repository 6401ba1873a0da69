# SPDX-License-Identifier: Apache-2.0
"""What a guest is to hold that another hand holds as well.

Each of hundreds of requests may meet each of hundreds of nodes, so only the first contests of a
kind are kept, and the rest is counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import FirstOnes
from west_viommu.host.intervals import meetings, met
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.contest import Contest, Facts, Resource, with_ids
from west_viommu.hypervisor.holdings import Claim, Holdings, Standing
from west_viommu.hypervisor.marks import Mark, marked
from west_viommu.hypervisor.pages import in_pages, mapped_pages
from west_viommu.tree.interrupts import FIRST_SPI, Intid
from west_viommu.tree.node import paths_above

# Buses whose registers, if any, are those of what is on them.
_BUSES = frozenset({"simple-bus", "simple-pm-bus"})
# What a node alone is refused for. Two sweeps find it sooner than one that goes on after the first.
_HARD = (Standing.STAYS, Standing.OWN)

# What it takes to look into one meeting of a claim with another, in steps of a look-up; and where
# each is kept.
_OF_A_MEETING = 4
_OF_ONE_KEPT = 16


class Contests(NamedTuple):
    """All that is contested of what a guest asks for. `children`: each assigned device with a DMA
    master below it that stays with dom0. `marks`: what host.overlay says.
    """

    streams: tuple[Contest, ...]
    pages: tuple[Contest, ...]
    lines: tuple[Contest, ...]
    children: tuple[tuple[Assignment, str], ...]
    marks: tuple[Mark, ...]


def contests(
    assignments: Sequence[Assignment],
    holdings: Holdings,
    allowed: Iterable[str] = (),
    *,
    every: bool = False,
) -> Contests:
    """What is contested where one guest gets all of `assignments`, after host.overlay. `allowed`:
    the paths of those of which viommu.yml allows something. With `every`, each contest is kept.
    """
    return _Court(assignments, holdings, frozenset(allowed), every=every).contests()


def contests_alone(assignments: Sequence[Assignment], holdings: Holdings) -> Contests:
    """For each of `assignments`, as if its guest got nothing else: whether a node that is enabled,
    or the hypervisor's own, contests it. One of each kind is enough.
    """
    return _Court(assignments, holdings, alone=True).contests()


def routed(assignment: Assignment, holdings: Holdings) -> list[Intid]:
    """The SPIs that Xen routes with a device: under dom0less all of the host node, else those in
    the guest's.
    """
    own = frozenset(assignment.device.intids)
    intids = [intid for intid in assignment.request.intids if intid in own]
    if holdings.profile.routes_all:
        node = holdings.devices.tree.node(assignment.device.path)
        intids += holdings.lines(node) if node else ()
    return [intid for intid in dict.fromkeys(intids) if intid >= FIRST_SPI]


class _Court:
    """Sets what `assignments` have against what others hold.

    By default all of them are judged together, as one guest's: what the guest maps counts, what is
    assigned stays with nobody, host.overlay marks nodes, and of each kind the first contests are
    kept, or with `every` all. With `alone`, each is judged as if its guest got nothing else: all
    regions of the device count, other assigned nodes stay with the host, nothing is marked, and
    only nodes that are enabled, or the hypervisor's own, contest it. `allowed`: as in `contests`.
    """

    def __init__(
        self,
        assignments: Sequence[Assignment],
        holdings: Holdings,
        allowed: frozenset[str] = frozenset(),
        *,
        alone: bool = False,
        every: bool = False,
    ):
        self._assignments = assignments
        self._holdings = holdings
        self._devices = holdings.devices
        self._allowed = allowed
        self._alone = alone
        self._every = every
        # The first of several requests for one device; that there are more is a hazard itself.
        self._assigned: dict[str, Assignment] = {}
        for assignment in assignments:
            self._assigned.setdefault(assignment.device.path, assignment)
        self._places = {path: place for place, path in enumerate(self._assigned)}
        self._facts: dict[str, Facts] = {}
        # By kind, the first contest with each node that host.overlay is to mark.
        self._to_mark: dict[Resource, dict[str, Contest]] = {resource: {} for resource in Resource}

    def contests(self) -> Contests:
        find = self._alone_contested if self._alone else self._contested
        streams = find(Resource.STREAMS, self._streams(), self._holdings.all_streams())
        pages = find(Resource.PAGES, self._pages(), self._holdings.all_pages())
        mine = list(self._lines())
        wanted = None if self._alone else frozenset(intid for intid, _, _ in mine)
        lines = find(Resource.LINES, mine, self._holdings.all_lines(wanted)) if mine else ()
        children = tuple(self._children())
        marks: tuple[Mark, ...] = ()
        if not self._alone:
            stay = {path for _, path in children}
            to_mark = {
                f"{resource.value} of": [
                    (contest.other, contest.assignment.device.path)
                    for contest in each_node.values()
                ]
                for resource, each_node in self._to_mark.items()
            }
            marks = marked(self._assigned, stay, to_mark, self._holdings)
        return Contests(streams, pages, lines, children, marks)

    def _streams(self) -> Iterator[tuple[int, int, int]]:
        maps = self._holdings.profile.programs_maps
        for place, assignment in enumerate(self._assignments):
            if assignment.device.master:
                for first, last, _ in self._holdings.streams(assignment.device.master, maps=maps):
                    yield first, last, place

    def _pages(self) -> Iterator[tuple[int, int, int]]:
        for place, assignment in enumerate(self._assignments):
            if self._alone:
                own = assignment.device.regions
                regions = [in_pages(region) for region in own if region and region.size]
            else:
                regions = [host for host, _ in mapped_pages(assignment.request)]
            for base, size in regions:
                if size:
                    yield base, base + size - 1, place

    def _lines(self) -> Iterator[tuple[int, int, int]]:
        for place, assignment in enumerate(self._assignments):
            for intid in routed(assignment, self._holdings):
                yield intid, intid, place

    def _contested(
        self, resource: Resource, mine: Iterable[tuple[int, int, int]], claims: Sequence[Claim]
    ) -> tuple[Contest, ...]:
        """In the order of the assignments, and for each in that of the tree."""
        intervals: dict[int, list[tuple[int, int]]] = {}
        for first, last, place in mine:
            intervals.setdefault(place, []).append((first, last))
        there = met(
            (interval for of_place in intervals.values() for interval in of_place),
            claims,
            self._devices.steps.count,
        )
        first_ones = FirstOnes()
        contests: list[Contest] = []
        for place, of_place in intervals.items():
            told: dict[tuple[str, int], Contest] = {}
            left: dict[Hashable, Contest] = {}
            more: dict[Hashable, int] = {}
            seen: set[tuple[str, int]] = set()
            for facts, first, last in self._met_by(resource, place, of_place, there, claims):
                # Two may meet more than once.
                key = facts.path, resource.told_once_by(first)
                if key in seen:
                    if key in told:
                        told[key] = with_ids(told[key], first, last, resource)
                    continue
                seen.add(key)
                kind = self._kind(place, facts, key[1] if resource is Resource.STREAMS else 0)
                if kind in more:
                    more[kind] += 1
                elif self._every or first_ones.take(kind):
                    told[key] = self._contest(resource, place, facts, first, last)
                else:
                    more[kind] = 1
                    left[kind] = self._contest(resource, place, facts, first, last)
                if facts.may_be_marked and facts.path not in self._to_mark[resource]:
                    contest = self._contest(resource, place, facts, first, last)
                    if contest.standing is Standing.OFF or contest.part_of:
                        self._to_mark[resource][facts.path] = contest
            contests += told.values()
            contests += (contest._replace(more=more[kind]) for kind, contest in left.items())
        return tuple(contests)

    def _met_by(
        self,
        resource: Resource,
        place: int,
        intervals: Iterable[tuple[int, int]],
        there: Mapping[tuple[int, int], Sequence[int]],
        claims: Sequence[Claim],
    ) -> Iterator[tuple[Facts, int, int]]:
        """The nodes that contest what one assignment has, and the numbers in common."""
        path = self._assignments[place].device.path
        below = f"{path}/"
        count = self._devices.steps.count
        steps = _OF_ONE_KEPT if self._every else _OF_A_MEETING
        known = self._facts.get
        for interval in dict.fromkeys(intervals):
            for at in there[interval]:
                first, last, other = claims[at]
                count(steps=steps)
                facts = known(other) or self._facts_of(other)
                if facts.is_nobodys or other == path:
                    continue
                # A master below it is told as that; the rest is marked.
                if facts.standing and other.startswith(below):
                    continue
                if facts.is_bus and resource is Resource.PAGES and path.startswith(facts.below):
                    continue
                yield facts, max(first, interval[0]), min(last, interval[1])

    def _kind(self, place: int, facts: Facts, iommu: int) -> Hashable:
        """What the hazards can tell of the contest of an assignment and a node."""
        assignment = self._assignments[place]
        path = assignment.device.path
        of_place = not self._allowed.isdisjoint(assignment.names), iommu
        if facts.standing is None:
            return *of_place, None, self._places[facts.path] < self._places[path]
        part = self._part(facts, path)
        return *of_place, facts.kind, part and part == path

    def _contest(
        self, resource: Resource, place: int, facts: Facts, first: int, last: int
    ) -> Contest:
        assignment = self._assignments[place]
        part = self._part(facts, assignment.device.path)
        contest = Contest(assignment, facts.path, facts.standing, part, first, last)
        return with_ids(contest, first, last, resource)

    def _alone_contested(
        self, resource: Resource, mine: Iterable[tuple[int, int, int]], claims: Sequence[Claim]
    ) -> tuple[Contest, ...]:
        """One after the other, as the first that is in the way is enough."""
        standing = self._holdings.standing
        claims = [claim for claim in claims if standing(claim.path) in _HARD]
        settled: set[int] = set()
        contests = []
        seen: set[tuple[int, str]] = set()
        count = self._devices.steps.count
        for place, other, first, last in meetings(mine, claims, settled):
            path = self._assignments[place].device.path
            if other == path:
                continue
            count()
            facts = self._facts.get(other) or self._facts_of(other)
            is_inside = other.startswith(f"{path}/") or (
                resource is Resource.PAGES and facts.is_bus and path.startswith(facts.below)
            )
            # One node may have many registers on a page.
            if (
                facts.is_nobodys
                or is_inside
                or (resource is Resource.PAGES and (place, other) in seen)
            ):
                continue
            if resource is Resource.PAGES:
                seen.add((place, other))
            contest = self._contest(resource, place, facts, first, last)
            contests.append((place, contest))
            if not contest.part_of:
                settled.add(place)
        contests.sort(key=lambda placed: placed[0])
        return tuple(contest for _, contest in contests)

    def _part(self, facts: Facts, path: str) -> str:
        """The device that the node is a part of: the one at `path`, or another that is assigned."""
        if facts.standing is None:
            return ""
        is_part = facts.whole == path or (not self._alone and facts.whole in self._assigned)
        return facts.whole or "" if is_part else ""

    def _facts_of(self, other: str) -> Facts:
        """What counts of the host node at `other`, whoever it meets."""
        holdings = self._holdings
        if not self._alone and other in self._assigned:
            facts = Facts(other, None, False, None, False, f"{other}/", None)
        else:
            standing = holdings.standing(other)
            is_marked = standing is not Standing.OWN and self._is_marked_child(other)
            facts = Facts(
                other,
                standing,
                standing is Standing.NOBODY or is_marked,
                self._devices.whole(other),
                self._is_bus(other),
                f"{other}/",
                (standing, holdings.role(other), holdings.is_for_all(other)),
            )
        self._facts[other] = facts
        return facts

    def _is_marked_child(self, path: str) -> bool:
        """Whether the node is below an assigned one, and so comes off dom0 with it."""
        if self._alone or self._is_active_master(path):
            return False
        return any(above in self._assigned for above in paths_above(path))

    def _is_active_master(self, path: str) -> bool:
        """Whether the node is a DMA master that dom0 uses."""
        master = self._devices.master(path)
        maps = self._holdings.profile.programs_maps
        is_master = bool(master and (master.streams or (maps and master.maps)))
        return is_master and self._holdings.standing(path) is Standing.STAYS

    def _is_bus(self, path: str) -> bool:
        node = self._devices.tree.node(path)
        return node is not None and not _BUSES.isdisjoint(node.known_compatible)

    def _children(self) -> Iterator[tuple[Assignment, str]]:
        """Each assigned device with an active master below it that nobody asks for."""
        for master in self._devices.masters:
            if (self._alone or master.path not in self._assigned) and master.path.count("/") > 1:
                for above in paths_above(master.path):
                    assignment = self._assigned.get(above)
                    if assignment and self._is_active_master(master.path):
                        yield assignment, master.path
