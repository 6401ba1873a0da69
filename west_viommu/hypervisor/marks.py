# SPDX-License-Identifier: Apache-2.0
"""What host.overlay marks, so that dom0 does not get it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from west_viommu.hypervisor.holdings import Holdings
from west_viommu.tree.node import Node

_LINES = frozenset({"interrupts", "interrupts-extended", "iommus"})


class Mark(NamedTuple):
    """A node that gets xen,passthrough, so that dom0 does not get it: the device itself where `why`
    is "", else what keeps `device` from being its guest's alone.
    """

    node: str
    device: str
    why: str


def marked(
    assigned: Iterable[str],
    stay: Collection[str],
    contested: Mapping[str, Iterable[tuple[str, str]]],
    holdings: Holdings,
) -> tuple[Mark, ...]:
    """The `assigned` devices; what is below them and holds something, but for those that `stay`;
    and, by why they are in the way, the nodes `contested` so, each with the device.
    """
    marks = {path: Mark(path, path, "") for path in assigned}
    tree = holdings.devices.tree
    for path in tuple(marks):
        for node in _holders_below(tree.node(path), holdings):
            if node.path not in stay and holdings.has_dom0:
                marks.setdefault(node.path, Mark(node.path, path, f"below {path}"))
    for why, nodes in contested.items():
        for path, device in nodes:
            marks.setdefault(path, Mark(path, device, f"{why} {device}"))
    return tuple(marks.values())


def _holders_below(node: Node | None, holdings: Holdings) -> Iterator[Node]:
    """The nodes below `node` of which dom0 would get something: not what Xen keeps, its SMMUs and
    its console, which it drives only where they are not marked.
    """
    index = holdings.devices.index
    for child in node.children if node else ():
        regions = index.regions(child)
        has_lines = not _LINES.isdisjoint(child.properties)
        if holdings.is_bridge(child.path):
            # Its windows, and the targets of its map (map_device_children()).
            regions += index.windows(child)
            has_lines = has_lines or "interrupt-map" in child.properties
        holds = has_lines or any(region and region.size for region in regions)
        if holds and not holdings.role(child.path) and child.path != holdings.console:
            yield child
        yield from _holders_below(child, holdings)
