# SPDX-License-Identifier: Apache-2.0
"""Which host device a request means. Resolved from the host tree, never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from west_viommu.guest.requests import COPY_HINT, Request
from west_viommu.hazards.findings import NoMatch
from west_viommu.hazards.matching import (
    ambiguous,
    mismatch,
    not_protected,
    nothing_mapped,
    unknown_ids,
    unknown_path,
)
from west_viommu.hazards.paste import as_entries
from west_viommu.hazards.wanted import Wanted, candidates, has_all, lists_all, wanted_ids
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Master
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import name_of


def assignment(request: Request, holdings: Holdings) -> Assignment:
    """`request` with its host device.

    With xen,path that is the node it names. Without, it is the one master that owns all the
    stream IDs; the address of a region, then the node's name, settle a tie. Raises NoMatch, and
    TreeError for a host node that is malformed.
    """
    devices = holdings.devices
    wanted = wanted_ids(request, devices)
    if request.malformed_ids:
        device = _despite_malformed_ids(request, request.malformed_ids, holdings)
    elif request.xen_path is not None:
        device = _by_path(request.xen_path, devices)
    elif wanted:
        device = _by_ids(request, wanted, devices)
    else:
        device = _by_place(request, devices)
    matched = _assignment(request, device, wanted)
    if device.master and not has_all(device.master, wanted):
        # The device is named, so what its user takes for its IDs is known as well.
        otherwise = matched if request.xen_path is not None else None
        raise NoMatch("stream-mismatch", mismatch(request, wanted, devices, device), otherwise)
    return matched


def whole(request: Request, device: Device) -> Assignment:
    """`request` with `device` and all of its stream IDs."""
    return _assignment(request, device, ())


def _assignment(request: Request, device: Device, wanted: Sequence[Wanted]) -> Assignment:
    """What `request` gets of `device`: the IDs that it names, else those of the host node."""
    master = device.master
    if master is None:
        return Assignment(request, device, tuple(stream_id for stream_id, _ in wanted), ())
    ids = tuple(stream_id for stream_id, _ in wanted) or master.stream_ids
    behind = {stream.id: stream.iommu for stream in master.streams}
    first = next(iter(behind.values()), None)
    streams = ((stream_id, behind.get(stream_id, first)) for stream_id in ids)
    return Assignment(
        request, device, ids, tuple((stream_id, iommu) for stream_id, iommu in streams if iommu)
    )


def _by_path(path: str, devices: Devices) -> Device:
    device = devices.device(path)
    if device is not None:
        return device
    raise NoMatch("unknown-host-node", unknown_path(path, devices))


def _by_ids(request: Request, wanted: Sequence[Wanted], devices: Devices) -> Device:
    unknown = [entry for entry in wanted if not candidates([entry], devices)]
    if unknown:
        there = _at_place(request, devices)
        if there and not there.master:
            otherwise = _assignment(request, there, unknown)
            raise NoMatch("unprotected", not_protected(there), otherwise)
        raise NoMatch("unknown-stream-id", unknown_ids(request, unknown, there, devices))
    having = candidates(wanted, devices)
    # Xen programs no IDs of iommu-map, so a device that lists the ID itself goes first.
    owners = [master for master in having if lists_all(master, wanted)]
    if owners:
        return _the_one(request, owners, devices)
    owners = [master for master in having if not master.streams]
    there = _at_place(request, devices)
    # A PCIe root often maps every small number: a mistyped ID of another device is then "its".
    if not owners or (there and there.master and there.master not in owners):
        raise NoMatch("stream-mismatch", mismatch(request, wanted, devices, there))
    return _the_one(request, owners, devices)


def _by_place(request: Request, devices: Devices) -> Device:
    """The copy of a node that has iommu-map alone: the host node at its address, or its name."""
    near = devices.mapped_at(request.name, _bases(request))
    if not near:
        raise NoMatch("unknown-host-node", nothing_mapped(devices))
    return _the_one(request, near, devices)


def _the_one(request: Request, candidates: Sequence[Master], devices: Devices) -> Device:
    """The one of `candidates` that has the request's address; among several, its name."""
    left = list(candidates)
    if len(left) > 1:
        bases = _bases(request)
        left = [master for master in left if _lies_at(master, bases)] or left
    if len(left) > 1:
        left = [master for master in left if name_of(master.path) == request.name] or left
    device = devices.device(left[0].path)
    if len(left) > 1 or device is None:
        raise NoMatch("ambiguous-master", ambiguous(left))
    return device


def _despite_malformed_ids(request: Request, error: TreeError, holdings: Holdings) -> Device:
    """The device of a request whose `iommus` is no list of entries, if it is behind an IOMMU that
    no driver of the hypervisor takes: that is what there is to say of it, by the hazards. Else what
    is malformed is refused.
    """
    if request.xen_path is not None:
        _by_path(request.xen_path, holdings.devices)
    device = named_device(request, holdings.devices)
    hint = COPY_HINT
    if device and device.master:
        if not all(map(holdings.driver, device.master.iommus)):
            return device
        hint += f": {as_entries(device.master)}"
    raise NoMatch("malformed", error.diagnostic._replace(hint=hint))


def named_device(request: Request, devices: Devices) -> Device | None:
    """The host device that `request` names by its path, or without one, lies at."""
    if request.xen_path is not None:
        return devices.device(request.xen_path)
    return _at_place(request, devices)


def _at_place(request: Request, devices: Devices) -> Device | None:
    """The host node at an address of the request, if there is just one (of its name)."""
    paths = dict.fromkeys(path for base in _bases(request) for path in devices.at(base))
    named = [path for path in paths if name_of(path) == request.name] or list(paths)
    return devices.device(named[0]) if len(named) == 1 else None


def _lies_at(master: Master, bases: frozenset[int]) -> bool:
    return not bases.isdisjoint(region.base for region in master.regions)


def _bases(request: Request) -> frozenset[int]:
    return frozenset(pair.host.base for pair in request.regions if pair.host)
