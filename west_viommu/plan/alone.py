# SPDX-License-Identifier: Apache-2.0
"""What the hazards say of a host device by itself: could some guest of Xen have it?"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from west_viommu.guest.gic import LINUX_EDGE, GuestInterrupt
from west_viommu.guest.regions import RegionPair
from west_viommu.guest.requests import Request
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.findings import Finding
from west_viommu.hazards.situation import Situation
from west_viommu.hazards.table import HAZARDS, Hazard
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Master
from west_viommu.hypervisor.assignment import AssignedStream, Terms
from west_viommu.hypervisor.profile import Profile, ViommuInterrupt
from west_viommu.plan.match import whole
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, Intid

# What the profiles of Xen have in common, as `list` must not pay for YAML; a test holds it to them.
# Not where the vSMMU is: a device can be mapped elsewhere.
ANY_XEN = Profile(
    name="xen",
    about="any Xen",
    source="",
    compatible="arm,smmu-v3",
    base=0,
    size=0,
    phandle=None,
    interrupts=(ViommuInterrupt("combined", Intid(33), is_edge=False),),
    policy="identity",
    renumbers=None,
    id_bits=16,
    programs_maps=False,
    toolstacks=("dom0less", "libxl"),
    reserved=(),
    reserved_interrupts=(),
)


class Concern(NamedTuple):
    """What is to be said of a device: the hazard, whether it only warns, and why."""

    hazard: str
    is_warning: bool
    finding: Finding


class Known(NamedTuple):
    """What there is to tell of a master: its interrupts and regions, and the hazards that refuse
    it, each once.
    """

    intids: tuple[Intid, ...]
    regions: tuple[Region | None, ...]
    refused: tuple[str, ...]


def known(master: Master, devices: Devices) -> Known:
    """What there is to tell of `master`. A node with a malformed interrupt is refused as that."""
    try:
        device = devices.device(master.path)
        if device is None:
            return Known((), (), ())
        return Known(device.intids, device.regions, tuple(_refused(device, devices)))
    except TreeError:
        return Known((), master.regions, ("malformed",))


def concerns(device: Device, devices: Devices, beside: Iterable[Device] = ()) -> Iterator[Concern]:
    """What speaks against giving the whole of `device`, and of those `beside` it, to a guest."""
    for hazard, findings in _findings(device, devices, beside):
        for finding in findings:
            yield Concern(hazard.id, hazard.is_warning or finding.is_warning, finding)


def _refused(device: Device, devices: Devices) -> Iterator[str]:
    """The hazards that refuse `device`. One finding of each is enough."""
    for hazard, findings in _findings(device, devices):
        if not hazard.is_warning and any(not finding.is_warning for finding in findings):
            yield hazard.id


def _findings(
    device: Device, devices: Devices, beside: Iterable[Device] = ()
) -> Iterator[tuple[Hazard, Iterator[Finding]]]:
    this = whole(_request(device), device)
    others = [whole(_request(each), each) for each in beside if each.path != device.path]
    streams = {
        each.request.path: tuple(
            AssignedStream(iommu, devices.iommus[iommu].base or 0, stream_id, stream_id)
            for stream_id, iommu in each.streams
        )
        for each in (this, *others)
    }
    situation = Situation(devices, Terms(ANY_XEN), [this, *others], (), streams, {})
    for hazard in HAZARDS:
        if hazard.check:
            yield hazard, hazard.check(this, situation)


def _request(device: Device) -> Request:
    """The request for all that the host node has."""
    return Request(
        path=f"{PASSTHROUGH}{device.path}",
        name=device.name,
        xen_path=device.path,
        entries=(),
        regions=tuple(RegionPair(region, region) for region in device.regions if region),
        mapped=(),
        interrupts=tuple(
            GuestInterrupt(intid, flags == LINUX_EDGE)
            for intid, flags in dict.fromkeys(device.interrupts)
            # A private one is the hypervisor's concern, not something that a guest asks for.
            if intid >= FIRST_SPI
        ),
        has_map=bool(device.master and device.master.maps),
        malformed_ids=None,
    )
