# SPDX-License-Identifier: Apache-2.0
"""A tree in any of its forms: a blob, recognized by its magic, a .dts, or a directory; and HOST of
the command line, which is such a tree.
"""

import os
import re
from collections.abc import Sequence
from types import MappingProxyType

from west_viommu.diagnostics import Diagnostic, Refused, Where, refusal
from west_viommu.host.inventory import Inventory, inventory
from west_viommu.read.dtb import MAGIC, MAX_DEPTH, MAX_PATH, DtbError, tree_from_dtb
from west_viommu.read.plain_file import (
    LONGEST,
    MOST_OF_A_TREE,
    beginning,
    content,
    foreign,
    unreadable,
)
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree

# The node of a fragment with the content that is merged into its target.
OVERLAY_CONTENT = "__overlay__"
_PATH = "check its path"
_GIVE_HOST = "give the blob that Xen is booted with, its .dts, or a /proc/device-tree directory"
# A node or property of a blob takes 12 bytes in addition to its name and value (devicetree
# specification 0.4, 5.4).
_ENTRY = 12
# The first node of a source, at the root or by a label or path.
_NODE = rb"(?m)^[ \t]*(?:/|&\w+|&\{[^}\n]*\})[ \t]*\{"


def read_tree(
    file: str, give: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Tree:
    """Return the tree in `file`. If it has no tree, `give` is the hint; the other arguments are for
    the preprocessor, if the file is source. Raises Refused.
    """
    try:
        return _read(file, give, include_dirs, defines)
    except OSError as error:
        raise Refused([unreadable(file, error, _PATH)]) from None
    except DtbError as error:
        raise not_valid(file, error) from None


def not_valid(file: str, error: DtbError) -> Refused:
    """Return the refusal of a blob in which `error` was found."""
    what = f"not a valid devicetree blob: {error}"
    return refusal("malformed", what, "the file is damaged or cut off: copy it again", file)


def is_blob(file: str) -> bool:
    """Return whether the file `file` is a blob, by its magic. Raises OSError."""
    return beginning(file, len(MAGIC)) == MAGIC


def _read(file: str, give: str, include_dirs: Sequence[str], defines: Sequence[str]) -> Tree:
    if os.path.isdir(file):
        try:
            return tree_from_directory(file)
        except DirectoryError as error:
            raise refusal("malformed", str(error), give, file) from None
    found = content(file)
    if found.startswith(MAGIC):
        return tree_from_dtb(found)
    other = foreign(file, found[:LONGEST])
    if other:
        raise Refused([other])
    is_source = any(word in found for word in (b"/dts-v1/", b"#include"))
    if b"\0" in found or not is_source:
        is_overlay = b"\0" not in found and re.search(_NODE, found)
        raise refusal(
            "malformed",
            "this is an overlay, without /dts-v1/: not a whole tree"
            if is_overlay
            else "neither a devicetree blob nor devicetree source",
            give,
            file,
            expected=f"the magic {MAGIC.hex()}, or text with /dts-v1/",
            found=_in_its_place(found),
        )
    from west_viommu.read.source import host_tree

    return host_tree(file, include_dirs, defines)


def fragments(tree: Tree) -> list[Node]:
    """Return the fragments of an overlay blob; [] for a tree that is no overlay."""
    return [
        node
        for node in tree.root.children
        if any(child.name == OVERLAY_CONTENT for child in node.children)
    ]


def not_applied(file: str) -> Refused:
    """Return the refusal of an overlay in place of a whole tree."""
    return refusal(
        "malformed",
        "this is an overlay, not a whole tree",
        "apply it with fdtoverlay (dtc makes a blob of source), and give the outcome: "
        "fdtoverlay -i BASE.dtb -o HOST.dtb OVERLAY.dtbo",
        file,
    )


def _in_its_place(found: bytes) -> str:
    """Return a description of the content that is found in place of a tree."""
    try:
        if found and found.decode("utf-8").replace("\n", "").replace("\t", "").isprintable():
            return "other text"
    except UnicodeDecodeError:
        pass
    return found[:4].hex() or "an empty file"


class DirectoryError(Exception):
    """The directory is not a devicetree."""


def tree_from_directory(root: str) -> Tree:
    """Return the tree below `root`. Nodes and properties come in name order: a directory keeps no
    order.

    The file `name`, which the kernel adds to every node, is left out. Raises DirectoryError, or
    OSError if a file cannot be read.
    """
    # Devicetree specification 0.4, 3.1. The root node must have a compatible as well, but Xen gives
    # no compatible to a guest that it creates at boot.
    if not os.path.isfile(os.path.join(root, "#address-cells")):
        raise DirectoryError("this is not a devicetree: it has no file '#address-cells'")
    return Tree(_Reader().node(root, "/", "", 0))


class _Reader:
    """Reads nodes up to the size limit of a blob."""

    def __init__(self) -> None:
        self._left = MOST_OF_A_TREE

    def node(self, directory: str, path: str, name: str, depth: int) -> Node:
        """Return the node in `directory`."""
        if depth == MAX_DEPTH:
            raise DirectoryError(f"nodes are nested deeper than {MAX_DEPTH}")
        if len(path) > MAX_PATH:
            raise DirectoryError(f"a path is longer than {MAX_PATH} characters")
        self._take(len(path))
        properties: dict[str, bytes] = {}
        children: list[Node] = []
        for entry in self._entries(directory, path):
            # A link could lead anywhere, even back to a folder above. The kernel makes no links.
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
        """Return the entries of `directory`, by name."""
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
    """Return whether the name of a file was UTF-8. Python turns other bytes into lone
    surrogates.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_host_tree(
    file: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Tree:
    """Return the host tree in `file`; the other arguments are for the preprocessor, if the file is
    source. Raises Refused, also for a tree that Xen made for dom0.
    """
    tree = read_tree(file, _GIVE_HOST, include_dirs, defines)
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
    """Return the files that the host tree in `file` comes from: itself, and the files that its
    source includes.
    """
    if os.path.isdir(file):
        return []
    if is_blob(file):
        return [file]
    from west_viommu.read.preprocess import source_files

    return source_files(file)


def inventory_of(file: str, tree: Tree) -> Inventory:
    """Return the inventory of `tree`, from `file`. Raises Refused if `tree` is malformed."""
    found, errors = inventory(tree)
    if errors:
        raise Refused(malformed_host(file, error) for error in errors)
    return found


def malformed_host(file: str, error: TreeError) -> Diagnostic:
    """Return the diagnostic of `error` in the host tree of `file`."""
    hint = "correct the host tree: as it is, nobody can tell whose stream IDs are whose"
    return error.diagnostic._replace(hint=hint, where=Where(file))
