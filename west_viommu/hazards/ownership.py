# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: who is assigned what, and what each side holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, wraps

from west_viommu.guest.regions import Mapped
from west_viommu.hazards.findings import Finding
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Iommu
from west_viommu.host.streams import StreamId
from west_viommu.hypervisor.assignment import AssignedStream, Assignment, Terms
from west_viommu.hypervisor.contests import Contests
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import mapped_pages
from west_viommu.hypervisor.profile import Profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid


class Ownership:
    """The `assignments` in the guest's order, what of the host others hold (`holdings`) and what is
    contested of it, and what the guest's own tree has: `occupied` addresses and `lines`, each with
    the path of its node. By the path of a request, the `streams` that it gets, and the IDs `given`
    to it by a hypervisor that numbers them itself; both are None where there are none for it.
    `is_alone`: each of the assignments is looked at as if there were no other. `refused`: the
    paths of requests that mean no one device: what else they say is not what their user means.
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

    @property
    def profile(self) -> Profile:
        """The profile of this run."""
        return self.terms.profile

    @property
    def devices(self) -> Devices:
        """The host."""
        return self.holdings.devices

    def iommus(self, this: Assignment) -> list[Iommu]:
        """The IOMMUs that the device of `this` is behind: by its `iommus`, and by its iommu-map
        where the hypervisor reads that, or there is nothing else.
        """
        return self._behind[this.request.path]

    @cached_property
    def _behind(self) -> dict[str, list[Iommu]]:
        found = {}
        for each in self.assignments:
            master = each.device.master
            paths: Iterable[str] = ()
            if master and master.streams and not self.profile.programs_maps:
                paths = dict.fromkeys(stream.iommu for stream in master.streams)
            elif master:
                paths = master.iommus
            found[each.request.path] = [self.devices.iommus[path] for path in paths]
        return found

    @cached_property
    def pages(self) -> dict[str, tuple[Mapped, ...]]:
        """What Xen maps for each request, by its path, in whole pages."""
        return {each.request.path: mapped_pages(each.request) for each in self.assignments}

    @cached_property
    def first_of(self) -> dict[str, Assignment]:
        """The first assignment of each host node, in the guest's order."""
        found: dict[str, Assignment] = {}
        for each in self.assignments:
            found.setdefault(each.device.path, each)
        return found

    def guest_ids(self, this: Assignment) -> Sequence[StreamId]:
        """The IDs that the guest uses for the streams of `this`; of a device by itself, its own by
        the policy identity, and by any other the lowest.
        """
        if self.is_alone:
            is_kept = self.profile.policy == "identity"
            return this.ids if is_kept else [StreamId(i) for i in range(len(this.ids))]
        return [stream.vmaster for stream in self.streams[this.request.path] or ()]

    def is_first(self, device: str, this: Assignment) -> bool:
        """Whether the host node at `device` is asked for before `this`."""
        return self._places[device] < self._places[this.device.path]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {path: place for place, path in enumerate(self.first_of)}

    @cached_property
    def first_with(self) -> dict[StreamId, tuple[AssignedStream, str]]:
        """The first stream that gets each of the guest's IDs, and the host node whose it is."""
        found: dict[StreamId, tuple[AssignedStream, str]] = {}
        for each in self.assignments:
            for stream in self.streams[each.request.path] or ():
                found.setdefault(stream.vmaster, (stream, each.device.path))
        return found


# What is found, and of which assignment.
Found = Iterator[tuple[Assignment, Finding]]
Check = Callable[[Ownership], Found]


def of_each(check: Callable[[Assignment, Ownership], Iterator[Finding]]) -> Check:
    """The check of all assignments that looks at one after the other."""

    @wraps(check)
    def found(ownership: Ownership) -> Found:
        for this in ownership.assignments:
            for finding in check(this, ownership):
                yield this, finding

    return found
