# SPDX-License-Identifier: Apache-2.0
"""The input of the checks: which request gets which device, and the resources of each side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, wraps
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.regions import Mapped, RegionPair
from west_viommu.guest.requests import Raw
from west_viommu.hazards.paste import Paper
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Iommu, StreamId
from west_viommu.hypervisor.assignment import Assigned, AssignedStream, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.layout import applies, banks, windows
from west_viommu.hypervisor.pages import whole_pages
from west_viommu.hypervisor.profile import Profile
from west_viommu.hypervisor.sweep import Conflicts
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid


class Mapper(NamedTuple):
    """A node that maps host memory into the guest, in whole pages: a request's, or a raw
    mapping.
    """

    path: str
    pages: tuple[Mapped, ...]
    is_raw: bool
    regions: tuple[RegionPair, ...] = ()


class Lowest(NamedTuple):
    """The lowest mapping in the guest's memory: the `mapper` of a device, None for memory that is
    shared with other domains; the page; and the bytes of memory that the guest can have below it.
    """

    mapper: Mapper | None
    page: Region
    limit: int


class Ownership:
    """The devices that guests get, `assigned`, in their order, and their `conflicts` with other
    owners of host resources (`holdings`).

    Of the guest's own tree: `occupied` addresses and `lines`, each with the path of its node;
    `raws`: its mappings without a device; `refused`: the paths of requests that mean no single
    device, so that their other parts are not judged; `shared`: memory of the guest that other
    domains have as well. `paper`: the tree and GIC for which lines to paste are written.
    """

    def __init__(
        self,
        terms: Terms,
        assigned: Sequence[Assigned],
        holdings: Holdings,
        conflicts: Conflicts,
        *,
        occupied: Sequence[tuple[str, Region]] = (),
        lines: Sequence[tuple[str, Intid]] = (),
        refused: frozenset[str] = frozenset(),
        raws: Sequence[Raw] = (),
        shared: Sequence[Region] = (),
        paper: Paper | None = None,
    ):
        self.terms = terms
        self.assigned = assigned
        self.holdings = holdings
        self.conflicts = conflicts
        self.occupied = occupied
        self.lines = lines
        self.refused = refused
        self.raws = raws
        self.shared = shared
        self.paper = paper
        self._iommus: dict[str, list[Iommu]] = {}

    @property
    def profile(self) -> Profile:
        """The profile of this run."""
        return self.terms.profile

    @property
    def devices(self) -> Devices:
        """The host."""
        return self.holdings.devices

    def applies(self, when: str) -> bool:
        """Return whether the condition `when` of the profile is met."""
        return applies(when, self.devices, self.terms.domain)

    def iommus(self, assigned: Assigned) -> list[Iommu]:
        """Return the IOMMUs of the device: by its `iommus`, and by its iommu-map if the hypervisor
        reads that, or there is nothing else.
        """
        known = self._iommus.get(assigned.host)
        if known is None:
            master = assigned.device.master
            paths: Iterable[str] = master.iommus if master else ()
            if master and master.streams and not self.profile.programs_maps:
                paths = dict.fromkeys(stream.iommu for stream in master.streams)
            known = self._iommus[assigned.host] = [self.devices.iommus[path] for path in paths]
        return known

    @cached_property
    def mappers(self) -> list[Mapper]:
        """The nodes that map memory into the guest: devices, then raw mappings, in their order."""
        devices = [
            Mapper(
                each.node,
                each.pages,
                is_raw=False,
                regions=each.request.regions if each.request else (),
            )
            for each in self.assigned
        ]
        return devices + [
            Mapper(raw.path, tuple(map(whole_pages, raw.mapped)), is_raw=True) for raw in self.raws
        ]

    @cached_property
    def lowest_in_memory(self) -> Lowest | None:
        """The lowest mapping in the domain's memory, in the banks that Xen fills one after the
        other (allocate_memory(), and meminit() of libxenguest). Memory above it overlaps a device,
        and Xen panics ("Unable to copy the DTB", booted), or overlaps shared memory, regardless of
        the guest's own memory node.
        """
        places: list[tuple[Mapper | None, Region]] = [(None, region) for region in self.shared]
        places += [(each, pages.guest) for each in self.mappers for pages in each.pages]
        before = 0
        for bank in banks(self.profile, self.terms.domain):
            within = [
                (max(0, page.base - bank.base), place)
                for place, (_, page) in enumerate(places)
                if bank.overlaps(page)
            ]
            if within:
                below, place = min(within)
                return Lowest(*places[place], before + below)
            before += bank.size
        return None

    @cached_property
    def cpu_limit(self) -> int | None:
        """The most virtual CPUs that the domain can have so that no device lies in the
        redistributors of one; None if no device could.
        """
        limits = [
            max(0, (pages.guest.base - window.base) // per_cpu)
            for window, per_cpu in windows(self.profile, self.devices, self.terms.domain)
            for mapper in self.mappers
            for pages in mapper.pages
            if window.overlaps(pages.guest)
        ]
        return min(limits, default=None)

    @cached_property
    def first_of(self) -> dict[str, str]:
        """The first node that gets each host node, in the guest's order."""
        first: dict[str, str] = {}
        for assigned in self.assigned:
            first.setdefault(assigned.host, assigned.node)
        return first

    @cached_property
    def first_with(self) -> dict[StreamId, tuple[AssignedStream, str]]:
        """The first stream that gets each of the guest's IDs, and the host node that has it."""
        first: dict[StreamId, tuple[AssignedStream, str]] = {}
        for assigned in self.assigned:
            for stream in assigned.streams or ():
                first.setdefault(stream.vmaster, (stream, assigned.host))
        return first


# The guest node that a diagnostic is about, and the diagnostic.
Found = Iterator[tuple[str, Diagnostic]]
Check = Callable[[Ownership], Found]


def of_each(check: Callable[[Assigned, Ownership], Iterator[Diagnostic]]) -> Check:
    """Return the check of all devices that calls `check` for one after the other."""

    # tools/mutants finds the check itself by this.
    @wraps(check)
    def of_all(ownership: Ownership) -> Found:
        for assigned in ownership.assigned:
            for diagnostic in check(assigned, ownership):
                yield assigned.node, diagnostic

    return of_all
