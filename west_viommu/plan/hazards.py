# SPDX-License-Identifier: Apache-2.0
"""The hazards of an assignment: a table of ids and checks. docs/hazards.md has a line for each.

A check sees one assignment, the whole host and the other assignments, and yields what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.host.devices import Devices
from west_viommu.host.inventory import (
    SMMUV3_CELLS,
    SMMUV3_COMPATIBLE,
    Iommu,
    Master,
)
from west_viommu.host.streams import StreamId
from west_viommu.plan.findings import Finding, listed
from west_viommu.plan.match import unprotected
from west_viommu.plan.records import Assignment, Profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import FIRST_SPI


class Situation(NamedTuple):
    """What the checks look at besides the assignment itself."""

    devices: Devices
    profile: Profile
    assignments: Sequence[Assignment]


# What Xen maps at least.
PAGE = 4096

Check = Callable[[Assignment, Situation], Iterator[Finding]]


class Hazard(NamedTuple):
    """`id` as in docs/hazards.md. A warning does not refuse the input."""

    id: str
    check: Check
    is_warning: bool = False


def _duplicate_assignment(this: Assignment, situation: Situation) -> Iterator[Finding]:
    for other in situation.assignments:
        if other is this:
            return
        if other.device.path == this.device.path:
            yield Finding(
                f"{this.device.path} is assigned twice",
                f"remove this node, or {other.request.path}",
                expected="one guest node for a host device",
                found=f"{other.request.path} as well",
            )
            return


def _unprotected(this: Assignment, situation: Situation) -> Iterator[Finding]:
    if not _iommus(this, situation):
        yield unprotected(this.device)


def _unsupported_iommu(this: Assignment, situation: Situation) -> Iterator[Finding]:
    for iommu in _iommus(this, situation):
        if SMMUV3_COMPATIBLE not in iommu.compatible:
            yield Finding(
                f"{this.device.path} is behind {iommu.path}, which is no SMMUv3",
                "Xen gives a guest a vSMMU for devices behind an SMMUv3 only: this one cannot "
                "have one",
                expected=SMMUV3_COMPATIBLE,
                found=" ".join(iommu.compatible) or "no compatible",
            )
        elif not iommu.supported:
            yield Finding(
                f"{iommu.path} has specifiers that Xen's SMMUv3 driver does not take",
                "correct the host tree: one cell, the stream ID",
                expected=f"#iommu-cells = <{SMMUV3_CELLS}>",
                found=f"#iommu-cells = <{iommu.cells}>",
            )


def _iommu_disabled(this: Assignment, situation: Situation) -> Iterator[Finding]:
    for iommu in _iommus(this, situation):
        if iommu.status != "okay":
            yield Finding(
                f"{iommu.path}, the IOMMU of {this.device.path}, is not enabled in this host tree",
                "give the tree that you boot Xen with: the board's overlay that enables the SMMU "
                "applied (fdtoverlay), or the blob that U-Boot passes on",
                expected='status "okay" on it and all its parents',
                found=f'"{iommu.status}"',
            )


def _two_iommus(this: Assignment, situation: Situation) -> Iterator[Finding]:
    paths = [iommu.path for iommu in _iommus(this, situation)]
    if len(paths) > 1:
        yield Finding(
            f"{this.device.path} is behind {len(paths)} IOMMUs",
            "Xen's SMMUv3 driver takes a device behind one IOMMU only: leave this one out",
            expected="one IOMMU",
            found=" and ".join(paths),
        )


def _map_only(this: Assignment, situation: Situation) -> Iterator[Finding]:
    master = this.device.master
    if master and master.maps and not master.streams and not situation.profile.programs_maps:
        yield Finding(
            f"{this.device.path} has its stream IDs from iommu-map alone",
            "Xen programs only the IDs of `iommus`, so the DMA of this device would be blocked or "
            "unprotected: leave it to the host",
            expected="`iommus` on the host node",
            found="iommu-map",
        )


def _colliding_stream_id(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A Xen that knows a stream by its ID alone cannot tell two SMMUs apart. IDs of iommu-map
    count where the hypervisor programs them.
    """
    own = _own_iommus(this)
    assigned = {other.device.path for other in situation.assignments}
    for other, iommu, ids in _others_with_ids(this, situation):
        maps_only = not any(other.has_stream(stream_id, iommu) for stream_id in ids)
        if not own or iommu in own or not situation.devices.iommus[iommu].supported:
            continue
        if not maps_only or situation.profile.programs_maps:
            yield Finding(
                f"{this.device.path} behind {' and '.join(own)} and {other.path} behind {iommu} "
                "have the same stream ID",
                "Xen tells streams apart by ID alone: leave one of the two out"
                if other.path in assigned
                else f"Xen tells streams apart by ID alone: disable {other.path} in the host tree, "
                "or pass through a device whose IDs are unique on the host",
                expected="IDs that no other SMMU of the host uses",
                found=listed(ids),
            )


