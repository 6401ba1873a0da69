# SPDX-License-Identifier: Apache-2.0
"""A tree in /proc/device-tree form: a directory is a node, a file a property."""

from __future__ import annotations

import os
from types import MappingProxyType

from west_viommu.read.dtb import MAX_DEPTH, MAX_PATH
from west_viommu.tree.node import Node, Tree


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
        raise DirectoryError("no devicetree: it has no file '#address-cells'")
    return Tree(_node(root, "/", "", 0))


def _node(directory: str, path: str, name: str, depth: int) -> Node:
    if depth == MAX_DEPTH:
        raise DirectoryError(f"nodes are nested deeper than {MAX_DEPTH}")
    if len(path) > MAX_PATH:
        raise DirectoryError(f"a path is longer than {MAX_PATH} characters")
    properties: dict[str, bytes] = {}
    children: list[Node] = []
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.name.isascii() and not _is_text(entry.name):
                raise DirectoryError(f"{path} has a name that is not UTF-8")
            if entry.is_dir(follow_symlinks=False):
                child_path = f"{path.rstrip('/')}/{entry.name}"
                children.append(_node(entry.path, child_path, entry.name, depth + 1))
            elif entry.is_file(follow_symlinks=False) and entry.name != "name":
                with open(entry.path, "rb") as file:
                    properties[entry.name] = file.read()
    return Node(path, name, MappingProxyType(properties), tuple(children))


def _is_text(name: str) -> bool:
    """Whether the name of a file was UTF-8. Python has other bytes as halves of surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
