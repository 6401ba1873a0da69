# SPDX-License-Identifier: Apache-2.0
"""What the properties of parsed source refer to, cell by cell.

dtlib's public interface tells it only in the text that it writes a property as: `<&label 0x1>`,
`&{/path}`, strings and bytes, each of a known length.
"""

from __future__ import annotations

import re
from sys import intern
from typing import Any

from west_viommu.tree.references import NO_REFERENCE, Reference

# The types of dtlib whose values may refer to nodes.
_REFERRING = ("PHANDLE", "PHANDLES", "PHANDLES_AND_NUMS", "PATH", "COMPOUND")
_PIECE = re.compile(
    r'(?P<string>"[^\\"]*(?:\\.[^\\"]*)*")'
    r"|/bits/ (?P<bits>8|16|64)"
    r"|(?P<open>[<\[])|(?P<close>[>\]])"
    r"|&(?:(?P<label>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<path>[^}]*)\})"
    r"|(?P<inner>[A-Za-z_][A-Za-z0-9_]*):"
    r"|(?P<number>0x[0-9a-f]+|[0-9A-F]{2})"
)


def references(parsed: Any, prop: Any) -> Reference:
    """What dtlib property `prop` of the dtlib.DT `parsed` refers to."""
    if prop.type.name not in _REFERRING:
        return NO_REFERENCE
    cells: dict[int, str] = {}
    others: list[str] = []
    at = width = 0
    is_inside = False
    for piece in _PIECE.finditer(str(prop).partition(" = ")[2]):
        if piece["string"]:
            at = prop.value.find(b"\0", at) + 1
        elif piece["bits"]:
            width = int(piece["bits"]) // 8
        elif piece["open"]:
            is_inside = True
            width = 1 if piece["open"] == "[" else width or 4
        elif piece["close"]:
            is_inside, width = False, 0
        elif piece["number"]:
            at += width
        elif piece["label"] or piece["path"] is not None:
            path = piece["path"]
            node = parsed.get_node(path) if path else parsed.label2node[piece["label"]]
            # dtlib makes the path anew each time, and thousands of cells may have the same.
            target = intern(node.path)
            if is_inside and at % 4 == 0:
                cells[at // 4] = target
            else:
                others.append(target)
            at += 4 if is_inside else len(target) + 1
    return Reference(cells, tuple(others))
