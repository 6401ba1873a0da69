# SPDX-License-Identifier: Apache-2.0
"""HOST of the command line as a tree, and what files it comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from west_viommu.diagnostics import Diagnostic, Refused, Where, refusal
from west_viommu.host.inventory import Inventory, inventory
from west_viommu.read.tree import fragments, is_blob, not_applied, read_tree
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree

_GIVE = "give the blob that Xen is booted with, its .dts, or a /proc/device-tree directory"


def read_host_tree(
    file: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Tree:
    """The host tree in `file`; the rest is for the preprocessor, if it is source. Raises Refused,
    also for a tree that Xen made for dom0.
    """
    tree = read_tree(file, _GIVE, include_dirs, defines)
    if fragments(tree):
        raise not_applied(file)
    if any(_is_xen(node) for node in tree.root.children):
        raise refusal(
            "dom0-tree",
            "this is the tree that Xen made for dom0: it lacks the SMMUs and the stream IDs",
            "give the blob that Xen was booted with; if a boot loader makes it, boot Linux in "
            "place of Xen, and copy its /sys/firmware/fdt",
            file,
            expected="a tree without a xen,xen node",
        )
    return tree


def _is_xen(node: Node) -> bool:
    return b"xen,xen" in node.properties.get("compatible", b"").split(b"\0")


def host_files(file: str) -> list[str]:
    """The files that the host tree in `file` comes from: itself, and what its source includes."""
    if os.path.isdir(file):
        return []
    if is_blob(file):
        return [file]
    from west_viommu.read.preprocess import source_files

    return source_files(file)


def inventory_of(file: str, tree: Tree) -> Inventory:
    """The inventory of `tree`, which `file` holds. Raises Refused for what is malformed in it."""
    found, errors = inventory(tree)
    if errors:
        raise Refused(malformed_host(file, error) for error in errors)
    return found


def malformed_host(file: str, error: TreeError) -> Diagnostic:
    """Return the diagnostic of `error` in the host tree of `file`."""
    hint = "correct the host tree: as it is, nobody can tell whose stream IDs are whose"
    return error.diagnostic._replace(hint=hint, where=Where(file))
