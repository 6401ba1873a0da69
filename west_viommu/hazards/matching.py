# SPDX-License-Identifier: Apache-2.0
"""What to say of a request that means no one host device, or not with these stream IDs."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from west_viommu.guest.requests import Request
from west_viommu.hazards.findings import Finding, Severity, as_allowed, listed
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Master
from west_viommu.host.streams import StreamId


class Wanted(NamedTuple):
    """A stream ID of a request. `iommu` is the host SMMU that an unmodified copy still names."""

    id: StreamId
    iommu: str | None


def unknown_path(path: str, devices: Devices) -> Finding:
    """A path that names no host node."""
    close = devices.named(name_of(path))[:3] or devices.like(path, devices.paths)
    return Finding(
        "the host tree has no such node",
        f"write the path that you mean: {_as_paths(close)}"
        if close
        else "`viommu list` shows the host nodes with stream IDs",
        "xen,path",
        expected="the path of a host node",
        found=path,
    )


def nothing_mapped(devices: Devices) -> Finding:
    """The copy of a node with iommu-map, and no such host node."""
    mapping = [master.path for master in devices.masters if master.maps]
    return Finding(
        "no host node with iommu-map has the address or the name of this one",
        f"say which one you mean: {_as_paths(mapping[:3])}"
        if mapping
        else "the host has no such node: leave this one out",
        "iommu-map",
    )


def ambiguous(candidates: Sequence[Master]) -> Finding:
    """Several masters that a request may mean."""
    return Finding(
        f"{len(candidates)} host masters own all of these stream IDs",
        f"say which one you mean: {_as_paths(master.path for master in candidates[:3])}",
        expected="one master",
        found="; ".join(f"{m.path} behind {' and '.join(m.iommus)}" for m in candidates),
    )


def unknown_ids(
    request: Request, unknown: Sequence[Wanted], there: Device | None, devices: Devices
) -> Finding:
    """Stream IDs that no master has. `there` is the host node at the request's address."""
    iommus = dict.fromkeys(iommu for _, iommu in unknown if iommu)
    what = "no host master has this stream ID"
    hint = _whose_else(request, unknown, devices)
    expected = "a stream ID of a host master"
    if there and there.master:
        hint = f"the host has {there.path} at this address: {as_entries(there.master)}"
        expected = f"{listed(there.master.stream_ids)}, those of {there.path}"
    return Finding(
        f"{what} behind {' or '.join(iommus)}" if iommus else what,
        hint,
        expected=expected,
        found=listed(stream_id for stream_id, _ in unknown),
    )


def _whose_else(request: Request, unknown: Sequence[Wanted], devices: Devices) -> str:
    """Who may be meant by IDs that no master has, or none behind the SMMU that is named."""
    for stream_id, iommu in unknown:
        owners = [master.path for master, _ in devices.owners(stream_id) if iommu]
        if owners:
            return (
                f"{stream_id:#x} is of {' and '.join(owners)}, behind another SMMU: write 0x0 in "
                "place of the SMMU if you mean that"
            )
    named = devices.listing
    for name in devices.like(request.name, named.keys(), 1):
        return f"did you mean {named[name].path}: {as_entries(named[name])}"
    return "`viommu list` shows the stream IDs of every master"


def not_protected(device: Device) -> Finding:
    """What is found of a device that is behind no IOMMU."""
    return Finding(
        f"{device.path} is behind no IOMMU in the host tree, so its DMA would reach all memory",
        "take the host tree whose node has `iommus`, or another device of `viommu list`; for one "
        f"that does no DMA: {as_allowed('unprotected', device.path)}",
        expected="`iommus` on the host node",
        found="none",
    )


def mismatch(wanted: Sequence[Wanted], devices: Devices, device: Device | None) -> Finding:
    """Stream IDs of several masters, or not those of `device`, which the request names."""
    found = ", ".join(dict.fromkeys(_whose(each, devices) for each in wanted))
    if device and device.master:
        behind = " and ".join(device.master.iommus)
        return Finding(
            f"the stream IDs are not those of {device.path}",
            f"copy the IDs of that host node: {as_entries(device.master)}"
            if device.master.streams
            else f"leave iommus out: {device.path} has only iommu-map",
            expected=f"{listed(device.master.stream_ids)} behind {behind}"
            if device.master.streams
            else "none but those of iommu-map",
            found=found,
        )
    return Finding(
        "no one host master owns all of these stream IDs",
        "write one node for each host device, with the stream IDs of that device",
        expected="the IDs of one master",
        found=found,
    )


def _whose(wanted: Wanted, devices: Devices) -> str:
    """Who has the ID: those that list it; if none does, those that map it."""
    owners = [master for master, _ in devices.owners(wanted.id)]
    listing = [master for master in owners if master.has_stream(wanted.id)]
    paths = " and ".join(dict.fromkeys(master.path for master in listing or owners))
    if wanted.iommu:
        return f"{wanted.id:#x} behind {wanted.iommu}"
    return f"{wanted.id:#x} of {paths or 'no master'}"


def assigned_twice(device: Device, first: Request, *, too_often: bool) -> Finding:
    """A host device that the request `first` has already."""
    return Finding(
        f"{device.path} is assigned {'too often' if too_often else 'twice'}",
        f"remove this node, or {first.path}",
        expected="one guest node for a host device",
        found=f"{first.path} as well",
        severity=Severity.FATAL if too_often else None,
    )


def as_entries(master: Master) -> str:
    """The `iommus` line to paste for `master`."""
    if not master.streams:
        return "it has no `iommus`, only iommu-map"
    return f"iommus = {', '.join(f'<0x0 {i:#x}>' for i in master.stream_ids)};"


def _as_paths(paths: Iterable[str]) -> str:
    """The `xen,path` lines of which one is to be pasted."""
    return " or ".join(f'xen,path = "{path}";' for path in paths)


def name_of(path: str) -> str:
    """The name of the node at `path`, with its unit address."""
    return path.rpartition("/")[2]
