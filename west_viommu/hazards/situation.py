# SPDX-License-Identifier: Apache-2.0
"""What a check of one assignment looks at besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from west_viommu.guest.regions import Mapped
from west_viommu.host.devices import Devices
from west_viommu.host.stream_index import StreamIndex
from west_viommu.host.streams import StreamId
from west_viommu.hypervisor.assignment import AssignedStream, Assignment, Terms
from west_viommu.hypervisor.pages import mapped_pages
from west_viommu.hypervisor.profile import Profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.slots import Slots


class Situation:
    """The host, who is assigned in which order, what of the guest's address space is `occupied`,
    and by the path of a request the `streams` that it gets, and the IDs `given` to it by a
    hypervisor that numbers them itself. Both are None where there are none for it.

    What is looked up among all assignments has an index, made when it is first asked for.
    """

    def __init__(
        self,
        devices: Devices,
        terms: Terms,
        assignments: Sequence[Assignment],
        occupied: Sequence[tuple[str, Region]],
        streams: Mapping[str, tuple[AssignedStream, ...] | None],
        given: Mapping[str, tuple[StreamId, ...] | None],
    ):
        self.devices = devices
        self.terms = terms
        self.assignments = assignments
        self.streams = streams
        self.given = given
        self._occupied = occupied

    @property
    def profile(self) -> Profile:
        """The profile of this run."""
        return self.terms.profile

    @cached_property
    def assigned(self) -> frozenset[str]:
        """The paths of the host nodes that are assigned."""
        return frozenset(each.device.path for each in self.assignments)

    @cached_property
    def disabled(self) -> StreamIndex:
        """The stream IDs of those that the host has disabled: they are in use all the same."""
        masters = (each.device.master for each in self.assignments)
        disabled = (each for each in masters if each and not each.enabled)
        return StreamIndex(disabled, self.devices.effort)

    def first_of(self, device: str) -> Assignment:
        """The first assignment of the host node at `device`, which is assigned."""
        return self._by_device[device]

    def earlier_with(self, intid: Intid, this: Assignment) -> Iterator[Assignment]:
        """The assignments before `this` that ask for the interrupt, or get it all the same, as
        dom0less routes every interrupt of a host node.
        """
        # `this` need not ask for it: dom0less routes what the guest leaves out as well.
        place = self._place[this.request.path]
        for other in self._by_intid.get(intid, ()):
            if self._place[other.request.path] >= place:
                return
            # Two requests for one device are told as that.
            if other.device.path != this.device.path or intid in other.request.intids:
                yield other

    def earlier_near(self, this: Assignment) -> Iterator[Assignment]:
        """The assignments before `this` that the guest may have on a page of it, each once."""
        if self.assignments[0] is this:
            return iter(())
        found = {
            place
            for mapped in self.pages(this)
            for _, place in self._by_page.near(mapped.guest)
            if place < self._place[this.request.path]
        }
        return (self.assignments[place] for place in sorted(found))

    def occupied_near(self, this: Assignment) -> Iterator[tuple[str, Region]]:
        """What else of the guest may be on a page of `this`: the path of each node, and its region,
        in tree order.
        """
        if not self._occupied:
            return iter(())
        found = {
            (place, path, region)
            for mapped in self.pages(this)
            for region, (place, path) in self._taken.near(mapped.guest)
        }
        return ((path, region) for _, path, region in sorted(found))

    def pages(self, this: Assignment) -> tuple[Mapped, ...]:
        """What Xen maps for `this`, in whole pages."""
        return self._pages[this.request.path]

    def first_with(self, vmaster: StreamId) -> tuple[AssignedStream, str]:
        """The first stream that gets the ID, and the host node whose it is."""
        return self._by_vmaster[vmaster]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {each.request.path: place for place, each in enumerate(self.assignments)}

    @cached_property
    def _pages(self) -> dict[str, tuple[Mapped, ...]]:
        return {each.request.path: mapped_pages(each.request) for each in self.assignments}

    @cached_property
    def _by_device(self) -> dict[str, Assignment]:
        return {each.device.path: each for each in reversed(self.assignments)}

    @cached_property
    def _by_intid(self) -> dict[Intid, list[Assignment]]:
        found: dict[Intid, list[Assignment]] = {}
        for each in self.assignments:
            routed = each.device.intids if self.profile.routes_all else ()
            for intid in dict.fromkeys((*each.request.intids, *routed)):
                found.setdefault(intid, []).append(each)
        return found

    @cached_property
    def _by_page(self) -> Slots[int]:
        return Slots(
            (mapped.guest, place)
            for place, each in enumerate(self.assignments)
            for mapped in self.pages(each)
        )

    @cached_property
    def _taken(self) -> Slots[tuple[int, str]]:
        return Slots(
            (region, (place, path))
            for place, (path, region) in enumerate(self._occupied)
            if path not in self._place
        )

    @cached_property
    def _by_vmaster(self) -> dict[StreamId, tuple[AssignedStream, str]]:
        found: dict[StreamId, tuple[AssignedStream, str]] = {}
        for each in self.assignments:
            for stream in self.streams[each.request.path] or ():
                found.setdefault(stream.vmaster, (stream, each.device.path))
        return found
