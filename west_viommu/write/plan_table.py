# SPDX-License-Identifier: Apache-2.0
"""A plan for people: what was bound to what, and where it was written."""

from __future__ import annotations

import os
from collections.abc import Sequence

from west_viommu.names import BINDINGS
from west_viommu.plan.records import Plan
from west_viommu.problems import printable
from west_viommu.tree.cells import counted
from west_viommu.write.overlay import shown


def plan_table(plan: Plan, files: Sequence[str]) -> str:
    """The text that `viommu bind` ends with: one paragraph per device, then the files."""
    lines = []
    for device in plan.devices:
        assignment = device.assignment
        lines.append(assignment.request.path)
        lines.append(f"  host        {assignment.device.path}")
        iommus = [*(s.iommu for s in device.streams), *(entry.iommu for entry in device.maps)]
        for iommu in dict.fromkeys(iommus):
            lines.append(f"  behind      {iommu}")
        if device.streams:
            lines.append(f"  stream IDs  {' '.join(map(shown, device.streams))}")
        for entry in device.maps:
            last = entry.length - 1
            ids, rids = (f"{i or 0:#x}-{(i or 0) + last:#x}" for i in (entry.id, entry.rid))
            lines.append(f"  iommu-map   {ids} for requester IDs {rids}")
        if not device.is_protected:
            lines.append("  behind      no IOMMU: its DMA reaches all memory")
    vsmmu = f"behind one vSMMU, /{plan.profile.node_name}" if plan.has_viommu else "and no vSMMU"
    lines.append(f"{counted(len(plan.devices), 'device')} {vsmmu}")
    bindings = [file for file in files if f"{BINDINGS}/" in file]
    lines += [f"wrote {file}" for file in files if file not in bindings]
    if bindings:
        lines.append(f"wrote {len(bindings)} files for Zephyr to {os.path.dirname(bindings[0])}")
    return "\n".join(map(printable, lines)) + "\n"
