# SPDX-License-Identifier: Apache-2.0
"""What Xen gives to dom0: handle_node() and handle_device(), arch/arm/domain_build.c (4.17; in
master handle_device() is in arch/arm/device.c).
"""

from __future__ import annotations

from tests.xen.attached import Stops, is_iommu
from tests.xen.host import GICS, compatible, marked, type_of
from tests.xen.mapped import PAGE_SHIFT, NoAddress, pages_mapped, regions, windows
from tests.xen.nodes import Node
from tests.xen.routed import LOCAL, line, map_targets
from tests.xen.running import DOM0, Running

TIMERS = ("arm,armv7-timer", "arm,armv8-timer")
UNPERMITTED = "/reserved-memory/"


def give_to_dom0(running: Running, node: Node) -> None:
    """handle_node() for `node` and what is below it; Stops where dom0 cannot be built.

    No status is looked at. What is left out is left out with its children, but a mark counts for
    its own node alone.
    """
    if _is_left_out(running, node) or _has_private_line(running, node):
        return
    _handle_device(running, node)
    for child in node.children:
        give_to_dom0(running, child)


def _is_left_out(running: Running, node: Node) -> bool:
    """skip_matches; "Replace these nodes with our own", and make_gic_node() drops a secondary GIC;
    "Skip nodes used by Xen"; "Even if the IOMMU device is not used by Xen, it should not be
    passthrough to DOM0".
    """
    return (
        compatible(node, running.xen.skipped)
        or node.path.lower() == "/cpus"
        or type_of(node) == "memory"
        or compatible(node, GICS)
        or compatible(node, TIMERS)
        or is_iommu(node)
        or node is running.host.console
    )


def _has_private_line(running: Running, node: Node) -> bool:
    """ "The vGIC does not support routing hardware PPIs to guest. So we need to skip any node using
    PPIs." A line that cannot be retrieved is none here.
    """
    for raw in running.interrupts(node):
        found = running.configured(raw)
        if found is not None and 16 <= found.intid < LOCAL:
            return True
    return False


def _handle_device(running: Running, node: Node) -> None:
    """handle_device(): a marked node is neither attached, routed nor mapped, but dom0 may hand its
    lines and pages on, so that they must be retrieved all the same.
    """
    own = not marked(node)
    if own:
        added = running.iommus.add(node)
        if added.result < 0:
            raise Stops("panic", f"Failed to add {node.path} to the IOMMU: {added.why}")
        if node.path in running.iommus.protected:
            done = running.iommus.assign(DOM0, node)
            if done.result:
                raise Stops("panic", f"Failed to setup the IOMMU for {node.path}: {done.why}")
    _give_lines(running, node, own)
    _give_pages(running, node, own)


def _give_lines(running: Running, node: Node, own: bool) -> None:
    """handle_device_interrupts(): "Don't map IRQ that have no physical meaning, ie: IRQ whose
    controller is not the GIC".
    """
    for index, raw in enumerate(running.interrupts(node)):
        if raw is None:
            raise Stops("panic", f"Unable to retrieve irq {index} for {node.path}")
        if not running.on_the_gic(raw):
            continue
        found = running.configured(raw)
        if found is None:
            raise Stops("panic", f"Unable to get irq {index} for {node.path}")
        running.line_caps.add(found.intid)
        why = running.route(DOM0, found.intid, running.xen.lines_of_dom0) if own else None
        if why is not None:
            raise Stops("panic", f"Unable to map IRQ{found.intid} to dom0: {why} ({node.path})")


def _give_pages(running: Running, node: Node, own: bool) -> None:
    """map_range_to_domain() for each region, then map_device_children() for a PCI bus."""
    try:
        for base, size in regions(node):
            _map_range(running, node, base, size, own)
        if type_of(node) == "pci":
            _give_targets(running, node, own)
            for base, size in windows(node):
                _map_range(running, node, base, size, own)
    except NoAddress as error:
        raise Stops("panic", str(error)) from error


def _map_range(running: Running, node: Node, base: int, size: int, own: bool) -> None:
    """ "Reserved-memory regions are RAM carved out for a special purpose. They are not MMIO": not
    permitted, but mapped.
    """
    if not node.path.lower().startswith(UNPERMITTED):
        last = base + size - 1
        if running.xen.permits_one_more:
            last = (last + 0xFFF) & ~0xFFF
        running.page_caps.append((base >> PAGE_SHIFT, last >> PAGE_SHIFT))
    if own:
        running.map(DOM0, pages_mapped(base, size, node.path))


def _give_targets(running: Running, node: Node, own: bool) -> None:
    """map_dt_irq_to_domain(): "IRQ%d is not a SPI" is an error; 4.17 drops that of the routing."""
    for raw in map_targets(running.host, node):
        found = line(raw)
        if found is None:
            raise Stops("panic", f"{node.path}: a target of its map has too few cells")
        if found.intid < LOCAL:
            raise Stops("panic", f"{node.path}: IRQ{found.intid} is not a SPI")
        if not running.set_sense(found):
            raise Stops("panic", f"{node.path}: Unable to setup IRQ{found.intid} to dom0")
        running.line_caps.add(found.intid)
        limit = running.xen.lines_of_dom0
        why = running.route(DOM0, found.intid, limit) if own else None
        if why is not None and not running.xen.forgives_pci_targets:
            raise Stops("panic", f"{node.path}: Unable to map IRQ{found.intid} to dom0: {why}")
