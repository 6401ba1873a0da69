# SPDX-License-Identifier: Apache-2.0
"""A guest tree together with what only its source tells: labels, references, places."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from west_viommu.problems import Where
from west_viommu.tree.node import Node, Tree

# The node that Xen reads: what is below it may be a host device.
PASSTHROUGH = "/passthrough"
# Stands for the base tree where only overlays are given; the labels that they use and do not
# define are its children. A reserved name.
BASE = "/viommu+base"

# Where property `prop` ("" for the node itself) of the node at `path` stands, if that is known.
Locate = Callable[[str, str], Where | None]


class GuestTree(NamedTuple):
    """The guest's devicetree as its source has it.

    `labels`: label -> path. `open_labels`: those that it uses and nowhere defines. `links`: path
    of a node -> for its `iommus`, index of a cell -> path of the node that the cell refers to by
    label; a number that was written has no entry. `references`: path of a node below /passthrough
    -> property -> paths of the nodes that its value refers to by label or path. `is_complete`: the
    source has /dts-v1/; otherwise it is overlays for a base that is not given.
    """

    tree: Tree
    labels: Mapping[str, str]
    open_labels: frozenset[str]
    links: Mapping[str, Mapping[int, str]]
    references: Mapping[str, Mapping[str, tuple[str, ...]]]
    is_complete: bool
    locate: Locate

    def given(self, path: str, label: str) -> frozenset[str]:
        """The properties that the source gives to the node at `path`, or that `label` means."""
        nodes = [self.tree.node(each) for each in {path, self.labels.get(label, path)}]
        return frozenset(name for node in nodes if node for name in node.properties)


def without_source(tree: Tree, file: str) -> GuestTree:
    """The guest's devicetree where only the compiled one is known, in `file`: no labels, and
    phandles tell what `iommus` refers to.
    """
    links = {
        node.path: dict(_linked(tree, node)) for node in tree.nodes() if "iommus" in node.properties
    }
    return GuestTree(tree, {}, frozenset(), links, {}, True, lambda path, prop: Where(file))


def _linked(tree: Tree, node: Node) -> Iterator[tuple[int, str]]:
    value = node.properties["iommus"]
    for i in range(0, len(value) // 4, 2):
        target = tree.with_phandle(int.from_bytes(value[4 * i : 4 * i + 4], "big"))
        if target:
            yield i, target.path
