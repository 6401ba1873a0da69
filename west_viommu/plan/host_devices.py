# SPDX-License-Identifier: Apache-2.0
"""What the hazards say of each host device by itself: could some guest have it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.gic import LINUX_EDGE, GuestInterrupt
from west_viommu.guest.regions import RegionPair
from west_viommu.guest.requests import Request
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.ownership import Ownership
from west_viommu.hazards.table import Hazard, findings
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Inventory, Iommu
from west_viommu.hypervisor.assignment import AssignedStream, Assignment, Terms
from west_viommu.hypervisor.contests import contests, contests_alone
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.profile import SMMUV3, Profile, Viommu, ViommuInterrupt
from west_viommu.plan.match import whole
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, Intid

# What the default profile says of devices, as `list` must not pay for JSON and six profiles; a test
# holds it to that. Not where the vSMMU is: a device can be mapped elsewhere.
DEFAULT = Profile(
    name="xen-rfc",
    about="",
    source="",
    viommu=Viommu(
        compatible="arm,smmu-v3",
        base=0,
        size=0,
        phandle=None,
        interrupts=(ViommuInterrupt("combined", Intid(33), is_edge=False),),
        flags=(),
        id_bits=16,
    ),
    policy="identity",
    renumbers=None,
    programs_maps=False,
    drivers=(SMMUV3,),
    repeats_ids=False,
    toolstacks=("dom0less", "libxl"),
    ram=(),
    switches=(),
    reserved=(),
    reserved_interrupts=(),
)


class Concern(NamedTuple):
    """What is to be said of the device at the host path `device`: the hazard, and why."""

    device: str
    hazard: str
    finding: Diagnostic


class DeviceReport(NamedTuple):
    """What there is to tell of a master: its interrupts and regions, the interrupts that no guest
    can have, and the hazards that refuse it, each once.
    """

    intids: tuple[Intid, ...]
    regions: tuple[Region | None, ...]
    unroutable: tuple[str, ...]
    refused: tuple[str, ...]


def as_driven(inventory: Inventory, profile: Profile) -> Inventory:
    """`inventory`, in which those IOMMUs are supported that the hypervisor of `profile` drives."""
    iommus = tuple(
        iommu._replace(supported=_is_driven(iommu, profile)) for iommu in inventory.iommus
    )
    return inventory._replace(iommus=iommus)


def _is_driven(iommu: Iommu, profile: Profile) -> bool:
    driver = profile.driver(iommu.compatible)
    return driver is not None and iommu.cells in driver.cells


def device_reports(devices: Devices, terms: Terms | None = None) -> dict[str, DeviceReport]:
    """What there is to tell of each master of the host, by its path. A node with a malformed
    interrupt is refused as that.
    """
    agreed = terms or Terms(DEFAULT)
    reports: dict[str, DeviceReport] = {}
    fit: list[Device] = []
    for master in devices.masters:
        try:
            device = devices.device(master.path)
        except TreeError:
            reports[master.path] = DeviceReport((), master.regions, (), ("malformed",))
            continue
        if device:
            fit.append(device)
    refused: dict[str, dict[str, None]] = {}
    for hazard, assignment, _ in _refusing(fit, devices, agreed):
        refused.setdefault(assignment.device.path, {})[hazard.id] = None
    for device in fit:
        unroutable = (*device.unroutable, *(f"to {path}" for path in device.other_controllers))
        ids = tuple(refused.get(device.path, ()))
        reports[device.path] = DeviceReport(device.intids, device.regions, unroutable, ids)
    return reports


def concerns(together: Sequence[Device], devices: Devices, terms: Terms) -> Iterator[Concern]:
    """What speaks against giving the whole of these devices to one guest."""
    assignments = [whole(_whole_request(device, devices), device) for device in together]
    holdings = Holdings(devices, terms.profile, has_dom0=terms.has_dom0)
    ownership = _ownership(assignments, holdings, terms, alone=False)
    refused: set[tuple[str, str]] = set()
    for hazard, assignment, finding in findings(ownership):
        path = assignment.device.path
        if hazard.is_moot(path, refused):
            continue
        if not finding.warning:
            refused.add((hazard.id, path))
        yield Concern(path, hazard.id, finding)


def _refusing(
    fit: Sequence[Device], devices: Devices, terms: Terms
) -> Iterator[tuple[Hazard, Assignment, Diagnostic]]:
    """What refuses each of `fit`, as if it were assigned alone."""
    assignments = [whole(_request(device), device) for device in fit]
    holdings = Holdings(devices, terms.profile, has_dom0=terms.has_dom0)
    ownership = _ownership(assignments, holdings, terms, alone=True)
    for hazard, assignment, finding in findings(ownership):
        if finding.severity is not Severity.WARNING:
            yield hazard, assignment, finding


def _ownership(
    assignments: Sequence[Assignment], holdings: Holdings, terms: Terms, *, alone: bool
) -> Ownership:
    streams = {
        assignment.request.path: tuple(
            AssignedStream(iommu, 0, stream_id, stream_id)
            for stream_id, iommu in assignment.streams
        )
        for assignment in (() if alone else assignments)
    }
    judge = contests_alone if alone else contests
    # Of several devices, by the policy identity: which numbers the guest uses is not their affair.
    policy = terms.profile.policy if alone else "identity"
    profile = terms.profile._replace(policy=policy, renumbers=None, reserved=())
    return Ownership(
        terms._replace(profile=profile),
        assignments,
        holdings,
        judge(assignments, holdings),
        (),
        (),
        streams,
        {},
        is_alone=alone,
    )


def _request(device: Device) -> Request:
    """The request for a host node of which it does not matter where the guest has it."""
    return Request(
        path=device.path,
        name=device.name,
        xen_path=device.path,
        entries=(),
        regions=(),
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


def _whole_request(device: Device, devices: Devices) -> Request:
    """The request for all that the host node has, at its own addresses."""
    tree = devices.tree
    node = tree.node(device.path)
    lineage = tree.lineage(node) if node else ()
    return _request(device)._replace(
        path=f"{PASSTHROUGH}{device.path}",
        regions=tuple(RegionPair(region, region) for region in device.regions if region),
        is_coherent=any("dma-coherent" in above.properties for above in lineage),
    )
