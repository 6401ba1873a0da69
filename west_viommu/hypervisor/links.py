# SPDX-License-Identifier: Apache-2.0
"""Which nodes the guest's /passthrough refers to: those that come along, and others."""

from __future__ import annotations

from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.tree.interrupts import interrupt_parent
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.providers import companions, is_provider

# What is said anew for each toolstack, or is not for Xen.
REPLACED = frozenset(
    {
        "interrupts",
        "interrupts-extended",
        "interrupt-names",
        "interrupt-parent",
        "iommus",
        "iommu-map",
        "iommu-map-mask",
        "phandle",
        "linux,phandle",
    }
)


class Links:
    """The references of one guest's /passthrough."""

    def __init__(self, guest: GuestTree):
        self._guest = guest
        self.below = [node for node in guest.tree.nodes() if is_below(node.path)]
        self.targets = self._targets()

    def dangling(self, node: Node) -> tuple[str, ...]:
        """The properties that refer out of /passthrough, and the names that belong to them."""
        references = self._guest.references.get(node.path, {})
        found: list[str] = []
        for name in node.properties:
            targets = references.get(name, ())
            if name in REPLACED or (targets and all(map(is_below, targets))):
                continue
            if targets or is_provider(name):
                found += [name, *(each for each in companions(name) if each in node.properties)]
        return tuple(dict.fromkeys(found))

    def local_parent(self, node: Node) -> Node | None:
        """The interrupt controller below /passthrough that receives the interrupts of `node`."""
        if "interrupts" not in node.properties:
            return None
        parent = interrupt_parent(self._guest.tree, node)
        is_local = parent and is_below(parent.path) and "phandle" in parent.properties
        return parent if is_local else None

    def cells(self, whole: Tree, node: Node) -> dict[str, dict[int, Node]]:
        """Which cells of `node` are phandles, of nodes in the `whole` tree."""
        found: dict[str, dict[int, Node]] = {}
        for name, targets in self._guest.references.get(node.path, {}).items():
            nodes = [target for target in map(whole.node, targets) if target]
            if name in node.properties and name not in REPLACED:
                found[name] = _phandle_cells(node.properties[name], nodes)
        for name, step in (("interrupt-parent", 1), ("iommus", 2)):
            cells = node.properties.get(name, b"")
            for i in range(0, len(cells) // 4, step):
                target = whole.with_phandle(int.from_bytes(cells[4 * i : 4 * i + 4], "big"))
                if target:
                    found.setdefault(name, {})[i] = target
        return found

    def _targets(self) -> frozenset[str]:
        """The nodes that a property of the partial tree refers to."""
        return frozenset(
            target
            for node in self.below
            for name, targets in self._guest.references.get(node.path, {}).items()
            if name not in REPLACED and all(map(is_below, targets))
            for target in targets
        ) | frozenset(parent.path for parent in map(self.local_parent, self.below) if parent)


def is_below(path: str) -> bool:
    """Whether the node at `path` is below /passthrough."""
    return path.startswith(f"{PASSTHROUGH}/")


def _phandle_cells(value: bytes, targets: list[Node]) -> dict[int, Node]:
    """The cells of `value` that are the phandles of `targets`, one after the other."""
    found: dict[int, Node] = {}
    left = [target for target in targets if "phandle" in target.properties]
    for i in range(len(value) // 4):
        if left and value[4 * i : 4 * i + 4] == left[0].properties["phandle"]:
            found[i] = left.pop(0)
    return found
