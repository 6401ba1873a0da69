# SPDX-License-Identifier: Apache-2.0
"""Checks of the guest's addresses: what the regions of its devices lie over, and raw mappings.

Xen maps the last region there, as __p2m_set_entry() replaces a valid entry without a word (read in
4.17 and master). A raw mapping is host memory that a guest gets without a host device. Xen maps it
and does not look at the owner (handle_passthrough_prop(): arch/arm/domain_build.c of 4.17, later
common/device-tree/dom0less-build.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Raw
from west_viommu.hazards.odd import differs_within_a_page
from west_viommu.hazards.ownership import Found, Mapper, Ownership
from west_viommu.hazards.parts import as_allowed
from west_viommu.host.intervals import Interval, covered_by, met
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.hypervisor.sweep import Conflict
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below


def of_raw(ownership: Ownership) -> Found:
    """Yield what the hazards of pages say of the raw mappings, in their order."""
    found = [*_within_pages(ownership.raws), *on_the_host(ownership)]
    for mapper, diagnostic in _beyond(ownership, of_raw=True):
        found.append((mapper.path, diagnostic._replace(id="guest-address-range")))
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


# Who maps over something, and what was found.
_Overlaps = Iterator[tuple[Mapper, Diagnostic]]


def guest_address_range(ownership: Ownership) -> Found:
    """A region beyond the addresses of a guest: Xen maps nothing there (map_mmio_regions(); booted:
    4.17 does not assign the device, 4.20 panics).
    """
    for mapper, finding in _beyond(ownership, of_raw=False):
        yield mapper.path, finding


def _beyond(ownership: Ownership, *, of_raw: bool) -> _Overlaps:
    if not ownership.profile.toolstacks:
        return
    bits = ownership.holdings.iommus.address_bits
    for mapper in ownership.mappers:
        beyond = [pages.guest for pages in mapper.pages if pages.guest.end > 1 << bits]
        if beyond and mapper.is_raw is of_raw:
            yield (
                mapper,
                Diagnostic(
                    what=f"this region lies beyond the addresses of a guest, which have {bits} "
                    "bits: Xen does not map it",
                    hint="map the device below: xen,reg = <host size guest>, and reg with the "
                    "guest address",
                    prop="xen,reg" if of_raw else "reg",
                    expected=f"addresses below {1 << bits:#x}",
                    found=str(beyond[0]),
                    severity=Severity.FATAL,
                ),
            )


def guest_overlap(ownership: Ownership) -> Found:
    """A region of the guest over what is there already. Whole pages, as those are mapped."""
    for mapper, finding in overlaps(ownership, of_raw=False):
        yield mapper.path, finding


def overlaps(ownership: Ownership, *, of_raw: bool) -> _Overlaps:
    """What the guest's devices, or its raw mappings, lie over."""
    count = partial(ownership.devices.steps.count, "an address of the guest")
    yield from _over_occupied(ownership, count, of_raw=of_raw)
    yield from _over_mapped(ownership, count, of_raw=of_raw)


def _over_occupied(ownership: Ownership, count: Callable[[], None], *, of_raw: bool) -> _Overlaps:
    """Over what is there whatever the guest asks for."""
    mappers = [mapper for mapper in ownership.mappers if mapper.is_raw is of_raw]
    taken = _occupied(ownership, of_raw=of_raw)
    others = [(*region.ends, at) for at, (_, _, region) in enumerate(taken)]
    there = met((pages.guest.ends for mapper in mappers for pages in mapper.pages), others, count)
    viommu = ownership.profile.viommu
    with_registers = {path for path, _ in ownership.occupied} if of_raw and viommu else ()
    for mapper in mappers:
        # Of a node with registers of its own over the vSMMU, the guest's own tree tells.
        told = viommu.region if viommu and mapper.path in with_registers else None
        page_over: dict[int, Region] = {}
        for pages in mapper.pages:
            for at in there[pages.guest.ends]:
                count()
                _, path, region = taken[at]
                if region != told and not _is_related(mapper, path):
                    page = _common(pages.guest, region) if of_raw else pages.guest
                    page_over.setdefault(at, page)
        for at, page in page_over.items():
            name, _, region = taken[at]
            yield mapper, _overlap(mapper, name, page, region)


def _over_mapped(ownership: Ownership, count: Callable[[], None], *, of_raw: bool) -> _Overlaps:
    """Over what was asked for before. What is together on the host may be together in the guest as
    well.
    """
    mappers = [mapper for mapper in ownership.mappers if of_raw or not mapper.is_raw]
    mapped = [(place, pages) for place, mapper in enumerate(mappers) for pages in mapper.pages]
    others = [(*pages.guest.ends, None) for _, pages in mapped]
    asked = (pages.guest.ends for place, pages in mapped if mappers[place].is_raw is of_raw)
    there = met(asked, others, count)
    for place, own in groupby(enumerate(mapped), lambda numbered: numbered[1][0]):
        mapper = mappers[place]
        if mapper.is_raw is not of_raw:
            continue
        # Of each pair, once.
        pair_with: dict[int, tuple[Mapped, Mapped]] = {}
        for number, (_, mine) in own:
            for at in there[mine.guest.ends]:
                count()
                earlier, theirs = mapped[at]
                is_apart = theirs.host.base - theirs.guest.base != mine.host.base - mine.guest.base
                is_refused = mappers[earlier].path in ownership.refused
                if at < number and is_apart and not is_refused:
                    pair_with.setdefault(earlier, (mine, theirs))
        itself = f"another region of this {'node' if of_raw else 'device'}"
        for at, (mine, theirs) in pair_with.items():
            name = itself if at == place else mappers[at].path
            yield mapper, _overlap(mapper, name, mine.guest, theirs.guest)


def _occupied(ownership: Ownership, *, of_raw: bool) -> list[tuple[str, str, Region]]:
    """What of the guest's addresses is taken by none that `_over_mapped` looks at: how to call it,
    the path of its node, if it is one, and where it is.
    """
    viommu = ownership.profile.viommu
    taken = [
        (f"the {reserved.name} of {ownership.profile.name}", "", reserved.region)
        for reserved in ownership.profile.reserved
        if ownership.applies(reserved.when)
    ]
    asking = {mapper.path for mapper in ownership.mappers if of_raw or not mapper.is_raw}
    if viommu:
        # Of a vSMMU that is in the tree already, the profile speaks.
        own = f"/{viommu.node_name}"
        taken.append((f"the vSMMU ({own})", "", viommu.region))
        asking.add(own)
    return taken + [(p, p, r) for p, r in ownership.occupied if p not in asking]


def _common(page: Region, region: Region) -> Region:
    """What two regions that overlap have in common."""
    (first, last), (other_first, other_last) = page.ends, region.ends
    return Region.between(max(first, other_first), min(last, other_last))


def _overlap(mapper: Mapper, name: str, page: Region, region: Region) -> Diagnostic:
    """Return what a page of the guest is over: something of that name, at that region."""
    return Diagnostic(
        what=f"this region overlaps {name}",
        hint="map the device elsewhere: xen,reg = <host size guest>, and reg with the guest "
        "address",
        prop="xen,reg" if mapper.is_raw else "reg",
        expected=f"no overlap with {in_pages(region)}",
        found=str(page),
    )


def _is_related(mapper: Mapper, path: str) -> bool:
    """Whether the node at `path`, if it is one, may have the addresses of `mapper`: as itself, a
    node above it, or a part of the device.
    """
    if not path:
        return False
    is_part = not mapper.is_raw and is_at_or_below(path, mapper.path)
    return is_part or is_at_or_below(mapper.path, path)
