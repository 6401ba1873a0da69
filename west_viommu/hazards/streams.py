# SPDX-License-Identifier: Apache-2.0
"""Checks of an assignment: whether its SMMU protects it, and whether its IDs are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from west_viommu.hazards.findings import Finding, listed
from west_viommu.hazards.matching import not_protected
from west_viommu.hazards.situation import Situation
from west_viommu.host.intervals import holding
from west_viommu.host.inventory import (
    SMMUV3_CELLS,
    SMMUV3_COMPATIBLE,
    Iommu,
    Master,
    all_intervals,
)
from west_viommu.host.streams import StreamId
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.tree.cells import counted


def unprotected(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Behind no IOMMU, nothing confines the DMA of a device."""
    if not _iommus(this, situation):
        yield not_protected(this.device)


def unsupported_iommu(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Xen's vSMMU series and its SMMUv3 driver (arm_smmu_dt_xlate): arm,smmu-v3, one cell."""
    for iommu in _iommus(this, situation):
        if SMMUV3_COMPATIBLE not in iommu.compatible:
            yield Finding(
                f"{this.device.path} is behind {iommu.path}, which is no SMMUv3",
                "Xen gives a guest a vSMMU for devices behind an SMMUv3 only: leave this one to "
                "the host",
                expected=SMMUV3_COMPATIBLE,
                found=" ".join(iommu.compatible) or "no compatible",
            )
        elif not iommu.supported:
            yield Finding(
                f"{iommu.path} has specifiers that Xen's SMMUv3 driver does not take",
                "correct the host tree: #iommu-cells = <1>, and one cell, the stream ID, after "
                "the phandle in each `iommus`",
                expected=f"#iommu-cells = <{SMMUV3_CELLS}>",
                found=f"#iommu-cells = <{iommu.cells}>",
            )


def iommu_disabled(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Xen does not drive an IOMMU whose own status, or that of a node above, is not okay."""
    for iommu in _iommus(this, situation):
        if iommu.status != "okay":
            yield Finding(
                f"{iommu.path}, the IOMMU of {this.device.path}, is not enabled in this host tree",
                "give the tree that you boot Xen with: fdtoverlay -i HOST.dtb -o XEN.dtb SMMU.dtbo "
                "applies the board's overlay that enables the SMMU; where the boot loader enables "
                "it, boot Linux in place of Xen, and copy its /sys/firmware/fdt",
                expected='status "okay" on it and all its parents',
                found=f'"{iommu.status}"',
            )


def two_iommus(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Xen's driver attaches a device to one IOMMU (arm_smmu_dt_xlate)."""
    paths = [iommu.path for iommu in _iommus(this, situation)]
    if len(paths) > 1:
        yield Finding(
            f"{this.device.path} is behind {len(paths)} IOMMUs",
            "Xen's SMMUv3 driver takes a device behind one IOMMU only: leave it to the host",
            expected="one IOMMU",
            found=" and ".join(paths),
        )


def map_only(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """IDs of iommu-map alone, on a hypervisor that programs none of them."""
    master = this.device.master
    if master and master.maps and not master.streams and not situation.profile.programs_maps:
        yield Finding(
            f"{this.device.path} has its stream IDs from iommu-map alone",
            "Xen programs only the IDs of `iommus`, so the DMA of this device would be blocked or "
            "unprotected: leave it to the host",
            expected="`iommus` on the host node",
            found="iommu-map",
        )


def colliding_stream_id(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A Xen that knows a stream by its ID alone cannot tell two SMMUs apart. IDs of iommu-map
    count where the hypervisor programs them.
    """
    own = _own_iommus(this)
    behind = frozenset(own)
    others = _others_with_ids(
        this,
        situation,
        lambda iommu: iommu not in behind and situation.devices.iommus[iommu].supported,
        maps=situation.profile.programs_maps,
    )
    for other, iommu, ids in others if own else ():
        yield Finding(
            f"{this.device.path} behind {' and '.join(own)} and {other.path} behind {iommu} "
            "have the same stream ID",
            f"{_by_id_alone(situation)}: leave one of the two out"
            if other.path in situation.assigned
            else f"{_by_id_alone(situation)}: disable {other.path} in the host tree (status = "
            '"disabled";), or pass through a device whose IDs are unique on the host',
            expected="IDs that no other SMMU of the host uses",
            found=listed(ids),
        )


def shared_stream_id(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Two devices with one ID on one SMMU are one to it: they share page tables, so the one that
    stays with the host could reach the guest's memory, and the reverse.
    """
    own = frozenset(_own_iommus(this))
    for other, iommu, ids in _others_with_ids(this, situation, own.__contains__):
        is_assigned = other.path in situation.assigned
        yield Finding(
            f"{this.device.path} and {other.path} share a stream ID on {iommu}",
            "Xen stops with a BUG when both are assigned: leave one of them out"
            if is_assigned
            else f'disable {other.path} in the host tree (status = "disabled";), or leave this '
            "device to the host",
            expected="IDs of this device alone",
            found=listed(ids),
            is_fatal=is_assigned,
        )


def stray_streams(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Stream IDs for a device that is behind no IOMMU, and is to be assigned all the same."""
    if (
        this.request.entries
        and not this.device.master
        and situation.terms.permission("unprotected", this)
    ):
        yield Finding(
            f"{this.device.path} is behind no IOMMU, so no stream ID is its own",
            "leave iommus out",
            expected="no iommus",
            found=listed(this.ids),
        )


def streams_omitted(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """The guest lists fewer stream IDs than the host."""
    master = this.device.master
    asked = frozenset(this.ids)
    omitted = [i for i in master.stream_ids if i not in asked] if master else []
    if omitted:
        entries = ", ".join(f"<0x0 {stream_id:#x}>" for stream_id in omitted)
        yield Finding(
            f"the host lists more stream IDs for {this.device.path}",
            f"DMA under an omitted ID will fault: add {entries} unless the driver never uses it",
            expected=listed(master.stream_ids) if master else "",
            found=listed(this.ids),
        )


def maps_not_programmed(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An iommu-map beside iommus, on a hypervisor that programs none of its IDs."""
    master = this.device.master
    if master and master.streams and master.maps and not situation.profile.programs_maps:
        yield Finding(
            f"{this.device.path} has an iommu-map beside its `iommus`",
            "Xen programs only the IDs of `iommus`: DMA under an ID of the map will fault",
            expected="`iommus` alone",
            found=f"iommu-map of {counted(len(master.maps), 'row')}",
        )


def _by_id_alone(situation: Situation) -> str:
    """Why a collision matters, also to a hypervisor that gives the guest other numbers."""
    if not situation.profile.toolstacks:
        return "one vSMMU tells streams apart by ID alone"
    if situation.profile.renumbers:
        return (
            "this Xen numbers streams anew for the guest, but still tells physical ones apart by "
            "ID alone"
        )
    return "Xen tells streams apart by ID alone"


def _iommus(this: Assignment, situation: Situation) -> list[Iommu]:
    master = this.device.master
    return [situation.devices.iommus[path] for path in master.iommus] if master else []


def _own_iommus(this: Assignment) -> list[str]:
    """The paths of the IOMMUs on which the device has the IDs that were asked for."""
    return list(dict.fromkeys(iommu for _, iommu in this.streams))


def _others_with_ids(
    this: Assignment, situation: Situation, on: Callable[[str], bool], *, maps: bool = True
) -> Iterator[tuple[Master, str, list[StreamId]]]:
    """Each other device that is in use, by the host or by this guest, and has some of the IDs of
    `this` on an IOMMU to look `on`, by its `iommus` or (`maps`) its iommu-map: the device, that
    IOMMU, and those of the IDs that it has there.
    """
    ids = tuple(dict.fromkeys(this.ids))
    seen: set[tuple[str, str]] = set()
    for stream_id in ids:
        users = situation.devices.users(stream_id, on, maps=maps)
        for master, iommu in chain(users, situation.disabled.owners(stream_id, on, maps=maps)):
            if master.path != this.device.path and (master.path, iommu) not in seen:
                seen.add((master.path, iommu))
                is_there = holding(all_intervals(master, iommu))
                yield master, iommu, [each for each in ids if is_there(each)]
