# SPDX-License-Identifier: Apache-2.0
"""viommu.overlay: the vSMMU node and each device's `iommus`, as devicetree source for people."""

import os
from collections.abc import Iterator, Sequence

from west_viommu import __version__
from west_viommu.guest.entries import STREAM_IDS
from west_viommu.guest.gic import (
    LINUX_EDGE,
    LINUX_LEVEL,
    ZEPHYR_CELLS,
    ZEPHYR_EDGE,
    ZEPHYR_LEVEL,
    ZEPHYR_PRIORITY,
)
from west_viommu.guest.requests import Asked, Request
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.hypervisor.profile import Viommu, ViommuInterrupt
from west_viommu.names import BUS_COMPATIBLE, OVERLAY_FIRST_LINE, VSMMU_COMPATIBLE, VSMMU_LABEL
from west_viommu.plan.plan import PlanDevice
from west_viommu.plan.planning import Planned
from west_viommu.tree.interrupts import FIRST_SPI, SPI
from west_viommu.write.dts import commented, quoted

# Zephyr refuses phandle 0 in these, even for a disabled node.
_UNBOUND = ("iommus", "iommu-map", "iommu-map-mask")


def overlay(planned: Planned, *, has_own_binding: bool = False) -> str:
    """Return the text of viommu.overlay, which is valid for dtc after the guest's own files.

    `has_own_binding`: the vSMMU has a binding of ours (write/bindings.py), which must not be hidden
    by another binding for its compatible.
    """
    asked = planned.guest.asked
    requests = {request.path: request for request in asked.requests}
    parts = [_header(planned)]
    if planned.profile.viommu and planned.plan.viommu:
        own = [VSMMU_COMPATIBLE] if has_own_binding else []
        viommu = planned.profile.viommu
        parts.append(_vsmmu(viommu, asked, [*own, viommu.compatible]))
    parts.append(_bus(asked.bus_compatible))
    for device in planned.plan.devices:
        parts.append(_device(device, requests[device.node], planned))
    nodes = filter(None, map(planned.guest.tree.tree.node, asked.disabled))
    unbound = ((node.path, [p for p in _UNBOUND if p in node.properties]) for node in nodes)
    parts += [_disabled(path, names) for path, names in unbound if names]
    return "\n".join(parts)


def _header(planned: Planned) -> str:
    plan, profile = planned.plan, planned.profile
    model = f" ({planned.host.model})" if planned.host.model else ""
    lines = [
        f"west-viommu {__version__}",
        f"host:    {_base_name(planned.host.name)}{model}",
        f"guest:   {' '.join(map(_base_name, planned.guest.names))}",
        f"profile: {profile.name}, "
        + (f"stream IDs by the policy {profile.policy}" if profile.viommu else "no vSMMU"),
    ]
    if not planned.profile_was_chosen:
        lines.append(f"         (default: no --profile), which assumes {profile.about}")
    lines += [f"note:    {remark}" for remark in planned.remarks]
    lines += [f"added:   {line}" for line in plan.added]
    lines += [
        f"allowed: {each.hazard} for {each.device}, because: {each.reason}" for each in plan.allowed
    ]
    body = "".join(f" * {commented(line)}\n" for line in lines)
    return f"{OVERLAY_FIRST_LINE}\n *\n{body} */\n"


def _base_name(path: str) -> str:
    """Return the name of a file for output, independent of the file's folder and of the locale by
    which Python read the name.
    """
    return os.fsencode(os.path.basename(os.path.abspath(path))).decode("utf-8", "surrogateescape")


def _vsmmu(viommu: Viommu, guest: Asked, compatible: Sequence[str]) -> str:
    address_cells, size_cells = guest.root_cells
    interrupts = [_specifier(each, guest.gic.cells) for each in viommu.interrupts]
    names = [f'"{each.name}"' for each in viommu.interrupts]
    lines = [
        f"compatible = {', '.join(map(quoted, compatible))};",
        f"reg = <{_cells(viommu.base, address_cells)} {_cells(viommu.size, size_cells)}>;",
        f"interrupts = {', '.join(interrupts)}; /* {_meaning(viommu)} */",
        f"interrupt-names = {', '.join(names)};",
    ]
    if guest.gic.reference:
        lines.append(f"interrupt-parent = <{guest.gic.reference}>;")
    lines.append("#iommu-cells = <1>;")
    lines += [f"{flag};" for flag in viommu.flags]
    if viommu.phandle is not None:
        lines.append(f"phandle = <{viommu.phandle:#x}>; /* as the hypervisor gives it */")
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"/ {{\n\t{VSMMU_LABEL}: {viommu.node_name} {{\n{body}\t}};\n}};\n"


def _bus(compatible: Sequence[str]) -> str:
    """Return the compatible that gives the bus its binding, then those that the bus has already."""
    strings = [BUS_COMPATIBLE, *(each for each in compatible if each != BUS_COMPATIBLE)]
    if "simple-bus" not in strings:
        strings.append("simple-bus")
    compatibles = ", ".join(map(quoted, strings))
    label = 'label = "passthrough"; /* Zephyr before 3.2 asks for it on a bus */'
    return f"&{{{PASSTHROUGH}}} {{\n\tcompatible = {compatibles};\n\t{label}\n}};\n"


def _disabled(path: str, names: Sequence[str]) -> str:
    lines = "".join(f"\t/delete-property/ {name};\n" for name in names)
    return f"/* disabled: it asks for nothing */\n&{{{path}}} {{\n{lines}}};\n"


