# SPDX-License-Identifier: Apache-2.0
"""A plan for people: what was bound to what, and where it was written."""

from __future__ import annotations

from collections.abc import Iterable

from west_viommu.plan.records import Plan
from west_viommu.problems import printable


def plan_table(plan: Plan, files: Iterable[str]) -> str:
    """The text that `viommu bind` ends with: one paragraph per device, then the files."""
    lines = []
    for device in plan.devices:
        assignment = device.assignment
        lines.append(assignment.request.path)
        lines.append(f"  host        {assignment.device.path}")
        for iommu in dict.fromkeys(stream.iommu for stream in device.streams):
            lines.append(f"  behind      {iommu}")
        ids = " ".join(
            f"{s.pmaster:#x}" if s.pmaster == s.vmaster else f"{s.pmaster:#x}@{s.vmaster:#x}"
            for s in device.streams
        )
        lines.append(f"  stream IDs  {ids}")
    count = len(plan.devices)
    lines.append(
        f"{count} device{'' if count == 1 else 's'} behind one vSMMU, /{plan.profile.node_name}"
    )
    lines += [f"wrote {file}" for file in files]
    return "\n".join(map(printable, lines)) + "\n"
