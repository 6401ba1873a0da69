# SPDX-License-Identifier: Apache-2.0
"""The report of `viommu audit` on the devices of a set: a table for people, and JSON."""

from collections.abc import Iterator

from west_viommu.audit.domain import SetDevice
from west_viommu.audit.judge import AuditedSet
from west_viommu.diagnostics import Diagnostic, printable, shortened
from west_viommu.hypervisor.pages import PAGE
from west_viommu.tree.cells import counted

SCHEMA = 1
_MOST_NUMBERS = 12


def audit_table(audited: AuditedSet) -> str:
    """Return a line for each device of each domain: which of its parts are given, and whether they
    are right.
    """
    return "".join(f"{printable(shortened(line))}\n" for line in _lines(audited))


def audit_json(audited: AuditedSet, profile: str) -> str:
    """Return the text of `viommu audit --format json`."""
    import json

    document = {
        "schema": SCHEMA,
        "profile": profile,
        "domains": [
            {
                "name": each.domain.name,
                "file": each.domain.where.file,
                "toolstack": "libxl" if each.domain.is_xl else "dom0less",
                "devices": [_row(device) for device in each.devices],
            }
            for each in audited.domains
        ],
        "problems": [_problem(problem) for problem in audited.problems],
        "notes": list(audited.notes),
    }
    return json.dumps(document, indent=2) + "\n"


def _lines(audited: AuditedSet) -> Iterator[str]:
    for each in audited.domains:
        toolstack = "xl" if each.domain.is_xl else "dom0less"
        yield f"{each.domain.name} ({toolstack}, {each.domain.where.file})"
        for device in each.devices:
            given = [
                f"INTID {_some(map(str, device.lines))}" if device.lines else "",
                _some(f"{p.first // PAGE:#x}-{p.last // PAGE:#x}" for p in device.pages),
            ]
            state = "ok" if device.is_right else "wrong"
            yield f"  {state:5}  {device.device.path}  {'  '.join(filter(None, given))}".rstrip()
        if not each.devices:
            yield "  no device of the host is given"
    count = sum(problem.more or 1 for problem in audited.problems if not problem.warning)
    devices = sum(len(each.devices) for each in audited.domains)
    found = counted(count, "difference") if count else "nothing is wrong"
    yield f"{counted(devices, 'device')}, {found}"


def _some(texts: Iterator[str]) -> str:
    numbers = list(texts)
    more = f" and {len(numbers) - _MOST_NUMBERS} more" if len(numbers) > _MOST_NUMBERS else ""
    return " ".join(numbers[:_MOST_NUMBERS]) + more


def _row(device: SetDevice) -> dict[str, object]:
    return {
        "host": device.device.path,
        "node": device.node or None,
        "file": device.where.file,
        "line": device.where.line,
        "pages": [
            {"base": page.first, "size": page.last + 1 - page.first} for page in device.pages
        ],
        "intids": list(device.lines),
        "dtdev": device.has_dtdev,
        "right": device.is_right,
    }


def _problem(problem: Diagnostic) -> dict[str, object]:
    return {
        "severity": "warning" if problem.warning else "error",
        "id": problem.id,
        "file": problem.where.file if problem.where else None,
        "line": problem.where.line if problem.where else None,
        "node": problem.node or None,
        "what": problem.what,
        "expected": problem.expected or None,
        "found": problem.found or None,
        "hint": problem.hint or None,
        "more": problem.more,
    }
