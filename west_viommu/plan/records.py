# SPDX-License-Identifier: Apache-2.0
"""A plan: who gets what of the host, and how the guest sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from west_viommu.guest.gic import Gic
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Raw
from west_viommu.hypervisor.assignment import Extra, Permission, PlannedDevice
from west_viommu.hypervisor.marks import Mark
from west_viommu.hypervisor.pages import whole_pages
from west_viommu.hypervisor.profile import Profile


class Plan(NamedTuple):
    """Who gets what, and which hazards were allowed. `marks`: the host nodes that dom0 must not
    get. `memory_limit`: how much memory the domain may have at most, in bytes, so that none of it
    lies where a device is; None where no device is in the way. `hindered`: toolstack -> why it
    cannot make the domain. `raw`: what is mapped without a device. `extra`: what viommu.yml adds to
    single devices. `unasked`, `unrouted`: nodes below /passthrough with registers, or interrupts,
    that nobody asks for. `refused`: the nodes that an error is about. The rest is the guest's: its
    interrupt controller, #address-cells and #size-cells of its root, and what its /passthrough node
    is compatible with.
    """

    profile: Profile
    gic: Gic
    root_cells: tuple[int, int]
    bus_compatible: tuple[str, ...]
    devices: tuple[PlannedDevice, ...]
    allowed: tuple[Permission, ...]
    marks: tuple[Mark, ...]
    memory_limit: int | None
    hindered: Mapping[str, str]
    raw: tuple[Raw, ...]
    extra: tuple[Extra, ...]
    unasked: tuple[str, ...]
    unrouted: tuple[str, ...]
    refused: frozenset[str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know of the plan as a whole."""
        profile = self.profile
        notes = [
            f"{path} asks for no host device (no iommus, no xen,path): nothing is mapped for it"
            for path in self.unasked
        ]
        notes += [
            f"{path} has interrupts that its device node does not have: Xen routes none of them"
            for path in self.unrouted
            if path not in self.unasked
        ]
        streams = [stream for device in self.devices for stream in device.streams]
        if (
            profile.viommu
            and not profile.renumbers
            and any(s.pmaster != s.vmaster for s in streams)
        ):
            notes.append(
                f"{profile.name} keeps stream IDs, and the policy {profile.policy} does not: the "
                "hypervisor must be given the map (iommu_devid_map in xl.cfg)"
            )
        return tuple(notes)

    @property
    def added(self) -> tuple[str, ...]:
        """What viommu.yml adds to single devices, for people."""
        return tuple(
            f"{entry.region} for {entry.device}, because: {entry.reason}" for entry in self.extra
        )

    @property
    def pages(self) -> tuple[Mapped, ...]:
        """What the hypervisor maps, in whole pages: once each, in the guest's order."""
        pages = [mapped for device in self.devices for mapped in device.mapped]
        pages += [whole_pages(mapped) for raw in self.raw for mapped in raw.mapped]
        return tuple(dict.fromkeys(pages))

    @property
    def has_viommu(self) -> bool:
        """Whether the guest gets a vSMMU: Xen panics over one that no device uses."""
        has_streams = any(device.streams or device.maps for device in self.devices)
        return self.profile.viommu is not None and has_streams
