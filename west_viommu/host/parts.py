# SPDX-License-Identifier: Apache-2.0
"""What a device names as a part of itself: its PHY, its glue logic."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.tree.node import Node, Tree

# A table, and no rule of form: any small number may be some node's phandle.
_PROPERTIES = frozenset({"phys", "phy-handle", "usb-phy"})
# Those that each vendor has under its own prefix: fsl,usbmisc.
_OF_VENDORS = frozenset({"usbmisc", "usbphy", "gmu"})


def wholes(tree: Tree) -> dict[str, str]:
    """The device whose part a node is, by the path of the node: the only one that names it so."""
    naming = _naming(tree)
    namers: dict[str, set[str]] = {}
    for node in tree.nodes() if naming else ():
        for part in _named_by(tree, node, naming):
            namers.setdefault(part, set()).add(node.path)
    return {part: paths.pop() for part, paths in namers.items() if len(paths) == 1}


def _naming(tree: Tree) -> frozenset[str]:
    """The properties of `tree` that name parts."""
    names = {name for node in tree.nodes() for name in node.properties}
    return frozenset(name for name in names if _names_a_part(name))


def _names_a_part(prop: str) -> bool:
    vendor, _, name = prop.partition(",")
    return prop in _PROPERTIES or (bool(vendor) and name in _OF_VENDORS)


def _named_by(tree: Tree, node: Node, naming: frozenset[str]) -> Iterator[str]:
    for name in naming & node.properties.keys():
        value = node.properties[name]
        if value and len(value) % 4 == 0:
            target = tree.with_phandle(int.from_bytes(value[:4], "big"))
            if target:
                yield target.path
