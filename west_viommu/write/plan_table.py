# SPDX-License-Identifier: Apache-2.0
"""A plan for people: what was bound to what, and where it was written."""

from __future__ import annotations

import os
from collections.abc import Sequence

from west_viommu.names import BINDINGS
from west_viommu.plan.records import Plan
from west_viommu.problems import printable


def plan_table(plan: Plan, files: Sequence[str]) -> str:
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
    bindings = [file for file in files if f"{BINDINGS}/" in file]
    lines += [f"wrote {file}" for file in files if file not in bindings]
    if bindings:
        lines.append(f"wrote {len(bindings)} files for Zephyr to {os.path.dirname(bindings[0])}")
    return "\n".join(map(printable, lines)) + "\n"
