# SPDX-License-Identifier: Apache-2.0
"""What two domains of a system hold both, and what Xen makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from west_viommu.hazards.findings import listed
from west_viommu.hypervisor.contest import Contest
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.profile import SMMUV3
from west_viommu.system.held import Holder, Meeting, across, first_held, line_claims, page_claims
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import paths_above

# More numbers than these are not shown one by one.
_MOST_SHOWN = 16
_TWICE = "duplicate-assignment"


class Clash(NamedTuple):
    """What two holders must not both hold, the `earlier` one of an earlier domain than the `later`,
    or of the same one. `hint`: what becomes of it, and what to do. `allowable`: whether Xen does it
    all the same, so that whoever trusts both guests may.
    """

    hazard: str
    later: Holder
    earlier: Holder
    what: str
    hint: str
    expected: str
    found: str
    allowable: bool = False


class _Pair(NamedTuple):
    """Two that meet, and where."""

    later: Holder
    earlier: Holder
    numbers: list[tuple[int, int]]


def clashes(
    held: Sequence[Holder], contested: Iterable[Contest], holdings: Holdings
) -> Iterator[Clash]:
    """All clashes between domains, by kinds: devices, streams, nested masters, pages, lines.
    `contested`: the streams that two assigned devices have.

    Of two devices one mistake is told: a device that is given twice has all else of it held twice.
    """
    yield from _devices(held)
    once = list(first_held(held))
    yield from _streams(once, contested, holdings)
    told: set[tuple[str, str]] = set()
    for clash in _nested(once, holdings):
        told.add(_pair(clash))
        yield clash
    for clash in chain(_pages(once, holdings), _lines(once, holdings)):
        if _pair(clash) not in told:
            yield clash


def _pair(clash: Clash) -> tuple[str, str]:
    return clash.later.qualified, clash.earlier.qualified


def _devices(held: Iterable[Holder]) -> Iterator[Clash]:
    """A host node that two domains are given: iommu_assign_dt_device() gives it to the first alone
    (-EBUSY), and route_irq_to_guest() its interrupts ("already used by domain").
    """
    first: dict[str, Holder] = {}
    for holder in held:
        other = (
            first.setdefault(holder.assignment.device.path, holder) if holder.assignment else holder
        )
        if other.place != holder.place:
            yield Clash(
                hazard=_TWICE,
                later=holder,
                earlier=other,
                what=f"{holder.host} is given to two domains, {other.domain.name} and "
                f"{holder.domain.name}",
                hint=f"Xen gives a device to one domain: take it out of {other.domain.name} or of "
                f"{holder.domain.name}, and bind that again",
                expected="one domain for a host device",
                found=f"{other.qualified} as well",
            )


def _streams(
    held: Sequence[Holder], contested: Iterable[Contest], holdings: Holdings
) -> Iterator[Clash]:
    """Two assigned devices with one stream ID on one IOMMU. Each domain has page tables of its own,
    and the IOMMU knows one for an ID.
    """
    by_host: dict[str, list[Holder]] = {}
    by_node = {holder.qualified: holder for holder in held}
    for holder in held:
        if holder.assignment:
            by_host.setdefault(holder.assignment.device.path, []).append(holder)
    together: dict[tuple[str, str, str], tuple[Holder, Holder, list[int]]] = {}
    for contest in contested:
        one = by_node[contest.assignment.request.path]
        iommu, _ = holdings.stream(contest.first)
        for other in by_host[contest.other]:
            if (other.place, other.node) < (one.place, one.node):
                key = (one.qualified, other.qualified, iommu)
                _, _, ids = together.setdefault(key, (one, other, []))
                ids += contest.ids
    for (_, _, iommu), (later, earlier, ids) in together.items():
        driver = holdings.driver(iommu)
        is_across = later.place != earlier.place
        may_share = driver is not None and driver.may_share
        remedy = "give both to one domain" if may_share else "leave one of the two out"
        if is_across or not may_share:
            yield Clash(
                hazard="shared-stream-id",
                later=later,
                earlier=earlier,
                what=f"{earlier.host} and {later.host} have the same stream ID on {iommu}",
                hint=f"{_becomes_of(iommu, holdings)}: {remedy}",
                expected="stream IDs of one domain alone",
                found=listed(sorted(set(ids))),
            )


def _becomes_of(iommu: str, holdings: Holdings) -> str:
    """What the driver of that IOMMU does with an ID of a second domain.

    SMMUv3: arm_smmu_write_strtab_ent() has BUG_ON(ste_live), whoever attached the first (4.17,
    master); arm_smmu_insert_master() of the RFC and AMD's returns -EINVAL. SMMUv2:
    arm_smmu_domain_add_master() writes the second domain's context bank into the S2CR that both
    share (arm_smmu_master_alloc_smes()). IPMMU: ipmmu_utlb_enable() returns -EINVAL ("Micro-TLB
    already assigned").
    """
    driver = holdings.driver(iommu)
    if driver is None or not holdings.profile.toolstacks:
        return "the IOMMU cannot tell them apart"
    if driver.compatible == SMMUV3.compatible:
        if holdings.profile.repeats_ids:
            return "Xen stops with a BUG as the second is attached"
        return "Xen does not assign the second"
    if any(name.startswith("renesas,") for name in driver.compatible):
        return "Xen does not assign the second"
    return "Xen lets the DMA of both reach the memory of the second domain"


def _nested(held: Iterable[Holder], holdings: Holdings) -> Iterator[Clash]:
    """A DMA master of one domain below a device of another, which drives it."""
    owners: dict[str, Holder] = {}
    for holder in held:
        if holder.assignment:
            owners.setdefault(holder.assignment.device.path, holder)
    for path, holder in owners.items():
        master = holdings.devices.master(path)
        if not master or not holdings.streams(master, maps=holdings.profile.programs_maps):
            continue
        for above in paths_above(path):
            other = owners.get(above)
            if other and other.place != holder.place:
                yield _nested_clash(holder, other)


def _nested_clash(child: Holder, parent: Holder) -> Clash:
    later, earlier = (child, parent) if child.place > parent.place else (parent, child)
    return Clash(
        hazard="unassigned-child",
        later=later,
        earlier=earlier,
        what=f"{child.host} of {child.domain.name}, a DMA master, is below {parent.host} of "
        f"{parent.domain.name}",
        hint=f"{parent.domain.name} may drive what {child.domain.name} has: give both to one "
        "domain",
        expected="all masters of a device with one domain",
        found=child.qualified,
        allowable=True,
    )


def _pages(held: Iterable[Holder], holdings: Holdings) -> Iterator[Clash]:
    """Registers of two domains on one page: handle_passthrough_prop() and XEN_DOMCTL_memory_mapping
    map it for both, without a word.
    """
    meetings = across(page_claims(held), holdings.devices.steps)
    for later, earlier, regions in _together(meetings):
        first, last = regions[0]
        yield Clash(
            hazard="shared-page",
            later=later,
            earlier=earlier,
            what=f"{earlier.host} of {earlier.domain.name} and {later.host} of "
            f"{later.domain.name} are on one page",
            hint="Xen maps it for both, and each guest could reach the other's registers: give "
            "both to one domain",
            expected="pages of one domain alone",
            found=str(Region.between(first, last)),
            allowable=True,
        )


def _lines(held: Iterable[Holder], holdings: Holdings) -> Iterator[Clash]:
    """An interrupt line of two domains: route_irq_to_guest() has it "already used by domain"."""
    meetings = across(line_claims(held, holdings), holdings.devices.steps)
    for later, earlier, lines in _together(meetings):
        intids = [first for first, _ in lines]
        asked = [later.assignment, earlier.assignment]
        unasked = [a for a in asked if a and not set(intids) <= set(a.request.intids)]
        why = (
            "; dom0less routes every interrupt of a host node, whatever the guest's node lists"
            if unasked
            else ""
        )
        yield Clash(
            hazard="interrupt-clash",
            later=later,
            earlier=earlier,
            what=f"{earlier.host} of {earlier.domain.name} and {later.host} of "
            f"{later.domain.name} have the same interrupt",
            hint=f"Xen gives an interrupt to one domain: give both to one{why}",
            expected="interrupts of one domain alone",
            found=f"INTID {' '.join(map(str, intids[:_MOST_SHOWN]))}",
        )


def _together(meetings: Iterable[Meeting]) -> list[_Pair]:
    """The numbers of each two that meet, in the order in which the first ones do."""
    pairs: dict[tuple[str, str], _Pair] = {}
    for later, earlier, first, last in meetings:
        key = (later.qualified, earlier.qualified)
        pairs.setdefault(key, _Pair(later, earlier, [])).numbers.append((first, last))
    return list(pairs.values())
