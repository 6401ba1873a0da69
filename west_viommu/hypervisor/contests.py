# SPDX-License-Identifier: Apache-2.0
"""What a guest is to hold that another hand holds as well, and what host.overlay settles of
that.

Each of hundreds of requests may meet each of hundreds of nodes, so only the first contests of a
kind are kept, and the rest is counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from west_viommu.host.intervals import meetings, met
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.holdings import ID_BITS, ID_MASK, Claim, Holdings, Standing
from west_viommu.hypervisor.pages import in_pages, mapped_pages
from west_viommu.problems import FirstOnes
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.tree.node import Node

# Buses whose registers, if any, are those of what is on them.
_BUSES = frozenset({"simple-bus", "simple-pm-bus"})
# More IDs of one pair of nodes are not told.
MOST_IDS = 16
_LINES = frozenset({"interrupts", "interrupts-extended", "iommus"})
# What a node alone is refused for. Two sweeps find it sooner than one that goes on after the first.
_HARD = (Standing.STAYS, Standing.OWN)


class Contest(NamedTuple):
    """The numbers from `first` to `last` are held by `this` device and by the host node at `other`;
    `ids`: of stream IDs, the first few that the two have on one IOMMU. `standing` tells whose that
    node is; None where it is the guest's as well. `part_of`: the assigned device that, and no
    other, names it as a part of itself; "" where none does. One with `more` stands for that many
    of its device that the hazards cannot tell from it but by `other` and numbers.
    """

    this: Assignment
    other: str
    standing: Standing | None
    part_of: str
    first: int
    last: int
    ids: tuple[int, ...] = ()
    more: int = 0


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


class _Of(Enum):
    """What is contested: by how many bits a number of it says on what IOMMU it is, if it counts
    where two nodes meet again.
    """

    STREAMS = ID_BITS
    PAGES = 64
    LINES = 0


class _Facts(NamedTuple):
    """What counts of a host node, whoever it meets: `whole` is what it is a part of; `below` is how
    the paths of its children begin. `kind`: what the hazards can tell.
    """

    path: str
    standing: Standing | None
    is_nobodys: bool
    whole: str | None
    is_bus: bool
    below: str
    kind: Hashable

    @property
    def may_be_marked(self) -> bool:
        """Whether host.overlay may keep the node from dom0."""
        return self.standing is Standing.OFF or self.whole is not None


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
        self._places = {path: place for place, path in enumerate(self._assigned)}
        self._facts: dict[str, _Facts] = {}
        # By kind, the first contest with each node that host.overlay is to mark.
        self._to_mark: dict[_Of, dict[str, Contest]] = {of: {} for of in _Of}

    def contests(self) -> Contests:
        find = self._alone_contested if self._alone else self._contested
        streams = find(_Of.STREAMS, self._streams(), self._holdings.all_streams())
        pages = find(_Of.PAGES, self._pages(), self._holdings.all_pages())
        mine = list(self._lines())
        wanted = None if self._alone else frozenset(intid for intid, _, _ in mine)
        lines = find(_Of.LINES, mine, self._holdings.all_lines(wanted)) if mine else ()
        children = tuple(self._children())
        marks = () if self._alone else tuple(self._marks(children))
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
        """Those that Xen routes: under dom0less all of the host node, else those in the guest's."""
        routes_all = self._holdings.profile.routes_all
        for place, this in enumerate(self._assignments):
            own = frozenset(this.device.intids)
            intids = [intid for intid in this.request.intids if intid in own]
            if routes_all:
                node = self._devices.tree.node(this.device.path)
                intids += self._devices.index.interrupts(node).taken if node else ()
            for intid in dict.fromkeys(intids):
                if intid >= FIRST_SPI:
                    yield intid, intid, place

    def _contested(
        self, of: _Of, mine: Iterable[tuple[int, int, int]], claims: Sequence[Claim]
    ) -> tuple[Contest, ...]:
        """In the order of the assignments, and for each in that of the tree."""
        intervals: dict[int, list[tuple[int, int]]] = {}
        for first, last, place in mine:
            intervals.setdefault(place, []).append((first, last))
        there = met(
            (each for of_place in intervals.values() for each in of_place),
            claims,
            self._devices.effort.count,
        )
        first_ones = FirstOnes()
        found: list[Contest] = []
        for place, of_place in intervals.items():
            told: dict[tuple[str, int], Contest] = {}
            left: dict[Hashable, Contest] = {}
            more: dict[Hashable, int] = {}
            seen: set[tuple[str, int]] = set()
            for facts, first, last in self._met_by(of, place, of_place, there, claims):
                # Two may meet more than once.
                key = facts.path, 0 if of is _Of.PAGES else first >> of.value
                if key in seen:
                    if key in told:
                        told[key] = _with_ids(told[key], first, last, of)
                    continue
                seen.add(key)
                kind = self._kind(place, facts, key[1] if of is _Of.STREAMS else 0)
                if kind in more:
                    more[kind] += 1
                elif first_ones.take(kind):
                    told[key] = self._contest(of, place, facts, first, last)
                else:
                    more[kind] = 1
                    left[kind] = self._contest(of, place, facts, first, last)
                if facts.may_be_marked and facts.path not in self._to_mark[of]:
                    contest = self._contest(of, place, facts, first, last)
                    if contest.standing is Standing.OFF or contest.part_of:
                        self._to_mark[of][facts.path] = contest
            found += told.values()
            found += (each._replace(more=more[kind]) for kind, each in left.items())
        return tuple(found)

    def _met_by(
        self,
        of: _Of,
        place: int,
        intervals: Iterable[tuple[int, int]],
        there: Mapping[tuple[int, int], Sequence[int]],
        claims: Sequence[Claim],
    ) -> Iterator[tuple[_Facts, int, int]]:
        """The nodes that contest what one assignment has, and the numbers in common."""
        path = self._assignments[place].device.path
        below = f"{path}/"
        count = self._devices.effort.count
        known = self._facts.get
        for interval in dict.fromkeys(intervals):
            for at in there[interval]:
                first, last, other = claims[at]
                count()
                facts = known(other) or self._facts_of(other)
                if facts.is_nobodys or other == path:
                    continue
                # A master below it is told as that; the rest is marked.
                if facts.standing and other.startswith(below):
                    continue
                if facts.is_bus and of is _Of.PAGES and path.startswith(facts.below):
                    continue
                yield facts, max(first, interval[0]), min(last, interval[1])

    def _kind(self, place: int, facts: _Facts, iommu: int) -> Hashable:
        """What the hazards can tell of the contest of an assignment and a node."""
        path = self._assignments[place].device.path
        if facts.standing is None:
            return None, iommu, self._places[facts.path] < self._places[path]
        part = self._part(facts, path)
        return facts.kind, iommu, part and part == path

    def _contest(self, of: _Of, place: int, facts: _Facts, first: int, last: int) -> Contest:
        this = self._assignments[place]
        part = self._part(facts, this.device.path)
        contest = Contest(this, facts.path, facts.standing, part, first, last)
        return _with_ids(contest, first, last, of)

    def _alone_contested(
        self, of: _Of, mine: Iterable[tuple[int, int, int]], claims: Sequence[Claim]
    ) -> tuple[Contest, ...]:
        """One after the other, as the first that is in the way is enough."""
        standing = self._holdings.standing
        claims = [claim for claim in claims if standing(claim.path) in _HARD]
        settled: set[int] = set()
        found = []
        seen: set[tuple[int, str]] = set()
        count = self._devices.effort.count
        for place, other, first, last in meetings(mine, claims, settled):
            path = self._assignments[place].device.path
            if other == path:
                continue
            count()
            facts = self._facts.get(other) or self._facts_of(other)
            is_inside = other.startswith(f"{path}/") or (
                of is _Of.PAGES and facts.is_bus and path.startswith(facts.below)
            )
            # One node may have many registers on a page.
            if facts.is_nobodys or is_inside or (of is _Of.PAGES and (place, other) in seen):
                continue
            if of is _Of.PAGES:
                seen.add((place, other))
            contest = self._contest(of, place, facts, first, last)
            found.append((place, contest))
            if not contest.part_of:
                settled.add(place)
        found.sort(key=lambda each: each[0])
        return tuple(contest for _, contest in found)

    def _part(self, facts: _Facts, path: str) -> str:
        """The device that the node is a part of: the one at `path`, or another that is assigned."""
        if facts.standing is None:
            return ""
        is_part = facts.whole == path or (not self._alone and facts.whole in self._assigned)
        return facts.whole or "" if is_part else ""

    def _facts_of(self, other: str) -> _Facts:
        """What counts of the host node at `other`, whoever it meets."""
        holdings = self._holdings
        if not self._alone and other in self._assigned:
            facts = _Facts(other, None, False, None, False, f"{other}/", None)
        else:
            standing = holdings.standing(other)
            is_marked = standing is not Standing.OWN and self._is_marked_child(other)
            facts = _Facts(
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

    def _marks(self, children: Iterable[tuple[Assignment, str]]) -> Iterator[Mark]:
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
        for what, of in (
            ("has a stream ID", _Of.STREAMS),
            ("is on a page", _Of.PAGES),
            ("has an interrupt", _Of.LINES),
        ):
            for each in self._to_mark[of].values():
                why = f"{what} of {each.this.device.path}"
                marked.setdefault(each.other, Mark(each.other, each.this.device.path, why))
        return iter(marked.values())


def _with_ids(contest: Contest, first: int, last: int, of: _Of) -> Contest:
    """`contest` with the stream IDs from `first` to `last` as well, while they are not too many."""
    known = contest.ids
    if of is not _Of.STREAMS or len(known) >= MOST_IDS:
        return contest
    ids = range(first, min(last + 1, first + MOST_IDS - len(known)))
    return contest._replace(ids=(*known, *(number & ID_MASK for number in ids)))


def _above(path: str) -> Iterator[str]:
    """The paths of the nodes above the one at `path`, but for the root."""
    at = path.rfind("/")
    while at > 0:
        path = path[:at]
        yield path
        at = path.rfind("/")
