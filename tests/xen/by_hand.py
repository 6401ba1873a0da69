# SPDX-License-Identifier: Apache-2.0
"""What somebody who knows Xen would write for a guest that is to have certain host nodes: the marks
on the host's tree, and the partial tree or xl's lists. To judge what the tool refuses.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.xen.domains import AtBoot, ByXl, Guest, Iomem
from tests.xen.drivers import SMR_MASK, Stream
from tests.xen.guest_map import MIB, RAM0, Layout
from tests.xen.host import SMMU_V2, Host, compatible, marked, phandle_args
from tests.xen.irqs import Stops
from tests.xen.mapped import NoAddress, Pages, pages_mapped, pages_touched, regions
from tests.xen.nodes import Node, blob_of, pack
from tests.xen.random_guests import RandomGuest
from tests.xen.routed import NoInterrupt, line, raw_interrupts

MARK = "xen,passthrough"
NOTHING = RandomGuest((), True)


def with_marks(root: Node, paths: set[str]) -> Node:
    """A copy of the tree, with xen,passthrough on the nodes at `paths`."""
    copy = _copy(root)
    for node in [copy, *copy.below()]:
        if node.path in paths:
            node.props[MARK] = b""
    return copy


def _copy(node: Node) -> Node:
    copy = Node(node.name, dict(node.props))
    for child in node.children:
        copy.add(_copy(child))
    return copy


def marks(host: Host, wanted: set[str]) -> set[str]:
    """The wanted nodes, what is below them, and each disabled node that has a stream, a page or a
    line of theirs: not a reserved one, which somebody else uses. A master below one is left to dom0
    (and so ends in two hands) unless it is disabled: without it the device would not be whole.
    """
    nodes = {node.path: node for node in host.nodes}
    given = set(wanted)
    for path in wanted:
        for node in nodes[path].below():
            if "iommus" not in node.props or _is_unused(node):
                given.add(node.path)
    held = [_things(host, nodes[path], whole=True) for path in wanted]
    for path, node in nodes.items():
        if path in given or marked(node) or not _is_unused(node):
            continue
        things = _things(host, node, whole=False)
        if any(_overlap(things, theirs) for theirs in held):
            given.add(path)
    return given


def _is_unused(node: Node) -> bool:
    reserved = any(above.strings("status") == ["reserved"] for above in node.ancestors())
    return not node.enabled() and not reserved


Things = tuple[set[Stream], list[Pages], set[int]]


def _things(host: Host, node: Node, whole: bool) -> Things:
    """The streams, pages and lines that Xen reads in the node. `whole`: all of each page."""
    streams = set()
    for smmu, cells in phandle_args(host, node, "iommus", "#iommu-cells"):
        if cells and compatible(smmu, SMMU_V2):
            mask = cells[1] if len(cells) > 1 else smmu.cell("stream-match-mask", 0)
            streams.add(Stream(smmu.path, cells[0] & SMR_MASK, mask & SMR_MASK))
        elif cells:
            streams.add(Stream(smmu.path, cells[0]))
    for smmu in host.nodes:
        for master, ids in phandle_args(host, smmu, "mmu-masters", "#stream-id-cells"):
            if master is node:
                streams |= {Stream(smmu.path, id & SMR_MASK) for id in ids}
    try:
        spans = regions(node)
    except NoAddress:
        spans = []
    pages = [(pages_touched if whole else pages_mapped)(*span, node.path) for span in spans]
    return streams, pages, set(lines_of(host, node))


def lines_of(host: Host, node: Node) -> Iterator[int]:
    """The INTIDs that Xen reads in the node, of its own GIC."""
    try:
        raws = raw_interrupts(host, node)
    except (NoInterrupt, Stops):
        return
    for raw in raws:
        found = line(raw) if raw is not None and raw.controller is host.gic else None
        if found is not None:
            yield found.intid


def _overlap(one: Things, other: Things) -> bool:
    pages = any(mine.shares_with(theirs) for mine in one[1] for theirs in other[1])
    streams = any(mine.overlaps(theirs) for mine in one[0] for theirs in other[0])
    return pages or streams or bool(one[2] & other[2])


def guest_at_boot(host: Host, wanted: list[str], more: RandomGuest = NOTHING) -> AtBoot:
    """All pages of each node, and its path; side by side."""
    root = Node("", {"#address-cells": pack(2), "#size-cells": pack(2)})
    passthrough = root.add(Node("passthrough", {"ranges": b"", **root.props}))
    moved, on_a_bus = moves(more), {ask.path for ask in more.asks if ask.has_bus}
    for i, path in enumerate(wanted):
        wide = path in on_a_bus
        reg = b""
        for pages in _pages(host, path):
            base, size = pages.host << 12, pages.count << 12
            seen = base + moved.get(path, 0)
            reg += _cells(base, wide) + (pack(size) if wide else _cells(size, wide))
            reg += _cells(seen, wide)
        props = {"xen,path": f"{path}\0".encode(), "xen,reg": reg}
        above = passthrough
        if wide:
            above = Node(f"bus{i}", {"#address-cells": pack(3), "#size-cells": pack(1)})
            passthrough.add(above)
        above.add(Node(f"device{i}", props))
    if more.page is not None:
        reg = _cells(more.page, False) + pack(0, 0x1000) + _cells(more.page, False)
        props = {"xen,reg": reg, "xen,force-assign-without-iommu": b""}
        passthrough.add(Node("page", props))
    passthrough.props["t,padding"] = bytes(more.padding)
    return AtBoot(blob_of(root), layout=layout_of(host, wanted, more, has_uart=True))


def _cells(address: int, wide: bool) -> bytes:
    return pack(*[0] * wide, address >> 32, address & 0xFFFFFFFF)


def moves(guest: RandomGuest) -> dict[str, int]:
    """How far from its host address the guest is to see each device."""
    return {ask.path: ask.moved for ask in guest.asks}


def layout_of(host: Host, wanted: list[str], more: RandomGuest, *, has_uart: bool) -> Layout:
    """As much memory as there is room for below the devices and what is shared, up to 16 MiB."""
    starts = [base for base, _ in more.shared]
    for path in wanted:
        away = moves(more).get(path, 0)
        starts += [(pages.host << 12) + away for pages in _pages(host, path)]
    free = min((start - RAM0 for start in starts if start >= RAM0), default=16 * MIB)
    return Layout(memory=min(free, 16 * MIB), has_uart=has_uart, shared=more.shared)


def guest_of_xl(host: Host, wanted: list[str], more: RandomGuest = NOTHING) -> ByXl:
    """All lines and pages of each node."""
    irqs, iomem, moved = set(), set(), moves(more)
    for path in wanted:
        node, away = host.with_path(path), moved.get(path, 0) >> 12
        irqs |= set(lines_of(host, node)) if node is not None else set()
        iomem |= {Iomem(pages.host, pages.count, pages.host + away) for pages in _pages(host, path)}
    if more.page is not None:
        iomem.add(Iomem(more.page >> 12, 1, more.page >> 12))
    layout = layout_of(host, wanted, more, has_uart=False)
    return ByXl(tuple(wanted), tuple(sorted(irqs)), tuple(sorted(iomem)), layout=layout)


def _pages(host: Host, path: str) -> list[Pages]:
    node = next((node for node in host.nodes if node.path == path), None)
    try:
        return [] if node is None else [pages_touched(*span, path) for span in regions(node)]
    except NoAddress:
        return []


def guest_by_hand(host: Host, wanted: list[str], toolstack: str, more: RandomGuest) -> Guest:
    if toolstack == "xl":
        return guest_of_xl(host, wanted, more)
    return guest_at_boot(host, wanted, more)
