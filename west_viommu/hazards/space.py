# SPDX-License-Identifier: Apache-2.0
"""Checks of an assignment: whether pages and interrupts are its own, on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from west_viommu.guest.regions import Mapped
from west_viommu.hazards.findings import Finding, as_allowed
from west_viommu.hazards.situation import Situation
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.pages import (
    in_pages,
    is_related,
    is_shared_block,
    neighbours,
    overlap,
    status_of,
)
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node
from west_viommu.tree.slots import Slots


def shared_page(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An enabled device that stays with the host has registers on a page that the guest gets."""
    for node, region in _strangers(this, situation):
        if status_of(situation.devices.tree, node) != "okay":
            continue
        what = f"{node.path} has registers on a page of {this.device.path}, and stays with the host"
        hint = (
            "the guest could reach those registers: leave this region out of reg, disable "
            f"{node.path} in the host tree, or pass it through as well; if you trust the guest "
            f"with them: {as_allowed('shared-page', this.device.path)}"
        )
        is_part = situation.devices.whole(node.path) == this.device.path
        if is_part:
            what = f"{node.path}, a part of {this.device.path}, is on a page that the guest gets"
            hint = "dom0 must not use it: host.overlay keeps it from dom0"
        elif is_shared_block(node):
            hint = "the guest can reach them; leave the region out of reg if it does not need it"
        yield Finding(
            what,
            hint,
            "reg",
            expected="pages with registers of this device alone",
            found=_shown(region),
            is_warning=is_part or is_shared_block(node),
        )


