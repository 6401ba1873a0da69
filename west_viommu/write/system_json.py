# SPDX-License-Identifier: Apache-2.0
"""system.json: who has what of a host, with the sum of every other file of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.names import SYSTEM_SCHEMA
from west_viommu.plan.plan import PlanPermission, PlanRaw, PlanRegion
from west_viommu.system.boot import is_placed
from west_viommu.system.records import Domain, DomainFile, DomainFiles, Judged, Load, Stays
from west_viommu.write.records import as_json


class _Device(NamedTuple):
    node: str
    host: str
    streams: tuple[AssignedStream, ...]
    pages: tuple[PlanRegion, ...]
    intids: tuple[int, ...]


class _Domain(NamedTuple):
    name: str
    plan: DomainFile
    kernel: DomainFile | None
    ramdisk: DomainFile | None
    trees: dict[str, DomainFile]
    cpus: int
    memory: int
    vpl011: bool
    viommu: bool
    bootargs: str
    load: Load | None
    devices: tuple[_Device, ...]
    raw: tuple[PlanRaw, ...]


class _Mark(NamedTuple):
    node: str
    domain: str
    device: str
    why: str


def system_json(
    judged: Judged, files: Mapping[str, DomainFiles], host: str, sums: Mapping[str, str]
) -> bytes:
    """The text of system.json, a line for each item of a list. `host`: the sum of the host's
    tree.
    """
    domains = [_domain(domain, files[domain.name]) for domain in judged.domains]
    marks = [_Mark(m.node, judged.owners[m.device], m.device, m.why) for m in judged.marks]
    allowed = [PlanPermission(e.hazard, e.device, e.reason) for e in judged.used]
    members = {
        "schema": str(SYSTEM_SCHEMA),
        "domains": _lines(map(as_json, domains)),
        "dom0": _lines(map(_stays, judged.stays)) if judged.terms.has_dom0 else "null",
        "profile": json.dumps(judged.terms.profile.name),
        "host": json.dumps(host),
        "marks": _lines(map(as_json, marks)),
        "allowed": _lines(map(as_json, allowed)),
        "unneeded": _lines(map(as_json, judged.unneeded)),
        "files": json.dumps(dict(sums), indent=2).replace("\n", "\n  "),
    }
    text = ",\n".join(f"  {json.dumps(key)}: {value}" for key, value in members.items())
    return f"{{\n{text}\n}}\n".encode()


def _lines(items: Iterable[object]) -> str:
    """A list, a line for each item: json.dumps() of a host's 20,000 masters with an indent would
    take as long as to read the host.
    """
    inside = ",\n".join(f"    {json.dumps(item)}" for item in items)
    return f"[\n{inside}\n  ]" if inside else "[]"


def _stays(stays: Stays) -> dict[str, object]:
    return {
        "host": stays.host,
        "streams": [
            {"iommu": iommu, "first": first, "last": last} for iommu, first, last in stays.streams
        ],
    }


def _domain(domain: Domain, made_of: DomainFiles) -> _Domain:
    plan = domain.plan
    return _Domain(
        name=domain.name,
        plan=made_of.plan,
        kernel=made_of.kernel,
        ramdisk=made_of.ramdisk,
        trees=made_of.trees,
        cpus=domain.cpus,
        memory=domain.memory,
        vpl011=domain.has_vpl011,
        viommu=plan.viommu is not None,
        bootargs=domain.bootargs,
        load=domain.load if is_placed(domain, made_of) else None,
        devices=tuple(_Device(d.node, d.host, d.streams, d.pages, d.intids) for d in plan.devices),
        raw=plan.raw,
    )
