# SPDX-License-Identifier: Apache-2.0
"""Checks of an assignment: whether pages and interrupts are its own, on both sides."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.plan.findings import Finding, as_allowed
from west_viommu.plan.pages import (
    guest_pages,
    in_pages,
    is_shared_block,
    mapped_pages,
    neighbours,
    overlap,
    parts_of,
)
from west_viommu.plan.records import Assignment, Situation
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import Node


def shared_page(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An enabled device that stays with the host has registers on a page that the guest gets."""
    tree = situation.devices.tree
    for node, region in _strangers(this, situation):
        if tree.status(node) != "okay":
            continue
        is_block = is_shared_block(node)
        yield Finding(
            f"{node.path} has registers on a page of {this.device.path}, and stays with the host",
            "the guest can reach them; leave the region out of reg if it does not need it"
            if is_block
            else "the guest could reach those registers: leave this region out of reg, disable "
            f"{node.path} in the host tree, or pass it through as well; if you trust the guest "
            f"with them: {as_allowed('shared-page', this.device.path)}",
            "reg",
            expected="pages with registers of this device alone",
            found=_shown(region),
            is_warning=is_block,
        )


def page_shared_with_disabled(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A disabled device on a page that the guest gets: Xen maps those into dom0 as well."""
    for node, region in _strangers(this, situation):
        status = situation.devices.tree.status(node)
        if status != "okay":
            yield Finding(
                f"{node.path}, not enabled, has registers on a page of {this.device.path}",
                "host.overlay keeps it from dom0, as Xen maps disabled nodes too",
                "reg",
                expected="pages with registers of this device alone",
                found=f'{_shown(region)}, status "{status}"',
            )


def guest_overlap(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A region of the guest over what is there already. Whole pages, as those are mapped."""
    profile = situation.profile
    vsmmu = Region(profile.base, profile.size)
    taken = [(f"the vSMMU (/{profile.node_name})", vsmmu, "")]
    taken += [(f"the guest's memory ({path})", region, "") for path, region in situation.memory]
    taken += [
        (f"the {each.name} of {profile.name}", each.region, _or_without(each.when))
        for each in profile.reserved
        if situation.terms.applies(each.when)
    ]
    for page in guest_pages(this.request):
        for name, region, otherwise in taken:
            if overlap(page, region):
                yield _overlap(name, page, region, otherwise)
    for other in situation.assignments:
        if other is this:
            return
        clash = next(_guest_clashes(this, other), None)
        if clash:
            yield _overlap(other.request.path, *clash)


def interrupt_clash(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An interrupt that the vSMMU, the hypervisor or another device has."""
    profile = situation.profile
    taken = [
        (f"the vSMMU's {each.name}", each.intid, each.intid, "") for each in profile.interrupts
    ]
    taken += [
        (f"{each.name}'s", each.first, each.last, _or_without(each.when))
        for each in profile.reserved_interrupts
        if situation.terms.applies(each.when)
    ]
    for other in situation.assignments:
        if other is this:
            break
        taken += [(f"{other.request.path}'s", intid, intid, "") for intid in other.request.intids]
    for intid in dict.fromkeys(this.request.intids):
        for name, first, last, otherwise in taken:
            if first <= intid <= last:
                yield Finding(
                    f"INTID {intid} is {name} as well",
                    "Xen gives a guest an interrupt only under the host's number, and only one "
                    f"may have it: leave this device to the host{otherwise}",
                    "interrupts",
                    expected="an interrupt of this device alone",
                    found=f"INTID {intid}",
                )


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
    """Who has registers on the pages of `this`, and neither is assigned nor belongs to what is."""
    ours = set()
    for other in situation.assignments:
        path = other.device.path
        ours |= {path, *parts_of(situation.devices.tree, path)}
    for node, region in neighbours(this.device, mapped_pages(this.request), situation.devices):
        if node.path not in ours:
            yield node, region


def _guest_clashes(this: Assignment, other: Assignment) -> Iterator[tuple[Region, Region]]:
    """A region of each that the guest would have at one address. Two devices on one page of the
    host may be on one page of the guest as well.
    """
    for mine in mapped_pages(this.request):
        for theirs in mapped_pages(other.request):
            is_same = theirs.host.base - theirs.guest.base == mine.host.base - mine.guest.base
            if overlap(mine.guest, theirs.guest) and not is_same:
                yield mine.guest, theirs.guest
    for pair in this.request.regions:
        for theirs_pair in other.request.regions:
            if overlap(pair.guest, theirs_pair.guest):
                yield pair.guest, theirs_pair.guest


def _or_without(when: str) -> str:
    """What else helps against a part of the profile that only some domains have."""
    return "" if when == "always" else f"; or take {when} out of domain in viommu.yml"


def _overlap(name: str, page: Region, region: Region, otherwise: str = "") -> Finding:
    return Finding(
        f"this region lies over {name}",
        "map the device elsewhere: xen,reg = <host size guest>, and reg with the guest address"
        + otherwise,
        "reg",
        expected=f"no overlap with {_shown(in_pages(region))}",
        found=_shown(page),
    )


def _shown(region: Region) -> str:
    return f"{region.base:#x}/{region.size:#x}"
