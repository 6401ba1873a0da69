# SPDX-License-Identifier: Apache-2.0
"""Which device is assigned to which request, and on which terms."""

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
    """An `allow:` entry of viommu.yml: a hazard that its user accepts, for one device (the path of
    its host node or of its guest node), and the reason.
    """

    hazard: str
    device: str
    reason: str
    where: Where


class Extra(NamedTuple):
    """A `regions:` entry of viommu.yml: registers that a device's driver needs besides the
    registers of its host node, and the reason. The device is named as in Permission; `region` is at
    a host address.
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
    """The terms of a plan: the profile, the features of the `domain` (names.DOMAIN), the entries of
    viommu.yml for single devices, and whether there is a dom0 that gets all devices that no guest
    requests. `xen_version`: the version of the hypervisor, None if it may be any of the profile's.
    `cpus`: the virtual CPUs of the domain. `has_hardware_domain`: whether, without dom0, a domain
    that Xen creates gets the rest of the host.
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
        """The possible versions of the hypervisor, one at least."""
        return (self.xen_version,) if self.xen_version else self.profile.versions or ("",)

    @property
    def gives_rest(self) -> bool:
        """True if a domain gets all devices that no guest requests."""
        return self.has_dom0 or self.has_hardware_domain

    def extra_of(self, assignment: Assignment | Assigned) -> dict[Region, Extra]:
        """Return the regions that viommu.yml adds to this device."""
        return {entry.region: entry for entry in self.extra if entry.device in assignment.names}

    def permission(self, hazard: str, assignment: Assignment | Assigned) -> Permission | None:
        """Return the entry of viommu.yml that allows the hazard for this device."""
        for entry in self.permissions:
            if entry.hazard == hazard and entry.device in assignment.names:
                return entry
        return None


class AssignedStream(NamedTuple):
    """One stream ID of an assigned device. `iommu` is the path of the physical SMMU and
    `iommu_base` its address; `pmaster` is the physical ID, `vmaster` the guest's.
    """

    iommu: str
    iommu_base: int
    pmaster: StreamId
    vmaster: StreamId


class Assignment(NamedTuple):
    """A request and the host device that it means, with the requested physical IDs, in order.

    `streams`: the IDs that a hypervisor programs, each with the path of its SMMU.
    """

    request: Request
    device: Device
    ids: tuple[StreamId, ...]
    streams: tuple[tuple[StreamId, str], ...]

    @property
    def names(self) -> tuple[str, str]:
        """The names that viommu.yml may use: the path of either node."""
        return self.device.path, self.request.path


class Assigned(NamedTuple):
    """A device that the guest called `guest` gets by its node at `node`, as the sweep and the
    hazards see it: from a request, from a plan, or a host device by itself.

    `pages`: the pages mapped; `intids`: the INTIDs that the node lists; `ids`: the stream IDs of
    the host that it names; `streams`: these with the guest's IDs, or None if the policy gives none.
    `fixed_ids`: the guest's IDs that the hypervisor gives under any policy; None if it can give
    others. `request`: the request in the guest's tree; None if it is not known.
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
        """The empty path: there is no host node."""
        return ""
