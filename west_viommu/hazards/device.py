# SPDX-License-Identifier: Apache-2.0
"""Checks of an assignment: whether guest and host mean the same registers and interrupts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from west_viommu.guest.gic import LINUX_EDGE, LINUX_LEVEL
from west_viommu.hazards.findings import Finding
from west_viommu.hazards.situation import Situation
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import FIRST_SPI


def duplicate_assignment(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Two requests for one host device; the later one is refused."""
    first = situation.first_of(this.device.path)
    if first is not this:
        yield Finding(
            f"{this.device.path} is assigned twice",
            f"remove this node, or {first.request.path}",
            expected="one guest node for a host device",
            found=f"{first.request.path} as well",
        )


def region_mismatch(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Each reg entry must be a region of the device, by xen,reg or at the same address, and
    xen,reg must map nothing else.
    """
    regions = [region for region in this.device.regions if region]
    known = frozenset(regions)
    # Once for all findings: there may be thousands of both.
    expected = _listed(regions) or "no region"
    in_whole_pages = _listed(map(in_pages, regions))
    for guest, host in this.request.regions:
        if host is None:
            yield Finding(
                "xen,reg maps nothing to this region, so Xen would not map it",
                "write a <host size guest> triple of xen,reg for it, or leave xen,reg out",
                "reg",
                expected="a region that xen,reg covers",
                found=f"{guest.base:#x}/{guest.size:#x}",
            )
        elif host not in known:
            others = [p for p in situation.devices.at(host.base) if p != this.device.path]
            of = f", but of {' and '.join(others)}" if others else ""
            yield Finding(
                f"this region is none of {this.device.path}{of}",
                "copy the host's absolute address and size, or pair host and guest addresses: "
                "xen,reg = <host size guest>"
                if regions
                else "leave reg out: the host node has none",
                "reg",
                expected=expected,
                found=f"{host.base:#x}/{host.size:#x}",
            )
        elif (guest.base - host.base) % PAGE:
            yield Finding(
                "host and guest address differ within a page, and Xen maps whole pages",
                "give the guest an address with the same last three hexadecimal digits",
                "reg",
                expected=f"an address that ends in {host.base % PAGE:#05x}",
                found=f"{guest.base:#x}",
            )
    is_of_device = _within_pages(regions)
    for host, _ in this.request.mapped:
        if not is_of_device(host):
            yield Finding(
                f"xen,reg maps memory that is none of {this.device.path}",
                f"write the host's regions in whole pages: {in_whole_pages}"
                if regions
                else "leave xen,reg out: the host node has no region",
                "xen,reg",
                expected=expected,
                found=f"{host.base:#x}/{host.size:#x}",
            )


def untranslatable_region(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Xen maps, and finds its SMMUs, by absolute address."""
    if None in this.device.regions:
        yield Finding(
            f"a region of {this.device.path} has no absolute address",
            "a bus above it has no `ranges`, or none that covers the region: correct the host "
            "tree, or leave this device to the host",
            "reg",
            expected="`ranges` from each bus to the root",
            found=f"region {this.device.regions.index(None)}",
        )
    for path in this.device.master.iommus if this.device.master else ():
        iommu = situation.devices.iommus[path]
        if iommu.base is None:
            yield Finding(
                f"{iommu.path}, the SMMU of {this.device.path}, has no absolute address",
                "correct the host tree: Xen finds its SMMU by address",
                expected="a reg that translates to the root",
                found="none",
            )


def interrupt_mismatch(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Xen gives a guest an interrupt under the host's number only (virq = pirq)."""
    numbers = [str(intid - FIRST_SPI) for intid in this.device.intids if intid >= FIRST_SPI]
    spis = f"SPI {' or '.join(numbers)}" if numbers else ""
    own = this.device.intids
    # Once for all findings: there may be thousands of both.
    expected = f"INTID {' or '.join(map(str, own))}" if own else "no GIC interrupt"
    known = frozenset(own)
    for intid in this.request.intids:
        if intid not in known:
            yield Finding(
                f"this interrupt is none of {this.device.path}",
                f"write the host's number, {spis}: Xen gives a guest an interrupt only under that"
                if spis
                else "leave it out: Xen gives a guest only the interrupts of the host node",
                "interrupts",
                expected=expected,
                found=f"INTID {intid}",
            )
    triggers = dict(this.device.interrupts)
    for intid, is_edge in this.request.interrupts:
        # Only rising edge and high level: an SPI knows no other.
        host = {LINUX_EDGE: True, LINUX_LEVEL: False}.get(triggers.get(intid, 0))
        if host is not None and host != is_edge:
            yield Finding(
                f"the host has INTID {intid} with the other trigger",
                "write the host's in the guest's own numbers: Zephyr's IRQ_TYPE_LEVEL is 2 and "
                "IRQ_TYPE_EDGE is 4, Linux's level is 4 and edge is 1",
                "interrupts",
                expected="edge" if host else "level",
                found="edge" if is_edge else "level",
                is_warning=True,
            )


def interrupt_private(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Xen routes SPIs to guests, no PPIs."""
    for intid in this.request.intids:
        if intid < FIRST_SPI:
            yield Finding(
                "a private interrupt (PPI) cannot be passed through",
                "leave it out: Xen routes only shared interrupts (SPIs) to a guest",
                "interrupts",
                expected="INTIDs from 32 on",
                found=f"INTID {intid}",
            )
    own = [intid for intid in this.device.intids if intid < FIRST_SPI]
    is_said = any(intid < FIRST_SPI for intid in this.request.intids)
    if own and not is_said and situation.profile.routes_all:
        yield Finding(
            f"{this.device.path} has a private interrupt (PPI), and dom0less routes all that the "
            "host node has: Xen would not create the guest",
            "remove it from the host node by an overlay, or create the guest by xl, which routes "
            "only what irqs lists",
            "",
            expected="INTIDs from 32 on",
            found=f"INTID {' '.join(map(str, own))}",
            is_warning=situation.profile.renumbers is None,
        )


def device_disabled(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A device that the host does not use."""
    if this.device.status != "okay":
        yield Finding(
            f"{this.device.path} is not enabled in the host tree",
            "its clocks or pins may not be set up; check what the firmware leaves it in",
            expected='status "okay"',
            found=f'"{this.device.status}"',
        )


def device_without_region(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A device that no region of its own gives access to."""
    if not this.device.regions:
        yield Finding(
            f"{this.device.path} has no region of its own",
            "the guest can reach it only through another device",
            "",
            expected="reg on the host node",
            found="none",
        )


def _listed(regions: Iterable[Region]) -> str:
    return " or ".join(f"{base:#x}/{size:#x}" for base, size in regions)


def _within_pages(regions: Iterable[Region]) -> Callable[[Region], bool]:
    """The test whether a region lies in the pages that one of `regions` touches: Xen maps whole
    pages.
    """
    pages = sorted(map(in_pages, regions))
    bases = [each.base for each in pages]
    # Up to where this one and all before it reach.
    reach = list(accumulate((each.base + each.size for each in pages), max))

    def is_within(part: Region) -> bool:
        at = bisect_right(bases, part.base) - 1
        return at >= 0 and part.base + part.size <= reach[at]

    return is_within
