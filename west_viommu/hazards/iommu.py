# SPDX-License-Identifier: Apache-2.0
"""Checks whether an IOMMU that the hypervisor drives confines the device."""

from collections.abc import Iterator, Sequence

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.hazards.ownership import Found, Ownership, of_each
from west_viommu.hazards.parts import as_allowed, listed
from west_viommu.host.inventory import Iommu, is_unfilled
from west_viommu.hypervisor.assignment import Assigned
from west_viommu.hypervisor.drivers import SMMUV2, Entry, entries, kind, refused_entry
from west_viommu.names import RELEASED


@of_each
def unprotected(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device behind no IOMMU: nothing confines its DMA."""
    if not ownership.iommus(assigned):
        path = assigned.device.path
        node = ownership.devices.tree.node(path)
        if node and is_unfilled(ownership.devices.tree, node):
            yield _unfilled(path)
            return
        yield Diagnostic(
            what=f"{path} is behind no IOMMU in the host tree, so its DMA would reach all memory",
            hint="take the host tree whose node has `iommus`, or another device of `viommu list`; "
            f"for one that does no DMA: {as_allowed('unprotected', path)}",
            prop="iommus",
            expected="`iommus` on the host node",
            found="none",
        )


def _unfilled(path: str) -> Diagnostic:
    return Diagnostic(
        what=f"the iommu-map of {path} has a length of 0, so nothing confines its DMA: the boot "
        "loader is to fill it in",
        hint="give the tree that the boot loader hands on: boot Linux in place of Xen, and copy "
        f"its /sys/firmware/fdt; for a device that does no DMA: {as_allowed('unprotected', path)}",
        prop="iommus",
        expected="IDs in iommu-map",
        found="a length of 0",
    )


@of_each
def unsupported_iommu(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an IOMMU that no driver of the hypervisor supports, or not with these cells."""
    for iommu in ownership.iommus(assigned):
        if ownership.holdings.driver(iommu.path) is None:
            yield _not_driven(assigned, iommu, ownership)


def _not_driven(assigned: Assigned, iommu: Iommu, ownership: Ownership) -> Diagnostic:
    profile = ownership.profile
    driver = profile.driver(iommu.compatible)
    if driver is None:
        known = [name for driver in profile.drivers for name in driver.compatible]
        what = (
            "which is not an SMMUv3" if known == ["arm,smmu-v3"] else "which Xen has no driver for"
        )
        return Diagnostic(
            what=f"{assigned.host} is behind {iommu.path}, {what}",
            hint=_hint_of_unknown(iommu, ownership),
            prop="iommus",
            expected=" or ".join(known),
            found=" ".join(iommu.compatible) or "no compatible",
            cause=iommu.path,
        )
    cells = " or ".join(f"<{count}>" for count in driver.cells)
    return Diagnostic(
        what=f"{iommu.path} has specifiers that Xen's driver does not take",
        hint=f"correct the host tree: #iommu-cells = {cells}, and as many cells after the phandle "
        "in each `iommus`; Xen does not boot with it as it is",
        prop="iommus",
        expected=f"#iommu-cells = {cells}",
        found=f"#iommu-cells = <{iommu.cells}>",
        cause=iommu.path,
    )


def _hint_of_unknown(iommu: Iommu, ownership: Ownership) -> str:
    if not ownership.profile.viommu:
        return "Xen cannot confine its DMA: leave this one to the host"
    why = "Xen gives a guest a vSMMU for devices behind an SMMUv3 only"
    if kind(iommu.compatible):
        return (
            f"{why}: if yours is a released Xen, which drives this IOMMU, take --profile {RELEASED}"
        )
    return f"{why}: leave this one to the host"


@of_each
def iommu_disabled(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an IOMMU that is not enabled: Xen does not drive it if its own status is not okay
    (device_init()); if only a parent's is not, no software has set it up.
    """
    for iommu in ownership.iommus(assigned):
        if iommu.status != "okay":
            yield Diagnostic(
                what=f"{iommu.path}, the IOMMU of {assigned.host}, is not enabled in this host "
                "tree",
                hint="give the tree that you boot Xen with: fdtoverlay -i HOST.dtb -o XEN.dtb "
                "SMMU.dtbo applies the board's overlay that enables the SMMU; where the boot "
                "loader enables it, boot Linux in place of Xen, and copy its /sys/firmware/fdt",
                prop="iommus",
                expected='status "okay" on it and all its parents',
                found=f'"{iommu.status}"',
                cause=iommu.path,
            )
    for iommu in ownership.iommus(assigned):
        if ownership.holdings.is_marked(iommu.path):
            yield Diagnostic(
                what=f"{iommu.path}, the IOMMU of {assigned.host}, has xen,passthrough: Xen does "
                "not drive it",
                hint="take xen,passthrough out of the SMMU's node: it is for the devices of guests",
                prop="iommus",
                expected="an SMMU that Xen drives",
                found="xen,passthrough",
                cause=iommu.path,
            )


@of_each
def iommu_unusable(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an enabled IOMMU that Xen ignores, or that stops Xen, because it lacks something that
    its driver needs, or because Xen uses IOMMUs of another kind (iommu_hardware_setup(),
    iommu_set_ops()).
    """
    faults = ownership.holdings.iommus.faults
    for iommu in ownership.iommus(assigned):
        # An IOMMU that no driver supports is reported for that.
        if iommu.path in faults and ownership.holdings.driver(iommu.path):
            yield faults[iommu.path]


@of_each
def stream_id_range(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an ID that is too wide for the driver of the IOMMU: SMMUv2's truncates it, and attaches
    another stream (arm_smmu_dt_xlate_generic()); the IPMMU's fails (ipmmu_dt_xlate()).
    """
    master = assigned.device.master
    for iommu in ownership.iommus(assigned):
        driver = ownership.holdings.driver(iommu.path)
        if master is None or driver is None or driver.last_id is None:
            continue
        of_this = [s.id for s in master.streams if s.iommu == iommu.path and s.id is not None]
        wide = [stream_id for stream_id in of_this if stream_id > driver.last_id]
        if wide:
            yield Diagnostic(
                what=f"{assigned.host} has a stream ID that Xen's driver of {iommu.path} "
                "cannot take",
                hint="Xen would attach another stream or none: leave this one to the host",
                prop="iommus",
                expected=f"at most {driver.last_id:#x}",
                found=listed(wide),
            )


@of_each
def mask_dropped(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a mask beside an ID, before Xen 4.20 (ef3b4768b3): the SMMU matches the ID alone, and
    DMA under the other IDs of the device faults (sCR0_USFCFG in arm_smmu_device_reset()).
    """
    master = assigned.device.master
    for stream in master.streams if master else ():
        if stream.mask and stream.id is not None and any(_drops_masks(stream.iommu, ownership)):
            yield Diagnostic(
                what=f"Xen before 4.20 leaves out the mask of a stream ID of {assigned.host}",
                hint="only the ID itself is attached, and DMA under the others that the mask "
                "stands for "
                "faults: use Xen 4.20 or later, or list each ID in the host tree without a mask",
                prop="iommus",
                expected="the mask 0",
                found=f"{stream.id:#x} with the mask {stream.mask:#x}",
            )


def _drops_masks(iommu: str, ownership: Ownership) -> list[bool]:
    """Return, for each possible version, whether the driver ignores masks."""
    profile, driver = ownership.profile, ownership.holdings.driver(iommu)
    span = driver.drops_masks if driver else None
    versions = ownership.terms.versions
    return [span is not None and profile.covers(span, version) for version in versions]


def mask_overlap(ownership: Ownership) -> Found:
    """Find a stream ID with a mask that overlaps another one of the device, on an SMMUv2. From 4.20
    on, arm_smmu_find_sme() accepts an entry that lies within an earlier one; any other overlap is
    -EINVAL.
    """
    for assigned in ownership.assigned:
        yield from _overlaps([assigned], ownership)


def mask_overlap_of_two(ownership: Ownership) -> Found:
    """Find the same overlap with a device that the guest gets before."""
    yield from _overlaps(ownership.assigned, ownership)


def _overlaps(together: Sequence[Assigned], ownership: Ownership) -> Found:
    """Yield the device if its entries overlap others of the devices `together`, in their order; if
    there are several devices, only overlaps between two of them.
    """
    there: dict[str, list[Entry]] = {}
    owners: dict[tuple[str, Entry], str] = {}
    for assigned in together:
        for iommu in ownership.iommus(assigned):
            drops = _drops_masks(iommu.path, ownership)
            if kind(iommu.compatible) != SMMUV2 or assigned.device.master is None or all(drops):
                continue
            streams = assigned.device.master.streams
            new = entries(stream for stream in streams if stream.iommu == iommu.path)
            old = there.setdefault(iommu.path, [])
            if any(entry.mask for entry in new):
                ownership.devices.steps.count(steps=len(new) * (len(new) + len(old)))
            clash = refused_entry(new, old)
            if clash is None:
                old += new
                owners |= {(iommu.path, entry): assigned.host for entry in new}
                continue
            other = owners.get((iommu.path, clash[1]), assigned.host)
            if len(together) == 1 or other != assigned.host:
                severity = Severity.WARNING if any(drops) else Severity.ERROR
                found = _overlapping(assigned, clash, other)
                yield assigned.node, found._replace(severity=severity)


def _overlapping(assigned: Assigned, clash: tuple[Entry, Entry], other: str) -> Diagnostic:
    new, old = clash
    whose = "another" if other == assigned.host else f"that of {other}"
    return Diagnostic(
        what=f"the stream ID {new} of {assigned.host} lies across {whose}, {old}",
        hint="Xen from 4.20 on takes an ID that lies within an earlier one, and does not assign "
        "the device for any other overlap: "
        + (
            "correct the host tree, so that the wider mask comes first"
            if other == assigned.host
            else "write the device with the wider mask first in /passthrough, or leave one out"
        ),
        prop="iommus",
        expected="an ID within an earlier one, or apart from it",
        found=f"{new}, {old}",
    )


@of_each
def two_iommus(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device behind two IOMMUs: Xen attaches it to one (iommu_fwspec_init() fails for a
    second).
    """
    paths = [iommu.path for iommu in ownership.iommus(assigned)]
    if len(paths) > 1:
        yield Diagnostic(
            what=f"{assigned.host} is behind {len(paths)} IOMMUs",
            hint="Xen takes a device behind one IOMMU only: leave it to the host",
            prop="iommus",
            expected="one IOMMU",
            found=" and ".join(paths),
        )


@of_each
def map_only(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device with IDs only in iommu-map, on a hypervisor that programs none of them for a
    devicetree node.
    """
    master = assigned.device.master
    if master and master.maps and not master.streams and not ownership.profile.programs_maps:
        yield Diagnostic(
            what=f"{assigned.host} has its stream IDs from iommu-map alone",
            hint="Xen programs only the IDs of `iommus` for a node that it passes through, so the "
            "DMA of this device would be blocked or unprotected: leave it to the host",
            prop="iommus",
            expected="`iommus` on the host node",
            found="iommu-map",
        )
