# SPDX-License-Identifier: Apache-2.0
"""Conflicts between two guests of a system, and Xen's behaviour in each case."""

from collections.abc import Iterable, Iterator, Sequence

from west_viommu.diagnostics import Diagnostic
from west_viommu.hazards.parts import listed
from west_viommu.hypervisor.assignment import Assigned, RawMapping
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.profile import SMMUV3
from west_viommu.hypervisor.sweep import Conflict, Conflicts
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import paths_above

# The most numbers that a message shows.
_MOST_SHOWN = 16

Holder = Assigned | RawMapping
# The holder of a later domain, the holder of an earlier one (or both of one domain), and the
# diagnostic.
Between = Iterator[tuple[Holder, Holder, Diagnostic]]


def once(holders: Iterable[Holder]) -> list[Holder]:
    """Return the holders without the holders of a device that an earlier domain has: everything
    else of that device is shared as well, and is one mistake.
    """
    guests: dict[str, str] = {}
    return [
        holder
        for holder in holders
        if not holder.host or guests.setdefault(holder.host, holder.guest) == holder.guest
    ]


def between(
    holders: Sequence[Holder], conflicts: Conflicts, places: dict[str, int], holdings: Holdings
) -> Between:
    """Yield the conflicts between holders of two domains, by kinds: devices, streams, nested
    masters, pages, lines. `conflicts` are for the `once` of the holders; `places`: the order of the
    domains. Each pair of holders gets one diagnostic.
    """
    yield from _devices(holders)
    first = once(holders)
    by_node = {holder.node: holder for holder in first}

    def pairs(of: Iterable[Conflict]) -> Iterator[tuple[Holder, Holder, Conflict]]:
        for conflict in of:
            if conflict.rival:
                one, other = by_node[conflict.node], by_node[conflict.rival]
                is_later = places[other.guest] <= places[one.guest]
                yield (one, other, conflict) if is_later else (other, one, conflict)

    for later, earlier, conflict in pairs(conflicts.streams):
        yield from _stream(later, earlier, conflict, holdings)
    nested = list(_nested(first, places, holdings))
    yield from nested
    reported = {(later.node, earlier.node) for later, earlier, _ in nested}
    for later, earlier, conflict in pairs(conflicts.pages):
        if (later.node, earlier.node) not in reported:
            yield later, earlier, _page(later, earlier, conflict)
    lines: dict[tuple[str, str], list[int]] = {}
    for later, earlier, conflict in pairs(conflicts.lines):
        lines.setdefault((later.node, earlier.node), []).append(conflict.first)
    for (node, rival), intids in lines.items():
        if (node, rival) not in reported:
            later, earlier = by_node[node], by_node[rival]
            yield later, earlier, _line(later, earlier, intids)


def shown(holder: Holder) -> str:
    """Return the host node of the holder, or its guest node if it maps memory without a
    host node.
    """
    return holder.host or holder.node.partition(":")[2]


def _devices(holders: Iterable[Holder]) -> Between:
    """Yield each host node that two domains get: iommu_assign_dt_device() gives it to the first
    alone (-EBUSY), and route_irq_to_guest() its interrupts ("already used by domain").
    """
    first: dict[str, Holder] = {}
    for holder in holders:
        other = first.setdefault(holder.host, holder) if holder.host else holder
        if other.guest != holder.guest:
            yield (
                holder,
                other,
                Diagnostic(
                    id="duplicate-assignment",
                    what=f"{holder.host} is given to two domains, {other.guest} and {holder.guest}",
                    hint=f"Xen gives a device to one domain: take it out of {other.guest} or of "
                    f"{holder.guest}, and bind that again",
                    expected="one domain for a host device",
                    found=f"{other.node} as well",
                ),
            )


def _stream(later: Holder, earlier: Holder, conflict: Conflict, holdings: Holdings) -> Between:
    """Yield two devices with one stream ID on one IOMMU. Each domain has its own page tables, and
    the IOMMU has one for an ID.
    """
    iommu, _ = holdings.stream(conflict.first)
    driver = holdings.driver(iommu)
    may_share = driver is not None and driver.may_share
    remedy = "give both to one domain" if may_share else "leave one of the two out"
    if later.guest != earlier.guest or not may_share:
        yield (
            later,
            earlier,
            Diagnostic(
                id="shared-stream-id",
                what=f"{earlier.host} and {later.host} have the same stream ID on {iommu}",
                hint=f"{_becomes_of(iommu, holdings)}: {remedy}",
                expected="stream IDs of one domain alone",
                found=listed(sorted(set(conflict.ids))),
            ),
        )


def _becomes_of(iommu: str, holdings: Holdings) -> str:
    """Return what the driver of the IOMMU does with an ID of a second domain.

    SMMUv3: arm_smmu_write_strtab_ent() has BUG_ON(ste_live), in whichever order they are attached
    (4.17, master); arm_smmu_insert_master() of the RFC and AMD's returns -EINVAL. SMMUv2:
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


def _nested(holders: Iterable[Holder], places: dict[str, int], holdings: Holdings) -> Between:
    """Yield each DMA master of one domain below a device of another, which drives it."""
    owners: dict[str, Holder] = {}
    for holder in holders:
        if holder.host:
            owners.setdefault(holder.host, holder)
    for path, child in owners.items():
        master = holdings.devices.master(path)
        if not master or not holdings.streams(master, maps=holdings.profile.programs_maps):
            continue
        for above in paths_above(path):
            parent = owners.get(above)
            if parent and parent.guest != child.guest:
                is_later = places[child.guest] > places[parent.guest]
                yield (
                    child if is_later else parent,
                    parent if is_later else child,
                    Diagnostic(
                        id="unassigned-child",
                        what=f"{child.host} of {child.guest}, a DMA master, is below {parent.host} "
                        f"of {parent.guest}",
                        hint=f"{parent.guest} may drive what {child.guest} has: give both to one "
                        "domain",
                        expected="all masters of a device with one domain",
                        found=child.node,
                    ),
                )


def _page(later: Holder, earlier: Holder, conflict: Conflict) -> Diagnostic:
    """Return the conflict of two domains with registers on one page: handle_passthrough_prop() and
    XEN_DOMCTL_memory_mapping map it for both, without a warning.
    """
    return Diagnostic(
        id="shared-page",
        what=f"{shown(earlier)} of {earlier.guest} and {shown(later)} of {later.guest} are on one "
        "page",
        hint="Xen maps it for both, and each guest could reach the other's registers: give both to "
        "one domain",
        expected="pages of one domain alone",
        found=str(Region.between(conflict.first, conflict.last)),
    )


def _line(later: Holder, earlier: Holder, intids: Sequence[int]) -> Diagnostic:
    """Return the conflict of two domains with one interrupt line: route_irq_to_guest() has it
    "already used by domain".
    """
    both = [each for each in (later, earlier) if isinstance(each, Assigned)]
    why = (
        "; dom0less routes every interrupt of a host node, whatever the guest's node lists"
        if any(not set(intids).issubset(each.intids) for each in both)
        else ""
    )
    return Diagnostic(
        id="interrupt-clash",
        what=f"{earlier.host} of {earlier.guest} and {later.host} of {later.guest} have the same "
        "interrupt",
        hint=f"Xen gives an interrupt to one domain: give both to one{why}",
        expected="interrupts of one domain alone",
        found=f"INTID {' '.join(map(str, intids[:_MOST_SHOWN]))}",
    )
