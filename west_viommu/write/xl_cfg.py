# SPDX-License-Identifier: Apache-2.0
"""xl.cfg: what the configuration of a guest that xl creates needs for the assigned devices."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.hypervisor.pages import PAGE
from west_viommu.hypervisor.profile import PLACES, Profile
from west_viommu.names import XL_CFG_FIRST_LINE, partial_tree
from west_viommu.plan.plan import Plan, PlanRegion
from west_viommu.write.dts import commented
from west_viommu.write.host_overlay import memory_limit


def xl_cfg(plan: Plan, profile: Profile) -> str:
    """The fragment (xl.cfg(5)): paste it, or include it by `xl create guest.cfg xl.cfg`."""
    return "".join(f"{line}\n" for line in (XL_CFG_FIRST_LINE, *_lines(plan, profile)))


def _lines(plan: Plan, profile: Profile) -> Iterator[str]:
    devices = plan.devices
    yield f'device_tree = "{partial_tree("libxl", ".dtb")}"'
    # libxl asks Xen to assign these to the guest's IOMMU context; others are behind none.
    yield listed("dtdev", [quoted(d.host) for d in devices if d.is_protected])
    yield listed("irqs", list(map(str, plan.intids)))
    yield "# Pages of the host, their number, and where the guest sees them, in hexadecimal."
    yield listed("iomem", list(map(page_range, plan.pages)))
    for line in plan.added:
        yield f"# Added: {commented(line)}"
    if plan.memory_limit is not None:
        yield f"# memory is {memory_limit(plan.memory_limit)}."
    if plan.viommu:
        for switch in profile.switches_for("libxl"):
            if switch.place == "xl.cfg":
                yield switch.text
            else:
                yield f"# and {PLACES[switch.place]}: {switch.text}"
        yield "# For a Xen that takes the map of stream IDs itself, as first proposed:"
        yield _commented(
            listed(
                "iommu_devid_map",
                [
                    f'"{s.pmaster:#x}@{s.vmaster:#x},{s.iommu_base:#x}"'
                    for device in devices
                    for s in device.streams
                ],
            )
        )


def page_range(pages: PlanRegion) -> str:
    """An item of iomem: whole pages of the host, and where the guest sees them."""
    return f'"{pages.host // PAGE:x},{pages.size // PAGE:x}@{pages.guest // PAGE:x}"'


def listed(key: str, items: list[str]) -> str:
    """A list of xl's configuration."""
    if len(items) < 2:
        return f"{key} = [ {', '.join(items)} ]" if items else f"{key} = [ ]"
    return "\n".join([f"{key} = [", *(f"    {item}," for item in items), "]"])


def _commented(lines: str) -> str:
    return "\n".join(f"# {line}" for line in lines.split("\n"))


def quoted(path: str) -> str:
    """A string of xl's configuration, whose only escape is the backslash (libxlu_cfg_l.l)."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if 0x20 <= ord(c) < 0x7F else _escape(c) for c in escaped) + '"'


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
