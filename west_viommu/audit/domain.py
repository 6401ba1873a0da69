# SPDX-License-Identifier: Apache-2.0
"""Whether what somebody's files give to a domain is what its devices have: nothing is missing,
nothing is another's, and what is wrong is named with the value that is right.

Each thing is judged by what Xen takes it from. xl: pages, lines and streams from the configuration.
dom0less: pages from xen,reg, lines and streams from the host node of xen,path
(handle_passthrough_prop() in domain_build.c, 4.17 to 4.22); what else the tree has, the guest alone
reads.
"""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.audit.given import Given
from west_viommu.audit.host import AuditedHost
from west_viommu.audit.lines import judge_lines
from west_viommu.audit.pages import judge_pages
from west_viommu.audit.records import SetDomain
from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.hazards.permissions import AllowList
from west_viommu.host.devices import Device
from west_viommu.host.intervals import Interval


class SetDevice(NamedTuple):
    """A host device that a domain is given: `node` is its node in the partial tree, "" without.
    `pages` and `lines`: those of it that are given. `has_dtdev`: by a file, or by Xen itself.
    """

    device: Device
    node: str
    where: Where
    pages: tuple[Interval, ...]
    lines: tuple[int, ...]
    has_dtdev: bool
    is_right: bool


class Audit(NamedTuple):
    """What a domain is given, and what is wrong with it."""

    devices: tuple[SetDevice, ...]
    problems: tuple[Diagnostic, ...]
    notes: tuple[str, ...]


def audit_domain(domain: SetDomain, host: AuditedHost, allowed: AllowList) -> Audit:
    """Return what `domain` is given of `host`, and what is wrong with it."""
    given = Given(domain, host, allowed)
    judge_pages(given)
    judge_lines(given)
    return Audit(
        devices=tuple(_device(given, path) for path in given.found),
        problems=tuple(given.problems),
        notes=tuple(given.notes),
    )


def _device(given: Given, path: str) -> SetDevice:
    device = given.host.device(path)
    assert device
    nodes = given.nodes.get(path, ())
    own = given.host.own_pages(path)
    lines = given.own_lines(path)
    return SetDevice(
        device=device,
        node=nodes[0].path if nodes else "",
        where=given.found[path],
        pages=tuple(given.given.common(own)),
        lines=tuple(i for i in lines if not given.domain.is_xl or i in given.intids),
        has_dtdev=path in given.dtdev or not given.domain.is_xl,
        is_right=path not in given.wrong,
    )
