# SPDX-License-Identifier: Apache-2.0
"""SHA-256, of bytes and of a tree: the same for the same nodes and properties, in any file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from west_viommu.tree.node import Tree

# hashlib loads OpenSSL, which takes 5 ms. Python's own module has no public name, and another one
# before 3.12.
try:
    from _sha2 import sha256 as _sha256
except ImportError:
    try:
        from _sha256 import sha256 as _sha256
    except ImportError:
        from hashlib import sha256 as _sha256


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data`, in hexadecimal."""
    return size_and_sum([data])[1]


def size_and_sum(pieces: Iterable[bytes]) -> tuple[int, str]:
    """Return the size of `pieces` one after the other, and the SHA-256 of them."""
    size, found = 0, _sha256()
    for piece in pieces:
        size += len(piece)
        found.update(piece)
    return size, found.hexdigest()


def digest(tree: Tree) -> str:
    """Return the SHA-256 of the paths of all nodes of `tree` and of the names and values of their
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
