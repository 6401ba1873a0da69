# SPDX-License-Identifier: Apache-2.0
"""python-devicetree's dtlib, with bounds on the work that a source can cause; and the references in
the parsed tree. dtlib's public interface has references only in the text of a property: `<&label
0x1>`, `&{/path}`, strings and bytes, each of a known length.
"""

import io
import os
import re
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from sys import intern
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any

from west_viommu.diagnostics import refusal
from west_viommu.read.dtb import room_for_paths
from west_viommu.read.plain_file import plain_descriptor
from west_viommu.tree.references import NO_REFERENCE, Reference

if TYPE_CHECKING:
    # The DT class of the dtlib that is found when a run needs it.
    _DT = Any
else:
    _DT = object

# The most bytes of a file that /incbin/ can put into a property.
_MOST_INCLUDED = 1 << 20
# The most characters of paths in a property, each written as &label; dtlib copies them all for
# each.
_MOST_PATHS = 1 << 16
_WORD_BITS = 64
# dtlib's message if a cell is a word that the preprocessor left unchanged.
_NO_NUMBER = "expected number"
_WORD = re.compile(r"[A-Za-z_]\w*")
# A number that ends where a word begins.
_NUMBER = re.compile(r"\b[0-9][0-9A-Za-z]*$")
# A string that ends at the first quote of another line.
_LONG_STRING = re.compile(r'"[^"]*\n[^"]*"\s*$')
_QUOTES = "\u201c\u201d\u2018\u2019'`"
END = "the source ends inside a node or a value"
UNCLOSED = "the node before this is not closed"
# dtlib needs one second for the largest sources of real boards.
MOST_SECONDS = 20.0
# Exceptions of dtlib's and edtlib's code over unforeseen text: 08, a number of 5,000 digits, a
# negative offset of /incbin/, a list in place of a mapping.
UNFORESEEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
# dtlib's placeholder for a phandle that is not assigned yet.
_NO_PHANDLE = bytes(4)
# The value types of dtlib that may refer to nodes.
_REFERRING = ("PHANDLE", "PHANDLES", "PHANDLES_AND_NUMS", "PATH", "COMPOUND")
_PIECE = re.compile(
    r'(?P<string>"[^\\"]*(?:\\.[^\\"]*)*")'
    r"|/bits/ (?P<bits>8|16|64)"
    r"|(?P<open>[<\[])|(?P<close>[>\]])"
    r"|&(?:(?P<label>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<path>[^}]*)\})"
    r"|(?P<inner>[A-Za-z_][A-Za-z0-9_]*):"
    r"|(?P<number>0x[0-9a-f]+|[0-9A-F]{2})"
)


class Labelled:
    """The nodes of a tree that is being parsed, by their labels. `last`: the node that was referred
    to last; a statement that extends it may give it another label.
    """

    def __init__(self) -> None:
        self.last: Any = None
        # None for a label of several nodes: only a walk of the tree finds the one that counts.
        self._nodes: dict[str, Any] = {}

    def add(self, node: Any, labels: Iterable[str]) -> None:
        """Remember that `node` has the `labels`."""
        for label in labels:
            if self._nodes.setdefault(label, node) is not node:
                self._nodes[label] = None

    def node(self, label: str) -> Any:
        """Return the node with the label; None if it is not known."""
        if self.last is not None:
            self.add(self.last, self.last.labels[-1:])
        found = self._nodes.get(label)
        return found if found is not None and _is_attached(found) else None


def _is_attached(node: Any) -> bool:
    """Return whether neither `node` nor a node above it has been deleted."""
    while node.parent is not None:
        if node.parent.nodes.get(node.name) is not node:
            return False
        node = node.parent
    return True


