# SPDX-License-Identifier: Apache-2.0
"""Checks of raw mappings: host memory that a guest gets without a host device. Xen maps it with no
look at whose it is (handle_passthrough_prop(): arch/arm/domain_build.c of 4.17, later
common/device-tree/dom0less-build.c).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from west_viommu.diagnostics import Diagnostic, FirstOnes, Severity
from west_viommu.guest.requests import Raw
from west_viommu.hazards.contradictions import differs_within_a_page
from west_viommu.hazards.findings import as_allowed
from west_viommu.hazards.overlaps import overlaps
from west_viommu.hazards.ownership import Ownership
from west_viommu.host.intervals import Interval, covered_by, met
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.tree.addresses import Region

# A raw mapping, the id of the hazard, and what was found.
_Found = Iterator[tuple[Raw, str, Diagnostic]]


def of_raw(ownership: Ownership) -> Iterator[tuple[str, str, Diagnostic]]:
    """What the hazards of pages say of the raw mappings, in their order: the path of each, the id
    of the hazard, and what was found.
    """
    raws = ownership.raws
    if not raws:
        return
    assigned = {assignment.device.path for assignment in ownership.assignments}
    of_host = [*_within_pages(raws), *on_the_host(raws, ownership, assigned)]
    findings = [(raw.path, hazard, finding) for raw, hazard, finding in of_host]
    for mapper, finding in overlaps(ownership, of_raw=True):
        findings.append((mapper.path, "guest-overlap", finding))
    places = {raw.path: place for place, raw in enumerate(raws)}
    yield from sorted(findings, key=lambda finding: places[finding[0]])


def _within_pages(raws: Sequence[Raw]) -> _Found:
    for raw in raws:
        for host, guest in raw.mapped:
            if (guest.base - host.base) % PAGE:
                yield raw, "region-mismatch", differs_within_a_page(host, guest, "xen,reg")


def on_the_host(raws: Sequence[Raw], ownership: Ownership, assigned: Container[str]) -> _Found:
    """What `raws` map of the host that stays with it or is its own: of no node that is `assigned`
    to a guest.
    """
    claims = [claim for claim in ownership.holdings.all_pages() if claim.path not in assigned]
    count = ownership.devices.steps.count
    there = met((in_pages(host).ends for raw in raws for host, _ in raw.mapped), claims, count)
    # Xen takes what is reserved out of the memory that it gives away (dt_unreserved_regions()).
    is_reserved = covered_by(
        Interval(claim.first, claim.last)
        for claim in claims
        if ownership.holdings.role(claim.path) == RESERVED
    )
    for raw in raws:
        mapped_of: dict[str, Region] = {}
        for first, last in (in_pages(host).ends for host, _ in raw.mapped):
            for at in there[first, last]:
                count()
                other = claims[at].path
                common = max(first, claims[at].first), min(last, claims[at].last)
                is_memory = ownership.holdings.role(other) == MEMORY
                if not (is_memory and is_reserved(*common)):
                    mapped_of.setdefault(other, Region.between(*common))
        yield from _first_ones(raw, (_with(raw, *part, ownership) for part in mapped_of.items()))


def _first_ones(raw: Raw, of: Iterable[tuple[str, Diagnostic] | None]) -> _Found:
    """The first of each kind, and one more for the rest."""
    first_ones = FirstOnes()
    left: dict[tuple[str, Severity], tuple[Diagnostic, int]] = {}
    for hazard, finding in filter(None, of):
        kind = hazard, finding.severity
        if first_ones.take(kind):
            yield raw, hazard, finding
        else:
            left[kind] = finding, left.get(kind, (finding, 0))[1] + 1
    for (hazard, _), (finding, more) in left.items():
        yield raw, hazard, finding._replace(more=more)


def _with(
    raw: Raw, other: str, region: Region, ownership: Ownership
) -> tuple[str, Diagnostic] | None:
    """The hazard of `raw`, with `region` in common with the host node at `other`."""
    kind = ownership.holdings.role(other)
    standing = ownership.holdings.standing(other)
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
        hint = (
            f"if the guest is to share that memory with its owner: {as_allowed(hazard, raw.path)}"
        )
    elif standing is Standing.OWN:
        hazard, severity = "hypervisor-owned", Severity.FATAL
        what = f"xen,reg maps registers of {other}, {kind}"
        hint = "the guest could reach what Xen itself relies on: map something else"
    elif standing is Standing.STAYS:
        hint += f"; if both sides are to have it: {as_allowed(hazard, raw.path)}"
    elif standing is Standing.NOBODY:
        return None
    else:
        is_marked = standing is Standing.MARKED
        hazard = "marked-for-another" if is_marked else "page-shared-with-disabled"
        severity = Severity.WARNING
    return hazard, Diagnostic(
        what=what,
        hint=hint,
        prop="xen,reg",
        expected=expected,
        found=str(region),
        severity=severity,
    )
