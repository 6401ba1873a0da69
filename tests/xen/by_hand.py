# SPDX-License-Identifier: Apache-2.0
"""What somebody who knows Xen would write for a guest that is to have certain host nodes: the marks
on the host's tree, and the partial tree or xl's lists. To judge what the tool refuses.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.xen.domains import AtBoot, ByXl, Guest, Iomem
from tests.xen.drivers import Stream
from tests.xen.host import Host, marked, phandle_args
from tests.xen.irqs import Stops
from tests.xen.mapped import NoAddress, Pages, pages_mapped, pages_touched, regions
from tests.xen.nodes import Node, blob_of, pack
from tests.xen.routed import NoInterrupt, line, raw_interrupts

MARK = "xen,passthrough"


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
    streams = {
        Stream(smmu.path, cells[0])
        for smmu, cells in phandle_args(host, node, "iommus", "#iommu-cells")
        if cells
    }
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
    return pages or bool(one[0] & other[0]) or bool(one[2] & other[2])


def guest_at_boot(host: Host, wanted: list[str]) -> AtBoot:
    """All pages of each node, one to one, and its path; side by side."""
    root = Node("", {"#address-cells": pack(2), "#size-cells": pack(2)})
    passthrough = root.add(Node("passthrough", {"ranges": b"", **root.props}))
    for i, path in enumerate(wanted):
        reg = b""
        for pages in _pages(host, path):
            base, size = pages.host << 12, pages.count << 12
            reg += pack(base >> 32, base & 0xFFFFFFFF, size >> 32, size & 0xFFFFFFFF)
            reg += pack(base >> 32, base & 0xFFFFFFFF)
        props = {"xen,path": f"{path}\0".encode(), "xen,reg": reg}
        passthrough.add(Node(f"device{i}", props))
    return AtBoot(blob_of(root))


def guest_of_xl(host: Host, wanted: list[str]) -> ByXl:
    """All lines and pages of each node."""
    irqs, iomem = set(), set()
    for path in wanted:
        node = host.with_path(path)
        irqs |= set(lines_of(host, node)) if node is not None else set()
        iomem |= {Iomem(pages.host, pages.count, pages.host) for pages in _pages(host, path)}
    return ByXl(tuple(wanted), tuple(sorted(irqs)), tuple(sorted(iomem)))


def _pages(host: Host, path: str) -> list[Pages]:
    node = next((node for node in host.nodes if node.path == path), None)
    try:
        return [] if node is None else [pages_touched(*span, path) for span in regions(node)]
    except NoAddress:
        return []


def guest_by_hand(host: Host, wanted: list[str], toolstack: str) -> Guest:
    return guest_of_xl(host, wanted) if toolstack == "xl" else guest_at_boot(host, wanted)
