# SPDX-License-Identifier: Apache-2.0
"""Reads a whole blob with pylibfdt: the path of every node, and its properties."""

from __future__ import annotations

import sys
from pathlib import Path

import libfdt

_QUIET = [libfdt.NOTFOUND]


def tree(blob: bytes) -> dict[str, dict[str, bytes]]:
    """Properties by the path of their node."""
    fdt = libfdt.FdtRo(blob)
    found = {}
    lineage: list[str] = []
    offset, depth = 0, 0
    while offset >= 0 and depth >= 0:
        del lineage[depth:]
        lineage.append(fdt.get_name(offset))
        properties: dict[str, bytes] = {}
        at = fdt.first_property_offset(offset, _QUIET)
        while at >= 0:
            value = fdt.get_property_by_offset(at)
            properties[value.name] = bytes(value)
            at = fdt.next_property_offset(at, _QUIET)
        found["/".join(lineage) or "/"] = properties
        offset, depth = fdt.next_node(offset, depth, _QUIET)
    return found


if __name__ == "__main__":
    print(len(tree(Path(sys.argv[1]).read_bytes())))
