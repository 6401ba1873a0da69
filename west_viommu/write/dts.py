# SPDX-License-Identifier: Apache-2.0
"""A tree as devicetree source, and text that is safe in devicetree source."""

import re
from collections.abc import Iterator, Mapping

from west_viommu.tree.node import Node

# For each reference, dtc goes through its whole tree, and through the earlier references of the
# property. A reader has no use for more labels than these.
_MOST_REFERENCES = 1000
# Characters that a label must not have.
_UNFIT = r"[^A-Za-z0-9_]"

References = Mapping[str, Mapping[str, Mapping[int, Node]]]


def dts(root: Node, references: References) -> str:
    """Return `root` as source: the same bytes in each property, in the form that people read best.

    `references`: path of a node -> property -> index of a cell -> the node with that phandle.
    References are labels in the source, as dtc warns of a phandle that is a number, unless there
    are thousands.
    """
    targets = [
        target
        for of_node in references.values()
        for of_property in of_node.values()
        for target in of_property.values()
    ]
    has_labels = len(targets) <= _MOST_REFERENCES
    labels = {target.path: _label(target) for target in targets} if has_labels else {}
    return "".join(["/dts-v1/;\n\n", *_node(root, 0, references, labels)])


def _label(node: Node) -> str:
    """Return a label for `node`: its path and, below the root, its phandle, as two paths may give
    the same label.
    """
    name = re.sub(_UNFIT, "_", node.path[1:])
    return name if node.path.count("/") == 1 else f"{name}_{node.number('phandle', 0)}"


def commented(text: str) -> str:
    """Return `text` so that it can neither end the comment around it nor break its line."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("*/", "* /")


def quoted(text: str) -> str:
    """Return `text` as a devicetree string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').encode()
    inside = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in escaped)
    return f'"{inside}"'


def _node(
    node: Node, depth: int, references: References, labels: Mapping[str, str]
) -> Iterator[str]:
    indent = "\t" * depth
    label = f"{labels[node.path]}: " if node.path in labels else ""
    yield f"{indent}{label}{node.name or '/'} {{\n"
    for name, value in node.properties.items():
        targets = references.get(node.path, {}).get(name, {})
        yield f"{indent}\t{name}{_value(value, targets, labels)};\n"
    for child in node.children:
        yield "\n"
        yield from _node(child, depth + 1, references, labels)
    yield f"{indent}}};\n"


def value_text(value: bytes, references: Mapping[int, str] | None = None) -> str:
    """Return " = ..." for a property with that value, "" for a flag. `references`: index of a cell
    -> its label; each label begins an entry of its own.
    """
    if not references or len(value) % 4:
        return _value(value, {}, {})
    numbers = [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4)]
    starts = sorted({0, *references})
    entries = (
        " ".join(
            f"&{references[i]}" if i in references else f"{numbers[i]:#x}" for i in range(at, end)
        )
        for at, end in zip(starts, [*starts[1:], len(numbers)], strict=True)
    )
    return f" = {', '.join(f'<{entry}>' for entry in entries)}"


def _value(value: bytes, targets: Mapping[int, Node], labels: Mapping[str, str]) -> str:
    if not value:
        return ""
    if not targets and _is_text(value):
        strings = value[:-1].decode().split("\0")
        return f" = {', '.join(map(quoted, strings))}"
    if len(value) % 4 == 0:
        numbers = (int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4))
        cells = (
            f"&{labels[targets[i].path]}" if labels and i in targets else f"{number:#x}"
            for i, number in enumerate(numbers)
        )
        return f" = <{' '.join(cells)}>"
    return f" = [{value.hex(' ')}]"


def _is_text(value: bytes) -> bool:
    """Return whether `value` is a list of readable strings, none of them empty."""
    strings = value.split(b"\0")
    return strings.pop() == b"" and all(s and all(0x20 <= c < 0x7F for c in s) for s in strings)