def _shared_stream_id(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Two devices with one ID on one SMMU are one to it: they share page tables, so the one that
    stays with the host could reach the guest's memory, and the reverse.
    """
    assigned = {other.device.path for other in situation.assignments}
    for other, iommu, ids in _others_with_ids(this, situation):
        if iommu in _own_iommus(this):
            yield Finding(
                f"{this.device.path} and {other.path} share a stream ID on {iommu}",
                "Xen stops with a BUG when both are assigned: leave one of them out"
                if other.path in assigned
                else f"disable {other.path} in the host tree, or leave this device out",
                expected="IDs of this device alone",
                found=listed(ids),
            )


def _region_mismatch(this: Assignment, situation: Situation) -> Iterator[Finding]:
    regions = [region for region in this.device.regions if region]
    expected = " or ".join(f"{base:#x}/{size:#x}" for base, size in regions) or "no region"
    for guest, host in this.request.regions:
        if host is None:
            yield Finding(
                "xen,reg maps nothing to this region, so Xen would not map it",
                "write a <host size guest> triple of xen,reg for it, or leave xen,reg out",
                "reg",
                expected="a region that xen,reg covers",
                found=f"{guest.base:#x}/{guest.size:#x}",
            )
        elif host not in regions:
            others = [p for p in situation.devices.at(host.base) if p != this.device.path]
            of = f", but of {' and '.join(others)}" if others else ""
            yield Finding(
                f"this region is none of {this.device.path}{of}",
                "copy the host's absolute address and size, or pair host and guest addresses: "
                "xen,reg = <host size guest>",
                "reg",
                expected=expected,
                found=f"{host.base:#x}/{host.size:#x}",
            )
    for host, _ in this.request.mapped:
        if not any(_within_pages(host, region) for region in regions):
            yield Finding(
                f"xen,reg maps memory that is none of {this.device.path}",
                "write the host's regions, rounded to 4 KiB pages",
                "xen,reg",
                expected=expected,
                found=f"{host.base:#x}/{host.size:#x}",
            )


def _untranslatable_region(this: Assignment, situation: Situation) -> Iterator[Finding]:
    if None in this.device.regions:
        yield Finding(
            f"a region of {this.device.path} has no absolute address",
            "a bus above it has no `ranges`, or none that covers the region: Xen cannot map it",
            "reg",
            expected="`ranges` from each bus to the root",
            found=f"region {this.device.regions.index(None)}",
        )
    for iommu in _iommus(this, situation):
        if iommu.base is None:
            yield Finding(
                f"{iommu.path}, the SMMU of {this.device.path}, has no absolute address",
                "correct the host tree: Xen finds its SMMU by address",
                expected="a reg that translates to the root",
                found="none",
            )


def _interrupt_mismatch(this: Assignment, situation: Situation) -> Iterator[Finding]:
    for intid in this.request.intids:
        if intid not in this.device.intids:
            yield Finding(
                f"this interrupt is none of {this.device.path}",
                "write the host's number: Xen gives a guest an interrupt only under its own one",
                "interrupts",
                expected="INTID " + " or ".join(map(str, this.device.intids))
                if this.device.intids
                else "no GIC interrupt",
                found=f"INTID {intid}",
            )


def _interrupt_private(this: Assignment, situation: Situation) -> Iterator[Finding]:
    for intid in this.request.intids:
        if intid < FIRST_SPI:
            yield Finding(
                "a private interrupt (PPI) cannot be passed through",
                "leave it out: Xen routes only shared interrupts (SPIs) to a guest",
                "interrupts",
                expected="INTIDs from 32 on",
                found=f"INTID {intid}",
            )


def _device_disabled(this: Assignment, situation: Situation) -> Iterator[Finding]:
    if this.device.status != "okay":
        yield Finding(
            f"{this.device.path} is not enabled in the host tree",
            "its clocks or pins may not be set up; check what the firmware leaves it in",
            expected='status "okay"',
            found=f'"{this.device.status}"',
        )


def _streams_omitted(this: Assignment, situation: Situation) -> Iterator[Finding]:
    master = this.device.master
    omitted = [i for i in master.stream_ids if i not in this.ids] if master else []
    if omitted:
        yield Finding(
            f"the host lists more stream IDs for {this.device.path}",
            "DMA under an omitted ID will fault; add it unless the driver never uses it",
            expected=listed(master.stream_ids) if master else "",
            found=listed(this.ids),
        )


def _maps_not_programmed(this: Assignment, situation: Situation) -> Iterator[Finding]:
    master = this.device.master
    if master and master.streams and master.maps and not situation.profile.programs_maps:
        yield Finding(
            f"{this.device.path} has an iommu-map beside its `iommus`",
            "Xen programs only the IDs of `iommus`: DMA under an ID of the map will fault",
            expected="`iommus` alone",
            found=f"{len(master.maps)} map entries",
        )


def _device_without_region(this: Assignment, situation: Situation) -> Iterator[Finding]:
    if not this.device.regions:
        yield Finding(
            f"{this.device.path} has no region of its own",
            "the guest can reach it only through another device",
            "",
            expected="reg on the host node",
            found="none",
        )


# In the order in which they are reported for each request.
HAZARDS = (
    Hazard("duplicate-assignment", _duplicate_assignment),
    Hazard("unprotected", _unprotected),
    Hazard("unsupported-iommu", _unsupported_iommu),
    Hazard("iommu-disabled", _iommu_disabled),
    Hazard("two-iommus", _two_iommus),
    Hazard("map-only", _map_only),
    Hazard("colliding-stream-id", _colliding_stream_id),
    Hazard("shared-stream-id", _shared_stream_id),
    Hazard("region-mismatch", _region_mismatch),
    Hazard("untranslatable-region", _untranslatable_region),
    Hazard("interrupt-mismatch", _interrupt_mismatch),
    Hazard("interrupt-private", _interrupt_private),
    Hazard("device-disabled", _device_disabled, is_warning=True),
    Hazard("streams-omitted", _streams_omitted, is_warning=True),
    Hazard("maps-not-programmed", _maps_not_programmed, is_warning=True),
    Hazard("device-without-region", _device_without_region, is_warning=True),
)


def _iommus(this: Assignment, situation: Situation) -> list[Iommu]:
    master = this.device.master
    return [situation.devices.iommus[path] for path in master.iommus] if master else []


def _within_pages(part: Region, region: Region) -> bool:
    """Whether `part` lies in the pages that `region` touches: Xen maps whole pages."""
    first = region.base // PAGE * PAGE
    last = -(-(region.base + region.size) // PAGE) * PAGE
    return first <= part.base and part.base + part.size <= last


def _own_iommus(this: Assignment) -> list[str]:
    """The paths of the IOMMUs on which the device has the IDs that were asked for."""
    master = this.device.master
    streams = master.streams if master else ()
    return list(dict.fromkeys(stream.iommu for stream in streams if stream.id in this.ids))


def _others_with_ids(
    this: Assignment, situation: Situation
) -> Iterator[tuple[Master, str, list[StreamId]]]:
    """Each other device that is in use, by the host or by this guest, and has some of the IDs of
    `this` on an IOMMU: the device, that IOMMU, and those IDs.
    """
    assigned = {other.device.path for other in situation.assignments}
    found: dict[tuple[str, str], list[StreamId]] = {}
    masters: dict[str, Master] = {}
    for stream_id in dict.fromkeys(this.ids):
        for master, iommu in situation.devices.owners(stream_id):
            in_use = master.enabled or master.path in assigned
            if in_use and master.path != this.device.path:
                masters[master.path] = master
                found.setdefault((master.path, iommu), []).append(stream_id)
    for (path, iommu), ids in found.items():
        yield masters[path], iommu, ids
