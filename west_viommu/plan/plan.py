# SPDX-License-Identifier: Apache-2.0
"""The plan: the parts of a host that a guest gets. viommu.json is written from it and read into it.

The field names are the keys of the file, whose schema is schemas/plan.json.
"""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.host.intervals import Interval
from west_viommu.host.needs import Need
from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.sweep import Mark
from west_viommu.tree.addresses import Region


class PlanHost(NamedTuple):
    """The host tree that the plan is for: the `model` of its root, and its sum (tree/digest.py)."""

    model: str | None
    sha256: str


class PlanViommu(NamedTuple):
    """The vSMMU of the guest."""

    node: str
    compatible: str
    base: int
    size: int
    intids: tuple[int, ...]


class PlanRegion(NamedTuple):
    """`size` bytes of the host, at their addresses on the host and in the guest."""

    host: int
    guest: int
    size: int

    @property
    def on_host(self) -> Region:
        """The region at its host addresses."""
        return Region(self.host, self.size)

    @property
    def in_guest(self) -> Region:
        """The region at its guest addresses."""
        return Region(self.guest, self.size)

    @property
    def whole_pages(self) -> PlanRegion:
        """The whole pages that the region touches."""
        host = in_pages(self.on_host)
        return PlanRegion(host.base, in_pages(Region(self.guest, 1)).base, host.size)


class PlanOmission(NamedTuple):
    """A stream ID of the host node that the guest does not have."""

    iommu: str
    pmaster: int


class PlanMap(NamedTuple):
    """An entry of the host node's iommu-map, for a hypervisor that programs it."""

    iommu: str
    rid: int
    pmaster: int
    vmaster: int
    length: int


class PlanCompatible(NamedTuple):
    """The compatible of the two nodes of a device."""

    host: tuple[str, ...]
    guest: tuple[str, ...]


class PlanDevice(NamedTuple):
    """A device that the guest gets. `pages`: the pages of it that the hypervisor maps; `needs`: the
    clocks, supplies and so on of other host nodes that it needs.
    """

    node: str
    host: str
    compatible: PlanCompatible
    status: str
    regions: tuple[PlanRegion, ...]
    pages: tuple[PlanRegion, ...]
    intids: tuple[int, ...]
    streams: tuple[AssignedStream, ...]
    omitted: tuple[PlanOmission, ...]
    maps: tuple[PlanMap, ...]
    needs: tuple[Need, ...] = ()

    @property
    def is_protected(self) -> bool:
        """True if the hypervisor confines its DMA."""
        return bool(self.streams or self.maps)

    @property
    def ids_by_iommu(self) -> dict[str, list[str]]:
        """The stream IDs that it has behind each IOMMU, as text."""
        ids: dict[str, list[str]] = {}
        for stream in self.streams:
            ids.setdefault(stream.iommu, []).append(f"{stream.pmaster:#x}")
        for entry in self.maps:
            span = Interval(entry.pmaster, entry.pmaster + entry.length - 1)
            ids.setdefault(entry.iommu, []).append(str(span))
        return ids


class PlanRaw(NamedTuple):
    """A guest node that maps host memory without a host device."""

    node: str
    regions: tuple[PlanRegion, ...]


class PlanExtra(NamedTuple):
    """Registers that viommu.yml adds to a device: `size` bytes of the host at `host`, and the
    reason.
    """

    device: str
    host: int
    size: int
    reason: str


class PlanPermission(NamedTuple):
    """A permission of viommu.yml that was needed."""

    hazard: str
    device: str
    reason: str


class Plan(NamedTuple):
    """The host resources that a guest gets.

    `vsid`: the policy that numbered the streams. `domain`: further features of the domain
    (names.DOMAIN). `viommu`: None if no device needs a vSMMU: Xen panics over an unused one. `raw`:
    host memory that is mapped without a device. `extra`: registers that viommu.yml adds to devices.
    `unasked`: the nodes below /passthrough with registers that request no device. `marks`: the host
    nodes that dom0 must not get. `memory_limit`: the bytes of memory that the domain may have at
    most, so that no device lies in its memory; None if no device could. `files`: the other files of
    the run, and the SHA-256 of each. `cpu_limit`: the virtual CPUs that the domain may have at
    most, so that no device lies in their redistributors; None if no device could. `tree_bytes`: the
    size of the tree that Xen makes for the guest at boot, with one virtual CPU and without
    bootargs; None if no limit of it is known.
    """

    profile: str
    vsid: str
    host: PlanHost
    domain: tuple[str, ...]
    viommu: PlanViommu | None
    devices: tuple[PlanDevice, ...]
    raw: tuple[PlanRaw, ...]
    extra: tuple[PlanExtra, ...]
    unasked: tuple[str, ...]
    allowed: tuple[PlanPermission, ...]
    marks: tuple[Mark, ...]
    memory_limit: int | None
    files: dict[str, str]
    cpu_limit: int | None = None
    tree_bytes: int | None = None

    @property
    def iommus(self) -> tuple[str, ...]:
        """The paths of the IOMMUs that its devices are behind."""
        return tuple(dict.fromkeys(path for each in self.devices for path in each.ids_by_iommu))

    @property
    def added(self) -> tuple[str, ...]:
        """The additions of viommu.yml to single devices, as text."""
        return tuple(
            f"{Region(entry.host, entry.size)} for {entry.device}, because: {entry.reason}"
            for entry in self.extra
        )

    @property
    def pages(self) -> tuple[PlanRegion, ...]:
        """The regions that the hypervisor maps, in whole pages: once each, in the guest's order."""
        regions = [region for device in self.devices for region in device.pages]
        regions += [region for raw in self.raw for region in raw.regions]
        return tuple(dict.fromkeys(region.whole_pages for region in regions))

    @property
    def intids(self) -> tuple[int, ...]:
        """The interrupts of the devices: once each, in the guest's order."""
        return tuple(dict.fromkeys(intid for device in self.devices for intid in device.intids))
