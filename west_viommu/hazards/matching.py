# SPDX-License-Identifier: Apache-2.0
"""What to say of a request that means no one host device, or not with these stream IDs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.requests import Request
from west_viommu.hazards.findings import as_allowed, listed
from west_viommu.hazards.paste import as_entries, path_lines
from west_viommu.hazards.wanted import Wanted
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Master
from west_viommu.tree.node import name_of

# More devices are not named one by one.
_MOST_NAMED = 3


def unknown_path(path: str, devices: Devices) -> Diagnostic:
    """A path that names no host node."""
    close = devices.named(name_of(path))[:3] or devices.close_names(path, devices.paths)
    return Diagnostic(
        what="the host tree has no such node",
        hint=f"write the path that you mean: {path_lines(close)}"
        if close
        else "`viommu list` shows the host nodes with stream IDs",
        prop="xen,path",
        expected="the path of a host node",
        found=path,
    )


def nothing_mapped(devices: Devices) -> Diagnostic:
    """The copy of a node with iommu-map, and no such host node."""
    mapping = [master.path for master in devices.masters if master.maps]
    return Diagnostic(
        what="no host node with iommu-map has the address or the name of this one",
        hint=f"say which one you mean: {path_lines(mapping[:3])}"
        if mapping
        else "the host has no such node: leave this one out",
        prop="iommu-map",
    )


def ambiguous(candidates: Sequence[Master]) -> Diagnostic:
    """Several masters that a request may mean."""
    return Diagnostic(
        what=f"{len(candidates)} host masters own all of these stream IDs",
        hint=f"say which one you mean: {path_lines(master.path for master in candidates[:3])}",
        prop="iommus",
        expected="one master",
        found="; ".join(f"{m.path} behind {' and '.join(m.iommus)}" for m in candidates),
    )


def unknown_ids(
    request: Request,
    unknown: Sequence[Wanted],
    there: Device | None,
    devices: Devices,
    parts: Sequence[str] = ("reg",),
) -> Diagnostic:
    """Stream IDs that no master has. `there` is the host node that the other `parts` say."""
    iommus = dict.fromkeys(iommu for _, iommu in unknown if iommu)
    what = "no host master has this stream ID"
    hint = _whose_else(request, unknown, devices)
    expected = "a stream ID of a host master"
    ids = {stream_id for stream_id, _ in unknown}
    prop = ids_property(request, lambda stream_id: stream_id in ids)
    if there and there.master:
        if not iommus:
            said = (
                f"the {as_list(parts)} of the node {'is that' if len(parts) == 1 else 'are those'}"
            )
            line = as_entries(there.master, prop)
            hint = f"{said} of {there.path}: " + (f"write {line}" if there.master.streams else line)
        expected = f"{listed(there.master.stream_ids)}, those of {there.path}"
    return Diagnostic(
        what=f"{what} behind {' or '.join(iommus)}" if iommus else what,
        hint=hint,
        prop=prop,
        expected=expected,
        found=listed(stream_id for stream_id, _ in unknown),
    )


def _whose_else(request: Request, unknown: Sequence[Wanted], devices: Devices) -> str:
    """The masters that may be meant by IDs that none has, or none behind the SMMU that is named."""
    for stream_id, iommu in unknown:
        owners = [master.path for master, _ in devices.owners(stream_id) if iommu]
        if owners:
            return (
                f"{stream_id:#x} is of {' and '.join(owners)}, behind another SMMU: write 0x0 in "
                "place of the SMMU if you mean that"
            )
    named = devices.listing_by_name
    for name in devices.close_names(request.name, named.keys(), 1):
        return f"did you mean {named[name].path}: {as_entries(named[name])}"
    return "`viommu list` shows the stream IDs of every master"


def not_protected(device: Device) -> Diagnostic:
    """What is found of a device that is behind no IOMMU."""
    return Diagnostic(
        what=f"{device.path} is behind no IOMMU in the host tree, so its DMA would reach all "
        "memory",
        hint="take the host tree whose node has `iommus`, or another device of `viommu list`; for "
        f"one that does no DMA: {as_allowed('unprotected', device.path)}",
        prop="iommus",
        expected="`iommus` on the host node",
        found="none",
    )


def mismatch(
    request: Request,
    wanted: Sequence[Wanted],
    devices: Devices,
    device: Device | None,
    parts: Sequence[str] = (),
) -> Diagnostic:
    """Stream IDs of several masters, or not those of `device`, which the other `parts` say."""
    owners = ", ".join(dict.fromkeys(_whose(entry, devices) for entry in wanted))
    if device and device.master:
        own = frozenset(device.master.stream_ids)
        prop = ids_property(request, lambda stream_id: stream_id not in own)
        behind = " and ".join(device.master.iommus)
        by = f", whose {as_list(parts)} the node has" if parts else ""
        others = _listing([entry for entry in wanted if entry.id not in own], devices)
        has_some = any(entry.id in own for entry in wanted)
        also = f" and give {as_list(others)} a node of its own" if has_some and others else ""
        return Diagnostic(
            what=f"the stream IDs are not those of {device.path}{by}",
            hint=f"copy the IDs of that host node: {as_entries(device.master, prop)}{also}"
            if device.master.streams
            else f"leave {prop} out: {device.path} has only iommu-map",
            prop=prop,
            expected=f"{listed(device.master.stream_ids)} behind {behind}"
            if device.master.streams
            else "none but those of iommu-map",
            found=owners,
        )
    return Diagnostic(
        what="no one host master owns all of these stream IDs",
        hint="write one node for each host device, with the stream IDs of that device",
        prop=ids_property(request, lambda _: True),
        expected="the IDs of one master",
        found=owners,
    )


def ids_property(request: Request, is_wrong: Callable[[int], bool]) -> str:
    """The property that the first wrong one of the request's stream IDs comes from."""
    props = [entry.prop for entry in request.entries]
    wrong = (entry.prop for entry in request.entries if is_wrong(entry.id))
    return next(wrong, props[0] if props else "iommus")


def as_list(words: Collection[str]) -> str:
    """The words as an English list."""
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last


def _listing(wanted: Sequence[Wanted], devices: Devices) -> list[str]:
    """The masters that list the IDs in their `iommus`, the first few."""
    masters = {m.path: m for entry in wanted[:_MOST_NAMED] for m, _ in devices.owners(entry.id)}
    ids = [entry.id for entry in wanted]
    listing = [m.path for m in masters.values() if any(map(m.has_stream, ids))]
    return listing[:_MOST_NAMED]


def _whose(wanted: Wanted, devices: Devices) -> str:
    """The masters that have the ID: those that list it; if none does, those that map it."""
    paths = _listing([wanted], devices)
    if wanted.iommu:
        return f"{wanted.id:#x} behind {wanted.iommu}"
    paths = paths or [master.path for master, _ in devices.owners(wanted.id)][:_MOST_NAMED]
    return f"{wanted.id:#x} of {' and '.join(dict.fromkeys(paths)) or 'no master'}"


def assigned_twice(device: Device, first: Request, *, too_often: bool) -> Diagnostic:
    """A host device that the request `first` has already."""
    return Diagnostic(
        what=f"{device.path} is assigned {'too often' if too_often else 'twice'}",
        hint=f"remove this node, or {first.path}",
        prop="iommus",
        expected="one guest node for a host device",
        found=f"{first.path} as well",
        severity=Severity.FATAL if too_often else Severity.ERROR,
    )
