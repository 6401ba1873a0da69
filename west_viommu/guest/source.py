# SPDX-License-Identifier: Apache-2.0
"""A guest tree together with what only its source tells: labels, references, places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from west_viommu.diagnostics import Where
from west_viommu.tree.node import Node, Tree

# The node that Xen reads: what is below it may be a host device.
PASSTHROUGH = "/passthrough"
# Stands for the base tree where only overlays are given; the labels that they use and do not
# define are its children. A reserved name.
BASE = "/viommu+base"

# Where property `prop` ("" for the node itself) of the node at `path` stands, if that is known.
Locate = Callable[[str, str], Where | None]


def is_below_passthrough(path: str) -> bool:
    """Whether the node at `path` is below /passthrough."""
    return path.startswith(f"{PASSTHROUGH}/")


class GuestTree(NamedTuple):
    """The guest's devicetree as its source has it. Of references, the tree's source knows those
    below /passthrough.

    `open_labels`: the labels that it uses and nowhere defines. `links`: path of a node -> for its
    `iommus`, index of a cell -> path of the node that it means, by label or by number.
    """

    tree: Tree
    open_labels: frozenset[str]
    links: Mapping[str, Mapping[int, str]]
    locate: Locate

    def given(self, path: str, label: str) -> frozenset[str]:
        """The properties that the source gives to the node at `path`, or that `label` means."""
        nodes = [self.tree.node(name) for name in {path, self.tree.labels.get(label, path)}]
        return frozenset(name for node in nodes if node for name in node.properties)


def without_source(tree: Tree, file: str) -> GuestTree:
    """The guest's devicetree where only the compiled one is known, in `file`: no labels, and
    phandles tell what a property refers to.
    """
    return GuestTree(tree, frozenset(), links(tree, {}), lambda path, prop: Where(file))


def links(tree: Tree, written: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    """What the `iommus` of each node refers to: what was `written` as a reference there, and else
    the node that a number means.
    """
    return {
        node.path: {**dict(_linked(tree, node)), **written.get(node.path, {})}
        for node in tree.nodes()
        if "iommus" in node.properties
    }


def _linked(tree: Tree, node: Node) -> Iterator[tuple[int, str]]:
    value = node.properties["iommus"]
    for i in range(0, len(value) // 4, 2):
        target = tree.by_number(int.from_bytes(value[4 * i : 4 * i + 4], "big"))
        if target:
            yield i, target.path
