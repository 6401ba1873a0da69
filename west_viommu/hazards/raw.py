# SPDX-License-Identifier: Apache-2.0
"""Checks of raw mappings: host memory that a guest gets without a host device. Xen maps it with no
look at whose it is (handle_passthrough_prop(): arch/arm/domain_build.c of 4.17, later
common/device-tree/dom0less-build.c).
"""

from __future__ import annotations

from collections.abc import Sequence

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.requests import Raw
from west_viommu.hazards.findings import as_allowed
from west_viommu.hazards.odd import differs_within_a_page
from west_viommu.hazards.overlaps import overlaps
from west_viommu.hazards.ownership import Found, Ownership
from west_viommu.host.intervals import Interval, covered_by
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.hypervisor.sweep import Conflict
from west_viommu.tree.addresses import Region


def of_raw(ownership: Ownership) -> Found:
    """Yield what the hazards of pages say of the raw mappings, in their order."""
    found = [*_within_pages(ownership.raws), *on_the_host(ownership)]
    for mapper, diagnostic in overlaps(ownership, of_raw=True) if ownership.raws else ():
        found.append((mapper.path, diagnostic._replace(id="guest-overlap")))
    places = {raw.path: place for place, raw in enumerate(ownership.raws)}
    yield from sorted(found, key=lambda each: places[each[0]])


def _within_pages(raws: Sequence[Raw]) -> Found:
    for raw in raws:
        for host, guest in raw.mapped:
            if (guest.base - host.base) % PAGE:
                wrong = differs_within_a_page(host, guest, "xen,reg")
                yield raw.path, wrong._replace(id="region-mismatch")


def on_the_host(ownership: Ownership) -> Found:
    """Yield what raw mappings map of the host that stays with it or is its own."""
    holdings = ownership.holdings
    # Xen takes what is reserved out of the memory that it gives away (dt_unreserved_regions()).
    is_reserved = covered_by(
        Interval(claim.first, claim.last)
        for claim in (holdings.all_pages() if ownership.conflicts.raw else ())
        if holdings.role(claim.path) == RESERVED
    )
    before: set[tuple[str, str]] = set()
    for conflict in ownership.conflicts.raw:
        node, other, common = conflict.node, conflict.other, (conflict.first, conflict.last)
        is_memory = holdings.role(other) == MEMORY
        if (node, other) not in before and not (is_memory and is_reserved(*common)):
            before.add((node, other))
            yield node, _mapped(conflict, ownership)


def _mapped(conflict: Conflict, ownership: Ownership) -> Diagnostic:
    """Return the hazard of a raw mapping of what a host node has."""
    other, standing = conflict.other, ownership.holdings.standing(conflict.other)
    kind = ownership.holdings.role(other)
    hazard, expected = "shared-page", "memory that nobody else has"
    severity = Severity.ERROR
    what = f"xen,reg maps memory of {other}, which {standing.value}"
    hint = "the guest could reach it: map something else, or assign the device by xen,path"
    if kind == MEMORY:
        hazard, severity = "host-memory", Severity.FATAL
        what = f"xen,reg maps the host's {kind}, {other}"
        hint = "Xen may give that memory to anybody: set it aside in the host's reserved-memory"
    elif kind == RESERVED:
        what = f"xen,reg maps {kind} of the host, {other}"
        line = as_allowed(hazard, conflict.node)
        hint = f"if the guest is to share that memory with its owner: {line}"
    elif standing is Standing.OWN:
        hazard, severity = "hypervisor-owned", Severity.FATAL
        what = f"xen,reg maps registers of {other}, {kind}"
        hint = "the guest could reach what Xen itself relies on: map something else"
    elif standing is Standing.STAYS:
        hint += f"; if both sides are to have it: {as_allowed(hazard, conflict.node)}"
    else:
        is_marked = standing is Standing.MARKED
        hazard = "marked-for-another" if is_marked else "page-shared-with-disabled"
        severity = Severity.WARNING
    return Diagnostic(
        id=hazard,
        what=what,
        hint=hint,
        prop="xen,reg",
        expected=expected,
        found=str(Region.between(conflict.first, conflict.last)),
        severity=severity,
    )
