# SPDX-License-Identifier: Apache-2.0
"""A tree in /proc/device-tree form: a directory is a node, a file a property."""

from __future__ import annotations

import os
from types import MappingProxyType

from west_viommu.read.dtb import MAX_DEPTH, MAX_PATH
from west_viommu.read.plain_file import MOST_OF_A_TREE, content
from west_viommu.tree.node import Node, Tree

# A node or property of a blob takes 12 bytes beside its name and value (devicetree specification
# 0.4, 5.4).
_ENTRY = 12


class DirectoryError(Exception):
    """The directory is not a devicetree."""


def tree_from_directory(root: str) -> Tree:
    """The tree below `root`. Nodes and properties come in name order: a directory keeps none.

    The file `name`, which the kernel adds to every node, is left out. Raises DirectoryError, or
    OSError where a file cannot be read.
    """
    # Devicetree specification 0.4, 3.1. The root node must have a compatible as well, but Xen
    # gives a guest that it creates at boot none.
    if not os.path.isfile(os.path.join(root, "#address-cells")):
        raise DirectoryError("this is not a devicetree: it has no file '#address-cells'")
    return Tree(_Reader().node(root, "/", "", 0))


class _Reader:
    """Reads nodes until they would make a larger blob than any that is read."""

    def __init__(self) -> None:
        self._left = MOST_OF_A_TREE

    def node(self, directory: str, path: str, name: str, depth: int) -> Node:
        """The node in `directory`."""
        if depth == MAX_DEPTH:
            raise DirectoryError(f"nodes are nested deeper than {MAX_DEPTH}")
        if len(path) > MAX_PATH:
            raise DirectoryError(f"a path is longer than {MAX_PATH} characters")
        self._take(len(path))
        properties: dict[str, bytes] = {}
        children: list[Node] = []
        for entry in self._entries(directory, path):
            # A link could lead anywhere, and back to a folder above. The kernel makes none.
            if entry.is_dir(follow_symlinks=False):
                child_path = f"{path.rstrip('/')}/{entry.name}"
                children.append(self.node(entry.path, child_path, entry.name, depth + 1))
            elif entry.is_symlink():
                raise DirectoryError(f"{path} has a link {entry.name!r}")
            elif entry.name != "name":
                properties[entry.name] = content(entry.path, self._left)
                self._take(len(properties[entry.name]))
        return Node(path, name, MappingProxyType(properties), tuple(children))

    def _entries(self, directory: str, path: str) -> list[os.DirEntry[str]]:
        """What is in `directory`, by name."""
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.isascii() and not _is_text(entry.name):
                    raise DirectoryError(f"{path} has a name that is not UTF-8")
                self._take(_ENTRY + len(entry.name))
                found.append(entry)
        return sorted(found, key=lambda entry: entry.name)

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise DirectoryError(f"more than {MOST_OF_A_TREE} bytes")


def _is_text(name: str) -> bool:
    """Whether the name of a file was UTF-8. Python has other bytes as halves of surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
