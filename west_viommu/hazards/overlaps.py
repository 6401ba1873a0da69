# SPDX-License-Identifier: Apache-2.0
"""Checks of the guest's addresses: what the regions of its devices, and its raw mappings, lie over.
Xen maps the last one there, as __p2m_set_entry() replaces a valid entry without a word (read in
4.17 and master).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.regions import Mapped
from west_viommu.hazards.ownership import Found, Mapper, Ownership
from west_viommu.host.intervals import met
from west_viommu.hypervisor.pages import in_pages
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below

# Who maps over something, and what was found.
_Overlaps = Iterator[tuple[Mapper, Diagnostic]]


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
