# SPDX-License-Identifier: Apache-2.0
"""What on the host is served by a node: clocks, DMA channels, PHYs and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from west_viommu.tree.node import Node, Tree, paths_above
from west_viommu.tree.providers import provider
from west_viommu.tree.references import reading_of

# Each end of a graph's link names the other, and works for itself.
_LINK = "remote-endpoint"


def consumers(tree: Tree, providers: Collection[str]) -> Iterator[tuple[Node, str, str]]:
    """Each node outside of `providers` (paths) that one of them, or a node below one, serves; the
    property that says so; and which serves it.
    """
    serving = {
        node.path: node.properties["phandle"]
        for node in tree.nodes()
        if "phandle" in node.properties and _is_at_or_below(node.path, providers)
    }
    phandles = frozenset(serving.values())
    for node in tree.nodes() if phandles else ():
        for name, value in node.properties.items():
            if name == _LINK or not provider(name) or phandles.isdisjoint(_words(value)):
                continue
            if _is_at_or_below(node.path, providers):
                break
            for served_by in reading_of(tree, node, name).reference.targets:
                if served_by in serving:
                    yield node, name, served_by


def _words(value: bytes) -> Iterator[bytes]:
    return (value[at : at + 4] for at in range(0, len(value), 4))


def _is_at_or_below(path: str, paths: Collection[str]) -> bool:
    return path in paths or any(above in paths for above in paths_above(path))
