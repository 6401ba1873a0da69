# SPDX-License-Identifier: Apache-2.0
"""Blobs, and overlay blobs, as source that can be combined with other source.

An overlay blob has a node for each fragment: its target, and the nodes to merge there below
__overlay__. __fixups__ lists the cells to fill with phandles of the base's labels, __local_fixups__
the cells with phandles of the overlay's own nodes, and __symbols__ the labels that the overlay adds
(dtc, Documentation/dt-object-internal.txt).
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.read.tree import OVERLAY_CONTENT, fragments
from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.node import NODE_NAME, PROPERTY_NAME, Node, Tree

_LABEL = r"[A-Za-z_][A-Za-z0-9_]*"
META = frozenset({"__symbols__", "__fixups__", "__local_fixups__"})
# Path of a node -> property -> offset of a phandle in it -> the label of the phandle's node.
Fills = dict[str, dict[str, dict[int, str]]]


def source_of(
    tree: Tree, file: str, written: Fills | None = None, labels: Mapping[str, str] | None = None
) -> str:
    """Return `tree`, of `file`, as source: with /dts-v1/, or as an overlay. `written`: further
    known references, including those to `labels` (by path). Raises Refused for content that source
    cannot have.
    """
    return _Writer(tree, file, written or {}, labels or {}).text()


class _Target(NamedTuple):
    """The target of a fragment, as source writes it, and the nodes to merge."""

    reference: str
    content: Node


class _Writer:
    """Writes one tree."""

    def __init__(self, tree: Tree, file: str, written: Fills, labels: Mapping[str, str]):
        self._tree = tree
        self._file = file
        self._fragments = fragments(tree)
        self._labels = {**dict(self._symbols()), **labels}
        self._fills = written
        # If each use of a phandle is known, the base need not leave its number free.
        self._renumbers = self._fragments and (written or tree.node("/__local_fixups__"))
        for path, prop, offset, label in (*self._fixups(), *self._local_fixups()):
            self._fills.setdefault(path, {}).setdefault(prop, {})[offset] = label

    def text(self) -> str:
        if not self._fragments:
            return "/dts-v1/;\n" + "".join(self._node("/", self._tree.root))
        parts = (self._target(fragment) for fragment in self._fragments)
        return "".join(line for part in parts for line in self._node(part.reference, part.content))

    def _target(self, fragment: Node) -> _Target:
        (content, *_) = (child for child in fragment.children if child.name == OVERLAY_CONTENT)
        label = self._fills.get(fragment.path, {}).get("target", {}).get(0)
        if label:
            return _Target(f"&{label}", content)
        path = fragment.properties.get("target-path", b"")[:-1].decode("utf-8", "replace")
        names = path.split("/")[1:]
        if path.startswith("/") and all(re.fullmatch(NODE_NAME, name) for name in names):
            return _Target(f"&{{{path}}}", content)
        if path == "/":
            return _Target("/", content)
        raise self._refused(
            fragment, "the target of a fragment is not known", "give it a target-path, or a label"
        )

    def _node(self, head: str, node: Node) -> Iterator[str]:
        label = self._labels.get(node.path)
        yield f"{label}: {head} {{\n" if label and not head.startswith("&") else f"{head} {{\n"
        fills = self._fills.get(node.path, {})
        for name, value in node.properties.items():
            if not re.fullmatch(PROPERTY_NAME, name):
                raise self._refused(node, "a property has a name that source cannot have")
            if label and name in ("phandle", "linux,phandle") and self._renumbers:
                continue
            yield f"{name}{_value(value, fills.get(name, {}))};\n"
        for child in node.children:
            if child.name in META and node is self._tree.root:
                continue
            if not re.fullmatch(NODE_NAME, child.name):
                raise self._refused(child, "a node has a name that source cannot have")
            yield from self._node(child.name, child)
        yield "};\n"

    def _symbols(self) -> Iterator[tuple[str, str]]:
        """Yield (path, label): those in __symbols__, and one for each node with a phandle if the
        overlay lists the uses of its phandles.
        """
        local = self._tree.node("/__local_fixups__")
        if self._fragments and local:
            for number, node in enumerate(self._tree.nodes()):
                if "phandle" in node.properties or "linux,phandle" in node.properties:
                    yield node.path, f"viommu_local_{number}"
        symbols = self._tree.node("/__symbols__")
        for label, value in symbols.properties.items() if symbols else ():
            path = value[:-1].decode("utf-8", "replace")
            if re.fullmatch(_LABEL, label) and self._tree.node(path):
                yield path, label

    def _fixups(self) -> Iterator[tuple[str, str, int, str]]:
        node = self._tree.node("/__fixups__")
        for label in node.properties if node else ():
            if not node or not re.fullmatch(_LABEL, label):
                continue
            try:
                uses = node.string_list(label)
            except TreeError as error:
                where = Where(self._file)
                again = error.diagnostic._replace(hint="compile it again", where=where)
                raise Refused([again]) from None
            for use in uses:
                path, _, rest = use.partition(":")
                prop, _, offset = rest.partition(":")
                if self._tree.node(path) and offset.isdecimal() and len(offset) < 9:
                    yield path, prop, int(offset), label

    def _local_fixups(self) -> Iterator[tuple[str, str, int, str]]:
        top = self._tree.node("/__local_fixups__")
        pending = [(top, "")] if top else []
        while pending:
            node, path = pending.pop()
            pending += [(child, f"{path}/{child.name}") for child in node.children]
            user = self._tree.node(path or "/")
            for prop, value in node.properties.items() if user else ():
                if not user or len(value) % 4:
                    continue
                for offset in cells(value, node.path, prop):
                    number = user.properties.get(prop, b"")[offset : offset + 4]
                    target = self._tree.with_phandle(int.from_bytes(number, "big"))
                    if target and target.path in self._labels:
                        yield path or "/", prop, offset, self._labels[target.path]

    def _refused(self, node: Node, what: str, hint: str = "compile it again") -> Refused:
        where = Where(self._file)
        return Refused(
            [Diagnostic(id="malformed", what=what, hint=hint, node=node.path, where=where)]
        )


def _value(value: bytes, fills: Mapping[int, str]) -> str:
    """Return ` = ...` with a label at each offset of `fills`, and bytes elsewhere."""
    parts = []
    at = 0
    for offset in sorted(fills):
        if offset < at or offset + 4 > len(value):
            continue
        if offset > at:
            parts.append(_bytes(value[at:offset]))
        parts.append(f"<&{fills[offset]}>")
        at = offset + 4
    if at < len(value):
        parts.append(_bytes(value[at:]))
    return f" = {', '.join(parts)}" if parts else ""


def _bytes(value: bytes) -> str:
    if len(value) % 4:
        return f"[{value.hex(' ')}]"
    numbers = (f"0x{value[i : i + 4].hex()}" for i in range(0, len(value), 4))
    return f"<{' '.join(numbers)}>"
