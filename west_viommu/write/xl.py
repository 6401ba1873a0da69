# SPDX-License-Identifier: Apache-2.0
"""Configurations by which dom0 creates a guest: xl.cfg, and NAME.cfg of a system, for xl; xenlib.h
for a Zephyr dom0 (zephyr-xenlib).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from west_viommu.hypervisor.pages import PAGE
from west_viommu.hypervisor.profile import PLACES, Profile
from west_viommu.names import (
    OVERLAY_FIRST_LINE,
    SYSTEM_FIRST_LINE,
    XL_CFG_FIRST_LINE,
    partial_tree,
)
from west_viommu.plan.plan import Plan, PlanRegion
from west_viommu.write.dts import commented
from west_viommu.write.host_overlay import cpu_limit, memory_limit

if TYPE_CHECKING:
    from west_viommu.system.records import Domain, DomainFiles


_NO_RESTART = (
    "# Under this SMMUv3 Xen keeps translations of a domain that is gone: the devices of one that",
    "# restarts would write into freed memory (docs/xen.md, Restarts).",
    'on_reboot = "destroy"',
)


def xl_cfg(plan: Plan, profile: Profile, *, has_smmuv3: bool = False) -> str:
    """Return xl.cfg (xl.cfg(5)): a fragment to paste into the domain's configuration.
    `has_smmuv3`: one of the devices is behind an SMMUv3.
    """
    lines = [XL_CFG_FIRST_LINE, *_devices(plan, partial_tree("libxl", ".dtb"))]
    lines += [f"# Added: {commented(line)}" for line in plan.added]
    if plan.memory_limit is not None:
        lines.append(f"# memory is {memory_limit(plan.memory_limit)}.")
    if plan.cpu_limit is not None:
        lines.append(f"# vcpus is {cpu_limit(plan.cpu_limit)}.")
    lines += _NO_RESTART if has_smmuv3 else ()
    lines += _switches(plan, profile)
    if plan.viommu:
        ids = [
            f'"{stream.pmaster:#x}@{stream.vmaster:#x},{stream.iommu_base:#x}"'
            for device in plan.devices
            for stream in device.streams
        ]
        lines.append("# For a Xen that takes the map of stream IDs itself, as first proposed:")
        lines += [f"# {line}" for line in _listed("iommu_devid_map", ids).split("\n")]
    return "".join(f"{line}\n" for line in lines)


def xl_domain(
    domain: Domain,
    made_of: DomainFiles,
    profile: Profile,
    *,
    has_smmuv3: bool,
    is_alone: bool = False,
) -> str:
    """Return the whole configuration of a domain: NAME.cfg, with the paths of system.json, or
    xl.cfg if the guest `is_alone`. `has_smmuv3`: one of its devices is behind an SMMUv3.
    """
    lines = [
        # An output folder recognizes its own files by this line.
        XL_CFG_FIRST_LINE if is_alone else SYSTEM_FIRST_LINE,
        "# Paths are relative: start xl where they lead to the files, or write others.",
        f"name = {_quoted(domain.name)}",
    ]
    if made_of.kernel:
        lines.append(f"kernel = {_quoted(made_of.kernel.file)}")
    if made_of.ramdisk:
        lines.append(f"ramdisk = {_quoted(made_of.ramdisk.file)}")
    if domain.bootargs:
        lines.append(f"cmdline = {_quoted(domain.bootargs)}")
    lines += [f"memory = {domain.memory}", f"vcpus = {domain.cpus}"]
    if domain.has_vpl011:
        lines.append('vuart = "sbsa_uart"')
    lines += _devices(domain.plan, made_of.trees["libxl"].file)
    lines += _NO_RESTART if has_smmuv3 else ()
    lines += _switches(domain.plan, profile)
    return "".join(f"{line}\n" for line in lines)


def _devices(plan: Plan, tree: str) -> Iterator[str]:
    """Yield the settings of xl for the devices of `plan`; `tree` is the file of the partial
    tree.
    """
    yield f"device_tree = {_quoted(tree)}"
    # libxl asks Xen to assign these to the guest's IOMMU context; the other devices have no IOMMU.
    yield _listed("dtdev", [_quoted(each.host) for each in plan.devices if each.is_protected])
    yield _listed("irqs", list(map(str, plan.intids)))
    yield "# Pages of the host, their number, and where the guest sees them, in hexadecimal."
    yield _listed("iomem", list(map(_page_range, plan.pages)))


def _switches(plan: Plan, profile: Profile) -> Iterator[str]:
    """Yield the settings that switch the vSMMU of `plan` on."""
    for switch in profile.switches_for("libxl") if plan.viommu else ():
        if switch.place == "xl.cfg":
            yield switch.text
        else:
            yield f"# and {PLACES[switch.place]}: {switch.text}"


def _page_range(pages: PlanRegion) -> str:
    """Return an item of iomem: whole pages of the host, and their place in the guest."""
    return f'"{pages.host // PAGE:x},{pages.size // PAGE:x}@{pages.guest // PAGE:x}"'


def _listed(key: str, items: Sequence[str]) -> str:
    """Return a list of xl's configuration."""
    if len(items) < 2:
        return f"{key} = [ {', '.join(items)} ]" if items else f"{key} = [ ]"
    return "\n".join([f"{key} = [", *(f"    {item}," for item in items), "]"])


