# SPDX-License-Identifier: Apache-2.0
"""Checks of the guest's addresses: overlaps with the regions of its devices, and raw mappings.

Xen keeps the region mapped last, as __p2m_set_entry() replaces a valid entry without a warning
(read in 4.17 and master). A raw mapping is host memory that a guest gets without a host device. Xen
maps it and does not check its owner (handle_passthrough_prop(): arch/arm/domain_build.c of 4.17,
later common/device-tree/dom0less-build.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import NamedTuple

from west_viommu.diagnostics import MOST_ALIKE, Diagnostic, Severity
from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Raw
from west_viommu.hazards.odd import differs_within_a_page
from west_viommu.hazards.ownership import Found, Mapper, Ownership
from west_viommu.hazards.parts import as_allowed
from west_viommu.host.intervals import Interval, covered_by, met
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.layout import banks, taken
from west_viommu.hypervisor.pages import PAGE, in_pages, moved
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.hypervisor.sweep import Conflict
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below


def of_raw(ownership: Ownership) -> Found:
    """Yield the hazards of pages for the raw mappings, in their order."""
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
    """Yield the raw mappings of host resources that stay with the host or belong to Xen."""
    holdings = ownership.holdings
    # Xen excludes reserved regions from the memory that it allocates (dt_unreserved_regions()).
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
    """Return the hazard of a raw mapping of a host node's registers."""
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


# A Linux kernel alone needs about as much.
_LITTLE_MEMORY = 64 << 20
# A node with an overlapping mapping, and the finding.
_Overlaps = Iterator[tuple[Mapper, Diagnostic]]


def guest_address_range(ownership: Ownership) -> Found:
    """Find a region beyond the addresses of a guest: Xen maps nothing there (map_mmio_regions();
    booted: 4.17 does not assign the device, 4.20 panics).
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
    """Find a region of the guest that overlaps another use of its addresses. Whole pages, as Xen
    maps these.
    """
    for mapper, finding in overlaps(ownership, of_raw=False):
        yield mapper.path, finding


def overlaps(ownership: Ownership, *, of_raw: bool) -> _Overlaps:
    """Yield the overlaps of the guest's devices, or of its raw mappings."""
    count = partial(ownership.devices.steps.count, "an address of the guest")
    room = _Room(ownership, of_raw=of_raw)
    yield from _over_occupied(ownership, room, count, of_raw=of_raw)
    yield from _over_mapped(ownership, room, count, of_raw=of_raw)
    yield from _in_memory(ownership, room, of_raw=of_raw)


class _Place(NamedTuple):
    """A region of the guest's addresses that is taken: its name in messages, and the path of its
    node, if it has one. Without `is_used`, the guest's tree only announces it.
    """

    name: str
    path: str
    region: Region
    is_used: bool = True


def _over_occupied(
    ownership: Ownership, room: _Room, count: Callable[[], None], *, of_raw: bool
) -> _Overlaps:
    """Yield overlaps with regions that do not depend on the guest's requests."""
    mappers = [mapper for mapper in ownership.mappers if mapper.is_raw is of_raw]
    places = room.places
    others = [(*place.region.ends, at) for at, place in enumerate(places)]
    there = met((pages.guest.ends for mapper in mappers for pages in mapper.pages), others, count)
    viommu = ownership.profile.viommu
    with_registers = {path for path, _ in ownership.occupied} if of_raw and viommu else ()
    for mapper in mappers:
        # If a node with registers of its own overlaps the vSMMU, the check of the guest's own tree
        # reports it.
        told = viommu.region if viommu and mapper.path in with_registers else None
        page_over: dict[int, Region] = {}
        for pages in mapper.pages:
            for at in there[pages.guest.ends]:
                count()
                region = places[at].region
                if region != told and not _is_related(mapper, places[at].path):
                    page = _common(pages.guest, region) if of_raw else pages.guest
                    page_over.setdefault(at, page)
        for at, page in page_over.items():
            place = places[at]
            if place.is_used:
                line = room.line(mapper)
                yield mapper, _overlap(mapper, place.name, page, place.region, line)
            elif not any(places[other].is_used for other in page_over):
                yield mapper, _announced(mapper, place, page, room.line(mapper))


def _in_memory(ownership: Ownership, room: _Room, *, of_raw: bool) -> _Overlaps:
    """Yield the device or raw mapping that leaves the guest little memory below it."""
    lowest = ownership.lowest_in_memory
    if lowest is None or lowest.mapper is None or lowest.mapper.is_raw is not of_raw:
        return
    bank = next(iter(banks(ownership.profile, ownership.terms.domain)))
    # A user who states the guest's memory knows that.
    is_said = any(
        path.startswith("/memory") and bank.overlaps(region) for path, region in ownership.occupied
    )
    if 0 < lowest.limit < _LITTLE_MEMORY and not is_said:
        kib = lowest.limit >> 10
        yield (
            lowest.mapper,
            Diagnostic(
                what=f"this region leaves the guest at most {kib} KiB of memory below it",
                hint=f"a Linux kernel alone takes more: {room.line(lowest.mapper)}",
                prop="xen,reg" if lowest.mapper.is_raw else "reg",
                expected=f"no device in the first {_LITTLE_MEMORY >> 20} MiB of the guest's memory",
                found=str(lowest.page),
                severity=Severity.WARNING,
            ),
        )


