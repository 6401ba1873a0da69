# SPDX-License-Identifier: Apache-2.0
"""A guest tree together with the facts that only its source has: labels, references, places."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from west_viommu.diagnostics import Where
from west_viommu.tree.node import Node, Tree

# The node that Xen reads: the nodes below it may be host devices.
PASSTHROUGH = "/passthrough"
# Stands for the base tree if only overlays are given; the labels that they use and do not define
# are its children. A reserved name.
BASE = "/viommu+base"

# Returns the place of property `prop` ("" for the node itself) of the node at `path`, if known.
Locate = Callable[[str, str], Where | None]


def is_below_passthrough(path: str) -> bool:
    """Return whether the node at `path` is below /passthrough."""
    return path.startswith(f"{PASSTHROUGH}/")


class GuestTree(NamedTuple):
    """The guest's devicetree as its source has it. The tree's source knows only the references
    below /passthrough.

    `open_labels`: the labels that the source uses and does not define. `links`: path of a node ->
    for its `iommus`, index of a cell -> path of the node that the cell refers to, by label or by
    number.
    """

    tree: Tree
    open_labels: frozenset[str]
    links: Mapping[str, Mapping[int, str]]
    locate: Locate

    def given(self, path: str, label: str) -> frozenset[str]:
        """Return the properties that the source gives to the node at `path`, or to the node of
        `label`.
        """
        nodes = [self.tree.node(name) for name in {path, self.tree.labels.get(label, path)}]
        return frozenset(name for node in nodes if node for name in node.properties)


def without_source(tree: Tree, file: str) -> GuestTree:
    """Return the guest's devicetree if only the compiled tree is known, in `file`: without labels,
    and with references found by their phandles.
    """
    return GuestTree(tree, frozenset(), links(tree, {}), lambda path, prop: Where(file))


def links(tree: Tree, written: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    """Return the references in the `iommus` of each node: those `written` as references in the
    source, and otherwise the node that a number refers to.
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
