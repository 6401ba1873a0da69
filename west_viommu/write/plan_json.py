# SPDX-License-Identifier: Apache-2.0
"""viommu.json: the plan for other programs, with the sum of every other file of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from west_viommu.guest.regions import Mapped
from west_viommu.hypervisor.assignment import PlannedDevice
from west_viommu.hypervisor.profile import Viommu
from west_viommu.names import PLAN_SCHEMA
from west_viommu.plan.records import Plan
from west_viommu.plan.sealed import (
    SealedCompatible,
    SealedDevice,
    SealedExtra,
    SealedHost,
    SealedMap,
    SealedMark,
    SealedOmission,
    SealedPermission,
    SealedPlan,
    SealedRaw,
    SealedRegion,
    SealedStream,
    SealedViommu,
)
from west_viommu.quick_typing import NamedTuple
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.digest import digest
from west_viommu.tree.node import Tree
from west_viommu.tree.sha256 import sha256
from west_viommu.write.records import as_json


class Origins(NamedTuple):
    """What a plan is made of: both trees, and what else the domain has."""

    host: Tree
    guest: Tree
    domain: frozenset[str]


def plan_json(plan: Plan, origins: Origins, files: Mapping[str, bytes]) -> str:
    """The text of viommu.json for `plan` and the content of the other `files` by name."""
    sums = {name: sha256(data) for name, data in files.items()}
    document = as_json(sealed(plan, origins)._replace(files=sums))
    return json.dumps({"schema": PLAN_SCHEMA, **document}, indent=2) + "\n"


def sealed(plan: Plan, origins: Origins) -> SealedPlan:
    """What viommu.json says of `plan` itself, with no files."""
    profile = plan.profile
    return SealedPlan(
        profile=profile.name,
        vsid=profile.policy,
        host=SealedHost(_model(origins.host), digest(origins.host)),
        domain=tuple(sorted(origins.domain)),
        viommu=_viommu(profile.viommu) if profile.viommu and plan.has_viommu else None,
        devices=tuple(_device(device, origins) for device in plan.devices),
        raw=tuple(SealedRaw(raw.path, tuple(map(_mapped, raw.mapped))) for raw in plan.raw),
        extra=tuple(
            SealedExtra(each.device, each.region.base, each.region.size, each.reason)
            for each in plan.extra
        ),
        unasked=plan.unasked,
        allowed=tuple(SealedPermission(e.hazard, e.device, e.reason) for e in plan.allowed),
        marks=tuple(SealedMark(each.path, each.device, each.why) for each in plan.marks),
        memory_limit=plan.memory_limit,
        files={},
    )


def _viommu(viommu: Viommu) -> SealedViommu:
    return SealedViommu(
        f"/{viommu.node_name}",
        viommu.compatible,
        viommu.base,
        viommu.size,
        tuple(interrupt.intid for interrupt in viommu.interrupts),
    )


def _device(planned: PlannedDevice, origins: Origins) -> SealedDevice:
    request, device = planned.assignment.request, planned.assignment.device
    used = set(planned.assignment.ids)
    return SealedDevice(
        node=request.path,
        host=device.path,
        compatible=SealedCompatible(
            _compatible(origins.host, device.path), _compatible(origins.guest, request.path)
        ),
        status=_status(origins.guest, request.path),
        regions=tuple(_region(pair.host, pair.guest) for pair in request.regions if pair.host),
        pages=tuple(map(_mapped, planned.mapped)),
        intids=request.intids,
        streams=tuple(
            SealedStream(stream.iommu, stream.iommu_base, stream.pmaster, stream.vmaster)
            for stream in planned.streams
        ),
        omitted=tuple(
            SealedOmission(stream.iommu, stream.id)
            for stream in (device.master.streams if device.master else ())
            if stream.id is not None and stream.id not in used
        ),
        maps=tuple(
            SealedMap(entry.iommu, entry.rid, entry.id, entry.id, entry.length)
            for entry in planned.maps
            if entry.id is not None
        ),
    )


def _mapped(mapped: Mapped) -> SealedRegion:
    return _region(mapped.host, mapped.guest)


def _region(host: Region, guest: Region) -> SealedRegion:
    return SealedRegion(host.base, guest.base, host.size)


def _model(tree: Tree) -> str | None:
    try:
        return next(iter(tree.root.string_list("model")), None)
    except TreeError:
        return None


def _compatible(tree: Tree, path: str) -> tuple[str, ...]:
    node = tree.node(path)
    return node.known_compatible if node else ()


def _status(tree: Tree, path: str) -> str:
    node = tree.node(path)
    try:
        return tree.status(node) if node else "okay"
    except TreeError:
        return "malformed"
