# SPDX-License-Identifier: Apache-2.0
"""What Xen gives to dom0: handle_node() and handle_device(), arch/arm/domain_build.c (4.17; in
master handle_device() is in arch/arm/device.c).
"""

from __future__ import annotations

from tests.xen.host import GICS, compatible, marked, type_of
from tests.xen.irqs import Stops
from tests.xen.mapped import PAGE_SHIFT, NoAddress, pages_mapped, regions, windows
from tests.xen.nodes import Node
from tests.xen.routed import LOCAL, line, map_targets
from tests.xen.running import Running, map_v2m_frames

TIMERS = ("arm,armv7-timer", "arm,armv8-timer")
UNPERMITTED = "/reserved-memory/"


def give_to_dom0(running: Running, domain: str) -> None:
    """Build dom0, or the hardware domain, which is `domain`: construct_dom0(), construct_hwdom().
    Stops if that cannot be built.
    """
    map_v2m_frames(running, domain)
    _handle_node(running, domain, running.host.root)


def _handle_node(running: Running, domain: str, node: Node) -> None:
    """handle_node() for `node` and what is below it.

    No status is looked at. What is left out is left out with its children, but a mark counts for
    its own node alone.
    """
    if _is_left_out(running, node) or _has_private_line(running, node):
        return
    _handle_device(running, domain, node)
    for child in node.children:
        _handle_node(running, domain, child)


def _is_left_out(running: Running, node: Node) -> bool:
    """skip_matches; "Replace these nodes with our own", and make_gic_node() drops a secondary GIC;
    "Skip nodes used by Xen"; "Even if the IOMMU device is not used by Xen, it should not be
    passthrough to DOM0".
    """
    return (
        compatible(node, running.xen.skipped)
        or node.path.lower() == "/cpus"
        or type_of(node).lower() == "memory"
        or compatible(node, GICS)
        or compatible(node, TIMERS)
        or running.iommus.is_iommu(node)
        or node is running.host.console
    )


def _has_private_line(running: Running, node: Node) -> bool:
    """ "The vGIC does not support routing hardware PPIs to guest. So we need to skip any node using
    PPIs." A line that cannot be retrieved is none here.
    """
    for raw in running.irqs.of(node):
        found = running.irqs.configured(raw, node.path)
        if found is not None and 16 <= found.intid < LOCAL:
            return True
    return False


def _handle_device(running: Running, domain: str, node: Node) -> None:
    """handle_device(): a marked node is neither attached, routed nor mapped, but dom0 may hand its
    lines and pages on, so that they must be retrieved all the same.
    """
    own = not marked(node)
    if own:
        added = running.iommus.add(node)
        if added.result < 0:
            raise Stops("panic", f"Failed to add {node.path} to the IOMMU: {added.why}")
        if node.path in running.iommus.protected:
            done = running.iommus.assign(domain, node)
            if done.result:
                raise Stops("panic", f"Failed to setup the IOMMU for {node.path}: {done.why}")
    _give_lines(running, node, domain if own else None)
    _give_pages(running, node, domain if own else None)


def _give_lines(running: Running, node: Node, domain: str | None) -> None:
    """handle_device_interrupts(): "Don't map IRQ that have no physical meaning, ie: IRQ whose
    controller is not the GIC".
    """
    for index, raw in enumerate(running.irqs.of(node)):
        if raw is None:
            raise Stops("panic", f"Unable to retrieve irq {index} for {node.path}")
        if not running.irqs.on_the_gic(raw):
            continue
        found = running.irqs.configured(raw, node.path)
        if found is None:
            raise Stops("panic", f"Unable to get irq {index} for {node.path}")
        running.line_caps.add(found.intid)
        why = _routed(running, domain, found.intid)
        if why is not None:
            words = f"Unable to map IRQ{found.intid} to {domain}: {why} ({node.path})"
            raise Stops("panic", words)


def _routed(running: Running, domain: str | None, intid: int) -> str | None:
    if domain is None:
        return None
    return running.irqs.route(domain, intid, running.xen.lines_of_dom0)


def _give_pages(running: Running, node: Node, domain: str | None) -> None:
    """map_range_to_domain() for each region, then map_device_children() for a PCI bus."""
    try:
        for base, size in regions(node):
            _map_range(running, node, base, size, domain)
        if type_of(node).lower() == "pci":
            _give_targets(running, node, domain)
            for base, size in windows(node):
                _map_range(running, node, base, size, domain)
    except NoAddress as error:
        raise Stops("panic", str(error)) from error


def _map_range(running: Running, node: Node, base: int, size: int, domain: str | None) -> None:
    """ "Reserved-memory regions are RAM carved out for a special purpose. They are not MMIO": not
    permitted, but mapped.
    """
    if not node.path.lower().startswith(UNPERMITTED):
        last = base + size - 1
        if running.xen.permits_one_more:
            last = (last + 0xFFF) & ~0xFFF
        running.page_caps.append((base >> PAGE_SHIFT, last >> PAGE_SHIFT))
    if domain is not None:
        if base + size > 1 << running.iommus.ipa_bits:  # map_mmio_regions()
            raise Stops("panic", f"Unable to map {base:#x} in {domain} ({node.path})")
        running.map(domain, pages_mapped(base, size, node.path))


def _give_targets(running: Running, node: Node, domain: str | None) -> None:
    """map_dt_irq_to_domain(): "IRQ%d is not a SPI" is an error; 4.17 drops that of the routing."""
    for raw in map_targets(running.host, node):
        found = line(raw)
        if found is None:
            raise Stops("panic", f"{node.path}: a target of its map has too few cells")
        if found.intid < LOCAL:
            raise Stops("panic", f"{node.path}: IRQ{found.intid} is not a SPI")
        if not running.irqs.set_sense(found, node.path):
            raise Stops("panic", f"{node.path}: Unable to setup IRQ{found.intid} to {domain}")
        running.line_caps.add(found.intid)
        why = _routed(running, domain, found.intid)
        if why is not None and not running.xen.forgives_pci_targets:
            words = f"{node.path}: Unable to map IRQ{found.intid} to {domain}: {why}"
            raise Stops("panic", words)
