# SPDX-License-Identifier: Apache-2.0
"""What dom0 creates a guest by: xl.cfg and NAME.cfg of a system for xl, and xenlib.h for a Zephyr
dom0 (zephyr-xenlib).
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
from west_viommu.write.host_overlay import memory_limit

if TYPE_CHECKING:
    # A bind run does without them.
    from west_viommu.system.records import Domain, DomainFiles


def xl_cfg(plan: Plan, profile: Profile) -> str:
    """Return xl.cfg (xl.cfg(5)): a fragment to paste, or for `xl create guest.cfg xl.cfg`."""
    lines = [XL_CFG_FIRST_LINE, *_devices(plan, partial_tree("libxl", ".dtb"))]
    lines += [f"# Added: {commented(line)}" for line in plan.added]
    if plan.memory_limit is not None:
        lines.append(f"# memory is {memory_limit(plan.memory_limit)}.")
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


def xl_domain(domain: Domain, made_of: DomainFiles, profile: Profile) -> str:
    """Return NAME.cfg: the whole configuration of a domain. Its paths are those of system.json."""
    lines = [
        SYSTEM_FIRST_LINE,
        "# Paths are relative: start xl where they lead to the files, or write others.",
        f"name = {_quoted(domain.name)}",
    ]
    if made_of.kernel:
        lines.append(f"kernel = {_quoted(made_of.kernel.file)}")
    lines += [f"memory = {domain.memory}", f"vcpus = {domain.cpus}"]
    if domain.has_vpl011:
        lines.append('vuart = "sbsa_uart"')
    lines += _devices(domain.plan, made_of.trees["libxl"].file)
    lines += _switches(domain.plan, profile)
    return "".join(f"{line}\n" for line in lines)


def _devices(plan: Plan, tree: str) -> Iterator[str]:
    """Yield what xl needs for the devices of `plan`; `tree` is the file of the partial tree."""
    yield f"device_tree = {_quoted(tree)}"
    # libxl asks Xen to assign these to the guest's IOMMU context; others are behind none.
    yield _listed("dtdev", [_quoted(each.host) for each in plan.devices if each.is_protected])
    yield _listed("irqs", list(map(str, plan.intids)))
    yield "# Pages of the host, their number, and where the guest sees them, in hexadecimal."
    yield _listed("iomem", list(map(_page_range, plan.pages)))


def _switches(plan: Plan, profile: Profile) -> Iterator[str]:
    """Yield how the vSMMU of `plan` is switched on."""
    for switch in profile.switches_for("libxl") if plan.viommu else ():
        if switch.place == "xl.cfg":
            yield switch.text
        else:
            yield f"# and {PLACES[switch.place]}: {switch.text}"


def _page_range(pages: PlanRegion) -> str:
    """Return an item of iomem: whole pages of the host, and where the guest sees them."""
    return f'"{pages.host // PAGE:x},{pages.size // PAGE:x}@{pages.guest // PAGE:x}"'


def _listed(key: str, items: Sequence[str]) -> str:
    """Return a list of xl's configuration."""
    if len(items) < 2:
        return f"{key} = [ {', '.join(items)} ]" if items else f"{key} = [ ]"
    return "\n".join([f"{key} = [", *(f"    {item}," for item in items), "]"])


def _quoted(path: str) -> str:
    """Return a string of xl's configuration: its only escape is the backslash (libxlu_cfg_l.l)."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if 0x20 <= ord(c) < 0x7F else _bytes(c) for c in escaped) + '"'


def _bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))


def xenlib_header(plan: Plan) -> str:
    """Return xenlib.h: the devices in a `struct xen_domain_cfg` (zephyr-xenlib, domain.h)."""
    return "".join(f"{line}\n" for line in _xenlib(plan))


def _xenlib(plan: Plan) -> Iterator[str]:
    intids = plan.intids
    paths = [device.host for device in plan.devices if device.is_protected]
    yield OVERLAY_FIRST_LINE
    yield " *"
    yield " * For zephyr-xenlib, after its domain.h: write VIOMMU_DEVICES, into the initializer of"
    yield " * the domain's struct xen_domain_cfg."
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
    """Yield an array with `items`; none where it would be empty, which C does not know."""
    if items:
        yield f"static {declaration}[] = {{"
        yield from (f"\t{item}," for item in items)
        yield "};"
        yield ""


def _c_string(text: str) -> str:
    """Return a string of C. Octal escapes end after three digits, whatever follows."""
    return '"' + "".join(map(_escaped, text.encode())) + '"'


def _escaped(byte: int) -> str:
    is_plain = 0x20 <= byte < 0x7F and byte not in b'"\\?'
    return chr(byte) if is_plain else f"\\{byte:03o}"
