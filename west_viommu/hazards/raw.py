# SPDX-License-Identifier: Apache-2.0
"""Checks of raw mappings: host memory that a guest gets without a host device. Xen maps it with no
look at whose it is (handle_passthrough_prop(): arch/arm/domain_build.c of 4.17, later
common/device-tree/dom0less-build.c).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial

from west_viommu.guest.requests import Raw
from west_viommu.hazards.contradictions import differs_within_a_page
from west_viommu.hazards.findings import Finding, as_allowed
from west_viommu.hazards.overlaps import occupied_by_others, overlap_with
from west_viommu.hazards.ownership import Ownership
from west_viommu.host.intervals import Interval, covered_by, met
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE, in_pages, whole_pages
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.problems import FirstOnes, Severity
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below

# A raw mapping, the id of the hazard, and what was found.
_Found = Iterator[tuple[Raw, str, Finding]]


def of_raw(raws: Sequence[Raw], ownership: Ownership) -> _Found:
    """What the hazards of pages say of `raws`, in their order."""
    findings = [*_within_pages(raws)]
    if raws:
        assigned = {assignment.device.path for assignment in ownership.assignments}
        findings += on_the_host(raws, ownership, assigned)
        findings += [*_in_the_guest(raws, ownership), *_over_mapped(raws, ownership)]
    places = {raw.path: place for place, raw in enumerate(raws)}
    yield from sorted(findings, key=lambda finding: places[finding[0].path])


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


def _first_ones(raw: Raw, of: Iterable[tuple[str, Finding] | None]) -> _Found:
    """The first of each kind, and one more for the rest."""
    first_ones = FirstOnes()
    left: dict[tuple[str, Severity | None], tuple[Finding, int]] = {}
    for hazard, finding in filter(None, of):
        kind = hazard, finding.severity
        if first_ones.take(kind):
            yield raw, hazard, finding
        else:
            left[kind] = finding, left.get(kind, (finding, 0))[1] + 1
    for (hazard, _), (finding, more) in left.items():
        yield raw, hazard, finding._replace(more=more)


def _with(raw: Raw, other: str, region: Region, ownership: Ownership) -> tuple[str, Finding] | None:
    """The hazard of `raw`, with `region` in common with the host node at `other`."""
    kind = ownership.holdings.role(other)
    standing = ownership.holdings.standing(other)
    hazard, expected = "shared-page", "memory that nobody else has"
    severity = None
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
    return hazard, Finding(
        what, hint, "xen,reg", expected=expected, found=str(region), severity=severity
    )


def _in_the_guest(raws: Sequence[Raw], ownership: Ownership) -> _Found:
    own = {raw.path for raw in raws}
    taken = [taken for taken in occupied_by_others(ownership) if taken[1] not in own]
    with_registers = {path for path, _ in ownership.occupied}
    viommu = ownership.profile.viommu
    others = [(*region.ends, at) for at, (_, _, region) in enumerate(taken)]
    count = partial(ownership.devices.steps.count, "an address of the guest")
    there = met((in_pages(guest).ends for raw in raws for _, guest in raw.mapped), others, count)
    for raw in raws:
        mapped_over: dict[int, Region] = {}
        for first, last in (in_pages(guest).ends for _, guest in raw.mapped):
            for at in there[first, last]:
                count()
                _, path, region = taken[at]
                # Of a node with registers of its own over the vSMMU, the guest's own tree tells.
                is_told = raw.path in with_registers and viommu and region == viommu.region
                if not is_told and not (path and is_at_or_below(raw.path, path)):
                    taken_first, taken_last = region.ends
                    common = Region.between(max(first, taken_first), min(last, taken_last))
                    mapped_over.setdefault(at, common)
        over = (
            overlap_with(taken[at][0], common, taken[at][2]) for at, common in mapped_over.items()
        )
        as_raw = (("guest-overlap", finding._replace(prop="xen,reg")) for finding in over)
        yield from _first_ones(raw, as_raw)


def _over_mapped(raws: Sequence[Raw], ownership: Ownership) -> _Found:
    """Over what a device, or another raw mapping, has in the guest: Xen maps the last one there, as
    __p2m_set_entry() replaces a valid entry without a word (read in 4.17 and master). What is
    together on the host may be together in the guest as well.
    """
    mapped = [
        (path, pages)
        for path, pages_of_it in ownership.pages.items()
        for pages in pages_of_it
        if path not in ownership.refused
    ]
    of_devices = len(mapped)
    mapped += [(raw.path, whole_pages(triple)) for raw in raws for triple in raw.mapped]
    others = [(*pages.guest.ends, at) for at, (_, pages) in enumerate(mapped)]
    count = partial(ownership.devices.steps.count, "an address of the guest")
    there = met((pages.guest.ends for _, pages in mapped[of_devices:]), others, count)
    over: dict[str, dict[str, Finding]] = {raw.path: {} for raw in raws}
    for number, (own, mine) in enumerate(mapped[of_devices:], of_devices):
        for at in there[mine.guest.ends]:
            count()
            path, theirs = mapped[at]
            is_apart = theirs.host.base - theirs.guest.base != mine.host.base - mine.guest.base
            # Of each pair, once.
            if at < number and is_apart:
                name = "another region of this node" if path == own else path
                finding = overlap_with(name, mine.guest, theirs.guest)._replace(prop="xen,reg")
                over[own].setdefault(path, finding)
    for raw in raws:
        findings = over[raw.path].values()
        yield from _first_ones(raw, (("guest-overlap", finding) for finding in findings))
