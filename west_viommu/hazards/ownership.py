# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: who is assigned what, and what each side holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, wraps
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Raw
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Iommu, StreamId
from west_viommu.hypervisor.assignment import Assigned, AssignedStream, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import whole_pages
from west_viommu.hypervisor.profile import GICS, Profile
from west_viommu.hypervisor.sweep import Conflicts
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
    """The devices that guests get, `assigned`, in their order, and their `conflicts` with what
    others hold of the host (`holdings`).

    Of the guest's own tree: `occupied` addresses and `lines`, each with the path of its node;
    `raws`: what it maps without a device; `refused`: the paths of requests that mean no one device:
    what else they say is not what their user means.
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
    ):
        self.terms = terms
        self.assigned = assigned
        self.holdings = holdings
        self.conflicts = conflicts
        self.occupied = occupied
        self.lines = lines
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

    def iommus(self, assigned: Assigned) -> list[Iommu]:
        """The IOMMUs of the device: by its `iommus`, and by its iommu-map if the hypervisor reads
        that, or there is nothing else.
        """
        master = assigned.device.master
        if master is None:
            return []
        if master.streams and not self.profile.programs_maps:
            paths: Iterable[str] = dict.fromkeys(stream.iommu for stream in master.streams)
        else:
            paths = master.iommus
        return [self.devices.iommus[path] for path in paths]

    @cached_property
    def mappers(self) -> list[Mapper]:
        """The nodes that map memory into the guest: devices, then raw mappings, in their order."""
        devices = [Mapper(each.node, each.pages, is_raw=False) for each in self.assigned]
        return devices + [
            Mapper(raw.path, tuple(map(whole_pages, raw.mapped)), is_raw=True) for raw in self.raws
        ]

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
    """Return the check of all devices that looks at one after the other."""

    # tools/mutants finds the check itself by it.
    @wraps(check)
    def of_all(ownership: Ownership) -> Found:
        for assigned in ownership.assigned:
            for diagnostic in check(assigned, ownership):
                yield assigned.node, diagnostic

    return of_all
