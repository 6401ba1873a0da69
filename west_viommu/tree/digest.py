# SPDX-License-Identifier: Apache-2.0
"""The sum of a tree: the same for the same nodes and properties, in whatever file they came."""

from __future__ import annotations

from west_viommu.tree.node import Tree
from west_viommu.tree.sha256 import sha256


def digest(tree: Tree) -> str:
    """The SHA-256 of the paths of all nodes of `tree` and of the names and values of their
    properties. Neither the padding of a blob counts nor the order, which a directory has by chance.
    """
    pieces = []
    for node in sorted(tree.nodes(), key=lambda node: node.path):
        pieces.append(node.path.encode("utf-8", "surrogateescape"))
        for name, value in sorted(node.properties.items()):
            # With its length, no value can look like the name that follows.
            pieces.append(f"{name} {len(value)}".encode("utf-8", "surrogateescape"))
            pieces.append(value)
    return sha256(b"\0".join(pieces))
