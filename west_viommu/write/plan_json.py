# SPDX-License-Identifier: Apache-2.0
"""viommu.json: the plan for other programs, with the sum of every other file of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from west_viommu.hypervisor.assignment import PlannedDevice
from west_viommu.hypervisor.profile import Viommu
from west_viommu.names import PLAN_SCHEMA
from west_viommu.plan.records import Plan
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Tree


class Origins(NamedTuple):
    """What a plan is made of: both trees, and what else the domain has."""

    host: Tree
    guest: Tree
    domain: frozenset[str]


def plan_json(plan: Plan, origins: Origins, files: Mapping[str, bytes]) -> str:
    """The text of viommu.json for `plan` and the content of the other `files` by name."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return json.dumps({**plan_document(plan, origins), "files": sums}, indent=2) + "\n"


def plan_document(plan: Plan, origins: Origins) -> dict[str, Any]:
    """What viommu.json says of `plan` itself."""
    profile = plan.profile
    return {
        "schema": PLAN_SCHEMA,
        "profile": profile.name,
        "vsid": profile.policy,
        "domain": sorted(origins.domain),
        "viommu": _viommu(profile.viommu) if profile.viommu and plan.has_viommu else None,
        "devices": [_device(device, origins) for device in plan.devices],
        "raw": [
            {"node": raw.path, "regions": [_region(host, guest) for host, guest in raw.mapped]}
            for raw in plan.raw
        ],
        "extra": [
            {
                "device": each.device,
                "host": each.region.base,
                "size": each.region.size,
                "reason": each.reason,
            }
            for each in plan.extra
        ],
        "unasked": list(plan.unasked),
        "allowed": [
            {"hazard": each.hazard, "device": each.device, "reason": each.reason}
            for each in plan.allowed
        ],
        "marks": [
            {"node": each.path, "device": each.device, "why": each.why} for each in plan.marks
        ],
        "memory_limit": plan.memory_limit,
    }


def _viommu(viommu: Viommu) -> dict[str, Any]:
    return {
        "node": f"/{viommu.node_name}",
        "compatible": viommu.compatible,
        "base": viommu.base,
        "size": viommu.size,
        "intids": [interrupt.intid for interrupt in viommu.interrupts],
    }


def _device(planned: PlannedDevice, origins: Origins) -> dict[str, Any]:
    request, device = planned.assignment.request, planned.assignment.device
    used = set(planned.assignment.ids)
    return {
        "node": request.path,
        "host": device.path,
        "compatible": {
            "host": _compatible(origins.host, device.path),
            "guest": _compatible(origins.guest, request.path),
        },
        "status": _status(origins.guest, request.path),
        "regions": [_region(pair.host, pair.guest) for pair in request.regions if pair.host],
        "intids": list(request.intids),
        "streams": [
            {
                "iommu": stream.iommu,
                "iommu_base": stream.iommu_base,
                "pmaster": stream.pmaster,
                "vmaster": stream.vmaster,
            }
            for stream in planned.streams
        ],
        "omitted": [
            {"iommu": stream.iommu, "pmaster": stream.id}
            for stream in (device.master.streams if device.master else ())
            if stream.id is not None and stream.id not in used
        ],
        "maps": [
            {
                "iommu": entry.iommu,
                "rid": entry.rid,
                "pmaster": entry.id,
                "vmaster": entry.id,
                "length": entry.length,
            }
            for entry in planned.maps
        ],
    }


def _region(host: Region, guest: Region) -> dict[str, int]:
    return {"host": host.base, "guest": guest.base, "size": guest.size}


def _compatible(tree: Tree, path: str) -> list[str]:
    node = tree.node(path)
    try:
        return list(node.compatible) if node else []
    except TreeError:
        # No text: whoever needs it says so.
        return []


def _status(tree: Tree, path: str) -> str:
    node = tree.node(path)
    try:
        return tree.status(node) if node else "okay"
    except TreeError:
        return "malformed"
