# SPDX-License-Identifier: Apache-2.0
"""Blobs as libfdt reads them."""

from __future__ import annotations

import libfdt


def libfdt_nodes(data: bytes) -> list[tuple[str, dict[str, bytes]]]:
    """Path and properties of every node, in document order, by libfdt."""
    fdt = libfdt.FdtRo(data)
    quiet = [libfdt.NOTFOUND]
    result = []
    pending = [(0, "/")]
    while pending:
        offset, path = pending.pop()
        properties = {}
        at = fdt.first_property_offset(offset, quiet)
        while at >= 0:
            prop = fdt.get_property_by_offset(at)
            properties[prop.name] = bytes(prop)
            at = fdt.next_property_offset(at, quiet)
        result.append((path, properties))
        children = []
        child = fdt.first_subnode(offset, quiet)
        while child >= 0:
            children.append((child, f"{path.rstrip('/')}/{fdt.get_name(child)}"))
            child = fdt.next_subnode(child, quiet)
        pending.extend(reversed(children))
    return result
