# SPDX-License-Identifier: Apache-2.0
"""Who is assigned what, and on which terms."""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.diagnostics import Where
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Device
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.profile import Profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid


class Permission(NamedTuple):
    """An `allow:` entry of viommu.yml: a hazard that its user takes, for one device (the path of
    its host node or of its guest node), and why.
    """

    hazard: str
    device: str
    reason: str
    where: Where


class Extra(NamedTuple):
    """A `regions:` entry of viommu.yml: registers that a device's driver needs besides those of its
    host node, and why. The device is named as in Permission; `region` is at a host address.
    """

    device: str
    region: Region
    reason: str
    where: Where


class Explicit(NamedTuple):
    """A `vsids:` entry of viommu.yml: the vMasterIDs of one device, named as in Permission."""

    device: str
    ids: tuple[StreamId, ...]
    where: Where


class Terms(NamedTuple):
    """On what a plan is made: the profile, what else the `domain` has (names.DOMAIN), what
    viommu.yml says of single devices, and whether there is a dom0 that gets what no guest asks for.
    `xen_version`: the version of the hypervisor, None if it may be any of the profile's. `cpus`:
    the virtual CPUs of the domain. `has_hardware_domain`: whether, without dom0, a domain that Xen
    creates gets the rest of the host.
    """

    profile: Profile
    domain: frozenset[str] = frozenset()
    permissions: tuple[Permission, ...] = ()
    explicit: tuple[Explicit, ...] = ()
    has_dom0: bool = True
    extra: tuple[Extra, ...] = ()
    xen_version: str | None = None
    cpus: int = 1
    has_hardware_domain: bool = False

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of the hypervisor that this is for, one at least."""
        return (self.xen_version,) if self.xen_version else self.profile.versions or ("",)

    @property
    def gives_rest(self) -> bool:
        """Whether a domain gets what no guest asks for."""
        return self.has_dom0 or self.has_hardware_domain

    def extra_of(self, assignment: Assignment | Assigned) -> dict[Region, Extra]:
        """The regions that viommu.yml adds to this device."""
        return {entry.region: entry for entry in self.extra if entry.device in assignment.names}

    def permission(self, hazard: str, assignment: Assignment | Assigned) -> Permission | None:
        """The entry of viommu.yml that allows the hazard for this device."""
        for entry in self.permissions:
            if entry.hazard == hazard and entry.device in assignment.names:
                return entry
        return None


class AssignedStream(NamedTuple):
    """One stream ID of an assigned device. `iommu` is the path of the physical SMMU and
    `iommu_base` its address; `pmaster` is the physical ID, `vmaster` the one the guest uses.
    """

    iommu: str
    iommu_base: int
    pmaster: StreamId
    vmaster: StreamId


class Assignment(NamedTuple):
    """A request and the host device that it means, with the physical IDs asked for, in order.

    `streams`: those that a hypervisor programs, and the path of the SMMU of each.
    """

    request: Request
    device: Device
    ids: tuple[StreamId, ...]
    streams: tuple[tuple[StreamId, str], ...]

    @property
    def names(self) -> tuple[str, str]:
        """By what viommu.yml may mean this one: the path of either node."""
        return self.device.path, self.request.path


class Assigned(NamedTuple):
    """A device that the guest called `guest` gets by its node at `node`, as the sweep and the
    hazards see it: from a request, from a plan, or a host device by itself.

    `pages`: what is mapped; `intids`: those that the node lists; `ids` and `streams`: the stream
    IDs of the host that it names, and those with the guest's; `streams` is None if the policy has
    none for them. `fixed_ids`: the guest's IDs that the hypervisor gives whatever the policy; None
    if it can be given others. `request`: what the guest's tree says; None if that is not known.
    """

    guest: str
    node: str
    device: Device
    pages: tuple[Mapped, ...]
    intids: tuple[Intid, ...]
    ids: tuple[StreamId, ...]
    streams: tuple[AssignedStream, ...] | None
    fixed_ids: tuple[StreamId, ...] | None = None
    request: Request | None = None

    @property
    def host(self) -> str:
        """The path of the host node."""
        return self.device.path

    @property
    def names(self) -> tuple[str, str]:
        """The paths by which viommu.yml may name the device."""
        return self.device.path, self.node


class RawMapping(NamedTuple):
    """Host memory that a guest's node maps without a host device, in whole pages."""

    guest: str
    node: str
    pages: tuple[Mapped, ...]

    @property
    def host(self) -> str:
        """No host node."""
        return ""
