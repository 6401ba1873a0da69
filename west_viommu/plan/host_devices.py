# SPDX-License-Identifier: Apache-2.0
"""The hazards of each host device alone: could some guest have it?"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.regions import Mapped
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.ownership import Ownership
from west_viommu.hazards.table import HAZARDS, findings
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Inventory, Iommu, Master, StreamId
from west_viommu.hypervisor.assignment import Assigned, AssignedStream, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.profile import Profile
from west_viommu.hypervisor.sweep import conflicts, conflicts_of_each
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, Intid

# The hazards that refuse a device alone, regardless of the guest's node.
_OF_A_DEVICE = tuple(hazard for hazard in HAZARDS if hazard.of_device and not hazard.is_warning)


class Concern(NamedTuple):
    """A hazard of the device at the host path `device`, and its reason."""

    device: str
    hazard: str
    finding: Diagnostic


class DeviceReport(NamedTuple):
    """The interrupts and regions of a device, the interrupts that no guest can have, and the
    hazards that refuse the device, each once. `findings`: their reasons, if requested.
    """

    intids: tuple[Intid, ...]
    regions: tuple[Region | None, ...]
    unroutable: tuple[str, ...]
    refused: tuple[str, ...]
    findings: tuple[Diagnostic, ...] = ()


def as_driven(inventory: Inventory, profile: Profile) -> Inventory:
    """Return `inventory` with exactly the IOMMUs supported that the hypervisor of
    `profile` drives.
    """
    iommus = tuple(
        iommu._replace(supported=_is_driven(iommu, profile)) for iommu in inventory.iommus
    )
    return inventory._replace(iommus=iommus)


def _is_driven(iommu: Iommu, profile: Profile) -> bool:
    driver = profile.driver(iommu.compatible)
    return driver is not None and iommu.cells in driver.cells


def device_reports(
    devices: Devices,
    terms: Terms,
    masters: Iterable[Master] | None = None,
    *,
    with_findings: bool = False,
) -> dict[str, DeviceReport]:
    """Return the report of each of `masters`, by default of all of the host, by its path. A node
    with a malformed interrupt is refused for that alone.
    """
    reports: dict[str, DeviceReport] = {}
    fit: list[Device] = []
    for master in devices.masters if masters is None else masters:
        try:
            device = devices.device(master.path)
        except TreeError as error:
            why = (error.diagnostic,) if with_findings else ()
            reports[master.path] = DeviceReport((), master.regions, (), ("malformed",), why)
            continue
        if device:
            fit.append(device)
    refused: dict[str, dict[str, Diagnostic | None]] = {}
    for hazard, path, finding in findings(_alone(fit, devices, terms), _OF_A_DEVICE):
        if not finding.warning:
            found = finding._replace(id=hazard.id) if with_findings else None
            refused.setdefault(path, {}).setdefault(hazard.id, found)
    for device in fit:
        unroutable = (*device.unroutable, *(f"to {path}" for path in device.other_controllers))
        found_of = refused.get(device.path, {})
        reports[device.path] = DeviceReport(
            device.intids,
            device.regions,
            unroutable,
            tuple(found_of),
            tuple(filter(None, found_of.values())),
        )
    return reports


def unlisted(devices: Devices, terms: Terms) -> Iterator[Master]:
    """Yield the devices that are not masters, as masters without streams: nodes with a compatible
    and registers that do not belong to Xen.
    """
    holdings = Holdings(devices, terms.profile, has_dom0=terms.has_dom0)
    for node in devices.tree.nodes():
        is_device = "compatible" in node.properties and "reg" in node.properties
        if not is_device or devices.master(node.path) or node.path in devices.iommus:
            continue
        try:
            device = devices.device(node.path)
        except TreeError:
            continue
        regions = tuple(region for region in device.regions if region) if device else ()
        if device and any(region.size for region in regions) and not holdings.role(node.path):
            yield Master(node.path, node.known_compatible, device.status, regions, (), (), None)


def concerns(together: Sequence[Device], devices: Devices, terms: Terms) -> Iterator[Concern]:
    """Yield the hazards of giving the whole of these devices to one guest."""
    holdings = Holdings(devices, terms.profile, has_dom0=terms.gives_rest)
    assigned = [_assigned(each, f"{PASSTHROUGH}{each.path}", holdings) for each in together]
    # The policy identity: the guest's IDs and addresses are not known.
    profile = terms.profile._replace(policy="identity", renumbers=None, reserved=(), ram=())
    ownership = Ownership(
        terms._replace(profile=profile), assigned, holdings, conflicts(assigned, holdings)
    )
    hosts = {each.node: each.host for each in assigned}
    refused: set[tuple[str, str]] = set()
    for hazard, node, finding in findings(ownership):
        if hazard.is_moot(node, refused):
            continue
        if not finding.warning:
            refused.add((hazard.id, node))
        yield Concern(hosts[node], hazard.id, finding)


def _alone(fit: Sequence[Device], devices: Devices, terms: Terms) -> Ownership:
    """Return the ownership of each of `fit` as if its guest got nothing else."""
    is_kept = terms.profile.policy == "identity"
    holdings = Holdings(devices, terms.profile, has_dom0=terms.gives_rest)
    assigned = [_assigned(device, device.path, holdings, is_kept=is_kept) for device in fit]
    profile = terms.profile._replace(renumbers=None, reserved=())
    return Ownership(
        terms._replace(profile=profile), assigned, holdings, conflicts_of_each(assigned, holdings)
    )


def _assigned(device: Device, node: str, holdings: Holdings, *, is_kept: bool = True) -> Assigned:
    """Return the whole of `device`, at its own addresses, assigned to a guest's `node`: with its
    own stream IDs if `is_kept`, else with the lowest.
    """
    windows = holdings.windows(device.path) if holdings.profile.toolstacks else []
    regions = (*(region for region in device.regions if region and region.size), *windows)
    pages = tuple(map(in_pages, regions))
    listed = device.master.streams if device.master else ()
    streams = [(stream.id, stream.iommu) for stream in listed if stream.id is not None]
    return Assigned(
        guest="",
        node=node,
        device=device,
        pages=tuple(Mapped(page, page) for page in pages),
        # A private interrupt belongs to the hypervisor; a guest does not request it.
        intids=tuple(intid for intid in device.intids if intid >= FIRST_SPI),
        ids=device.master.stream_ids if device.master else (),
        streams=tuple(
            AssignedStream(iommu, 0, stream_id, stream_id if is_kept else StreamId(number))
            for number, (stream_id, iommu) in enumerate(streams)
        ),
    )
