# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: who is assigned what, and what each side holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, wraps
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Raw
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Iommu, StreamId
from west_viommu.hypervisor.assignment import AssignedStream, Assignment, Terms
from west_viommu.hypervisor.contests import Contests
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import mapped_pages, whole_pages
from west_viommu.hypervisor.profile import GICS, Profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import GICV3, Intid


class Mapper(NamedTuple):
    """A node that has host memory mapped into the guest, in whole pages: a request's, or a raw
    mapping.
    """

    path: str
    pages: tuple[Mapped, ...]
    is_raw: bool


class Ownership:
    """The `assignments` in the guest's order, what of the host others hold (`holdings`) and what is
    contested of it, and what the guest's own tree has: `occupied` addresses and `lines`, each with
    the path of its node. By the path of a request, the `streams` that it gets, and the IDs `given`
    to it by a hypervisor that numbers them itself; both are None where there are none for it.
    `is_alone`: each of the assignments is looked at as if there were no other. `refused`: the
    paths of requests that mean no one device: what else they say is not what their user means.
    `raws`: what the guest maps without a device.
    """

    def __init__(
        self,
        terms: Terms,
        assignments: Sequence[Assignment],
        holdings: Holdings,
        contests: Contests,
        occupied: Sequence[tuple[str, Region]],
        lines: Sequence[tuple[str, Intid]],
        streams: Mapping[str, tuple[AssignedStream, ...] | None],
        given: Mapping[str, tuple[StreamId, ...] | None],
        *,
        is_alone: bool = False,
        refused: frozenset[str] = frozenset(),
        raws: Sequence[Raw] = (),
    ):
        self.terms = terms
        self.assignments = assignments
        self.holdings = holdings
        self.contests = contests
        self.occupied = occupied
        self.lines = lines
        self.streams = streams
        self.given = given
        self.is_alone = is_alone
        self.refused = refused
        self.raws = raws

    @property
    def profile(self) -> Profile:
        """The profile of this run."""
        return self.terms.profile

    @property
    def devices(self) -> Devices:
        """The host."""
        return self.holdings.devices

    def applies(self, when: str) -> bool:
        """Whether what the profile says of `when` is in force. The guest's GIC is of the version of
        the host's (domain_vgic_init()); where the host has none, it may be of any.
        """
        if when in GICS:
            gic = self.devices.index.gic
            return gic is None or (GICV3 in gic.known_compatible) is (when == "gicv3")
        return when == "always" or when in self.terms.domain

    def iommus(self, assignment: Assignment) -> list[Iommu]:
        """The IOMMUs of the device of `assignment`: by its `iommus`, and by its iommu-map
        where the hypervisor reads that, or there is nothing else.
        """
        return self._behind[assignment.request.path]

    @cached_property
    def _behind(self) -> dict[str, list[Iommu]]:
        behind = {}
        for assignment in self.assignments:
            master = assignment.device.master
            paths: Iterable[str] = ()
            if master and master.streams and not self.profile.programs_maps:
                paths = dict.fromkeys(stream.iommu for stream in master.streams)
            elif master:
                paths = master.iommus
            behind[assignment.request.path] = [self.devices.iommus[path] for path in paths]
        return behind

    @cached_property
    def pages(self) -> dict[str, tuple[Mapped, ...]]:
        """What Xen maps for each request, by its path, in whole pages."""
        return {
            assignment.request.path: mapped_pages(assignment.request)
            for assignment in self.assignments
        }

    @cached_property
    def mappers(self) -> list[Mapper]:
        """Who maps what into the guest: the requests, then the raw mappings, in their order."""
        requests = [Mapper(path, pages, is_raw=False) for path, pages in self.pages.items()]
        return requests + [
            Mapper(raw.path, tuple(map(whole_pages, raw.mapped)), is_raw=True) for raw in self.raws
        ]

    @cached_property
    def first_of(self) -> dict[str, Assignment]:
        """The first assignment of each host node, in the guest's order."""
        first: dict[str, Assignment] = {}
        for assignment in self.assignments:
            first.setdefault(assignment.device.path, assignment)
        return first

    def guest_ids(self, assignment: Assignment) -> Sequence[StreamId]:
        """The IDs that the guest uses for its streams; of a device by itself, its own by
        the policy identity, and by any other the lowest.
        """
        if self.is_alone:
            is_kept = self.profile.policy == "identity"
            return assignment.ids if is_kept else [StreamId(i) for i in range(len(assignment.ids))]
        return [stream.vmaster for stream in self.streams[assignment.request.path] or ()]

    def is_first(self, device: str, assignment: Assignment) -> bool:
        """Whether the host node at `device` is asked for before `assignment`."""
        return self._places[device] < self._places[assignment.device.path]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {path: place for place, path in enumerate(self.first_of)}

    @cached_property
    def first_with(self) -> dict[StreamId, tuple[AssignedStream, str]]:
        """The first stream that gets each of the guest's IDs, and the host node whose it is."""
        first: dict[StreamId, tuple[AssignedStream, str]] = {}
        for assignment in self.assignments:
            for stream in self.streams[assignment.request.path] or ():
                first.setdefault(stream.vmaster, (stream, assignment.device.path))
        return first


# What is found, and of which assignment.
Found = Iterator[tuple[Assignment, Diagnostic]]
Check = Callable[[Ownership], Found]


def of_each(check: Callable[[Assignment, Ownership], Iterator[Diagnostic]]) -> Check:
    """The check of all assignments that looks at one after the other."""

    # tools/mutants finds the check itself by it.
    @wraps(check)
    def found(ownership: Ownership) -> Found:
        for assignment in ownership.assignments:
            for finding in check(assignment, ownership):
                yield assignment, finding

    return found
