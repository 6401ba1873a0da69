# SPDX-License-Identifier: Apache-2.0
"""A plan for people: what was bound to what, and where it was written."""

from __future__ import annotations

import os
from collections.abc import Iterable

from west_viommu.diagnostics import printable
from west_viommu.names import BINDINGS, HOST_OVERLAY, OVERLAY, PLAN
from west_viommu.plan.plan import Plan
from west_viommu.tree.cells import counted
from west_viommu.write.host_overlay import memory_limit
from west_viommu.write.overlay import shown


def plan_table(plan: Plan, folder: str, files: Iterable[str], *, is_dry: bool = False) -> str:
    """The text that `viommu bind` ends with: one paragraph per device, then the files, which a run
    that `is_dry` has not written.
    """
    wrote = "would write" if is_dry else "wrote"
    lines = []
    for device in plan.devices:
        lines.append(device.node)
        lines.append(f"  host        {device.host}")
        iommus = [*(s.iommu for s in device.streams), *(entry.iommu for entry in device.maps)]
        for iommu in dict.fromkeys(iommus):
            lines.append(f"  behind      {iommu}")
        if device.streams:
            lines.append(f"  stream IDs  {' '.join(map(shown, device.streams))}")
        for entry in device.maps:
            last = entry.length - 1
            ids, rids = (f"{i:#x}-{i + last:#x}" for i in (entry.pmaster, entry.rid))
            lines.append(f"  iommu-map   {ids} for requester IDs {rids}")
        if not device.is_protected:
            lines.append("  behind      no IOMMU: its DMA reaches all memory")
    vsmmu = f"behind one vSMMU, {plan.viommu.node}" if plan.viommu else "and no vSMMU"
    lines.append(f"{counted(len(plan.devices), 'device')} {vsmmu}")
    lines += [
        f"kept from dom0 as well, by {HOST_OVERLAY}: {mark.node}, which is {mark.why}"
        if mark.why.startswith(("below", "on"))
        else f"kept from dom0 as well, by {HOST_OVERLAY}: {mark.node}, which {mark.why}"
        for mark in plan.marks
        if mark.why
    ]
    if plan.memory_limit is not None:
        lines.append(f"memory of the domain: {memory_limit(plan.memory_limit)}")
    lines += [f"{wrote} {os.path.join(folder, name)}" for name in (OVERLAY, PLAN)]
    bindings = [name for name in files if name.startswith(f"{BINDINGS}/")]
    if bindings:
        into = os.path.join(folder, BINDINGS)
        lines.append(f"{wrote} {counted(len(bindings), 'file')} for Zephyr to {into}")
    for_xen = [name for name in files if name not in (OVERLAY, PLAN, *bindings)]
    if for_xen:
        lines.append(f"{wrote} for Xen, to {folder}: {', '.join(for_xen)}")
    return "\n".join(map(printable, lines)) + "\n"