def page_shared_with_disabled(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A disabled device on a page that the guest gets: Xen maps those into dom0 as well."""
    for node, region in _strangers(this, situation):
        status = status_of(situation.devices.tree, node)
        if status != "okay":
            yield Finding(
                f"{node.path}, not enabled, has registers on a page of {this.device.path}",
                "Xen maps disabled nodes into dom0 too: host.overlay keeps it from dom0"
                if situation.profile.toolstacks
                else "see that nothing enables it beside the guest",
                "reg",
                expected="pages with registers of this device alone",
                found=f'{_shown(region)}, status "{status}"',
            )


def guest_overlap(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A region of the guest over what is there already. Whole pages, as those are mapped."""
    profile = situation.profile
    taken = [(f"the vSMMU (/{profile.node_name})", Region(profile.base, profile.size))]
    taken += [
        (path, region)
        for path, region in situation.occupied_near(this)
        if not is_related(path, this.request.path)
        # Of a vSMMU that is in the tree already, the profile speaks.
        and path != f"/{profile.node_name}"
    ]
    taken += [
        (f"the {each.name} of {profile.name}", each.region)
        for each in profile.reserved
        if situation.terms.applies(each.when)
    ]
    pages = situation.pages(this)
    for name, region in taken:
        over = next((page.guest for page in pages if overlap(page.guest, region)), None)
        if over:
            yield _overlap(name, over, region)
    if len(pages) > 1:
        for guest, earlier in _own_clashes(pages):
            yield _overlap("another region of this device", guest, earlier)
    for other in situation.earlier_near(this):
        clash = next(_guest_clashes(this, other, situation), None)
        if clash:
            yield _overlap(other.request.path, *clash)


def interrupt_clash(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An interrupt that the vSMMU, the hypervisor or another device has."""
    profile = situation.profile
    asked = frozenset(this.request.intids)
    own = frozenset(this.device.intids)
    # dom0less routes what the guest leaves out as well.
    rest = own - asked if profile.routes_all else frozenset()
    for intid in dict.fromkeys((*this.request.intids, *this.device.intids)):
        if intid not in asked and intid not in rest:
            continue
        for name, is_routed in _users(intid, this, situation, is_own=intid in own):
            is_asked = is_routed and intid in asked
            yield Finding(
                f"INTID {intid} is {name} as well",
                "Xen gives an interrupt to one side only, under the host's number: leave one out"
                if is_asked
                else "dom0less routes every interrupt of the host node: leave the device out, or "
                "create the guest by xl, which routes only what irqs lists",
                "interrupts",
                expected="an interrupt of this device alone",
                found=f"INTID {intid}",
                is_warning=not is_asked and profile.renumbers is None,
            )


def _users(
    intid: Intid, this: Assignment, situation: Situation, *, is_own: bool
) -> Iterator[tuple[str, bool]]:
    """Whose interrupt it is as well: the vSMMU's, Xen's own, that of a device before this one, or,
    if it `is_own` of the host node, of an enabled one that stays with the host. And whether that is
    so with each toolstack, not only where the whole of a host node is routed.
    """
    profile = situation.profile
    for own in profile.interrupts:
        if own.intid == intid:
            yield f"the vSMMU's {own.name}", True
    for each in profile.reserved_interrupts:
        if each.first <= intid <= each.last and situation.terms.applies(each.when):
            yield f"{each.name}'s", True
    for other in situation.earlier_with(intid, this):
        yield f"{other.request.path}'s", intid in other.request.intids
    # One that is not the device's own has been refused as that.
    tree = situation.devices.tree
    for node in situation.devices.with_intid(intid) if is_own else ():
        if node.path in situation.assigned or is_related(node.path, this.device.path):
            continue
        is_part = situation.devices.whole(node.path) == this.device.path
        if not is_part and status_of(tree, node) == "okay":
            yield f"{node.path}'s, which stays with the host,", True


def interrupt_not_routed(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An interrupt of the host device that goes to no GIC: Xen skips it."""
    for controller in this.device.other_controllers:
        yield Finding(
            f"an interrupt of {this.device.path} goes to {controller}, which is no GIC",
            "Xen does not route it to a guest: the guest's driver must do without",
            "",
            expected="interrupts of the GIC",
            found=controller,
        )


def _strangers(this: Assignment, situation: Situation) -> Iterator[tuple[Node, Region]]:
    """Who has registers on the pages of `this`, and neither is assigned nor a part of another
    device that is.
    """
    for node, region in neighbours(this.device, situation.pages(this), situation.devices):
        if node.path not in situation.assigned:
            whole = situation.devices.whole(node.path)
            if whole not in situation.assigned or whole == this.device.path:
                yield node, region


def _own_clashes(pages: Sequence[Mapped]) -> Iterator[tuple[Region, Region]]:
    """A region of the guest, and the first one before it that it lies over: thousands may lie over
    each other.
    """
    own = Slots((page.guest, place) for place, page in enumerate(pages))
    for place, (_, guest) in enumerate(pages):
        for earlier, before in own.near(guest):
            if before < place and overlap(guest, earlier):
                yield guest, earlier
                break


def _guest_clashes(
    this: Assignment, other: Assignment, situation: Situation
) -> Iterator[tuple[Region, Region]]:
    """A region of each that the guest would have at one address. Two devices on one page of the
    host may be on one page of the guest as well.
    """
    for mine in situation.pages(this):
        for theirs in situation.pages(other):
            is_same = theirs.host.base - theirs.guest.base == mine.host.base - mine.guest.base
            if overlap(mine.guest, theirs.guest) and not is_same:
                yield mine.guest, theirs.guest
    for pair in this.request.regions:
        for theirs_pair in other.request.regions:
            if overlap(pair.guest, theirs_pair.guest):
                yield pair.guest, theirs_pair.guest


def _overlap(name: str, page: Region, region: Region) -> Finding:
    return Finding(
        f"this region lies over {name}",
        "map the device elsewhere: xen,reg = <host size guest>, and reg with the guest address",
        "reg",
        expected=f"no overlap with {_shown(in_pages(region))}",
        found=_shown(page),
    )


def _shown(region: Region) -> str:
    return f"{region.base:#x}/{region.size:#x}"
