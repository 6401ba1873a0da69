# SPDX-License-Identifier: Apache-2.0
"""Two views of a guest, or a view and a plan, field by field."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from west_viommu.check.difference import Difference
from west_viommu.check.view import NodeView, View
from west_viommu.guest.gic import GuestInterrupt
from west_viommu.hazards.findings import listed
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.profile import Profile, switched_on
from west_viommu.plan.plan import Plan, PlanDevice
from west_viommu.tree.addresses import Region

# Of a stream ID behind the vSMMU, as in the overlay that is written.
_VSMMU_CELLS = 1
# The fields of a NodeView -> what to call them.
_FIELDS = {
    "compatible": "compatible",
    "status": "status",
    "regions": "regions",
    "interrupts": "interrupts",
    "interrupt_names": "interrupt-names",
    "iommu_cells": "#iommu-cells",
    "streams": "stream IDs",
    "maps": "iommu-map",
}


def with_given(built: View, given: View, profile: Profile | None) -> Iterator[Difference]:
    """Where the tree that the hypervisor gave is not the one that was built. `profile`: that of the
    build, where it is known.
    """
    yield from given.faults
    yield from _of_vsmmu(built.vsmmu, given.vsmmu, profile)
    for path in dict.fromkeys([*built.devices, *given.devices]):
        mine, theirs = built.devices.get(path), given.devices.get(path)
        if mine and theirs:
            yield from _fields(path, mine, theirs)
        elif _matters(mine or theirs):
            yield Difference(
                node=path,
                what="node",
                expected="present" if mine else "none",
                found="present" if theirs else "none",
            )


def with_plan(built: View, plan: Plan) -> Iterator[Difference]:
    """Where the tree that was built is not what the plan for it says."""
    if plan.viommu and built.vsmmu:
        intids = [interrupt.intid for interrupt in built.vsmmu.interrupts]
        for what, expected, found in (
            ("node", plan.viommu.node, built.vsmmu.path),
            ("compatible", plan.viommu.compatible, " ".join(built.vsmmu.compatible)),
            ("#iommu-cells", f"{_VSMMU_CELLS:#x}", f"{built.vsmmu.iommu_cells:#x}"),
            (
                "region",
                str(Region(plan.viommu.base, plan.viommu.size)),
                _node_field(built.vsmmu.regions),
            ),
            ("interrupts", str(list(plan.viommu.intids)), str(intids)),
        ):
            if expected != found:
                yield Difference(node=built.vsmmu.path, what=what, expected=expected, found=found)
    elif plan.viommu:
        yield Difference(node=plan.viommu.node, what="vSMMU", expected="present", found="none")
    elif built.vsmmu:
        yield Difference(node=built.vsmmu.path, what="vSMMU", expected="none", found="present")
    for device in plan.devices:
        yield from _of_device(built, device)
    known = {device.node for device in plan.devices}
    for path, mine in built.devices.items():
        if (mine.streams or mine.maps) and path not in known:
            yield Difference(
                node=path,
                what="stream IDs",
                expected="none: the plan does not have it",
                found=listed(mine.streams),
            )


def unasked(planned: Iterable[str], built: Iterable[str]) -> Iterator[Difference]:
    """The nodes with registers that ask for no device, where the plan has other ones."""
    expected, found = dict.fromkeys(planned), dict.fromkeys(built)
    for path in found:
        if path not in expected:
            yield Difference(
                node=path, what="node", expected="none: the plan does not have it", found="present"
            )
    for path in expected:
        if path not in found:
            yield Difference(
                node=path,
                what="node",
                expected="present, and asks for no device",
                found="another, or none",
            )


def between_plans(
    earlier: Plan, now: Plan, refused: Collection[str], *, has_errors: bool
) -> Iterator[Difference]:
    """What the host tree makes of the same requests now, against what it made of them then.
    `refused`: the nodes of which the errors of now are; of those, no more is said.
    """
    if has_errors:
        # A refused device gets no mark, and is in the way of no memory.
        now = _without_numbers(now._replace(marks=(), memory_limit=None))
        earlier = _without_numbers(earlier._replace(marks=(), memory_limit=None))
    for what, expected, found in (
        # That the tree's sum is another says nothing: what of it counts here is compared.
        ("host model", now.host.model, earlier.host.model),
        ("profile", now.profile, earlier.profile),
        ("vsid", now.vsid, earlier.vsid),
        ("domain", now.domain, earlier.domain),
        ("extra", now.extra, earlier.extra),
        ("allowed", now.allowed, earlier.allowed),
        ("marks", now.marks, earlier.marks),
        ("memory_limit", now.memory_limit, earlier.memory_limit),
    ):
        if expected != found:
            yield Difference(
                node="/", what=what, expected=_plan_value(expected), found=_plan_value(found)
            )
    for difference in _of_devices(earlier, now):
        if difference.node not in refused:
            yield difference


def _of_devices(earlier: Plan, now: Plan) -> Iterator[Difference]:
    """What of the vSMMU and of the devices is not as it was."""
    if earlier.viommu != now.viommu:
        viommu = earlier.viommu or now.viommu
        yield Difference(
            node=viommu.node if viommu else "/",
            what="vSMMU",
            expected=_plan_value(now.viommu),
            found=_plan_value(earlier.viommu),
        )
    plans = [
        {device.node: _without_guest(device) for device in plan.devices} for plan in (now, earlier)
    ]
    for path in dict.fromkeys([*plans[1], *plans[0]]):
        new, old = (plan.get(path) for plan in plans)
        if new is None or old is None:
            yield Difference(
                node=path,
                what="plan",
                expected="present" if new else "none",
                found="present" if old else "none",
            )
            continue
        for what, expected, found in _leaves(new, old, ""):
            yield Difference(
                node=path, what=what, expected=_plan_value(expected), found=_plan_value(found)
            )


def _without_guest(device: PlanDevice) -> dict[str, object]:
    """What the plan says of `device` by key, but for what the guest's node says of itself:
    `with_plan` compares that.
    """
    of_host = device._asdict()
    for key in ("compatible", "status"):
        del of_host[key]
    return {**of_host, "host compatible": device.compatible.host}


def _without_numbers(plan: Plan) -> Plan:
    """`plan` without what changes for all devices where one of them is not there."""
    devices = (
        device._replace(
            streams=tuple(stream._replace(vmaster=StreamId(0)) for stream in device.streams)
        )
        for device in plan.devices
    )
    return plan._replace(viommu=None, devices=tuple(devices))


def _leaves(new: object, old: object, name: str) -> Iterator[tuple[str, object, object]]:
    """The values that differ, each under its name: streams[0].pmaster."""
    if (mine := _by_name(old)) is not None and (theirs := _by_name(new)) is not None:
        for key in dict.fromkeys([*theirs, *mine]):
            yield from _leaves(theirs.get(key), mine.get(key), f"{name}.{key}" if name else key)
    elif isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old):
        for i, (its, mine_too) in enumerate(zip(new, old, strict=True)):
            yield from _leaves(its, mine_too, f"{name}[{i}]")
    elif new != old:
        yield name, new, old


def _by_name(value: object) -> dict[str, object] | None:
    """The fields of a record by name; None for anything else."""
    if isinstance(value, dict):
        return value
    fields = getattr(value, "_fields", None)
    return dict(zip(fields, value, strict=True)) if isinstance(value, tuple) and fields else None


def _of_vsmmu(
    mine: NodeView | None, theirs: NodeView | None, profile: Profile | None
) -> Iterator[Difference]:
    if mine and theirs:
        yield from _fields(theirs.path, mine, theirs)
        if profile and profile.viommu and profile.viommu.phandle not in (None, theirs.phandle):
            expected, found = _node_field(profile.viommu.phandle), _node_field(theirs.phandle)
            hint = (
                f"this is not the Xen of the profile {profile.name}: `viommu profiles` lists them"
            )
            yield Difference(
                node=theirs.path, what="phandle", expected=expected, found=found, hint=hint
            )
    elif mine or theirs:
        path = mine.path if mine else theirs.path if theirs else ""
        switch = "; ".join(switched_on(profile)) if profile and mine else ""
        hint = f"this Xen gives a guest a vSMMU only if it is switched on; {switch}"
        yield Difference(
            node=path,
            what="vSMMU",
            expected="present" if mine else "none",
            found="present" if theirs else "none",
            hint=hint if switch else "",
        )


def _of_device(built: View, device: PlanDevice) -> Iterator[Difference]:
    path = device.node
    mine = built.devices.get(path)
    if mine is None:
        yield Difference(node=path, what="node", expected="present", found="none")
        return
    regions = [region.in_guest for region in device.regions]
    for what, expected, found in (
        ("compatible", _plan_value(device.compatible.guest), _plan_value(mine.compatible)),
        ("status", device.status, mine.status),
        ("regions", _node_field(regions), _node_field(mine.regions)),
        (
            "interrupts",
            str(list(device.intids)),
            str([interrupt.intid for interrupt in mine.interrupts]),
        ),
        (
            "stream IDs",
            listed(stream.vmaster for stream in device.streams),
            listed(mine.streams),
        ),
        (
            "iommu-map",
            _plan_value([(e.rid, e.vmaster, e.length) for e in device.maps]),
            _plan_value(list(mine.maps)),
        ),
    ):
        if expected != found:
            yield Difference(node=path, what=what, expected=expected, found=found)


def _fields(path: str, mine: NodeView, theirs: NodeView) -> Iterator[Difference]:
    for field, what in _FIELDS.items():
        expected, found = getattr(mine, field), getattr(theirs, field)
        if expected != found:
            yield Difference(
                node=path, what=what, expected=_node_field(expected), found=_node_field(found)
            )


def _matters(device: NodeView | None) -> bool:
    """Whether the node is more than a container."""
    return bool(device and (device.regions or device.interrupts or device.streams or device.maps))


def _node_field(value: object) -> str:
    """A field of a NodeView, for people."""
    if isinstance(value, GuestInterrupt):
        return f"INTID {value.intid} {'edge' if value.is_edge else 'level'}"
    if isinstance(value, Region):
        return str(value)
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(_node_field, value)) or "none"
    return "no address" if value is None else str(value) or "none"


def _plan_value(value: object) -> str:
    """A value of viommu.json for people: its numbers in hexadecimal."""
    fields = _by_name(value)
    if fields is not None:
        return ", ".join(f"{key} {_plan_value(field)}" for key, field in fields.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_plan_value, value)) or "none"
    return f"{value:#x}" if isinstance(value, int) else str(value or "none")
