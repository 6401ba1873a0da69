# SPDX-License-Identifier: Apache-2.0
"""Properties whose names are a slip of one that makes a request."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.entries import STREAM_IDS
from west_viommu.guest.source import GuestTree, is_below_passthrough

_OURS = (
    "iommus",
    "iommu-map",
    "iommu-map-mask",
    "xen,path",
    "xen,reg",
    "xen,force-assign-without-iommu",
    STREAM_IDS,
)


def misspelt(guest: GuestTree, asking: Collection[str]) -> Iterator[Diagnostic]:
    """Each property below /passthrough that is one edit away from one of ours: a letter more, less
    or another, or two that changed places. A warning in a node that is `asking` all the same, or
    below one; in another, which would ask for nothing, an error.
    """
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path):
            for name in node.properties:
                meant = next((ours for ours in _OURS if _is_slip(name, ours)), None)
                if meant and name not in _OURS:
                    above = (ancestor.path for ancestor in guest.tree.lineage(node))
                    is_asking = any(path in asking for path in above)
                    yield Diagnostic(
                        id="malformed",
                        what=f"nothing reads {name}"
                        + ("" if is_asking else ", so that the node asks for no device"),
                        hint=f"if you mean {meant}, write {meant}",
                        node=node.path,
                        expected=meant,
                        found=name,
                        where=guest.locate(node.path, name),
                        severity=Severity.WARNING if is_asking else Severity.ERROR,
                    )


def _is_slip(name: str, meant: str) -> bool:
    """Whether one edit makes `meant` of `name`."""
    if abs(len(name) - len(meant)) > 1 or name == meant:
        return False
    same = 0
    while same < min(len(name), len(meant)) and name[same] == meant[same]:
        same += 1
    rest, other = name[same:], meant[same:]
    return (
        rest[1:] == other[1:]
        or rest[1:] == other
        or rest == other[1:]
        or (rest[:2] == other[1::-1] and rest[2:] == other[2:])
    )
