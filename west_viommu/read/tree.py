# SPDX-License-Identifier: Apache-2.0
"""A tree in any of its forms: a blob, known by its magic, a .dts, or a directory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from west_viommu.diagnostics import Refused, refusal
from west_viommu.read.dtb import MAGIC, DtbError, tree_from_dtb
from west_viommu.read.foreign import LONGEST, foreign
from west_viommu.read.plain_file import beginning, content, unreadable
from west_viommu.tree.node import Node, Tree

# What a fragment of an overlay merges into its target.
OVERLAY_CONTENT = "__overlay__"
_PATH = "check its path"


def read_tree(
    file: str, give: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Tree:
    """The tree in `file`; what to `give` instead is the hint where it has none, and the rest is for
    the preprocessor, if it is source. Raises Refused.
    """
    try:
        return _read(file, give, include_dirs, defines)
    except OSError as error:
        raise Refused([unreadable(file, error, _PATH)]) from None
    except DtbError as error:
        raise not_valid(file, error) from None


def not_valid(file: str, error: DtbError) -> Refused:
    """The refusal of a blob in which `error` was found."""
    what = f"not a valid devicetree blob: {error}"
    return refusal("malformed", what, "the file is damaged or cut off: copy it again", file)


def is_blob(file: str) -> bool:
    """Whether the file `file` is a blob, by its magic. Raises OSError."""
    return beginning(file, len(MAGIC)) == MAGIC


def _read(file: str, give: str, include_dirs: Sequence[str], defines: Sequence[str]) -> Tree:
    if os.path.isdir(file):
        from west_viommu.read.directory import DirectoryError, tree_from_directory

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
        raise refusal(
            "malformed",
            "neither a devicetree blob nor devicetree source",
            give,
            file,
            expected=f"the magic {MAGIC.hex()}, or text with /dts-v1/",
            found=_in_its_place(found),
        )
    from west_viommu.read.source import host_tree

    return host_tree(file, include_dirs, defines)


def fragments(tree: Tree) -> list[Node]:
    """The fragments of an overlay in the form of a blob; [] for a tree that is none."""
    return [
        node
        for node in tree.root.children
        if any(child.name == OVERLAY_CONTENT for child in node.children)
    ]


def not_applied(file: str) -> Refused:
    """The refusal of an overlay in place of a whole tree."""
    return refusal(
        "malformed",
        "this is an overlay, not a whole tree",
        "apply it with fdtoverlay (dtc makes a blob of source), and give the outcome: "
        "fdtoverlay -i BASE.dtb -o HOST.dtb OVERLAY.dtbo",
        file,
    )


def _in_its_place(found: bytes) -> str:
    """What stands in place of a tree."""
    try:
        if found and found.decode("utf-8").replace("\n", "").replace("\t", "").isprintable():
            return "other text"
    except UnicodeDecodeError:
        pass
    return found[:4].hex() or "an empty file"
