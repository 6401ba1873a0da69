# SPDX-License-Identifier: Apache-2.0
"""Checks of interrupt lines: whether guest and host mean the same, and who else has them."""

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.gic import LINUX_CELLS, LINUX_EDGE, LINUX_LEVEL, interrupt_entry
from west_viommu.hazards.ownership import Found, Ownership, of_each
from west_viommu.hypervisor.assignment import Assigned
from west_viommu.hypervisor.dom0 import TriggerClash
from west_viommu.hypervisor.drivers import v2m_frames
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.sweep import Conflict
from west_viommu.tree.interrupts import FIRST_SPI, Intid

_ROUTES_ALL = "dom0less routes every interrupt of the host node, whatever the guest's node lists"


@of_each
def other_trigger(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an interrupt that is edge-triggered on one side and level-sensitive on the other."""
    triggers = dict(assigned.device.interrupts)
    for intid, is_edge in assigned.request.interrupts if assigned.request else ():
        # Only rising edge and high level: an SPI has no other trigger. The higher bits are CPUs.
        host = {LINUX_EDGE: True, LINUX_LEVEL: False}.get(triggers.get(intid, 0) & 0xF)
        if host is not None and host != is_edge:
            width = ownership.paper.gic.cells if ownership.paper else LINUX_CELLS
            flags = LINUX_EDGE if host else LINUX_LEVEL
            yield Diagnostic(
                what=f"the host has INTID {intid} with the other trigger",
                hint=f"write {interrupt_entry(width, intid - FIRST_SPI, flags)} for it",
                prop="interrupts",
                expected="edge" if host else "level",
                found="edge" if is_edge else "level",
                severity=Severity.WARNING,
            )


@of_each
def interrupt_private(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a private interrupt: Xen routes SPIs to guests, no PPIs ("IRQ can only be routed to an
    SPI"); and a node with a PPI is left out of dom0 (handle_node()), so that xl can pass on none of
    its interrupts (booted: "failed give domain access to irq": Operation not permitted).
    """
    own = [intid for intid in assigned.device.intids if intid < FIRST_SPI]
    if own and ownership.profile.toolstacks:
        yield Diagnostic(
            what=f"{assigned.host} has a private interrupt (PPI), and Xen gives such a "
            "node to "
            "nobody: it routes no PPI to a guest, and leaves the node out of dom0, which then "
            "cannot hand its other interrupts on either",
            hint="remove the PPI from the host node by an overlay, before Xen sees it",
            expected="INTIDs from 32 on",
            found=f"INTID {' '.join(map(str, own))}",
        )


@of_each
def interrupt_unroutable(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an interrupt of the host node that names no line of Xen's GIC: gic_irq_xlate() takes
    each type but 0 for a PPI, so the guest gets another line (booted); a row that a nexus lacks, or
    a line beyond the last, panics dom0's creation.
    """
    if not ownership.profile.toolstacks:
        return
    routes_all = ownership.profile.routes_all
    for why in assigned.device.unroutable:
        yield Diagnostic(
            what=f"Xen cannot route an interrupt of {assigned.host}: {why}",
            hint="dom0less routes what the host node has, whatever the guest's node lists: "
            "correct the host node, or remove the interrupt from it by an overlay"
            if routes_all
            else "the guest will not have it: xl routes only what irqs lists",
            expected="<0 NUMBER FLAGS> on the GIC",
            found=why.split(">")[0] + ">",
            severity=Severity.ERROR if routes_all else Severity.WARNING,
        )


def two_triggers(ownership: Ownership) -> Found:
    """Find a line of the device with two triggers, within the device or with another node: Xen
    keeps the first, and fails for the node with the other (irq_set_spi_type(); booted).
    """
    for clash in _trigger_clashes(ownership):
        mine = clash.path if clash.path in ownership.first_of else clash.first_path
        node = ownership.first_of.get(mine)
        if node:
            yield node, _two_triggers(clash, mine, ownership)


def _two_triggers(clash: TriggerClash, mine: str, ownership: Ownership) -> Diagnostic:
    first, second = _trigger(clash.first_trigger), _trigger(clash.trigger)
    others = f"for {clash.first_path}" if clash.first_path != clash.path else "before"
    read = (
        "Xen reads the lines of marked and of disabled nodes as well, so that neither helps, and "
        "creates no dom0"
        if ownership.holdings.has_dom0
        else "Xen does not assign the device that comes second"
    )
    return Diagnostic(
        what=f"INTID {clash.intid} is {second} for {clash.path}, and {first} {others}",
        hint="correct the host tree, so that the line has one trigger, or remove a node that has "
        f"the other from it: {read}",
        prop="interrupts",
        expected="one trigger for a line",
        found=f"{first} and {second}",
        severity=Severity.FATAL,
        other=clash.path if mine == clash.first_path else clash.first_path,
    )


def _trigger(sense: int) -> str:
    """Return a trigger, in Linux's numbers, as text."""
    return {LINUX_EDGE: "edge", LINUX_LEVEL: "level"}.get(sense, f"of type {sense}")


def interrupt_clash(ownership: Ownership) -> Found:
    """Find a line that the vSMMU, the hypervisor, dom0 or another node of the guest has. One domain
    may have a line for two devices (route_irq_to_guest(); booted).
    """
    yield from _guest_clashes(ownership)
    listed = {assigned.node: frozenset(assigned.intids) for assigned in ownership.assigned}
    frames = {frame.path for frame in v2m_frames(ownership.devices)}
    for conflict in _with_one_trigger(ownership):
        if conflict.other in frames and ownership.holdings.has_dom0:
            yield conflict.node, _of_frame(conflict)
            continue
        kind = ownership.holdings.role(conflict.other)
        if conflict.part_of or conflict.standing not in (Standing.STAYS, Standing.OWN):
            continue
        is_asked = conflict.first in listed[conflict.node]
        whose = f"{conflict.other}, {kind}" if kind else f"{conflict.other}, which stays with dom0"
        yield (
            conflict.node,
            Diagnostic(
                what=f"INTID {conflict.first} also belongs to {whose}",
                hint=f"{'Xen gives an interrupt to one domain only' if is_asked else _ROUTES_ALL}: "
                "leave this device to the host"
                + (
                    "; Xen itself has the line"
                    if conflict.standing is Standing.OWN
                    else f", or disable {conflict.other} there, so that host.overlay can keep it "
                    "from dom0"
                ),
                prop="interrupts",
                expected="an interrupt of this device alone",
                found=f"INTID {conflict.first}",
            ),
        )


def _trigger_clashes(ownership: Ownership) -> Iterator[TriggerClash]:
    """Yield the lines with two triggers, except the lines of GICv2m frames, which no change of a
    trigger frees.
    """
    frames = {frame.path for frame in v2m_frames(ownership.devices)}
    for clash in ownership.conflicts.triggers:
        if clash.first_path not in frames:
            yield clash


def _with_one_trigger(ownership: Ownership) -> Iterator[Conflict]:
    """Yield the conflicts of lines, without those that `two_triggers` reports."""
    clashes = {
        (clash.intid, *pair)
        for clash in _trigger_clashes(ownership)
        for pair in ((clash.path, clash.first_path), (clash.first_path, clash.path))
    }
    for conflict in ownership.conflicts.lines:
        if (conflict.first, conflict.host, conflict.other) not in clashes:
            yield conflict


def _of_frame(conflict: Conflict) -> Diagnostic:
    """Return the conflict with a GICv2m frame: gicv2_map_hwdom_extra_mappings() routes the lines of
    each frame to dom0, regardless of its status (4.17 to 4.22; booted: dom0 panics).
    """
    return Diagnostic(
        what=f"INTID {conflict.first} also belongs to {conflict.other}, a GICv2m frame, all lines "
        "of which Xen gives dom0",
        hint="leave this device to the host, or remove the frame from the host tree that Xen is "
        "booted with: its status does not count",
        prop="interrupts",
        expected="an interrupt of this device alone",
        found=f"INTID {conflict.first}",
    )


def _guest_clashes(ownership: Ownership) -> Found:
    """Yield the conflicts of lines on the guest's side."""
    profile, viommu = ownership.profile, ownership.profile.viommu
    taken: dict[Intid, list[tuple[str, str]]] = {}
    for interrupt in viommu.interrupts if viommu else ():
        taken.setdefault(interrupt.intid, []).append((f"the vSMMU ({interrupt.name})", ""))
    for reserved in profile.reserved_interrupts:
        if ownership.applies(reserved.when):
            # One record for a thousand numbers.
            holder = reserved.name, ""
            for number in range(reserved.first, reserved.last + 1):
                taken.setdefault(Intid(number), []).append(holder)
    for path, intid in ownership.lines:
        taken.setdefault(intid, []).append((f"{path}, a node of the guest", path))
    for assigned in ownership.assigned:
        asked = frozenset(assigned.intids)
        routed = assigned.device.intids if profile.routes_all else ()
        below = f"{assigned.node}/"
        for intid in dict.fromkeys((*assigned.intids, *routed)):
            for name, path in taken.get(intid, ()):
                if not path.startswith(below):
                    yield assigned.node, _taken(intid, name, is_asked=intid in asked)


def _taken(intid: Intid, name: str, *, is_asked: bool) -> Diagnostic:
    return Diagnostic(
        what=f"INTID {intid} also belongs to {name}",
        hint="the guest has one source for an interrupt: leave one of the two out"
        if is_asked
        else f"{_ROUTES_ALL}: leave the device out",
        prop="interrupts",
        expected="an interrupt of this device alone",
        found=f"INTID {intid}",
    )


def interrupt_shared_with_disabled(ownership: Ownership) -> Found:
    """Find a disabled node with the same line: handle_device() routes it to dom0 nevertheless
    (booted: "already used by domain 0"; with xen,passthrough on that node the guest starts).
    """
    for conflict in _with_one_trigger(ownership):
        if conflict.standing is Standing.OFF and not conflict.part_of:
            yield conflict.node, _shared_with_disabled(conflict, ownership)


def _shared_with_disabled(conflict: Conflict, ownership: Ownership) -> Diagnostic:
    return Diagnostic(
        what=f"{conflict.other}, not enabled, has the interrupt INTID {conflict.first} of "
        f"{conflict.host} as well",
        hint="Xen would route it to dom0, and then not to the guest: host.overlay keeps the node "
        "from dom0, so apply that",
        prop="interrupts",
        expected="an interrupt of this device alone",
        found=f'status "{ownership.holdings.status(conflict.other)}"',
    )


@of_each
def interrupt_not_routed(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an interrupt of the host device that goes to another controller than Xen's GIC: Xen
    skips it (handle_device_interrupts()).
    """
    for controller in assigned.device.other_controllers:
        yield Diagnostic(
            what=f"an interrupt of {assigned.host} goes to {controller}, which is not Xen's GIC",
            hint="Xen does not route it to a guest: the guest's driver must do without",
            expected="interrupts of the GIC",
            found=controller,
        )


@of_each
def msi_only(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device that signals only by messages: the guest has no ITS."""
    node = ownership.devices.tree.node(assigned.host)
    has_messages = node and not {"msi-parent", "msi-map"}.isdisjoint(node.properties)
    if has_messages and not assigned.device.intids and not assigned.device.other_controllers:
        yield Diagnostic(
            what=f"{assigned.host} signals by messages (MSIs) alone",
            hint="Xen gives a guest no ITS, so the device cannot interrupt: the driver must poll",
            expected="interrupts on the GIC",
            found="msi-parent" if node and "msi-parent" in node.properties else "msi-map",
        )
