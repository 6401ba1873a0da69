# SPDX-License-Identifier: Apache-2.0
"""Plans and systems for people: the binding of each device, and the owner of each host resource."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from west_viommu.diagnostics import printable
from west_viommu.host.intervals import Interval
from west_viommu.host.needs import FIXED
from west_viommu.names import BINDINGS, HOST_OVERLAY, OVERLAY, PLAN
from west_viommu.plan.plan import Plan, PlanDevice
from west_viommu.tree.cells import counted
from west_viommu.write.host_overlay import cpu_limit, memory_limit
from west_viommu.write.overlay import shown

if TYPE_CHECKING:
    # A bind run does not need these.
    from west_viommu.system.records import Domain, Judged, Stays

# More masters than these behind one IOMMU are counted, not named.
_MOST_OF_DOM0 = 20


def plan_table(plan: Plan, folder: str, files: Iterable[str], *, is_dry: bool = False) -> str:
    """Return the text that `viommu bind` ends with: one paragraph per device, then the files, which
    a run that `is_dry` has not written.
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
        if needs := ", ".join(_needs(device)):
            lines.append(f"  needs       {needs}")
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
    if plan.cpu_limit is not None:
        lines.append(f"CPUs of the domain: {cpu_limit(plan.cpu_limit)}")
    lines += [f"{wrote} {os.path.join(folder, name)}" for name in (OVERLAY, PLAN)]
    bindings = [name for name in files if name.startswith(f"{BINDINGS}/")]
    if bindings:
        into = os.path.join(folder, BINDINGS)
        lines.append(f"{wrote} {counted(len(bindings), 'file')} for Zephyr to {into}")
    for_xen = [name for name in files if name not in (OVERLAY, PLAN, *bindings)]
    if for_xen:
        lines.append(f"{wrote} for Xen, to {folder}: {', '.join(for_xen)}")
    return "\n".join(map(printable, lines)) + "\n"


def _needs(device: PlanDevice) -> Iterator[str]:
    """Yield each provider that `device` needs and that could be switched off, with the need."""
    listed: dict[tuple[str, str, str], list[str]] = {}
    for need in device.needs:
        if need.kind != FIXED:
            cells = f" <{' '.join(map(str, need.specifier))}>" if need.specifier else ""
            listed.setdefault((need.prop, need.provider, need.kind), []).append(cells)
    for (prop, provider, kind), entries in listed.items():
        yield f"{prop}{''.join(entries)} of {provider} ({kind})"


def system_table(judged: Judged) -> str:
    """Return the text that `viommu system` ends with: a paragraph for each domain, then dom0's."""
    lines: list[str] = []
    for domain in judged.domains:
        lines += _domain(domain)
        lines += _marked(judged, domain)
    lines += _dom0(judged)
    lines += [
        f"{each.domain}: nothing of this system needs its allow of {each.permission.hazard} for "
        f"{each.permission.device}, as that does not stay with the host: only to bind "
        f"{each.domain} by itself does"
        for each in judged.unneeded
    ]
    return "".join(f"{printable(line)}\n" for line in lines)


def _domain(domain: Domain) -> Iterator[str]:
    with_what = [f"{domain.memory} MiB", counted(domain.cpus, "CPU")]
    with_what += ["vpl011"] if domain.has_vpl011 else []
    with_what += ["a vSMMU"] if domain.plan.viommu else []
    yield f"{domain.name}  {', '.join(with_what)}"
    for device in domain.plan.devices:
        yield f"  {device.host}"
        yield from _device(device)
    for raw in domain.plan.raw:
        yield f"  {raw.node}, without a host device"
        yield f"      {' '.join(str(each.on_host) for each in raw.regions)}"


def _device(device: PlanDevice) -> Iterator[str]:
    for iommu, numbers in device.ids_by_iommu.items():
        yield f"      {iommu}  {' '.join(numbers)}"
    held = [f"INTID {' '.join(map(str, device.intids))}"] if device.intids else []
    held += [str(each.on_host) for each in device.pages]
    if held:
        yield f"      {'  '.join(held)}"


def _marked(judged: Judged, domain: Domain) -> Iterator[str]:
    """Yield the nodes that dom0 loses with the devices of `domain`, and that go to no domain."""
    for mark in judged.marks:
        if mark.why and judged.owners[mark.device] == domain.name:
            yield f"  kept from dom0 as well: {mark.node} ({mark.why})"


def _dom0(judged: Judged) -> Iterator[str]:
    if not judged.terms.has_dom0:
        yield "no dom0: nobody has the rest"
        return
    yield f"dom0  {counted(len(judged.stays), 'master')}, and what is behind no IOMMU"
    for iommu, masters in _behind(judged.stays).items():
        if len(masters) > _MOST_OF_DOM0:
            yield f"  {iommu}  {len(masters):,} masters"
            continue
        yield f"  {iommu}"
        for path, ids in masters.items():
            yield f"      {path}  {' '.join(ids)}"


def _behind(stays: Iterable[Stays]) -> dict[str, dict[str, list[str]]]:
    """Return IOMMU -> master -> its stream IDs there."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in stays:
        for iommu, first, last in each.streams:
            ids = found.setdefault(iommu, {}).setdefault(each.host, [])
            ids.append(str(Interval(first, last)))
    return found
