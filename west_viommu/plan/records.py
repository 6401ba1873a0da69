# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: the profile of a hypervisor, and who is assigned what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.guest.gic import Gic
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Device, Devices
from west_viommu.host.streams import IdMap, StreamId
from west_viommu.tree.interrupts import Intid

# The label of the vSMMU node in the generated overlay.
VSMMU_LABEL = "vsmmu"


class ViommuInterrupt(NamedTuple):
    """An interrupt of the vSMMU: its name in interrupt-names, its INTID, and its trigger."""

    name: str
    intid: Intid
    is_edge: bool


class Profile(NamedTuple):
    """What one hypervisor gives a guest: the vSMMU node, and how it numbers stream IDs.

    `base` and `size` in bytes; `phandle` is what the hypervisor gives its vSMMU node, None if
    that is not fixed. `programs_maps`: whether it programs the IDs of iommu-map.
    """

    name: str
    about: str
    compatible: str
    base: int
    size: int
    phandle: int | None
    interrupts: tuple[ViommuInterrupt, ...]
    policy: str
    programs_maps: bool

    @property
    def node_name(self) -> str:
        """The name of the vSMMU node, a child of the root, as Xen writes it."""
        return f"iommu@{self.base:x}"


class AssignedStream(NamedTuple):
    """One stream ID of an assigned device. `iommu` is the path of the physical SMMU and
    `iommu_base` its address; `pmaster` is the physical ID, `vmaster` the one the guest uses.
    """

    iommu: str
    iommu_base: int
    pmaster: StreamId
    vmaster: StreamId


class Assignment(NamedTuple):
    """A request and the host device that it means, with the physical IDs asked for, in order."""

    request: Request
    device: Device
    ids: tuple[StreamId, ...]


class Situation(NamedTuple):
    """What a check of an assignment looks at besides: the host, and who else is assigned."""

    devices: Devices
    profile: Profile
    assignments: Sequence[Assignment]


class PlannedDevice(NamedTuple):
    """An assignment with its IDs on both sides."""

    assignment: Assignment
    streams: tuple[AssignedStream, ...]
    maps: tuple[IdMap, ...]


class Plan(NamedTuple):
    """Who gets what. The rest is the guest's: its interrupt controller, #address-cells and
    #size-cells of its root, and what its /passthrough node is compatible with.
    """

    profile: Profile
    gic: Gic
    root_cells: tuple[int, int]
    bus_compatible: tuple[str, ...]
    devices: tuple[PlannedDevice, ...]
