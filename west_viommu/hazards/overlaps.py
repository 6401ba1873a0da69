# SPDX-License-Identifier: Apache-2.0
"""Checks of the guest's addresses: what the regions of its devices lie over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from west_viommu.guest.regions import Mapped
from west_viommu.hazards.findings import Finding, first_ones
from west_viommu.hazards.ownership import Found, Ownership
from west_viommu.host.intervals import met
from west_viommu.hypervisor.pages import in_pages
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below


def guest_overlap(ownership: Ownership) -> Found:
    """A region of the guest over what is there already. Whole pages, as those are mapped."""
    taken = occupied_by_others(ownership)
    others = [(*region.ends, at) for at, (_, _, region) in enumerate(taken)]
    pages = [
        (*mapped.guest.ends, (place, mapped))
        for place, assignment in enumerate(ownership.assignments)
        for mapped in ownership.pages[assignment.request.path]
    ]
    count = partial(ownership.devices.steps.count, "an address of the guest")
    there = met(((first, last) for first, last, _ in pages), others, count)
    by_request: dict[int, list[tuple[int, int, Mapped]]] = {}
    for first, last, (place, mapped) in pages:
        by_request.setdefault(place, []).append((first, last, mapped))
    for place, own in by_request.items():
        assignment = ownership.assignments[place]
        page_over: dict[int, Region] = {}
        for first, last, mapped in own:
            for at in there[first, last]:
                count()
                path = taken[at][1]
                if not (path and _is_related(path, assignment.request.path)):
                    page_over.setdefault(at, mapped.guest)
        over = ((taken[at], page) for at, page in page_over.items())
        for finding in first_ones(over, _over):
            yield assignment, finding
    yield from _overlaps_between(ownership, pages)


def _over(pair: tuple[tuple[str, str, Region], Region]) -> Finding:
    (name, _, region), page = pair
    return overlap_with(name, page, region)


def _overlaps_between(
    ownership: Ownership, pages: Sequence[tuple[int, int, tuple[int, Mapped]]]
) -> Found:
    """Regions of the guest's devices over each other. What is together on the host may be together
    in the guest as well.
    """
    assignments = ownership.assignments
    count = partial(ownership.devices.steps.count, "an address of the guest")
    there = met(((first, last) for first, last, _ in pages), pages, count)
    pair_with: dict[int, tuple[Mapped, Mapped]] = {}
    for number, (first, last, (place, mine)) in enumerate(pages):
        # Of each pair of requests, once.
        for at in there[first, last]:
            count()
            earlier, theirs = pages[at][2]
            is_apart = theirs.host.base - theirs.guest.base != mine.host.base - mine.guest.base
            is_refused = assignments[earlier].request.path in ownership.refused
            if at < number and is_apart and not is_refused:
                pair_with.setdefault(earlier, (mine, theirs))
        if number + 1 == len(pages) or pages[number + 1][2][0] != place:
            names = (
                ("another region of this device" if at == place else assignments[at].request.path)
                for at in pair_with
            )
            over = zip(names, pair_with.values(), strict=True)
            for finding in first_ones(over, _over_another):
                yield assignments[place], finding
            pair_with = {}


def _over_another(named_pair: tuple[str, tuple[Mapped, Mapped]]) -> Finding:
    name, (mine, theirs) = named_pair
    return overlap_with(name, mine.guest, theirs.guest)


def occupied_by_others(ownership: Ownership) -> list[tuple[str, str, Region]]:
    """What of the guest's addresses is no device's that it asks for: how to call it, the path of
    its node, if it is one, and where it is.
    """
    viommu = ownership.profile.viommu
    taken = [
        (f"the {reserved.name} of {ownership.profile.name}", "", reserved.region)
        for reserved in ownership.profile.reserved
        if ownership.terms.applies(reserved.when)
    ]
    if viommu:
        taken.append((f"the vSMMU (/{viommu.node_name})", "", viommu.region))
    own = f"/{viommu.node_name}" if viommu else ""
    asking = {assignment.request.path for assignment in ownership.assignments}
    # Of a vSMMU that is in the tree already, the profile speaks.
    taken += [(p, p, r) for p, r in ownership.occupied if p != own and p not in asking]
    return taken


def overlap_with(name: str, page: Region, region: Region) -> Finding:
    """What a `page` of the guest is over: `name`, at `region`."""
    return Finding(
        f"this region overlaps {name}",
        "map the device elsewhere: xen,reg = <host size guest>, and reg with the guest address",
        "reg",
        expected=f"no overlap with {in_pages(region)}",
        found=str(page),
    )


def _is_related(path: str, other: str) -> bool:
    """Whether one of the two nodes is the other, or above it."""
    return is_at_or_below(path, other) or is_at_or_below(other, path)
