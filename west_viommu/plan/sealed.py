# SPDX-License-Identifier: Apache-2.0
"""The plan of a bind run as data, for viommu.json."""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.guest.regions import Mapped
from west_viommu.hypervisor.assignment import PlannedDevice
from west_viommu.hypervisor.profile import Viommu
from west_viommu.plan import records
from west_viommu.plan.plan import (
    Plan,
    PlanCompatible,
    PlanDevice,
    PlanExtra,
    PlanHost,
    PlanMap,
    PlanMark,
    PlanOmission,
    PlanPermission,
    PlanRaw,
    PlanRegion,
    PlanStream,
    PlanViommu,
)
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.digest import digest
from west_viommu.tree.node import Tree


class Origins(NamedTuple):
    """What a plan is made of: both trees, and what else the domain has."""

    host: Tree
    guest: Tree
    domain: frozenset[str]


def as_sealed(plan: records.Plan, origins: Origins) -> Plan:
    """What viommu.json says of `plan` itself, with no files."""
    profile = plan.profile
    return Plan(
        profile=profile.name,
        vsid=profile.policy,
        host=PlanHost(_model(origins.host), digest(origins.host)),
        domain=tuple(sorted(origins.domain)),
        viommu=_viommu(profile.viommu) if profile.viommu and plan.has_viommu else None,
        devices=tuple(_device(device, origins) for device in plan.devices),
        raw=tuple(PlanRaw(raw.path, tuple(map(_mapped, raw.mapped))) for raw in plan.raw),
        extra=tuple(
            PlanExtra(each.device, each.region.base, each.region.size, each.reason)
            for each in plan.extra
        ),
        unasked=plan.unasked,
        allowed=tuple(PlanPermission(e.hazard, e.device, e.reason) for e in plan.allowed),
        marks=tuple(PlanMark(each.path, each.device, each.why) for each in plan.marks),
        memory_limit=plan.memory_limit,
        files={},
    )


def _viommu(viommu: Viommu) -> PlanViommu:
    return PlanViommu(
        f"/{viommu.node_name}",
        viommu.compatible,
        viommu.base,
        viommu.size,
        tuple(interrupt.intid for interrupt in viommu.interrupts),
    )


def _device(planned: PlannedDevice, origins: Origins) -> PlanDevice:
    request, device = planned.assignment.request, planned.assignment.device
    used = set(planned.assignment.ids)
    return PlanDevice(
        node=request.path,
        host=device.path,
        compatible=PlanCompatible(
            _compatible(origins.host, device.path), _compatible(origins.guest, request.path)
        ),
        status=_status(origins.guest, request.path),
        regions=tuple(_region(pair.host, pair.guest) for pair in request.regions if pair.host),
        pages=tuple(map(_mapped, planned.mapped)),
        intids=request.intids,
        streams=tuple(
            PlanStream(stream.iommu, stream.iommu_base, stream.pmaster, stream.vmaster)
            for stream in planned.streams
        ),
        omitted=tuple(
            PlanOmission(stream.iommu, stream.id)
            for stream in (device.master.streams if device.master else ())
            if stream.id is not None and stream.id not in used
        ),
        maps=tuple(
            PlanMap(entry.iommu, entry.rid, entry.id, entry.id, entry.length)
            for entry in planned.maps
            if entry.id is not None
        ),
    )


def _mapped(mapped: Mapped) -> PlanRegion:
    return _region(mapped.host, mapped.guest)


def _region(host: Region, guest: Region) -> PlanRegion:
    return PlanRegion(host.base, guest.base, host.size)


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
