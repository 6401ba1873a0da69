# SPDX-License-Identifier: Apache-2.0
"""A guest tree together with what only its source tells: labels, references, places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from west_viommu.problems import Where
from west_viommu.quick_typing import NamedTuple
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.references import NO_REFERENCE, Reading, Reference, reading

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
    """The guest's devicetree as its source has it.

    `labels`: label -> path. `open_labels`: those that it uses and nowhere defines. `numbered`: the
    paths of the nodes whose phandle is a number of their own, so that a number elsewhere may mean
    them; not those to which the compiler gives one. `links`: path of a node -> for its `iommus`,
    index of a cell -> path of the node that it means, by label or by such a number. `references`:
    path of a node below /passthrough -> property -> what its value refers to by label or path.
    """

    tree: Tree
    labels: Mapping[str, str]
    open_labels: frozenset[str]
    numbered: frozenset[str]
    links: Mapping[str, Mapping[int, str]]
    references: Mapping[str, Mapping[str, Reference]]
    locate: Locate

    def given(self, path: str, label: str) -> frozenset[str]:
        """The properties that the source gives to the node at `path`, or that `label` means."""
        nodes = [self.tree.node(name) for name in {path, self.labels.get(label, path)}]
        return frozenset(name for node in nodes if node for name in node.properties)

    def by_number(self, number: int) -> Node | None:
        """The node that `number` means where it stands for a phandle."""
        node = self.tree.with_phandle(number)
        return node if node and node.path in self.numbered else None

    def reading(self, node: Node, prop: str) -> Reading:
        """What property `prop` of `node` refers to."""
        written = self.references.get(node.path, {}).get(prop, NO_REFERENCE)
        return reading(self.tree, prop, node.properties[prop], written, self.by_number)


def without_source(tree: Tree, file: str) -> GuestTree:
    """The guest's devicetree where only the compiled one is known, in `file`: no labels, and
    phandles tell what a property refers to.
    """
    return GuestTree(
        tree,
        {},
        frozenset(),
        frozenset(node.path for node in tree.nodes() if _has_phandle(node)),
        links(tree, {}, tree.with_phandle),
        {},
        lambda path, prop: Where(file),
    )


def links(
    tree: Tree,
    written: Mapping[str, Mapping[int, str]],
    by_number: Callable[[int], Node | None],
) -> dict[str, dict[int, str]]:
    """What the `iommus` of each node refers to: what was `written` as a reference there, and else
    the node that a number means.
    """
    return {
        node.path: {**dict(_linked(node, by_number)), **written.get(node.path, {})}
        for node in tree.nodes()
        if "iommus" in node.properties
    }


def _linked(node: Node, by_number: Callable[[int], Node | None]) -> Iterator[tuple[int, str]]:
    value = node.properties["iommus"]
    for i in range(0, len(value) // 4, 2):
        target = by_number(int.from_bytes(value[4 * i : 4 * i + 4], "big"))
        if target:
            yield i, target.path


def _has_phandle(node: Node) -> bool:
    return "phandle" in node.properties or "linux,phandle" in node.properties