def _quoted(path: str) -> str:
    """Return a string of xl's configuration: xl takes all bytes unchanged, except for these three,
    and has no escape for a byte (libxlu_cfg_l.l; run on 4.17 and 4.20).
    """
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def xenlib_header(plan: Plan) -> str:
    """Return xenlib.h: the devices in a `struct xen_domain_cfg` (zephyr-xenlib, domain.h)."""
    return "".join(f"{line}\n" for line in _xenlib(plan))


def _xenlib(plan: Plan) -> Iterator[str]:
    intids = plan.intids
    paths = [device.host for device in plan.devices if device.is_protected]
    yield OVERLAY_FIRST_LINE
    yield " *"
    yield " * For zephyr-xenlib, after its domain.h: write VIOMMU_DEVICES, into the initializer of"
    yield " * the domain's struct xen_domain_cfg. Its .flags need XEN_DOMCTL_CDF_iommu: without it"
    yield " * Xen refuses the dtdevs. Its tree is passthrough-xl.dtb."
    if plan.viommu:
        yield " * zephyr-xenlib makes no vSMMU: a guest that was bound to one faults at its"
        yield " * address. Have xl or Xen itself create it, or bind it with --profile xen."
    yield " */"
    yield "#ifndef VIOMMU_XENLIB_H"
    yield "#define VIOMMU_XENLIB_H"
    yield ""
    rows = [
        f"{{.first_gfn = {pages.guest // PAGE:#x}, .first_mfn = {pages.host // PAGE:#x}, "
        f".nr_mfns = {pages.size // PAGE:#x}}}"
        for pages in plan.pages
    ]
    yield from _array("struct xen_domain_iomem viommu_iomems", rows)
    yield from _array("uint32_t viommu_irqs", [str(intid) for intid in intids])
    yield from _array("char *viommu_dtdevs", [_c_string(path) for path in paths])
    counts = (("iomems", rows), ("irqs", intids), ("dtdevs", paths))
    members = [
        f".{name} = {f'viommu_{name}' if items else 'NULL'}, .nr_{name} = {len(items)}"
        for name, items in counts
    ]
    yield "#define VIOMMU_DEVICES \\"
    yield ", \\\n".join(f"\t{member}" for member in members)
    yield ""
    yield "#endif"


def _array(declaration: str, items: Sequence[str]) -> Iterator[str]:
    """Yield an array with `items`; nothing if it would be empty, as C has no empty arrays."""
    if items:
        yield f"static {declaration}[] = {{"
        yield from (f"\t{item}," for item in items)
        yield "};"
        yield ""


def _c_string(text: str) -> str:
    """Return a string of C. An octal escape ends after three digits, whatever follows."""
    return '"' + "".join(map(_escaped, text.encode())) + '"'


def _escaped(byte: int) -> str:
    is_plain = 0x20 <= byte < 0x7F and byte not in b'"\\?'
    return chr(byte) if is_plain else f"\\{byte:03o}"
