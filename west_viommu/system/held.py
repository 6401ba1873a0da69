# SPDX-License-Identifier: Apache-2.0
"""What the domains of a system hold: their devices as assignments, and each claim to a page or an
interrupt of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from west_viommu.guest.gic import GuestInterrupt
from west_viommu.guest.regions import Mapped, RegionPair
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Devices, StepLimit
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.contests import routed
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import in_pages
from west_viommu.plan.plan import PlanDevice, PlanRegion
from west_viommu.system.records import Domain
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import name_of

# What it takes to keep one meeting of two domains, in steps of a look-up.
_OF_A_MEETING = 64


class Holder(NamedTuple):
    """A node of a domain that holds something of the host. `place` is that of the domain in the
    system; `assignment` is None where the node maps memory without a host device.
    """

    domain: Domain
    place: int
    node: str
    pages: tuple[PlanRegion, ...]
    assignment: Assignment | None

    @property
    def host(self) -> str:
        """What it holds, for people: the host node, else the guest's."""
        return self.assignment.device.path if self.assignment else self.node

    @property
    def qualified(self) -> str:
        """The guest node in a system: of which domain it is, and its path."""
        return f"{self.domain.name}:{self.node}"

    @property
    def allowed_as(self) -> str:
        """How an `allow:` entry of system.yml is to name it."""
        return self.host if self.assignment else self.qualified

    @property
    def names(self) -> frozenset[str]:
        """By what an `allow:` entry of system.yml may mean it."""
        return frozenset({self.qualified, self.allowed_as})


class Meeting(NamedTuple):
    """The numbers from `first` to `last`, which holders of two domains both hold."""

    later: Holder
    earlier: Holder
    first: int
    last: int


# From a first number to a last one, and who claims them.
Claimed = tuple[int, int, Holder]


def holders(domains: Iterable[Domain], devices: Devices) -> Iterator[Holder]:
    """Each node that holds something, of one domain after the other. `devices` have those of the
    plans.
    """
    for place, domain in enumerate(domains):
        for device in domain.plan.devices:
            host_device = devices.device(device.host)
            if host_device:
                assignment = Assignment(
                    _request(device, domain),
                    host_device,
                    tuple(StreamId(stream.pmaster) for stream in device.streams),
                    tuple((StreamId(stream.pmaster), stream.iommu) for stream in device.streams),
                )
                yield Holder(domain, place, device.node, device.pages, assignment)
        for raw in domain.plan.raw:
            yield Holder(domain, place, raw.node, raw.regions, None)


def first_held(held: Iterable[Holder]) -> Iterator[Holder]:
    """Those of `held` whose device no earlier domain holds: who is given one of another domain has
    all else of it twice as well, and one mistake is to be told.
    """
    places: dict[str, int] = {}
    for holder in held:
        device = holder.assignment and holder.assignment.device.path
        if not device or places.setdefault(device, holder.place) == holder.place:
            yield holder


def page_claims(held: Iterable[Holder]) -> Iterator[Claimed]:
    """The host's pages that the hypervisor maps for each."""
    for holder in held:
        for pages in holder.pages:
            own = in_pages(pages.on_host)
            if own.size:
                yield *own.ends, holder


def line_claims(held: Iterable[Holder], holdings: Holdings) -> Iterator[Claimed]:
    """The interrupt lines that the hypervisor routes for each."""
    for holder in held:
        for intid in routed(holder.assignment, holdings) if holder.assignment else ():
            yield intid, intid, holder


def across(claims: Iterable[Claimed], steps: StepLimit) -> Iterator[Meeting]:
    """Where a number is claimed by two domains. One sweep over the beginnings: of the claims of a
    domain that are open, the one that reaches furthest stands for all, so the cost follows the
    claims and what is found.
    """
    # By the place of a domain.
    is_open: dict[int, tuple[int, Holder]] = {}
    for first, last, this in sorted(claims, key=lambda claim: (claim[0], claim[2].place)):
        for place, (end, other) in [*is_open.items()]:
            if end < first:
                del is_open[place]
            elif place != this.place:
                steps.count(steps=_OF_A_MEETING)
                later, earlier = (this, other) if place < this.place else (other, this)
                yield Meeting(later, earlier, first, min(last, end))
        own = is_open.get(this.place)
        if own is None or own[0] < last:
            is_open[this.place] = last, this


def _request(device: PlanDevice, domain: Domain) -> Request:
    """What the guest's node asked for, with a path that no other domain has."""
    return Request(
        path=f"{domain.name}:{device.node}",
        name=name_of(device.node),
        xen_path=device.host,
        entries=(),
        regions=tuple(RegionPair(region.in_guest, region.on_host) for region in device.regions),
        mapped=tuple(map(mapped, device.pages)),
        interrupts=tuple(GuestInterrupt(Intid(intid), False) for intid in device.intids),
        has_map=bool(device.maps),
        malformed_ids=None,
    )


def mapped(region: PlanRegion) -> Mapped:
    """A region of a plan as the hazards look at it."""
    return Mapped(region.on_host, region.in_guest)
