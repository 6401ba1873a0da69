# SPDX-License-Identifier: Apache-2.0
"""The IOMMUs of a host that Xen's drivers can use, and the limits of these drivers.

Read in Xen's drivers/passthrough/arm: smmu-v3.c, smmu.c (SMMUv1 and v2), ipmmu-vmsa.c and iommu.c,
in 4.17, 4.20 and 4.22.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Iommu, Stream, listed_masters
from west_viommu.hypervisor.lines import lines
from west_viommu.hypervisor.profile import Profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, GICV3, LAST_SPI
from west_viommu.tree.node import Node

SMMUV3, SMMUV2, IPMMU = "SMMUv3", "SMMUv2", "IPMMU"
# arm_smmu_of_match of smmu.c.
_SMMUV2 = frozenset({"arm,smmu-v1", "arm,smmu-v2", "arm,mmu-400", "arm,mmu-401", "arm,mmu-500"})
# The property of a cache of an IPMMU.
MAIN = "renesas,ipmmu-main"
# The registers of an SMMUv3: two pages, or one with this property (arm_smmu_resource_size()).
_SMMUV3_BYTES, _SMMUV3_PAGE_0 = 0x20000, 0x10000
_ONE_PAGE = "cavium,cn9900-broken-page1-regspace"
# The bits of an ID and of a mask that the SMMUv2 driver keeps (SMR_ID_MASK, SMR_MASK_MASK in
# arm_smmu_dt_xlate_generic()).
SMR_BITS = 0x7FFF
# The IDs of one master for which the SMMUv2 driver has room, unless the profile says otherwise:
# MAX_MASTER_STREAMIDS, which arm_smmu_dt_add_device_legacy() does not check when it fills smendx[].
_MOST_IDS = 16
# Bits of a guest address, unless the profile says otherwise: for stage 2 of an SMMUv3 or v2 with 4
# levels, and for an IPMMU (IPMMU_MAX_P2M_IPA_BITS).
_ADDRESS_BITS = {SMMUV3: 48, SMMUV2: 48, IPMMU: 40}
_MOST_BITS = 48


class Iommus(NamedTuple):
    """The IOMMUs of a host after Xen's probes. `probed`: the kind of each that a driver accepts, in
    Xen's order, by path; Xen uses only IOMMUs of the first kind. `faults`: why Xen ignores an IOMMU
    for which it has a driver, or stops for it (FATAL). `address_bits`: the width of a guest's
    addresses (p2m_restrict_ipa_bits()).
    """

    probed: dict[str, str]
    faults: dict[str, Diagnostic]
    address_bits: int

    @property
    def kind(self) -> str:
        """The kind of IOMMU that Xen uses; "" if it uses none (iommu_set_ops())."""
        return next(iter(self.probed.values()), "")

    def uses(self, path: str) -> bool:
        """Return whether Xen uses the IOMMU at `path`."""
        return self.probed.get(path, "no kind") == self.kind


def kind(compatible: Iterable[str]) -> str:
    """Return the driver of Xen for an IOMMU: SMMUV3, SMMUV2 or IPMMU; "" if Xen has no driver for
    it.
    """
    for name in map(str.lower, compatible):
        if name == "arm,smmu-v3":
            return SMMUV3
        if name in _SMMUV2:
            return SMMUV2
        if name.startswith("renesas,ipmmu-"):
            return IPMMU
    return ""


def has_smmuv3(devices: Devices, iommus: Iterable[str]) -> bool:
    """Return whether any of the `iommus` at these paths is an SMMUv3, for which Xen frees the VMID
    of a domain without clearing the TLB (arm_smmu_domain_free() of smmu-v3.c, 4.17 to master).
    """
    return any(kind(devices.iommus[path].compatible) == SMMUV3 for path in iommus)


def probed(devices: Devices, profile: Profile) -> Iommus:
    """Return the IOMMUs of a host after the probes of the hypervisor of `profile`.

    An IOMMU that is disabled or marked is not probed (device_init()) and is left out. A cache of an
    IPMMU is probed until its root is there (iommu_hardware_setup()).
    """
    faults: dict[str, Diagnostic] = {}
    found: dict[str, str] = {}
    late: list[str] = []
    registered: set[str] = set()
    bits = _MOST_BITS
    for frame in _frames(devices) if profile.toolstacks else ():
        fault = _of_frame(devices, frame)
        if fault:
            faults[frame.path] = fault
    for node in devices.tree.nodes() if profile.toolstacks else ():
        name = _tried(node, profile)
        if name == IPMMU and MAIN in node.properties:
            late.append(node.path)
        elif name:
            fault = _fault(devices, node, name) or _twice(devices, node, registered)
            if fault:
                faults[node.path] = fault
            else:
                found[node.path] = name
                driver = profile.driver(node.compatible_for_xen)
                stated = driver.address_bits if driver else None
                bits = min(bits, stated or _ADDRESS_BITS[name])
    for path in late:
        if IPMMU in found.values():
            found[path] = IPMMU
        else:
            faults[path] = _without_root(path)
    first = next(iter(found), "")
    for path, name in found.items():
        if name != found[first]:
            faults[path] = _second_kind(path, name, first, found[first])
    return Iommus(found, faults, bits)


def most_ids(iommu: Iommu, profile: Profile) -> int | None:
    """Return the number of IDs of one master for which the driver of `iommu` has room; None if that
    has no limit. With more, the driver of SMMUv2 overwrites other memory of Xen (4.17 to 4.22).
    """
    driver = profile.driver(iommu.compatible)
    if driver and driver.most_ids:
        return driver.most_ids
    return _MOST_IDS if kind(iommu.compatible) == SMMUV2 else None


def cut_id(stream: Stream, iommu: Iommu) -> int | None:
    """Return the ID that the driver programs for `stream`: an SMMUv2 keeps 15 bits of it."""
    is_cut = stream.id is not None and kind(iommu.compatible) == SMMUV2
    return stream.id & SMR_BITS if stream.id is not None and is_cut else stream.id


class Entry(NamedTuple):
    """A stream match register of an SMMUv2: IDs equal to `id` except for the bits of `mask`."""

    id: int
    mask: int

    def holds(self, other: Entry) -> bool:
        """Return whether each ID of `other` matches this entry."""
        return other.mask & self.mask == other.mask and not (self.id ^ other.id) & ~self.mask

    def overlaps(self, other: Entry) -> bool:
        """Return whether an ID matches both entries."""
        return not (self.id ^ other.id) & ~(self.mask | other.mask)

    def __str__(self) -> str:
        return f"{self.id:#x} with the mask {self.mask:#x}" if self.mask else f"{self.id:#x}"


def entries(streams: Iterable[Stream]) -> list[Entry]:
    """Return the entries that Xen from 4.20 on makes of `streams` of a master on an SMMUv2."""
    return [
        Entry(stream.id & SMR_BITS, (stream.mask or 0) & SMR_BITS)
        for stream in streams
        if stream.id is not None
    ]


def refused_entry(new: Iterable[Entry], old: Sequence[Entry] = ()) -> tuple[Entry, Entry] | None:
    """Return the first of the `new` entries that arm_smmu_find_sme() refuses with -EINVAL (4.20
    on), and the entry before it, or the `old` one, that it overlaps without lying inside it.
    """
    there = list(old)
    for entry in new:
        # A single ID that overlaps another entry lies in it.
        if entry.mask and not any(known.holds(entry) for known in there):
            for known in there:
                if known.overlaps(entry):
                    return entry, known
        there.append(entry)
    return None


class Frame(NamedTuple):
    """A GICv2m frame at `path`, with the SPIs that Xen gives dom0 for it. `intids` is empty if only
    a register of the frame has them.
    """

    path: str
    intids: range


def v2m_frames(devices: Devices) -> Iterator[Frame]:
    """Yield the GICv2m frames of the GIC that Xen drives: gicv2_extension_dt_init() takes the
    children that are compatible with arm,gic-v2m-frame; their INTIDs are arm,msi-base-spi and
    arm,msi-num-spis, if neither is 0; gicv2_map_hwdom_extra_mappings() routes all of them to dom0
    as edge (4.17 to 4.22).
    """
    for child in _frames(devices):
        first, count = _stated_lines(child)
        stated = range(first, min(first + count, LAST_SPI + 1)) if first and count else range(0)
        yield Frame(child.path, stated if first >= FIRST_SPI else range(0))


def _stated_lines(frame: Node) -> tuple[int, int]:
    """Return the first line of a frame, and their number; 0 for a property that is not there."""
    return _u32(frame, "arm,msi-base-spi"), _u32(frame, "arm,msi-num-spis")


def _of_frame(devices: Devices, frame: Node) -> Diagnostic | None:
    """Return the fault for which gicv2_extension_dt_init() or gicv2_add_v2m_frame_to_list()
    panics.
    """
    hint = "correct the frame in the host tree, or remove it: its status does not count"
    regions = devices.index.regions(frame)
    if not regions or regions[0] is None:
        expected = "reg, and `ranges` on each bus above it"
        return _stopped(frame.path, "a GICv2m frame without an address", expected, hint=hint)
    first, count = _stated_lines(frame)
    if first and count and (first < FIRST_SPI or first + count > LAST_SPI):
        why, found = "a GICv2m frame with lines that are no SPIs", f"{first} and {count - 1} more"
        return _stopped(frame.path, why, f"INTIDs {FIRST_SPI} to {LAST_SPI - 1}", found, hint)
    return None


def _frames(devices: Devices) -> Iterator[Node]:
    """Yield the nodes of the frames: a GICv3 has none for Xen."""
    gic = devices.index.gic
    if gic and GICV3 not in gic.compatible_for_xen:
        for child in gic.children:
            if "arm,gic-v2m-frame" in child.compatible_for_xen:
                yield child


def _tried(node: Node, profile: Profile) -> str:
    """Return the kind of an IOMMU that a driver tries to probe; "" for any other node."""
    if b"mmu" not in node.properties.get("compatible", b"").lower():
        return ""
    name = kind(node.compatible_for_xen)
    is_off = "xen,passthrough" in node.properties or not node.is_available
    # A Xen has the driver of SMMUv2 unless its configuration excludes it (Kconfig: default y).
    is_built = name == SMMUV2 or profile.driver(node.compatible_for_xen) is not None
    return name if is_built and not is_off else ""


def _fault(devices: Devices, node: Node, name: str) -> Diagnostic | None:
    """Return the reason why the driver rejects the IOMMU `node`; None if it accepts it."""
    regions = devices.index.regions(node)
    if not regions or regions[0] is None:
        return _stopped(node.path, "it has no address", "reg, and `ranges` on each bus above it")
    if name == SMMUV3:
        return _of_smmuv3(node, regions[0])
    count = len(list(lines(devices.tree, node, devices.index.gic)))
    return _of_smmuv2(node, count) if name == SMMUV2 else _of_ipmmu(node.path, count)


_CORRECT = "correct the node of the IOMMU in the host tree, or disable it"


def _stopped(
    path: str, why: str, expected: str, found: str = "", hint: str = _CORRECT
) -> Diagnostic:
    """Return the fault of an IOMMU for which the probe fails with an error other than -ENODEV, so
    that Xen stops (iommu_hardware_setup(), "Couldn't configure correctly all the IOMMUs").
    """
    return Diagnostic(
        what=f"Xen stops at boot for {path}: {why}",
        hint=hint,
        prop="iommus",
        expected=expected,
        found=found,
        cause=path,
        severity=Severity.FATAL,
    )


def _twice(devices: Devices, node: Node, registered: set[str]) -> Diagnostic | None:
    """Return the fault of an SMMU whose mmu-masters list a master that is listed before, and add
    the others to `registered`: iommu_fwspec_init() and arm_smmu_dt_add_device_legacy() refuse it.
    """
    for path, _ in listed_masters(devices.tree, node):
        if path in registered:
            why = f"mmu-masters list {path} a second time"
            return _stopped(node.path, why, "each master once")
        registered.add(path)
    return None


def _of_smmuv3(node: Node, registers: Region) -> Diagnostic | None:
    """Return the fault for which arm_smmu_device_probe() fails with -EINVAL."""
    cells = node.properties.get("#iommu-cells", b"")[:4]
    if cells != b"\0\0\0\1":
        count = f"<{int.from_bytes(cells, 'big')}>" if len(cells) == 4 else "none"
        return _stopped(node.path, "its specifiers are not one cell", "#iommu-cells = <1>", count)
    smallest = _SMMUV3_PAGE_0 if _ONE_PAGE in node.properties else _SMMUV3_BYTES
    if registers.size < smallest:
        return Diagnostic(
            what=f"the registers of {node.path} are too few for an SMMUv3: Xen stops at boot "
            "(arm_smmu_device_probe())",
            hint="correct `reg` in the host tree: an SMMUv3 has two pages of 64 KiB",
            prop="iommus",
            expected=f"a region of {smallest:#x} bytes or more",
            found=f"{registers.size:#x}",
            cause=node.path,
            severity=Severity.FATAL,
        )
    return None


def _of_smmuv2(node: Node, count: int) -> Diagnostic | None:
    """Return the fault for which arm_smmu_device_dt_probe() fails with -ENODEV, and Xen continues
    without the SMMU.
    """
    value = node.properties.get("#global-interrupts", b"")
    alone = f"Xen cannot use {node.path}, and would confine no device behind it"
    if len(value) < 4:
        return Diagnostic(
            what=f"{alone}: it has no #global-interrupts",
            hint="correct the host tree: an SMMUv2 has #global-interrupts, and the "
            "interrupts of its contexts after the global ones",
            prop="iommus",
            expected="#global-interrupts",
            cause=node.path,
        )
    least = int.from_bytes(value[:4], "big") + 1
    if count < least:
        return Diagnostic(
            what=f"{alone}: it has no interrupt for a context",
            hint="correct the host tree: list the interrupts of the contexts after the global ones",
            prop="iommus",
            expected=f"{least} interrupts or more",
            found=str(count),
            cause=node.path,
        )
    return None


def _of_ipmmu(path: str, count: int) -> Diagnostic | None:
    """Return the fault for which ipmmu_probe() stops Xen: the main IPMMU must have an interrupt."""
    if count:
        return None
    return Diagnostic(
        what=f"{path} has no interrupt: Xen stops at boot (ipmmu_probe())",
        hint="correct the host tree: the main IPMMU has an interrupt",
        prop="iommus",
        expected="interrupts",
        cause=path,
        severity=Severity.FATAL,
    )


def _without_root(path: str) -> Diagnostic:
    """Return the fault of a cache without a root: ipmmu_probe() is -EAGAIN for ever, and so is
    iommu_hardware_setup().
    """
    return Diagnostic(
        what=f"{path} waits for a main IPMMU, and there is none: Xen stops at boot (ipmmu_probe())",
        hint="give the tree in which the main IPMMU (renesas,ipmmu-mm) is enabled",
        prop="iommus",
        expected=f"an enabled IPMMU without {MAIN}",
        cause=path,
        severity=Severity.FATAL,
    )


def _second_kind(path: str, name: str, first: str, first_name: str) -> Diagnostic:
    return Diagnostic(
        what=f"Xen drives one kind of IOMMU, here {first_name}: it does not use {path}",
        hint=f"build Xen without the driver of the other kind ({_OPTIONS[first_name]}), or "
        f"disable the IOMMUs of that kind in the host tree",
        prop="iommus",
        expected=f"IOMMUs that are all of one kind ({name})",
        found=f"{first} ({first_name}) before it",
        # The configuration of a Xen chooses its drivers; this tool does not see it.
        severity=Severity.WARNING,
        cause=path,
    )


_OPTIONS = {SMMUV3: "CONFIG_ARM_SMMU_V3", SMMUV2: "CONFIG_ARM_SMMU", IPMMU: "CONFIG_IPMMU_VMSA"}


def _u32(node: Node, name: str) -> int:
    try:
        return node.number(name, 0)
    except TreeError:
        return 0
