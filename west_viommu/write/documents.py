# SPDX-License-Identifier: Apache-2.0
"""viommu.json and system.json: the plan, with the checksum of every other file of the run. The keys
are the names of the fields of the records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from west_viommu.names import PLAN_SCHEMA, SYSTEM_SCHEMA
from west_viommu.plan.plan import Plan, PlanPermission
from west_viommu.tree.digest import sha256

if TYPE_CHECKING:
    # A bind run does not need these.
    from west_viommu.system.records import Domain, DomainFiles, Judged, Stays


def plan_json(plan: Plan, files: Mapping[str, bytes]) -> str:
    """Return the text of viommu.json for `plan` and the content of the other `files` by name."""
    sums = {name: sha256(data) for name, data in files.items()}
    document = {"schema": PLAN_SCHEMA, **_json(plan._replace(files=sums))}
    return json.dumps(document, indent=2) + "\n"


def system_json(
    judged: Judged, files: Mapping[str, DomainFiles], host: str, sums: Mapping[str, str]
) -> bytes:
    """Return the text of system.json, a line for each item of a list. `host`: the checksum of the
    host's tree.
    """
    domains = [_domain(domain, files[domain.name]) for domain in judged.domains]
    marks = [
        {"node": m.node, "domain": judged.owners[m.device], "device": m.device, "why": m.why}
        for m in judged.marks
    ]
    allowed = [PlanPermission(e.hazard, e.device, e.reason) for e in judged.used]
    members = {
        "schema": str(SYSTEM_SCHEMA),
        "domains": _lines(domains),
        "dom0": _lines(map(_stays, judged.stays)) if judged.terms.has_dom0 else "null",
        "profile": json.dumps(judged.terms.profile.name),
        "host": json.dumps(host),
        "marks": _lines(marks),
        "allowed": _lines(allowed),
        "unneeded": _lines(judged.unneeded),
        "files": json.dumps(dict(sums), indent=2).replace("\n", "\n  "),
    }
    text = ",\n".join(f"  {json.dumps(key)}: {value}" for key, value in members.items())
    return f"{{\n{text}\n}}\n".encode()


def _json(value: Any) -> Any:
    """Return `value`, made of records, tuples and JSON values, in the form that the module json
    writes.
    """
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {name: _json(item) for name, item in zip(fields, value, strict=True)}
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return list(map(_json, value)) if isinstance(value, (list, tuple)) else value


def _lines(items: Iterable[object]) -> str:
    """Return a list with a line for each item: json.dumps() with an indent would take as long for a
    host's 20,000 masters as reading the host.
    """
    inside = ",\n".join(f"    {json.dumps(_json(item))}" for item in items)
    return f"[\n{inside}\n  ]" if inside else "[]"


def _stays(stays: Stays) -> dict[str, object]:
    return {
        "host": stays.host,
        "streams": [
            {"iommu": iommu, "first": first, "last": last} for iommu, first, last in stays.streams
        ],
    }


def _domain(domain: Domain, made_of: DomainFiles) -> dict[str, object]:
    from west_viommu.system.boot import is_placed

    plan = domain.plan
    keys = ("node", "host", "streams", "pages", "intids")
    return dict(
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
        devices=[{key: getattr(device, key) for key in keys} for device in plan.devices],
        raw=plan.raw,
    )
