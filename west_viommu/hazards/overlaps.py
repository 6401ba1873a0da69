# SPDX-License-Identifier: Apache-2.0
"""Checks of the guest's addresses: what the regions of its devices lie over."""

from __future__ import annotations

from west_viommu.hazards.findings import Finding, shown
from west_viommu.hazards.situation import Found, Situation
from west_viommu.host.intervals import meetings
from west_viommu.hypervisor.pages import in_pages
from west_viommu.tree.addresses import Region


def guest_overlap(situation: Situation) -> Found:
    """A region of the guest over what is there already. Whole pages, as those are mapped."""
    taken = occupied_by_others(situation)
    pages = [
        (mapped.guest.base, mapped.guest.base + mapped.guest.size - 1, (place, number))
        for place, this in enumerate(situation.assignments)
        for number, mapped in enumerate(situation.pages[this.request.path])
    ]
    others = ((r.base, r.base + r.size - 1, at) for at, (_, _, r) in enumerate(taken))
    said: set[tuple[int, int]] = set()
    for (place, number), at, _, _ in meetings(pages, others):
        this = situation.assignments[place]
        name, path, region = taken[at]
        if (place, at) not in said and not (path and _is_related(path, this.request.path)):
            said.add((place, at))
            yield this, overlap_with(name, situation.pages[this.request.path][number].guest, region)
    yield from _overlaps_between(situation, pages)


def _overlaps_between(situation: Situation, pages: list[tuple[int, int, tuple[int, int]]]) -> Found:
    """Regions of the guest's devices over each other. What is together on the host may be together
    in the guest as well.
    """
    assignments = situation.assignments
    said: set[tuple[int, int]] = set()
    for (place, number), (earlier, other), _, _ in meetings(pages, pages):
        if assignments[earlier].request.path in situation.refused:
            continue
        if (earlier, other) >= (place, number) or (place, earlier) in said:
            continue
        this = assignments[place]
        mine = situation.pages[this.request.path][number]
        theirs = situation.pages[assignments[earlier].request.path][other]
        if theirs.host.base - theirs.guest.base != mine.host.base - mine.guest.base:
            said.add((place, earlier))
            is_own = earlier == place
            name = "another region of this device" if is_own else assignments[earlier].request.path
            yield this, overlap_with(name, mine.guest, theirs.guest)


def occupied_by_others(situation: Situation) -> list[tuple[str, str, Region]]:
    """What of the guest's addresses is no device's that it asks for: how to call it, the path of
    its node, if it is one, and where it is.
    """
    viommu = situation.profile.viommu
    taken = [
        (f"the {each.name} of {situation.profile.name}", "", each.region)
        for each in situation.profile.reserved
        if situation.terms.applies(each.when)
    ]
    if viommu:
        taken.append((f"the vSMMU (/{viommu.node_name})", "", viommu.region))
    own = f"/{viommu.node_name}" if viommu else ""
    asking = {each.request.path for each in situation.assignments}
    # Of a vSMMU that is in the tree already, the profile speaks.
    taken += [(p, p, r) for p, r in situation.occupied if p != own and p not in asking]
    return taken


def overlap_with(name: str, page: Region, region: Region) -> Finding:
    """What a `page` of the guest is over: `name`, at `region`."""
    return Finding(
        f"this region overlaps {name}",
        "map the device elsewhere: xen,reg = <host size guest>, and reg with the guest address",
        "reg",
        expected=f"no overlap with {shown(in_pages(region))}",
        found=shown(page),
    )


def _is_related(path: str, other: str) -> bool:
    """Whether one of the two nodes is the other, or above it."""
    return f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")
