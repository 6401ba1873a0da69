# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: the profile of a hypervisor, and who is assigned what."""

from typing import NamedTuple

from west_viommu.guest.gic import Gic
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Device
from west_viommu.host.streams import IdMap, StreamId
from west_viommu.problems import Where
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

# The label of the vSMMU node in the generated overlay.
VSMMU_LABEL = "vsmmu"


class ViommuInterrupt(NamedTuple):
    """An interrupt of the vSMMU: its name in interrupt-names, its INTID, and its trigger."""

    name: str
    intid: Intid
    is_edge: bool


class Reserved(NamedTuple):
    """A part of a guest's address space that the hypervisor uses `when` the domain has that thing
    ("always", or a word of names.DOMAIN).
    """

    name: str
    region: Region
    when: str


class ReservedInterrupts(NamedTuple):
    """The INTIDs from `first` to `last` that the hypervisor uses, `when` as with Reserved."""

    name: str
    first: Intid
    last: Intid
    when: str


class Profile(NamedTuple):
    """What one hypervisor gives a guest: the vSMMU node, and how it numbers stream IDs.

    `base` and `size` in bytes; `phandle` is what the hypervisor gives its vSMMU node, None if
    that is not fixed. `policy` is the one of this run. `renumbers`: the toolstack in whose order
    the hypervisor numbers stream IDs anew at domain creation, None where it keeps them.
    `id_bits`: how many bits of stream ID the vSMMU has. `programs_maps`: whether it programs the
    IDs of iommu-map. `toolstacks`: who builds domains out of a partial tree.
    """

    name: str
    about: str
    source: str
    compatible: str
    base: int
    size: int
    phandle: int | None
    interrupts: tuple[ViommuInterrupt, ...]
    policy: str
    renumbers: str | None
    id_bits: int
    programs_maps: bool
    toolstacks: tuple[str, ...]
    reserved: tuple[Reserved, ...]
    reserved_interrupts: tuple[ReservedInterrupts, ...]

    @property
    def node_name(self) -> str:
        """The name of the vSMMU node, a child of the root, as Xen writes it."""
        return f"iommu@{self.base:x}"

    @property
    def routes_all(self) -> bool:
        """Whether every interrupt of a host node may be routed, whatever the guest asks for: Xen
        does so when it creates the guest itself.
        """
        return "dom0less" in self.toolstacks and self.renumbers != "libxl"


class Permission(NamedTuple):
    """An `allow:` entry of viommu.yml: a hazard that its user takes, for one device (the path of
    its host node or of its guest node), and why.
    """

    hazard: str
    device: str
    reason: str
    where: Where


class Explicit(NamedTuple):
    """A `vsids:` entry of viommu.yml: the vMasterIDs of one device, named as in Permission."""

    device: str
    ids: tuple[StreamId, ...]
    where: Where


class Terms(NamedTuple):
    """On what a plan is made: the profile, what else the `domain` has (names.DOMAIN), and what
    viommu.yml says of single devices.
    """

    profile: Profile
    domain: frozenset[str] = frozenset()
    permissions: tuple[Permission, ...] = ()
    explicit: tuple[Explicit, ...] = ()

    def permission(self, hazard: str, this: "Assignment") -> Permission | None:
        """The entry of viommu.yml that allows the hazard for this device."""
        for each in self.permissions:
            if each.hazard == hazard and this.means(each.device):
                return each
        return None

    def applies(self, when: str) -> bool:
        """Whether what a profile says of `when` is in force."""
        return when == "always" or when in self.domain


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

    def means(self, device: str) -> bool:
        """Whether viommu.yml means this one by `device`: the path of either node."""
        return device in (self.device.path, self.request.path)


class PlannedDevice(NamedTuple):
    """An assignment with its IDs on both sides.

    `maps` are the host's iommu-map entries, for a hypervisor that programs them; `is_protected`
    whether the hypervisor confines its DMA; `mapped` what xen,reg is to say: whole pages, host
    and guest; `twins` the host nodes on the same pages that dom0 must not have either: disabled
    ones, and parts of the device.
    """

    assignment: Assignment
    streams: tuple[AssignedStream, ...]
    maps: tuple[IdMap, ...]
    is_protected: bool
    mapped: tuple[Mapped, ...]
    twins: tuple[str, ...]


class Plan(NamedTuple):
    """Who gets what, and which hazards were allowed. `unasked`, `unrouted`: nodes below
    /passthrough with registers, or interrupts, that nobody asks for. The rest is the guest's: its
    interrupt controller, #address-cells and #size-cells of its root, and what its /passthrough
    node is compatible with.
    """

    profile: Profile
    gic: Gic
    root_cells: tuple[int, int]
    bus_compatible: tuple[str, ...]
    devices: tuple[PlannedDevice, ...]
    allowed: tuple[Permission, ...]
    unasked: tuple[str, ...]
    unrouted: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know of the plan as a whole."""
        profile = self.profile
        found = [
            f"{path} asks for no host device (no iommus, no xen,path): nothing is mapped for it"
            for path in self.unasked
        ]
        found += [
            f"{path} has interrupts that its device node does not have: Xen routes none of them"
            for path in self.unrouted
            if path not in self.unasked
        ]
        streams = [stream for device in self.devices for stream in device.streams]
        if not profile.renumbers and any(s.pmaster != s.vmaster for s in streams):
            found.append(
                f"{profile.name} keeps stream IDs, and the policy {profile.policy} does not: the "
                "hypervisor must be given the map (iommu_devid_map in xl.cfg)"
            )
        return tuple(found)

    @property
    def has_viommu(self) -> bool:
        """Whether the guest gets a vSMMU: Xen panics over one that no device uses."""
        return any(device.streams or device.maps for device in self.devices)
