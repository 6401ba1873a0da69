# SPDX-License-Identifier: Apache-2.0
"""Checks of the device as a whole: whether it is one, who else has it, and its further needs."""

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.hazards.odd import as_list
from west_viommu.hazards.ownership import Found, Ownership, of_each
from west_viommu.hazards.parts import as_allowed
from west_viommu.host.intervals import Interval, covered_by
from west_viommu.host.needs import consumers
from west_viommu.hypervisor.assignment import Assigned
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.roles import RESERVED, console
from west_viommu.tree.addresses import address_map
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.tree.node import Node, paths_above


@of_each
def hypervisor_owned(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a node that is no device: one that Xen itself drives, or one without hardware of its
    own.
    """
    role = ownership.holdings.role(assigned.host)
    # Reserved memory is another hazard.
    if role and role != RESERVED:
        yield Diagnostic(
            what=f"{assigned.host} is {role}, not a device that a guest could have",
            hint="remove the node",
            expected="a device of the host",
            found=role,
        )


@of_each
def ambiguous_path(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find two paths that differ only in case: Xen finds the first by strcasecmp (booted: the other
    device was assigned).
    """
    alike = [path for path in ownership.devices.alike(assigned.host) if path != assigned.host]
    if alike and ownership.profile.toolstacks:
        yield Diagnostic(
            what=f"the host tree has {' and '.join(alike)} as well, and Xen compares paths without "
            "regard to case",
            hint="rename one of the nodes in the host tree: Xen takes the first that it finds",
            prop="xen,path",
            expected="a path that differs from every other by more than case",
            found=assigned.host,
        )


@of_each
def not_given_to_dom0(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device below a node that Xen leaves out of dom0: xl can only pass on resources that
    dom0 may access (booted: "failed give domain access to iomem range").
    """
    path = assigned.host
    has_own_reason = any(intid < FIRST_SPI for intid in assigned.device.intids)
    by = ownership.holdings.left_out_by(path)
    if by and not has_own_reason and "libxl" in ownership.profile.toolstacks:
        node = "it" if by == path else f"{by}, above it,"
        yield Diagnostic(
            what=f"Xen gives dom0 no right to {path}: {node} has a private interrupt (PPI), or is "
            "one that Xen keeps",
            hint="xl cannot hand it on: have Xen create the guest (dom0less), or change that node "
            "by an overlay",
            expected="a device that dom0 could have",
            found=path,
            # Xen itself may create the guest as well, without dom0's access.
            severity=Severity.WARNING if ownership.profile.routes_all else Severity.ERROR,
        )


def unassigned_child(ownership: Ownership) -> Found:
    """Find a DMA master below the device that no guest requests: it stays with dom0, with streams
    of its own, although the guest's device drives it (booted: the child went to dom0).
    """
    hosts = {assigned.node: assigned.host for assigned in ownership.assigned}
    for node, child in ownership.conflicts.children:
        host = hosts[node]
        yield (
            node,
            Diagnostic(
                what=f"{child}, below {host}, is a DMA master of its own, and stays with dom0",
                hint=f'pass it through as well: give it a node with xen,path = "{child}"; or '
                f"disable it in the host tree; or "
                f"{as_allowed('unassigned-child', host)}",
                expected="all masters of the device with one domain",
                found=child,
            ),
        )


def marked_for_another(ownership: Ownership) -> Found:
    """Find a node with xen,passthrough in the host tree that has a resource of the device."""
    kinds = (
        ("a stream ID", ownership.conflicts.streams),
        ("a page", ownership.conflicts.pages),
        ("an interrupt", ownership.conflicts.lines),
    )
    for what, conflicts in kinds:
        for conflict in conflicts:
            if conflict.standing is Standing.MARKED:
                yield (
                    conflict.node,
                    Diagnostic(
                        what=f"{conflict.other}, marked for passthrough, shares {what} with "
                        f"{conflict.host}",
                        hint="dom0 does not get it: do not give it to another domain either",
                        expected=f"{what} of this device alone",
                        found="xen,passthrough",
                    ),
                )


@of_each
def device_disabled(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device that the host does not use."""
    if assigned.device.status != "okay":
        yield Diagnostic(
            what=f"{assigned.host} is not enabled in the host tree",
            hint="its clocks or pins may not be set up; check in which state the firmware leaves "
            "it",
            prop="iommus",
            expected='status "okay"',
            found=f'"{assigned.device.status}"',
        )


@of_each
def needs_memory(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device with memory reserved for it: the guest has no such memory."""
    node = ownership.devices.tree.node(assigned.host)
    properties = [n for n in ("memory-region", "iommu-addresses") if node and n in node.properties]
    memory = ownership.holdings.reserved_for(assigned.host)
    is_mapped = covered_by(
        Interval(*page.host.ends) for mapper in ownership.mappers for page in mapper.pages
    )
    left = [
        path
        for path, regions in memory.items()
        # A node without `reg` is allocated by Linux.
        if not regions or not all(is_mapped(*region.ends) for region in regions)
    ]
    if memory and not left:
        # The guest has all of it.
        properties.remove("memory-region")
    if properties and memory and len(left) < len(memory):
        yield Diagnostic(
            what=f"the guest gets a part of the memory that is reserved for {assigned.host}",
            hint=f"map all of it, or make sure that its driver can do without {as_list(left)}",
            expected="all of its memory",
            found=f"none of {as_list(left)}",
        )
    elif properties:
        yield Diagnostic(
            what=f"{assigned.host} has memory of its own on the host",
            hint="Xen gives the guest none of it: make sure that its driver can do without it",
            expected="a device without reserved memory",
            found=" ".join(properties),
        )


@of_each
def dma_ranges(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device that sees memory at other addresses than the CPU: /passthrough does not
    describe this.
    """
    tree = ownership.devices.tree
    node = tree.node(assigned.host)
    for bus in tree.lineage(node) if node else ():
        offset = _dma_offset(bus, ownership) if bus is not node else None
        if offset:
            yield Diagnostic(
                what=f"{assigned.host} is on a bus that moves its DMA, {bus.path}",
                hint="the guest's tree must say the same: its addresses for DMA differ by the bus' "
                "dma-ranges, behind the SMMU as well",
                expected="a bus with the CPU's addresses",
                found=offset,
            )
            return


def _dma_offset(bus: Node, ownership: Ownership) -> str | None:
    """Return the first row of dma-ranges that is not the identity."""
    try:
        rows = address_map(ownership.devices.tree).dma_ranges(bus)
    except TreeError:
        return None
    return next((f"{r.child:#x} is {r.parent:#x}" for r in rows if r.child != r.parent), None)


@of_each
def coherence(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device with dma-coherent on only one side: guest or device would see stale data."""
    if assigned.request is None:
        return
    tree = ownership.devices.tree
    node = tree.node(assigned.host)
    lineage = tree.lineage(node) if node else ()
    on_host = any("dma-coherent" in above.properties for above in lineage)
    if on_host != assigned.request.is_coherent:
        yield Diagnostic(
            what=f"{assigned.host} is dma-coherent on the host, and not in the guest"
            if on_host
            else f"{assigned.host} is dma-coherent in the guest, and not on the host",
            hint="copy dma-coherent; without it, a driver would take its buffers out of the caches"
            if on_host
            else "remove dma-coherent: the guest would not maintain its caches for DMA",
            prop="dma-coherent",
            expected="dma-coherent" if on_host else "no dma-coherent",
            found="dma-coherent" if assigned.request.is_coherent else "none",
        )


def provides_to_host(ownership: Ownership) -> Found:
    """Find a device, or a part of it that is kept from dom0, that serves nodes which stay with
    dom0.
    """
    said: set[tuple[str, str]] = set()
    first_of = ownership.first_of
    parts = (mark for mark in ownership.conflicts.marks if mark.device in first_of)
    owners = {mark.node: first_of[mark.device] for mark in parts} | first_of
    for node, prop, provider in consumers(ownership.devices.tree, owners):
        path = next(at for at in (provider, *paths_above(provider)) if at in owners)
        key = (path, node.path)
        stays = ownership.holdings.standing(node.path) is Standing.STAYS
        if stays and key not in said:
            said.add(key)
            yield (
                owners[path],
                Diagnostic(
                    what=f"{node.path} stays with the host, and {path} serves it",
                    hint="without the device it will not work there: disable it, or leave the "
                    "device to the host",
                    expected="a device that nothing on the host needs",
                    found=f"{prop} of {node.path}",
                ),
            )


def xen_console(ownership: Ownership) -> Found:
    """Find the UART on which Xen itself writes. With xen,passthrough on its node, device_init() is
    -ENODEV, and Xen boots without any output (booted).
    """
    path = console(ownership.devices.tree)
    node = ownership.first_of.get(path) if path else None
    is_told = path is not None and ownership.holdings.role(path)
    if node and ownership.profile.toolstacks and not is_told:
        yield (
            node,
            Diagnostic(
                what=f"{path} is the console of Xen itself",
                hint="with the mark of host.overlay on it, Xen boots without a console: give Xen "
                "another one (dtuart=... on its command line), or leave this to Xen",
                expected="a UART that Xen does not use",
                found="stdout-path, or dtuart, of /chosen",
            ),
        )
