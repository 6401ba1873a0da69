# SPDX-License-Identifier: Apache-2.0
"""Checks of pages: whether guest and host mean the same registers, and who else has them."""

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.hazards.odd import as_list, owners
from west_viommu.hazards.ownership import Found, Ownership, of_each
from west_viommu.hazards.parts import as_allowed
from west_viommu.host.intervals import Interval, covered_by
from west_viommu.hypervisor.assignment import Assigned
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.hypervisor.sweep import Conflict
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below


@of_each
def added_region(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a region that viommu.yml adds to the device, and its node lists; report its owners."""
    extra = ownership.terms.extra_of(assigned)
    for _, host in assigned.request.regions if extra and assigned.request else ():
        if host in extra:
            (file, line), reason = extra[host].where, extra[host].reason
            of = owners([host], assigned, ownership.holdings)
            yield Diagnostic(
                what=f"this region does not belong to {assigned.host}{of}",
                hint=f"added by {file}:{line}, because: {reason}; the guest gets the whole of "
                f"{in_pages(host)}",
                prop="reg",
                expected=" or ".join(str(region) for region in assigned.device.regions if region)
                or "no region",
                found=str(host),
                severity=Severity.WARNING,
            )


@of_each
def untranslatable_region(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a region without an absolute address: Xen maps, and finds its SMMUs, by absolute
    address.
    """
    if None in assigned.device.regions:
        yield Diagnostic(
            what=f"a region of {assigned.host} has no absolute address",
            hint="a bus above it has no `ranges`, or none that covers the region: correct the host "
            "tree, or leave this device to the host",
            prop="reg",
            expected="`ranges` from each bus to the root",
            found=f"region {assigned.device.regions.index(None)}",
        )
    for iommu in ownership.iommus(assigned):
        if iommu.base is None and iommu.path not in ownership.holdings.iommus.faults:
            yield Diagnostic(
                what=f"{iommu.path}, the SMMU of {assigned.host}, has no absolute address",
                hint="correct the host tree: Xen finds its SMMU by address",
                prop="iommus",
                expected="a reg that translates to the root",
                found="none",
            )


def host_memory(ownership: Ownership) -> Found:
    """Find registers in RAM, or in reserved memory: Xen maps them without a warning (booted), and
    may allocate the same RAM to any domain.
    """
    for assigned in ownership.assigned:
        if ownership.holdings.role(assigned.host) == RESERVED:
            yield (
                assigned.node,
                Diagnostic(
                    what=f"{assigned.host} is reserved memory of the host, not a device",
                    hint="remove the node",
                    expected="a device of the host",
                    found=RESERVED,
                ),
            )
    for conflict in ownership.conflicts.pages:
        kind = ownership.holdings.role(conflict.other)
        is_told = ownership.holdings.role(conflict.host) == RESERVED or _is_set_aside(
            conflict, ownership
        )
        if conflict.standing is Standing.OWN and kind in (MEMORY, RESERVED) and not is_told:
            is_reserved = kind == RESERVED
            yield (
                conflict.node,
                Diagnostic(
                    what=f"a region of {conflict.host} lies in the host's {kind}, {conflict.other}",
                    hint="what firmware or the host keeps there belongs to no device: leave this "
                    "one to the host"
                    if is_reserved
                    else "Xen may give that memory to anybody: correct the host tree, or leave "
                    "this device to the host",
                    prop="reg",
                    expected="registers outside of the host's memory",
                    found=str(_region(conflict)),
                ),
            )


def _is_set_aside(conflict: Conflict, ownership: Ownership) -> bool:
    """Return whether all memory of the host node in `conflict` that its device gets is reserved for
    the device: Xen does not allocate it (dt_unreserved_regions()).
    """
    memory = ownership.holdings.reserved_for(conflict.host)
    node = ownership.devices.tree.node(conflict.other)
    if conflict.other in memory or not memory or node is None:
        return conflict.other in memory
    pages = [
        each.host
        for assigned in ownership.assigned
        if assigned.node == conflict.node
        for each in assigned.pages
    ]
    is_own = covered_by(Interval(*in_pages(each).ends) for of in memory.values() for each in of)
    return all(
        is_own(max(page.base, bank.base), min(page.end, bank.end) - 1)
        for page in pages
        for bank in ownership.holdings.regions(node)
        if page.overlaps(bank)
    )


def _of_reserved(ownership: Ownership) -> Found:
    """Yield, once for each device, the memory reserved for the device that the guest gets."""
    found: dict[str, list[Conflict]] = {}
    for conflict in ownership.conflicts.pages:
        if conflict.other in ownership.holdings.reserved_for(conflict.host):
            found.setdefault(conflict.node, []).append(conflict)
    for node, conflicts in found.items():
        host = conflicts[0].host
        yield (
            node,
            Diagnostic(
                what=f"xen,reg maps {RESERVED} of {host}, "
                f"{as_list([conflict.other for conflict in conflicts])}",
                hint="the firmware of the device may use that memory too; if the guest is to have "
                f"it: {as_allowed('shared-page', host)}",
                prop="xen,reg",
                expected="memory that nobody else has",
                found=", ".join(str(_region(conflict)) for conflict in conflicts),
            ),
        )


def owned_page(ownership: Ownership) -> Found:
    """Find registers on a page of a device that the hypervisor itself drives."""
    lines: dict[str, str] = {}
    for conflict in ownership.conflicts.pages:
        kind = ownership.holdings.role(conflict.other)
        if conflict.standing is Standing.OWN and kind not in (MEMORY, RESERVED):
            is_window = _is_of_window(conflict, ownership)
            if is_window and conflict.node not in lines:
                # Of the first window with such a page.
                lines[conflict.node] = _part_of_window(conflict, ownership)
            line = lines.get(conflict.node, "")
            yield (
                conflict.node,
                Diagnostic(
                    what=f"a page of {conflict.host} has registers of {conflict.other}, {kind}",
                    hint="the guest could reach what Xen itself relies on: "
                    + (
                        "give it a part of the window alone, "
                        + (f"such as {line} " if line else "by xen,reg, ")
                        + "or leave the bridge to the host"
                        if is_window
                        else "leave this region out of reg, or the device to the host"
                    ),
                    prop="reg",
                    expected="pages with registers of this device alone",
                    found=str(_region(conflict)),
                ),
            )


def _part_of_window(conflict: Conflict, ownership: Ownership) -> str:
    """Return `xen,reg` for the registers of a bridge and the largest part of a window with nothing
    in it that another holder has; "" if there is no such part.
    """
    assigned = next(each for each in ownership.assigned if each.node == conflict.node)
    request, holdings = assigned.request, ownership.holdings
    common = _region(conflict)
    windows = (in_pages(each) for each in holdings.windows(conflict.host) if each.overlaps(common))
    window = next(windows)
    if ownership.paper is None or request is None or request.mapped:
        return ""
    there = (
        in_pages(Region.between(claim.first, claim.last))
        for claim in holdings.all_pages()
        if not is_at_or_below(claim.path, conflict.host)
        and holdings.standing(claim.path) is not Standing.NOBODY
    )
    free, base = [], window.base
    for taken in sorted(each for each in there if each.overlaps(window)):
        free.append(Region(base, max(0, taken.base - base)))
        base = max(base, taken.end)
    free.append(Region(base, max(0, window.end - base)))
    part = max(free, key=lambda each: each.size)
    own = [in_pages(region) for region in assigned.device.regions if region and region.size]
    return ownership.paper.mapped(request.path, [*own, part]) if part.size else ""


def shared_page(ownership: Ownership) -> Found:
    """Find a node kept by dom0 with registers on a page that the guest gets: map_range_to_domain()
    maps it for both; or memory that is reserved for the device.
    """
    yield from _of_reserved(ownership)
    for conflict in ownership.conflicts.pages:
        device, other = conflict.host, conflict.other
        if conflict.part_of not in ("", device) or not (
            conflict.part_of or conflict.standing is Standing.STAYS
        ):
            continue
        has = "has a window" if ownership.holdings.is_bridge(other) else "has registers"
        what = f"{other} {has} on a page of {device}, and stays with the host"
        ways = f"leave this region out of reg, disable {other} in the host tree"
        # Another one would be refused, as nothing confines its DMA.
        if ownership.devices.master(other):
            ways += ", or pass it through as well"
        hint = (
            f"the guest could reach those registers: {ways}; if you trust the guest with them: "
            f"{as_allowed('shared-page', device)}"
        )
        severity = Severity.ERROR
        if conflict.part_of:
            what = f"{other}, a part of {device}, is on a page that the guest gets"
            hint = "dom0 must not use it: host.overlay keeps it from dom0"
            severity = Severity.WARNING
        elif ownership.holdings.is_for_all(other):
            hint = "the guest can reach them; leave the region out of reg if it does not need it"
            severity = Severity.WARNING
        elif is_at_or_below(device, other):
            what = f"{other}, above {device}, has registers on its page, and stays with the host"
        yield (
            conflict.node,
            Diagnostic(
                what=what,
                hint=hint,
                prop="reg",
                expected="pages with registers of this device alone",
                found=str(_region(conflict)),
                severity=severity,
            ),
        )


def page_shared_with_disabled(ownership: Ownership) -> Found:
    """Find a disabled node on a page that the guest gets: Xen maps disabled nodes into dom0 as
    well.
    """
    for conflict in ownership.conflicts.pages:
        if conflict.standing is Standing.OFF and not conflict.part_of:
            yield (
                conflict.node,
                Diagnostic(
                    what=f"{conflict.other}, not enabled, has registers on a page of "
                    f"{conflict.host}",
                    hint="Xen maps disabled nodes into dom0 too: host.overlay keeps it from dom0",
                    prop="reg",
                    expected="pages with registers of this device alone",
                    found=f"{_region(conflict)}, "
                    f'status "{ownership.holdings.status(conflict.other)}"',
                ),
            )


@of_each
def device_without_region(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device that no region of its own gives access to."""
    if not assigned.device.regions:
        yield Diagnostic(
            what=f"{assigned.host} has no region of its own",
            hint="the guest can reach it only through another device",
            expected="reg on the host node",
            found="none",
        )


def _is_of_window(conflict: Conflict, ownership: Ownership) -> bool:
    """Return whether the overlap of a bridge with another node lies in a window of the bridge."""
    common = _region(conflict)
    return any(each.overlaps(common) for each in ownership.holdings.windows(conflict.host))


def _region(conflict: Conflict) -> Region:
    return Region.between(conflict.first, conflict.last)