def _announced(mapper: Mapper, place: _Place, page: Region, line: str) -> Diagnostic:
    """Return the warning of a region in the window of redistributors. Xen maps it there (booted),
    but Linux claims the whole window that the guest's tree announces for its GIC.
    """
    return Diagnostic(
        what=f"this region lies in the window of {place.name}, beyond those of this guest's CPUs",
        hint=f"a guest that claims all of the window, as Linux does, cannot use the device: {line}",
        prop="xen,reg" if mapper.is_raw else "reg",
        expected=f"no overlap with {place.region}",
        found=str(page),
        severity=Severity.WARNING,
    )


def _over_mapped(
    ownership: Ownership, room: _Room, count: Callable[[], None], *, of_raw: bool
) -> _Overlaps:
    """Yield overlaps with earlier requests. Regions that overlap on the host may overlap in the
    guest as well.
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
        # Each pair once.
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
            yield mapper, _overlap(mapper, name, mine.guest, theirs.guest, room.line(mapper))


class _Room:
    """The taken regions of the guest's addresses besides devices, and free places for a device."""

    def __init__(self, ownership: Ownership, *, of_raw: bool):
        self._ownership = ownership
        self._of_raw = of_raw
        self._chosen: list[Region] = []
        self._lines = 0

    @cached_property
    def places(self) -> list[_Place]:
        """The taken regions, except those that `_over_mapped` compares."""
        ownership, terms = self._ownership, self._ownership.terms
        profile = ownership.profile
        known = list(taken(profile, ownership.devices, terms.domain, terms.cpus))
        places = [_Place(each.name, "", each.region, each.is_used) for each in known]
        asking = {mapper.path for mapper in ownership.mappers if self._of_raw or not mapper.is_raw}
        if profile.viommu:
            # For a vSMMU that is in the tree already, the profile has the region.
            own = f"/{profile.viommu.node_name}"
            places.append(_Place(f"the vSMMU ({own})", "", profile.viommu.region))
            asking.add(own)
        # Likewise the window of redistributors: the node of the guest's GIC has all of it.
        windows = {each.region.base for each in known if each.cpu_bytes and each.is_used}
        occupied = [
            _Place(path, path, region)
            for path, region in ownership.occupied
            if path not in asking and region.base not in windows
        ]
        for bank in banks(profile, terms.domain)[:1]:
            first = Region(bank.base, PAGE)
            if not any(place.region.overlaps(first) for place in occupied):
                name = f"the beginning of the guest's memory under {profile.name}"
                places.append(_Place(name, "", first))
        return places + occupied

    def line(self, mapper: Mapper) -> str:
        """Return the line to paste to move a device to free addresses."""
        way = (
            "map the device elsewhere: xen,reg = <host size guest>, and the guest's address in reg"
        )
        ownership = self._ownership
        self._lines += 1
        # Further messages are not shown.
        if self._lines > MOST_ALIKE or ownership.paper is None:
            return way
        used = [place.region for place in self.places]
        used += [p.guest for other in ownership.mappers for p in other.pages if other != mapper]
        wrong = [pages.guest for pages in mapper.pages]
        places = moved(wrong, ownership.profile, [*used, *self._chosen], memory=_LITTLE_MEMORY)
        if not places:
            return way
        self._chosen += places.values()
        move = ownership.paper.moved
        line = move(mapper.path, mapper.regions, mapper.pages, places)
        if line:
            return f"map the device elsewhere: {line}"
        (old, new), *_ = places.items()
        return f"{way}; {new.base:#x} is free for {old}"


def _common(page: Region, region: Region) -> Region:
    """Return the intersection of two regions that overlap."""
    (first, last), (other_first, other_last) = page.ends, region.ends
    return Region.between(max(first, other_first), min(last, other_last))


def _overlap(mapper: Mapper, name: str, page: Region, region: Region, hint: str) -> Diagnostic:
    """Return the finding that a page of the guest overlaps `region`, which messages call `name`."""
    return Diagnostic(
        what=f"this region overlaps {name}",
        hint=hint,
        prop="xen,reg" if mapper.is_raw else "reg",
        expected=f"no overlap with {in_pages(region)}",
        found=str(page),
    )


def _is_related(mapper: Mapper, path: str) -> bool:
    """Return whether the node at `path`, if it is one, may have the addresses of `mapper`: as
    itself, a node above it, or a part of the device.
    """
    if not path:
        return False
    is_part = not mapper.is_raw and is_at_or_below(path, mapper.path)
    return is_part or is_at_or_below(mapper.path, path)
