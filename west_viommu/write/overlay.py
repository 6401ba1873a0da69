# SPDX-License-Identifier: Apache-2.0
"""viommu.overlay: the vSMMU node and each device's `iommus`, as devicetree source for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu import __version__
from west_viommu.guest.gic import (
    LINUX_EDGE,
    LINUX_LEVEL,
    ZEPHYR_CELLS,
    ZEPHYR_EDGE,
    ZEPHYR_LEVEL,
    ZEPHYR_PRIORITY,
)
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.names import OVERLAY_FIRST_LINE
from west_viommu.plan.records import VSMMU_LABEL, Plan, PlannedDevice, Profile, ViommuInterrupt
from west_viommu.tree.interrupts import FIRST_SPI, SPI

# The bus of our binding bindings/viommu,passthrough.yaml.
BUS_COMPATIBLE = "viommu,passthrough"


class Origin(NamedTuple):
    """What a plan was made from, as the header tells it: names, no absolute paths."""

    host: str
    host_model: str | None
    guests: tuple[str, ...]
    profile_was_chosen: bool


def overlay(plan: Plan, origin: Origin) -> str:
    """The text of viommu.overlay. Valid for dtc after the guest's own files."""
    parts = [_header(plan, origin), _vsmmu(plan), _bus(plan.bus_compatible)]
    parts += [_device(device) for device in plan.devices]
    return "\n".join(parts)


def _header(plan: Plan, origin: Origin) -> str:
    model = f" ({origin.host_model})" if origin.host_model else ""
    profile = plan.profile
    lines = [
        f"west-viommu {__version__}",
        f"host:    {origin.host}{model}",
        f"guest:   {' '.join(origin.guests)}",
        f"profile: {profile.name}, stream IDs by the policy {profile.policy}",
    ]
    if not origin.profile_was_chosen:
        lines.append(f"         nobody chose one: this assumes {profile.about}")
    body = "".join(f" * {commented(line)}\n" for line in lines)
    return f"{OVERLAY_FIRST_LINE}\n *\n{body} */\n"


def _vsmmu(plan: Plan) -> str:
    profile = plan.profile
    address_cells, size_cells = plan.root_cells
    interrupts = [_specifier(each, plan.gic.cells) for each in profile.interrupts]
    names = [f'"{each.name}"' for each in profile.interrupts]
    lines = [
        f'compatible = "{profile.compatible}";',
        f"reg = <{_cells(profile.base, address_cells)} {_cells(profile.size, size_cells)}>;",
        f"interrupts = {', '.join(interrupts)}; /* {_meaning(profile)} */",
        f"interrupt-names = {', '.join(names)};",
    ]
    if plan.gic.reference:
        lines.append(f"interrupt-parent = <{plan.gic.reference}>;")
    lines.append("#iommu-cells = <1>;")
    if profile.phandle is not None:
        lines.append(f"phandle = <{profile.phandle:#x}>; /* as the hypervisor gives it */")
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"/ {{\n\t{VSMMU_LABEL}: {profile.node_name} {{\n{body}\t}};\n}};\n"


def _bus(compatible: Sequence[str]) -> str:
    """The compatible that gives the bus its binding, before those that it has."""
    strings = [BUS_COMPATIBLE, *(each for each in compatible if each != BUS_COMPATIBLE)]
    if "simple-bus" not in strings:
        strings.append("simple-bus")
    quoted = ", ".join(f'"{_escaped(each)}"' for each in strings)
    label = 'label = "passthrough"; /* Zephyr before 3.2 asks for it on a bus */'
    return f"&{{{PASSTHROUGH}}} {{\n\tcompatible = {quoted};\n\t{label}\n}};\n"


def _device(device: PlannedDevice) -> str:
    request = device.assignment.request
    entries = ", ".join(f"<&{VSMMU_LABEL} {stream.vmaster:#x}>" for stream in device.streams)
    smmus = dict.fromkeys(f"{s.iommu} ({s.iommu_base:#x})" for s in device.streams)
    ids = " ".join(f"{stream.pmaster:#x}" for stream in device.streams)
    comment = (
        f"/*\n * host {commented(device.assignment.device.path)}\n"
        f" * behind {commented(', '.join(smmus))}\n * stream IDs {ids}\n */\n"
    )
    return f"{comment}&{{{request.path}}} {{\n\tiommus = {entries};\n}};\n"


def _specifier(interrupt: ViommuInterrupt, cells: int) -> str:
    """An interrupt specifier of the guest's GIC: type, number, flags, and Zephyr's priority."""
    number = interrupt.intid - FIRST_SPI
    if cells == ZEPHYR_CELLS:
        trigger = ZEPHYR_EDGE if interrupt.is_edge else ZEPHYR_LEVEL
        return f"<{SPI} {number} {trigger} {ZEPHYR_PRIORITY:#x}>"
    return f"<{SPI} {number} {LINUX_EDGE if interrupt.is_edge else LINUX_LEVEL}>"


def _meaning(profile: Profile) -> str:
    return ", ".join(
        f"INTID {each.intid} {'edge' if each.is_edge else 'level'}" for each in profile.interrupts
    )


def _cells(number: int, count: int) -> str:
    """`number` in `count` cells, the most significant first."""
    return " ".join(f"{number >> 32 * i & 0xFFFFFFFF:#x}" for i in reversed(range(count)))


def commented(text: str) -> str:
    """`text` such that it cannot end the comment that it stands in, nor break its line."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("*/", "* /")


def _escaped(text: str) -> str:
    """`text` inside a devicetree string."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').encode()
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in quoted)
