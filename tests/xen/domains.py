# SPDX-License-Identifier: Apache-2.0
"""What Xen gives to a guest: at boot, from its partial tree, or by xl, from its configuration.

Read in domain_build.c (4.17) and common/device-tree/dom0less-build.c (master); libxl_create.c,
common/domctl.c, arch/arm/domctl.c.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.xen.dom0 import give_to_dom0
from tests.xen.guest_map import Layout, place
from tests.xen.irqs import Stops
from tests.xen.mapped import PAGE_SHIFT, Pages
from tests.xen.nodes import Node, number, tree
from tests.xen.running import Running
from tests.xen.tree_size import room, tree_bytes

VSMMU_LINE = 33


class Refused(Exception):
    """A device is not assigned."""


@dataclass(frozen=True)
class AtBoot:
    """A dom0less domU: the partial tree that its device-tree module holds."""

    partial: bytes
    name: str = "dom1"
    layout: Layout = Layout(has_uart=True)


@dataclass(frozen=True)
class HardwareDomain:
    """A dom0less domU with `capabilities = <2>`, which from 4.21 on has what dom0 would have."""

    name: str = "hardware"


class Iomem(NamedTuple):
    """An entry of iomem: `frames` pages from page frame `host`, seen at `guest`."""

    host: int
    frames: int
    guest: int


@dataclass(frozen=True)
class ByXl:
    """A guest that xl creates: dtdev, irqs and iomem of its configuration."""

    dtdev: tuple[str, ...]
    irqs: tuple[int, ...]
    iomem: tuple[Iomem, ...]
    name: str = "dom1"
    layout: Layout = Layout()


Guest = AtBoot | ByXl | HardwareDomain


def by_xl(config: str, name: str = "dom1") -> ByXl:
    """The guest of the text of an xl.cfg."""
    lists: dict[str, list[object]] = {}
    for key in ("dtdev", "irqs", "iomem"):
        found = re.search(rf"^{key}\s*=\s*(\[[^\]]*\])", config, re.MULTILINE)
        lists[key] = ast.literal_eval(found[1]) if found else []
    iomem = []
    for text in map(str, lists["iomem"]):
        pages = re.fullmatch(r"(\w+),(\w+)(?:@(\w+))?", text.strip())
        assert pages, text
        start, count, guest = pages.groups()
        iomem.append(Iomem(int(start, 16), int(count, 16), int(guest or start, 16)))
    irqs = tuple(int(str(irq), 0) for irq in lists["irqs"])
    return ByXl(tuple(map(str, lists["dtdev"])), irqs, tuple(iomem), name)


def give_to_guest(running: Running, guest: Guest, later: Sequence[Guest] = ()) -> None:
    """Build the guest, with `later` behind it in /chosen. Adds faults; Stops if Xen does."""
    if isinstance(guest, ByXl):
        _give_by_xl(running, guest)
    elif isinstance(guest, AtBoot):
        _give_at_boot(running, guest)
    elif running.xen.hardware_domain:
        _give_to_hardware_domain(running, guest, later)


def _give_to_hardware_domain(
    running: Running, domain: HardwareDomain, later: Sequence[Guest]
) -> None:
    """parse_dom0less_node(): dt_find_compatible_node() looks for a partial tree in all that stands
    behind the domain, not in it alone. Then construct_hwdom().
    """
    if not running.iommus.ops:
        raise Stops("panic", "non-direct mapped hardware domain requires iommu")
    if any(isinstance(guest, AtBoot) for guest in later):
        raise Stops("panic", '"multiboot,device-tree" incompatible with hardware domain')
    give_to_dom0(running, domain.name)


def _give_at_boot(running: Running, guest: AtBoot) -> None:
    """construct_domU(): domain_handle_dtb_bootmodule(), "Only scan /gic /aliases /passthrough,
    ignore the rest", within prepare_dtb_domU(); then the kernel and the tree go into RAM.
    """
    partial = tree(guest.partial)
    for node in partial.children:
        if node.name.lower() == "passthrough":
            _scan(running, guest.name, node, (2, 1), top=True)
    needed = tree_bytes(running, partial, guest.layout)
    if needed > room(running.xen, len(guest.partial)):
        words = f"Device tree generation failed: {needed} bytes, for which there is no room"
        raise Stops("panic", f"Could not set up domain {guest.name}: {words}")
    place(running, guest.name, guest.layout, needed)


def _scan(running: Running, name: str, node: Node, cells: tuple[int, int], top: bool) -> None:
    """scan_pfdt_node(): the node by its parent's cells, then its children by its own, 2 and 1 where
    it does not say (nothing is inherited here).
    """
    try:
        _handle_properties(running, name, node, cells)
    except Refused as refused:
        if top or not running.xen.forgives_children:
            raise Stops("panic", f"Could not set up domain {name}: {refused}") from refused
        running.fault("refused", name, str(refused))
        return
    own = node.cell("#address-cells", 2), node.cell("#size-cells", 1)
    for child in node.children:
        _scan(running, name, child, own, top=False)


def _handle_properties(running: Running, name: str, node: Node, cells: tuple[int, int]) -> None:
    """handle_prop_pfdt(): "xen,reg or xen,path missing"."""
    has_reg, has_path = "xen,reg" in node.props, "xen,path" in node.props
    force = "xen,force-assign-without-iommu" in node.props
    if has_reg and (has_path or force):
        _assign(running, name, node, cells, force)
    elif has_reg or has_path:
        raise Refused(f"{node.path}: xen,reg or xen,path missing for {name}")


def _assign(running: Running, name: str, node: Node, cells: tuple[int, int], force: bool) -> None:
    """handle_passthrough_prop(): pages first, then all lines of the host node, then the IOMMU. What
    is mapped is compared with nothing.
    """
    address, size = cells
    if running.xen.narrow_cells and not (address in (1, 2) and size in (1, 2)):
        raise Refused(f"{node.path}: Invalid address_cells {address} or size_cells {size}")
    values, width = node.cells("xen,reg"), 2 * address + size
    for i in range(0, len(values) // width * width if width else 0, width or 1):
        row = values[i : i + width]
        start, length = number(row[:address]), number(row[address : address + size])
        seen = number(row[address + size :])
        if (start | length | seen) & 0xFFF:
            raise Refused(f"{node.path}: config has not page aligned addresses/sizes")
        pages = Pages(start >> PAGE_SHIFT, length >> PAGE_SHIFT, seen >> PAGE_SHIFT, node.path)
        _map(running, name, pages)
    if "xen,path" not in node.props:
        return
    path = (node.strings("xen,path") or [""])[0]
    host = running.host.with_path(path)
    if host is None:
        raise Refused(f"{node.path}: Couldn't find node {path} in host_dt!")
    _route_all(running, name, host)
    _protect(running, name, host, force)


def _map(running: Running, name: str, pages: Pages) -> None:
    """map_regions_p2mt(): the guest's addresses end where the IOMMU and the CPU say."""
    if pages.count and pages.guest + pages.count > 1 << running.iommus.ipa_bits - PAGE_SHIFT:
        raise Refused(f"Failed to map {pages.of} to the guest at {pages.guest << PAGE_SHIFT:#x}")
    running.map(name, pages)


