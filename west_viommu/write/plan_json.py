# SPDX-License-Identifier: Apache-2.0
"""viommu.json: the plan for other programs, with the sum of every other file of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from west_viommu.hypervisor.assignment import PlannedDevice
from west_viommu.hypervisor.profile import Viommu
from west_viommu.names import PLAN_SCHEMA
from west_viommu.plan.records import Plan


def plan_json(plan: Plan, files: Mapping[str, bytes]) -> str:
    """The text of viommu.json for `plan` and the content of the other `files` by name."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return json.dumps({**plan_document(plan), "files": sums}, indent=2) + "\n"


def plan_document(plan: Plan) -> dict[str, Any]:
    """What viommu.json says of `plan` itself."""
    profile = plan.profile
    return {
        "schema": PLAN_SCHEMA,
        "profile": profile.name,
        "vsid": profile.policy,
        "viommu": _viommu(profile.viommu) if profile.viommu and plan.has_viommu else None,
        "devices": [_device(device) for device in plan.devices],
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


def _device(planned: PlannedDevice) -> dict[str, Any]:
    request = planned.assignment.request
    return {
        "node": request.path,
        "host": planned.assignment.device.path,
        "regions": [
            {"host": pair.host.base, "guest": pair.guest.base, "size": pair.guest.size}
            for pair in request.regions
            if pair.host
        ],
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
