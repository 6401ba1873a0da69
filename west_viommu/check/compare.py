# SPDX-License-Identifier: Apache-2.0
"""Two sides of a guest, field by field: each is a built tree, the tree that the hypervisor gave, or
a plan. A difference is a Diagnostic without a place in a file.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from west_viommu.check.view import NodeView, View
from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.gic import GuestInterrupt
from west_viommu.guest.requests import Raw
from west_viommu.hazards.parts import listed
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.profile import Profile, switched_on
from west_viommu.plan.plan import Plan, PlanDevice, PlanRaw, PlanViommu
from west_viommu.tree.addresses import Region

# The cells of a stream ID behind the vSMMU, as in the generated overlay.
_VSMMU_CELLS = 1
_UNPLANNED = "none: the plan does not have it"
# The name of each value, and the value on each side.
_Rows = Iterable[tuple[str, Any, Any]]


def with_given(built: View, given: View, profile: Profile | None) -> Iterator[Diagnostic]:
    """Yield the differences between the tree that the hypervisor gave and the built one. `profile`:
    the build's, if it is known.
    """
    yield from given.faults
    yield from _vsmmus(built.vsmmu, given.vsmmu, profile)
    for path in dict.fromkeys([*built.devices, *given.devices]):
        mine, theirs = built.devices.get(path), given.devices.get(path)
        if mine and theirs:
            yield from _of_views(path, mine, theirs)
        elif _matters(mine or theirs):
            yield _presence(path, "node", mine, theirs)


def with_plan(built: View, plan: Plan) -> Iterator[Diagnostic]:
    """Yield the differences between the built tree and its plan."""
    if plan.viommu and built.vsmmu:
        yield from _planned_vsmmu(plan.viommu, built.vsmmu)
    elif plan.viommu or built.vsmmu:
        path = plan.viommu.node if plan.viommu else built.vsmmu.path if built.vsmmu else ""
        yield _presence(path, "vSMMU", plan.viommu, built.vsmmu)
    for device in plan.devices:
        mine = built.devices.get(device.node)
        if mine is None:
            yield _presence(device.node, "node", device, None)
            continue
        if plan.viommu is None:
            # The IDs are only the host's: bind leaves no ID for which the guest needs a vSMMU.
            device = device._replace(streams=(), maps=())
        for field in _FIELDS:
            if field.planned:
                found = getattr(mine, field.planned_name or field.name)
                rows = [(field.what, field.planned(device), found)]
                yield from _differences(device.node, rows, field.shown)
    known = {device.node for device in plan.devices}
    for path, mine in built.devices.items():
        if (mine.streams or mine.maps) and path not in known:
            yield Diagnostic(
                node=path, what="stream IDs", expected=_UNPLANNED, found=listed(mine.streams)
            )


def raw_mappings(planned: Iterable[PlanRaw], built: Iterable[Raw]) -> Iterator[Diagnostic]:
    """Yield each mapping of host memory without a host device that differs from the plan."""
    expected = {raw.node: [(r.on_host, r.in_guest) for r in raw.regions] for raw in planned}
    found = {raw.path: [(host, guest) for host, guest in raw.mapped] for raw in built}
    for path in dict.fromkeys([*expected, *found]):
        rows = [("xen,reg", expected.get(path, ()), found.get(path, ()))]
        yield from _differences(path, rows, _raw_value)


def unasked(planned: Iterable[str], built: Iterable[str]) -> Iterator[Diagnostic]:
    """Yield the nodes with registers that request no device, if only one side has them."""
    expected, found = dict.fromkeys(planned), dict.fromkeys(built)
    for path in found:
        if path not in expected:
            yield Diagnostic(node=path, what="node", expected=_UNPLANNED, found="present")
    for path in expected:
        if path not in found:
            asks = "present, and asks for no device"
            yield Diagnostic(node=path, what="node", expected=asks, found="another, or none")


def between_plans(
    earlier: Plan, now: Plan, refused: Collection[str], *, has_errors: bool
) -> Iterator[Diagnostic]:
    """Yield the differences between the plans that the host tree yields for the same requests `now`
    and yielded `earlier`. `refused`: the nodes with an error now, which get no further message.
    """
    if has_errors:
        # A refused device gets no mark, and is not in the way of any memory.
        now, earlier = _without_refused(now), _without_refused(earlier)
    # A changed sum of the tree is no difference by itself: the relevant parts are compared.
    rows = [("host model", now.host.model, earlier.host.model)]
    rows += [
        (key, getattr(now, key), getattr(earlier, key))
        for key in ("profile", "vsid", "domain", "extra", "allowed", "marks", "memory_limit")
    ]
    yield from _differences("/", rows, _plan_value)
    viommu = earlier.viommu or now.viommu
    path = viommu.node if viommu else "/"
    if path not in refused:
        yield from _differences(path, [("vSMMU", now.viommu, earlier.viommu)], _plan_value)
    new, old = ({each.node: _by_key(each) for each in plan.devices} for plan in (now, earlier))
    for path in dict.fromkeys([*old, *new]):
        if path in refused:
            continue
        if path in new and path in old:
            yield from _differences(path, _leaves(new[path], old[path], ""), _plan_value)
        else:
            yield _presence(path, "plan", new.get(path), old.get(path))


def _differences(
    node: str, rows: _Rows, shown: Callable[[Any], str], hint: str = ""
) -> Iterator[Diagnostic]:
    """Yield each of `rows` with two different values, `shown` as text."""
    for what, expected, found in rows:
        if expected != found:
            yield Diagnostic(
                node=node, what=what, expected=shown(expected), found=shown(found), hint=hint
            )


def _presence(
    node: str, what: str, expected: object | None, found: object | None, hint: str = ""
) -> Diagnostic:
    """Return the difference that only one side has a node."""
    texts = ("present" if side else "none" for side in (expected, found))
    return Diagnostic(node=node, what=what, expected=next(texts), found=next(texts), hint=hint)


def _without_refused(plan: Plan) -> Plan:
    """Return `plan` without the fields that change for all devices if one of them is refused."""
    devices = (
        device._replace(
            streams=tuple(stream._replace(vmaster=StreamId(0)) for stream in device.streams)
        )
        for device in plan.devices
    )
    return plan._replace(viommu=None, devices=tuple(devices), marks=(), memory_limit=None)


def _by_key(device: PlanDevice) -> dict[str, object]:
    """Return the facts of `device` in the plan by key, without the guest node's own fields:
    `with_plan` compares those.
    """
    of_host = device._asdict()
    for key in ("compatible", "status"):
        del of_host[key]
    return {**of_host, "host compatible": device.compatible.host}


def _leaves(new: object, old: object, name: str) -> Iterator[tuple[str, object, object]]:
    """Yield the values that differ, each under its name: streams[0].pmaster."""
    if (mine := _by_name(old)) is not None and (theirs := _by_name(new)) is not None:
        for key in dict.fromkeys([*theirs, *mine]):
            yield from _leaves(theirs.get(key), mine.get(key), f"{name}.{key}" if name else key)
    elif isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old):
        for i, (its, mine_too) in enumerate(zip(new, old, strict=True)):
            yield from _leaves(its, mine_too, f"{name}[{i}]")
    elif new != old:
        yield name, new, old


def _by_name(value: object) -> dict[str, object] | None:
    """Return the fields of a record by name; None for anything else."""
    if isinstance(value, dict):
        return value
    fields = getattr(value, "_fields", None)
    return dict(zip(fields, value, strict=True)) if isinstance(value, tuple) and fields else None


def _planned_vsmmu(viommu: PlanViommu, built: NodeView) -> Iterator[Diagnostic]:
    rows = [
        ("node", viommu.node, built.path),
        ("compatible", viommu.compatible, " ".join(built.compatible)),
        ("#iommu-cells", f"{_VSMMU_CELLS:#x}", f"{built.iommu_cells:#x}"),
        ("region", str(Region(viommu.base, viommu.size)), _node_field(built.regions)),
        ("interrupts", str(list(viommu.intids)), str(list(built.intids))),
    ]
    return _differences(built.path, rows, str)


def _vsmmus(
    mine: NodeView | None, theirs: NodeView | None, profile: Profile | None
) -> Iterator[Diagnostic]:
    if mine and theirs:
        yield from _of_views(theirs.path, mine, theirs)
        if profile and profile.viommu and profile.viommu.phandle is not None:
            hint = (
                f"this is not the Xen of the profile {profile.name}: `viommu profiles` lists them"
            )
            rows = [("phandle", profile.viommu.phandle, theirs.phandle)]
            yield from _differences(theirs.path, rows, _node_field, hint)
    elif mine or theirs:
        path = mine.path if mine else theirs.path if theirs else ""
        switch = "; ".join(switched_on(profile)) if profile and mine else ""
        hint = f"this Xen gives a guest a vSMMU only if it is switched on; {switch}"
        yield _presence(path, "vSMMU", mine, theirs, hint if switch else "")


def _of_views(path: str, mine: NodeView, theirs: NodeView) -> Iterator[Diagnostic]:
    rows = ((f.what, getattr(mine, f.name), getattr(theirs, f.name)) for f in _FIELDS)
    return _differences(path, rows, _node_field)


def _matters(device: NodeView | None) -> bool:
    """Return whether the node is more than a container."""
    return bool(device and (device.regions or device.interrupts or device.streams or device.maps))


def _node_field(value: object) -> str:
    """Return a field of a NodeView as text."""
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
    """Return a value of viommu.json as text: its numbers in hexadecimal."""
    fields = _by_name(value)
    if fields is not None:
        return ", ".join(f"{key} {_plan_value(field)}" for key, field in fields.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_plan_value, value)) or "none"
    return f"{value:#x}" if isinstance(value, int) else str(value or "none")


def _raw_value(mapped: Iterable[tuple[Region, Region]]) -> str:
    return ", ".join(f"{host} at {guest.base:#x}" for host, guest in mapped) or "none"


def _numbers(value: Iterable[int]) -> str:
    return str(list(value))


class _Field(NamedTuple):
    """A field of a device: its name in messages, its name in a NodeView, and its value in a plan,
    if a plan has it. `planned_name`: the name in a NodeView of the plan's value, if different.
    """

    what: str
    name: str
    planned: Callable[[PlanDevice], object] | None = None
    shown: Callable[[Any], str] = str
    planned_name: str = ""


_FIELDS = (
    _Field("compatible", "compatible", lambda device: device.compatible.guest, _plan_value),
    _Field("status", "status", lambda device: device.status),
    _Field(
        "regions", "regions", lambda device: tuple(r.in_guest for r in device.regions), _node_field
    ),
    _Field("interrupts", "interrupts", lambda device: device.intids, _numbers, "intids"),
    _Field("interrupt-names", "interrupt_names"),
    _Field("#iommu-cells", "iommu_cells"),
    _Field(
        "stream IDs", "streams", lambda device: tuple(s.vmaster for s in device.streams), listed
    ),
    _Field(
        "iommu-map",
        "maps",
        lambda device: tuple((each.rid, each.vmaster, each.length) for each in device.maps),
        _plan_value,
    ),
)