def _route_all(running: Running, name: str, host: Node) -> None:
    """handle_device_interrupts() of 4.17, map_device_irqs_to_domain() of master."""
    for index, raw in enumerate(running.irqs.of(host)):
        if raw is None:
            raise Refused(f"Unable to retrieve irq {index} for {host.path}")
        if not running.irqs.on_the_gic(raw):
            continue
        found = running.irqs.configured(raw, host.path)
        if found is None:
            raise Refused(f"Unable to get irq {index} for {host.path}")
        why = running.irqs.route(name, found.intid, running.xen.lines)
        if why is not None:
            raise Refused(f"Unable to map IRQ{found.intid} to {name}: {why} ({host.path})")


def _protect(running: Running, name: str, host: Node, force: bool) -> None:
    """iommu_add_dt_device(), iommu_assign_dt_device(): by xen,force-assign-without-iommu "we allow
    assignment of devices without IOMMU protection".
    """
    added = running.iommus.add(host)
    if added.result < 0:
        raise Refused(f"Failed to add {host.path} to the IOMMU: {added.why}")
    if force and host.path not in running.iommus.protected:
        return
    done = running.iommus.assign(name, host)
    if done.result:
        raise Refused(f"{host.path} is not assigned: {done.why}; {added.why}")


def _give_by_xl(running: Running, guest: ByXl) -> None:
    """libxl__domain_create...: irqs, iomem, then dtdev; the first that fails ends the domain."""
    try:
        reserved = {VSMMU_LINE} if running.xen.vsmmu else set()
        for irq in guest.irqs:
            _bind(running, guest.name, irq, reserved)
        for entry in guest.iomem:
            _map_iomem(running, guest.name, entry)
        for path in guest.dtdev:
            host = running.host.with_path(path)
            if host is None:
                raise Refused(f"dtdev: no node {path}")
            _protect(running, guest.name, host, force=False)
        place(running, guest.name, guest.layout, 0)
    except Refused as refused:
        running.fault("refused", guest.name, str(refused))


def _bind(running: Running, name: str, irq: int, reserved: set[int]) -> None:
    """XEN_DOMCTL_bind_pt_irq, arch/arm/domctl.c."""
    why: str | None = "Operation not permitted"
    if irq in running.line_caps:
        why = f"virq {irq} is reserved" if irq in reserved else None
        why = why or running.irqs.route(name, irq, running.xen.lines)
    reserved.add(irq)
    if why is not None:
        raise Refused(f"failed give domain access to irq {irq}: {why}")


def _map_iomem(running: Running, name: str, entry: Iomem) -> None:
    """XEN_DOMCTL_iomem_permission, common/domctl.c: dom0 must be permitted every page itself."""
    wanted = set(range(entry.host, entry.host + entry.frames))
    for first, last in running.page_caps:
        wanted -= set(range(max(first, entry.host), min(last, entry.host + entry.frames) + 1))
    if wanted:
        raise Refused(f"failed give domain access to iomem range {entry.host:x}")
    _map(running, name, Pages(entry.host, entry.frames, entry.guest, "iomem"))
