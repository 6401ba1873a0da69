# SPDX-License-Identifier: Apache-2.0
"""A system for people: who has what of the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from west_viommu.diagnostics import printable
from west_viommu.host.intervals import Interval
from west_viommu.plan.plan import PlanDevice
from west_viommu.system.records import Domain, Judged, Stays
from west_viommu.tree.cells import counted

# More masters than these behind one IOMMU are not told one by one.
_MOST_OF_DOM0 = 20


def system_table(judged: Judged) -> str:
    """The text that `viommu system` ends with: a paragraph for each domain, then what dom0 has."""
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
    """What comes off dom0 with the devices of `domain`, and goes to nobody."""
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
    """IOMMU -> master -> its stream IDs there."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in stays:
        for iommu, first, last in each.streams:
            ids = found.setdefault(iommu, {}).setdefault(each.host, [])
            ids.append(str(Interval(first, last)))
    return found
