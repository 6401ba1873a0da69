# SPDX-License-Identifier: Apache-2.0
"""What a check found about a request, before it is known where that stands in the source."""

from __future__ import annotations

from collections.abc import Iterable

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.source import GuestTree


def problem(
    hazard: str,
    finding: Diagnostic,
    path: str,
    guest: GuestTree,
    severity: Severity = Severity.ERROR,
) -> Diagnostic:
    """`finding` of the guest node at `path`, at its place: the property it names, else what the
    node has of a request.
    """
    place = None
    for prop in (finding.prop, "iommus", "xen,path", ""):
        place = place or guest.locate(path, prop)
    return finding._replace(id=hazard, node=path, where=place, severity=severity)


def as_allowed(hazard: str, device: str) -> str:
    """The line of viommu.yml that allows `hazard` for `device`, but for its reason."""
    # YAML's quotes, as a path may have what YAML would take for its own.
    return f'allow: [{{hazard: {hazard}, device: "{device}", reason: "..."}}]'


def listed(ids: Iterable[int]) -> str:
    """Stream IDs as a person reads them: "0x0 0x1 0x8"."""
    return " ".join(f"{stream_id:#x}" for stream_id in ids)
