# SPDX-License-Identifier: Apache-2.0
"""Checks of raw mappings: host memory that a guest gets without a host device. Xen maps it with no
look at whose it is (handle_passthrough_prop(): arch/arm/domain_build.c of 4.17, later
common/device-tree/dom0less-build.c).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from west_viommu.guest.requests import Raw
from west_viommu.hazards.contradictions import differs_within_a_page
from west_viommu.hazards.findings import Finding, Severity, as_allowed, shown
from west_viommu.hazards.overlaps import occupied_by_others, overlap_with
from west_viommu.hazards.situation import Situation
from west_viommu.host.intervals import Interval, covered_by, meetings
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.tree.addresses import Region

# A raw mapping, the id of the hazard, and what was found.
_Found = Iterator[tuple[Raw, str, Finding]]


def of_raw(raws: Sequence[Raw], situation: Situation) -> _Found:
    """What the hazards of pages say of `raws`, in their order."""
    found = [*_within_pages(raws)]
    if raws:
        assigned = {each.device.path for each in situation.assignments}
        found += [*on_the_host(raws, situation, assigned), *_in_the_guest(raws, situation)]
    places = {raw.path: place for place, raw in enumerate(raws)}
    yield from sorted(found, key=lambda each: places[each[0].path])


def _within_pages(raws: Sequence[Raw]) -> _Found:
    for raw in raws:
        for host, guest in raw.mapped:
            if (guest.base - host.base) % PAGE:
                yield raw, "region-mismatch", differs_within_a_page(host, guest, "xen,reg")


def on_the_host(raws: Sequence[Raw], situation: Situation, assigned: Container[str]) -> _Found:
    """What `raws` map of the host that stays with it or is its own: of no node that is `assigned`
    to a guest.
    """
    pages = [_pages(host, raw) for raw in raws for host, _ in raw.mapped]
    claims = ((a, b, path) for a, b, path in situation.holdings.all_pages())
    found_all = [found for found in meetings(pages, claims) if found[1] not in assigned]
    # Xen takes what is reserved out of the memory that it gives away (dt_unreserved_regions()).
    is_reserved = covered_by(
        Interval(first, last)
        for _, other, first, last in found_all
        if situation.holdings.role(other) == RESERVED
    )
    said: set[tuple[str, str]] = set()
    for raw, other, first, last in found_all:
        is_memory = situation.holdings.role(other) == MEMORY
        is_apart = is_memory and is_reserved(first, last)
        if is_apart or (raw.path, other) in said:
            continue
        said.add((raw.path, other))
        found = _with(raw, other, Region(first, last - first + 1), situation)
        if found:
            yield (raw, *found)


def _with(raw: Raw, other: str, region: Region, situation: Situation) -> tuple[str, Finding] | None:
    """The hazard of `raw`, with `region` in common with the host node at `other`."""
    kind = situation.holdings.role(other)
    standing = situation.holdings.standing(other)
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
            "if the guest is to share that memory with whom it is kept for: "
            f"{as_allowed(hazard, raw.path)}"
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
    return hazard, Finding(what, hint, "xen,reg", expected, shown(region), severity)


def _in_the_guest(raws: Sequence[Raw], situation: Situation) -> _Found:
    taken = occupied_by_others(situation)
    pages = [_pages(guest, raw) for raw in raws for _, guest in raw.mapped]
    with_registers = {path for path, _ in situation.occupied}
    viommu = situation.profile.viommu
    others = ((r.base, r.base + r.size - 1, at) for at, (_, _, r) in enumerate(taken))
    said: set[tuple[str, int]] = set()
    for raw, at, first, last in meetings(pages, others):
        name, path, region = taken[at]
        # Of a node with registers of its own over the vSMMU, the guest's own tree tells.
        is_told = raw.path in with_registers and viommu and region == viommu.region
        is_related = path and f"{raw.path}/".startswith(f"{path}/")
        if not is_told and not is_related and (raw.path, at) not in said:
            said.add((raw.path, at))
            finding = overlap_with(name, Region(first, last - first + 1), region)
            yield raw, "guest-overlap", finding._replace(prop="xen,reg")


def _pages(region: Region, raw: Raw) -> tuple[int, int, Raw]:
    whole = in_pages(region)
    return whole.base, whole.base + whole.size - 1, raw
