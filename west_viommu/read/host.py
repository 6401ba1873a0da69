# SPDX-License-Identifier: Apache-2.0
"""HOST of the command line as a tree: a blob, known by its magic, a .dts, or a directory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from west_viommu.host.inventory import Inventory, inventory
from west_viommu.problems import Problem, Refused, Where
from west_viommu.read.dtb import MAGIC, DtbError, tree_from_dtb
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Tree

_GIVE = "give the blob that Xen is booted with, its .dts, or a /proc/device-tree directory"


def read_host(file: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()) -> Tree:
    """The host tree in `file`; the rest is for the preprocessor, if it is source. Raises Refused,
    also for a tree that Xen made for dom0.
    """
    try:
        tree = _read(file, include_dirs, defines)
        if any("xen,xen" in node.compatible for node in tree.root.children):
            raise _refused(
                "dom0-tree",
                file,
                "this is the tree that Xen made for dom0: it lacks the SMMUs and the stream IDs",
                "give the blob that Xen was booted with",
                "a tree without a xen,xen node",
            )
        return tree
    except OSError as error:
        raise _refused(
            "unreadable",
            str(error.filename or file),
            error.strerror or "cannot be read",
            "check its path",
        ) from None
    except DtbError as error:
        raise _refused(
            "malformed",
            file,
            f"not a valid devicetree blob: {error}",
            "the file is damaged or cut off: copy it again",
        ) from None
    except TreeError as error:
        raise Refused([malformed_host(file, error)]) from None


def host_files(file: str) -> list[str]:
    """The files that the host tree in `file` comes from: itself, and what its source includes."""
    if os.path.isdir(file):
        return []
    with open(file, "rb") as stream:
        if stream.read(len(MAGIC)) == MAGIC:
            return [file]
    from west_viommu.read.preprocess import source_files

    return source_files(file)


def read_inventory(file: str, tree: Tree) -> Inventory:
    """The inventory of `tree`, which `file` holds. Raises Refused for what is malformed in it."""
    found, errors = inventory(tree)
    if errors:
        raise Refused(malformed_host(file, error) for error in errors)
    return found


def malformed_host(file: str, error: TreeError) -> Problem:
    """`error` as a problem of the host tree in `file`."""
    return Problem(
        "malformed",
        error.what,
        "correct the host tree: as it is, whose stream IDs are whose cannot be told",
        error.path,
        error.expected,
        error.found,
        Where(file),
    )


def _read(file: str, include_dirs: Sequence[str], defines: Sequence[str]) -> Tree:
    if os.path.isdir(file):
        from west_viommu.read.directory import DirectoryError, tree_from_directory

        try:
            return tree_from_directory(file)
        except DirectoryError as error:
            raise _refused("malformed", file, str(error), _GIVE) from None
    with open(file, "rb") as stream:
        content = stream.read()
    if content.startswith(MAGIC):
        return tree_from_dtb(content)
    is_source = any(word in content for word in (b"/dts-v1/", b"#include"))
    if b"\0" in content or not is_source:
        raise _refused(
            "malformed",
            file,
            "neither a devicetree blob nor devicetree source",
            _GIVE,
            f"the magic {MAGIC.hex()}, or text with /dts-v1/",
            content[:4].hex() or "an empty file",
        )
    from west_viommu.read.source import host_tree

    return host_tree(file, include_dirs, defines)


def _refused(
    id: str, file: str, what: str, hint: str, expected: str = "", found: str = ""
) -> Refused:
    return Refused([Problem(id, what, hint, "", expected, found, Where(file))])