class Unique(list[Any]):
    """A list with a fast membership test."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[Any] = set()

    def append(self, item: Any) -> None:
        self._known.add(item)
        super().append(item)

    def __contains__(self, item: Any) -> bool:
        return item in self._known


def dtlib() -> ModuleType:
    """Return Zephyr's own dtlib if ZEPHYR_BASE names a Zephyr, else PyPI's."""
    base = os.environ.get("ZEPHYR_BASE")
    own = Path(base, "scripts/dts/python-devicetree/src") if base else None
    if own and own.is_dir() and str(own) not in sys.path:
        sys.path.insert(0, str(own))
    try:
        from devicetree import dtlib as found
    except ImportError:
        raise refusal(
            "unreadable",
            "devicetree source needs the Python package devicetree",
            "pip install devicetree, or set ZEPHYR_BASE",
        ) from None
    module: ModuleType = found
    return module


class _Bounds(_DT):  # type: ignore[misc]
    """A class to put before the DT of the module `_dtlib`. `_deadline`: when parsing must have
    ended.
    """

    _dtlib: Any
    _deadline: float

    def __init__(self, *arguments: Any, **named: Any):
        self._labelled = Labelled()
        self._phandles = count(1)
        # Each property that refers to nodes by path, and the references.
        self._by_path: list[tuple[Any, list[str]]] = []
        try:
            super().__init__(*arguments, **named)
        except RecursionError:
            self._parse_error("this is nested too deeply")
        except UNFORESEEN as error:
            self._parse_error(f"this cannot be read: {error}")

    def _next_ref2node(self) -> Any:
        # For /delete-node/ and /omit-if-no-ref/.
        node = super()._next_ref2node()
        if node.parent is None:
            self._parse_error("the root node cannot be deleted")
        return node

    def _parse_node(self, node: Any) -> Any:
        self._labelled.add(node, node.labels)
        return super()._parse_node(node)

    def _ref2node(self, name: str) -> Any:
        found = None if name.startswith("{") else self._labelled.node(name)
        if found is None:
            # super() walks the tree, and reports the mistake.
            if monotonic() > self._deadline:
                raise self._dtlib.DTError(f"this was not read to its end within {MOST_SECONDS:g} s")
            found = super()._ref2node(name)
        self._labelled.last = found
        return found

    def _node_phandle(self, node: Any, *of_user: Any) -> Any:
        prop = node.props.get("phandle")
        if prop is None:
            prop = self._dtlib.Property(node, "phandle")
            prop._add_marker(self._dtlib._MarkerType.UINT32)
            prop.value = _NO_PHANDLE
            node.props["phandle"] = prop
        if prop.value == _NO_PHANDLE:
            number = next(n for n in self._phandles if n not in self.phandle2node)
            self.phandle2node[number] = node
            prop.value = number.to_bytes(4, "big")
        return super()._node_phandle(node, *of_user)

    def _parse_assignment(self, prop: Any) -> None:
        prop._label_offset_lst = Unique()
        super()._parse_assignment(prop)
        prop.value = bytes(prop.value)
        by_path = [ref for _, kind, ref in prop._markers if kind is self._dtlib._MarkerType.PATH]
        if by_path:
            self._by_path.append((prop, by_path))

    def _fixup_props(self) -> None:
        room = room_for_paths(len(self._file_contents))
        for prop, by_path in self._by_path:
            length = sum(map(self._length_of, by_path))
            room -= length
            if length > _MOST_PATHS or room < 0:
                what = f"the paths that &{by_path[0]} and others stand for are too long"
                raise self._dtlib.DTError(f"{prop.node.path}: {prop.name}: {what}")
        super()._fixup_props()

    def _length_of(self, ref: str) -> int:
        try:
            return len(self._ref2node(ref).path)
        except self._dtlib.DTError:
            # The mistake is reported at the node that has it.
            return 0

    def _parse_cells(self, prop: Any, width: int) -> None:
        # Appending to bytes would copy them each time.
        prop.value = prop.value if isinstance(prop.value, bytearray) else bytearray(prop.value)
        super()._parse_cells(prop, width)

    def _parse_bytes(self, prop: Any) -> None:
        prop.value = prop.value if isinstance(prop.value, bytearray) else bytearray(prop.value)
        super()._parse_bytes(prop)

    def _next_token(self) -> Any:
        if monotonic() > self._deadline:
            self._parse_error(f"this was not read to its end within {MOST_SECONDS:g} s")
        return super()._next_token()

    def _parse_error(self, said: object) -> None:
        # A text, or an exception.
        before, rest = self._file_contents[: self._tok_i], self._file_contents[self._tok_i :]
        super()._parse_error(_mistake(str(said), before, rest))

    def _eval_shift(self) -> int:
        value: int = self._eval_add()
        while True:
            is_left = self._check_token("<<")
            if not is_left and not self._check_token(">>"):
                return value
            count = self._eval_add()
            if not 0 <= count < _WORD_BITS:
                self._parse_error(f"a shift by {count:#x} bits, of a number of {_WORD_BITS}")
            value = value << count if is_left else value >> count

    def _open(self, filename: str, mode: str = "r", **kwargs: Any) -> Any:
        if filename == "-":
            raise OSError("stdin is not a file")
        file = super()._open(filename, mode, opener=plain_descriptor, **kwargs)
        if mode != "rb":
            return file
        with file:
            content = file.read(_MOST_INCLUDED + 1)
        if len(content) > _MOST_INCLUDED:
            raise OSError(f"more than {_MOST_INCLUDED} bytes")
        return io.BytesIO(content)


def _mistake(said: str, before: str, rest: str) -> str:
    """Return dtlib's message, or for frequent mistakes their name, by the source `before` the token
    and from the token on (`rest`). read/source.py has the hints.
    """
    word = _WORD.match(rest)
    first, last = rest[:1], before.rstrip()[-1:]
    if not rest:
        return END
    if said.startswith(_NO_NUMBER):
        number = _NUMBER.search(before)
        if word and number:
            return f"{number[0]}{word[0]} is not a number"
        if word:
            return f"{word[0]} is neither a number nor a macro that is known here"
        return {
            ",": "a comma between the cells of a list",
            "-": "a negative number without parentheses",
            ";": "a list of cells that is not closed",
            "}": "a list of cells that is not closed",
        }.get(first, said)
    if said == "malformed value":
        if first == ";" and last == ",":
            return "a comma without a value after it"
        if first == '"':
            return "a string that is not closed"
        if first in _QUOTES:
            return "a value in quotes of another kind"
        return 'a value that is neither a "string" nor in < > nor in [ ]'
    if said.startswith("character literals"):
        return "a value in quotes of another kind"
    if said.startswith("expected ';' or ','") and _LONG_STRING.search(before):
        return "a string that is not closed"
    if said.startswith("expected '{'") and last == "#":
        return "# does not begin a comment here"
    if said.startswith("expected '{'") and first == ":":
        return "a label with a character that labels cannot have"
    if said.startswith("expected node or property name") and last == ":" and first in '<"[&':
        return "a colon between a property and its value"
    if said.startswith("'@' is only allowed") and first not in "=;":
        return "a node name without the { behind it"
    if said.startswith("expected node name") and first in "/&":
        return UNCLOSED
    if said.startswith("expected '/' or label") and first == "}":
        return "there is a } too many before this, or here"
    return said


def bounded_dt(module: ModuleType) -> Any:
    """Return the class DT of dtlib `module` with bounds: it evaluates no shift beyond 64 bits
    (Python's numbers have no end, 1 << 0xffffffff takes half a gigabyte), reads no device or large
    files, and ends in time. For labels, phandles and long values, it avoids dtlib's quadratic time.
    Each exception is a DTError.
    """
    own = {"_dtlib": module, "_deadline": monotonic() + MOST_SECONDS}
    return type("BoundedDT", (_Bounds, module.DT), own)


def references(parsed: Any, prop: Any) -> Reference:
    """Return the references of dtlib property `prop` of the dtlib.DT `parsed`, cell by cell."""
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
            # dtlib makes the path anew each time, and thousands of cells may have the same one.
            target = intern(node.path)
            if is_inside and at % 4 == 0:
                cells[at // 4] = target
            else:
                others.append(target)
            at += 4 if is_inside else len(target) + 1
    return Reference(cells, tuple(others))