def _device(device: PlanDevice, request: Request, planned: Planned) -> str:
    smmus = dict.fromkeys(f"{s.iommu} ({s.iommu_base:#x})" for s in device.streams)
    smmus |= dict.fromkeys(entry.iommu for entry in device.maps)
    comment = [f"host {device.host}", f"behind {', '.join(smmus) or 'no IOMMU'}"]
    if device.streams:
        comment.append(f"stream IDs {' '.join(shown(stream) for stream in device.streams)}")
    if planned.profile.viommu:
        master = planned.host.devices.master(device.host)
        mask = master.map_mask if master else None
        lines = [*_iommus(device, request), *_iommu_map(device, request, mask)]
    else:
        lines = list(_unbound(device, request))
    lines += _interrupt_parent(request, planned.guest.asked.gic.reference)
    return "".join(["/*\n", *(f" * {commented(line)}\n" for line in comment), " */\n"]) + "".join(
        [f"&{{{device.node}}} {{\n", *(f"\t{line}\n" for line in lines), "};\n"]
    )


def _unbound(device: PlanDevice, request: Request) -> Iterator[str]:
    """Yield lines that drop the references to a vSMMU, which this guest does not have. The path and
    the stream IDs stay, so that `viommu check` can find the host device of the built node.
    """
    if request.iommus is not None:
        yield "/delete-property/ iommus; /* this Xen gives the guest no vSMMU */"
        if device.streams:
            ids = " ".join(f"{stream.pmaster:#x}" for stream in device.streams)
            yield f"{STREAM_IDS} = <{ids}>; /* for viommu check */"
    if request.has_map:
        yield "/delete-property/ iommu-map; /* this Xen gives the guest no vSMMU */"
    if request.xen_path is None:
        yield f"xen,path = {quoted(device.host)}; /* for viommu check */"


def _iommus(device: PlanDevice, request: Request) -> Iterator[str]:
    if device.streams:
        entries = ", ".join(f"<&{VSMMU_LABEL} {stream.vmaster:#x}>" for stream in device.streams)
        yield f"iommus = {entries};"
    elif request.iommus is not None:
        yield "/delete-property/ iommus; /* its IDs are those of iommu-map */"


def _interrupt_parent(request: Request, gic: str) -> Iterator[str]:
    """Yield the guest's own GIC as interrupt parent, if the guest has Xen's number for its GIC."""
    if request.xens_gic and gic:
        yield f"interrupt-parent = <{gic}>; /* in place of Xen's number for it */"
    elif request.xens_gic == request.path:
        # The root of the base tree, which is not given, names the GIC.
        yield "/delete-property/ interrupt-parent; /* Xen's number for the GIC */"
    if request.extended:
        yield from _extended(request.extended, gic)


def _extended(entries: Sequence[tuple[str | None, tuple[int, ...]]], gic: str) -> Iterator[str]:
    """Yield the same interrupts, on the guest's own GIC. If its label is unknown, the GIC is the
    one that the root of the base tree names; entries beside other controllers still need a
    reference.
    """
    rows = [" ".join(f"{number:#x}" for number in numbers) for _, numbers in entries]
    if gic or any(controller for controller, _ in entries):
        parents = [f"&{{{path}}}" if path else gic or "&gic" for path, _ in entries]
        extended = ", ".join(f"<{parent} {row}>" for parent, row in zip(parents, rows, strict=True))
        yield f"interrupts-extended = {extended}; /* in place of Xen's number for the GIC */"
    else:
        yield "/delete-property/ interrupts-extended; /* Xen's number for the GIC */"
        yield f"interrupts = {', '.join(f'<{row}>' for row in rows)};"


def _iommu_map(device: PlanDevice, request: Request, mask: int | None) -> Iterator[str]:
    """Yield the host's iommu-map, with unchanged IDs, to the vSMMU, and with the `mask` of the host
    node. If the hypervisor programs none of its IDs, delete a copied iommu-map: its phandle means
    nothing.
    """
    if device.maps:
        entries = ", ".join(
            f"<{entry.rid:#x} &{VSMMU_LABEL} {entry.vmaster:#x} {entry.length:#x}>"
            for entry in device.maps
        )
        yield f"iommu-map = {entries};"
        # Also if it is the default: a copy of the node may have another mask.
        yield f"iommu-map-mask = <{0xFFFFFFFF if mask is None else mask:#x}>;"
    elif request.has_map:
        yield "/delete-property/ iommu-map; /* the hypervisor programs none of its IDs */"


def shown(stream: AssignedStream) -> str:
    """Return a stream for people: its ID, and the guest's ID if that differs."""
    is_same = stream.pmaster == stream.vmaster
    return f"{stream.pmaster:#x}" if is_same else f"{stream.pmaster:#x}@{stream.vmaster:#x}"


def _specifier(interrupt: ViommuInterrupt, cells: int) -> str:
    """Return an interrupt specifier of the guest's GIC: type, number, flags, and Zephyr's
    priority.
    """
    number = interrupt.intid - FIRST_SPI
    if cells == ZEPHYR_CELLS:
        trigger = ZEPHYR_EDGE if interrupt.is_edge else ZEPHYR_LEVEL
        return f"<{SPI} {number} {trigger} {ZEPHYR_PRIORITY:#x}>"
    return f"<{SPI} {number} {LINUX_EDGE if interrupt.is_edge else LINUX_LEVEL}>"


def _meaning(viommu: Viommu) -> str:
    return ", ".join(
        f"INTID {each.intid} {'edge' if each.is_edge else 'level'}" for each in viommu.interrupts
    )


def _cells(number: int, count: int) -> str:
    """Return `number` in `count` cells, the most significant first."""
    return " ".join(f"{number >> 32 * i & 0xFFFFFFFF:#x}" for i in reversed(range(count)))
