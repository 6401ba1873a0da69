# SPDX-License-Identifier: Apache-2.0
"""A devicetree blob as a tree, in one pass (devicetree specification 0.4, chapter 5).

Our own parser, because it makes `viommu list` start fast and because the blob is untrusted: before
any offset is used, it is checked against the bounds of its block.
"""

from struct import Struct, unpack_from
from types import MappingProxyType

from west_viommu.tree.node import Node, Tree

MAGIC = b"\xd0\x0d\xfe\xed"
# Version 16 lacks size_dt_struct; dtc, U-Boot, QEMU and Linux write version 17.
_OLDEST_VERSION = 16
_NEWEST_VERSION = 17
_HEADER_BYTES = {16: 36, 17: 40}
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
# Real trees have about 10 levels. Nested Python tuples are compared and freed recursively.
MAX_DEPTH = 64
# The kernel shows nodes and properties as files, so it has no longer names. Each node keeps its
# whole path: without a bound, a small blob of a long name and many nodes below it would fill the
# memory.
MAX_NAME = 255
MAX_PATH = 1024
# All paths of a tree together may be this many times its size. In real trees they are a quarter of
# its size.
_PATHS = 4
_SHORT_PATHS = 1 << 16
# Bytes. Shorter values are addresses, interrupts and IDs, which all differ.
_LONG = 12

_TAG = Struct(">I").unpack_from
_PROPERTY = Struct(">II").unpack_from


class DtbError(Exception):
    """A blob that breaks the format: the mistake, and the byte of the blob at which it shows."""

    def __init__(self, what: str, offset: int):
        super().__init__(f"{what} at byte {offset:#x}")


class _Blocks:
    """The checked header: the bounds of the structure and of the strings of a blob."""

    __slots__ = ("memreserve", "strings", "strings_end", "struct", "struct_end")

    def __init__(self, blob: bytes):
        if len(blob) < _HEADER_BYTES[16]:
            raise DtbError("the header is cut off", len(blob))
        magic, size, struct, strings, rows, version, oldest_reader, _, strings_size = unpack_from(
            ">4s8I", blob
        )
        if magic != MAGIC:
            raise DtbError("no devicetree magic", 0)
        if version < _OLDEST_VERSION or oldest_reader > _NEWEST_VERSION:
            raise DtbError(f"unsupported format version {version}", 20)
        if size > len(blob):
            what = f"the header says {size} bytes, the file has {len(blob)}: cut off"
            raise DtbError(what, len(blob))
        header = _HEADER_BYTES[16 if version == 16 else 17]
        if size < header:
            raise DtbError("totalsize does not hold the header", 4)
        self.struct = struct
        self.struct_end = size
        if version > _OLDEST_VERSION:
            (struct_size,) = unpack_from(">I", blob, 36)
            self.struct_end = struct + struct_size
        self.strings = strings
        self.strings_end = strings + strings_size
        if struct % 4 or struct < header or self.struct_end > size:
            raise DtbError("the structure block is misplaced", 8)
        if strings < header or self.strings_end > size:
            raise DtbError("the strings block is misplaced", 12)
        self.memreserve = _memreserve(blob, rows, size)


def tree_from_dtb(blob: bytes) -> Tree:
    """Return the tree in `blob`. Bytes after the header's totalsize, or after the blocks, are
    ignored.

    Raises DtbError if the blob breaks the format.
    """
    blocks = _Blocks(blob)
    names: dict[int, str] = {}
    known: dict[bytes, bytes] = {}
    at, end = blocks.struct, blocks.struct_end
    # One entry per open node: path, name, properties, children.
    open_nodes: list[tuple[str, str, dict[str, bytes], dict[str, Node]]] = []
    properties: dict[str, bytes] = {}
    children: dict[str, Node] = {}
    root: Node | None = None
    room = room_for_paths(len(blob))
    while True:
        if at + 4 > end:
            raise DtbError("the structure block ends without FDT_END", at)
        (tag,) = _TAG(blob, at)
        if tag == _PROP:
            if at + 12 > end:
                raise DtbError("a property is cut off", at)
            size, name_offset = _PROPERTY(blob, at + 4)
            first = at + 12
            if size > end - first:
                raise DtbError("a property is longer than the structure block", at)
            if not open_nodes or children:
                raise DtbError("a property outside the head of a node", at)
            name = names.get(name_offset)
            if name is None:
                name = names[name_offset] = _property_name(blob, blocks, name_offset, at)
            if name in properties:
                raise DtbError(f"{open_nodes[-1][0]} has two properties {name!r}", at)
            value = blob[first : first + size]
            # Thousands of devices have equal long values: clocks, compatible, names.
            properties[name] = known.setdefault(value, value) if size > _LONG else value
            at = first + (size + 3 & ~3)
        elif tag == _BEGIN_NODE:
            stop = blob.find(b"\0", at + 4, end)
            if stop < 0:
                raise DtbError("a node name is cut off", at)
            name = _text(blob[at + 4 : stop], at + 4)
            if len(open_nodes) == MAX_DEPTH:
                raise DtbError(f"nodes are nested deeper than {MAX_DEPTH}", at)
            if root is not None:
                raise DtbError("a second root node", at)
            path = _path(open_nodes[-1][0], name, children, at) if open_nodes else "/"
            room -= len(path)
            if room < 0:
                raise DtbError("the paths of the nodes are much longer than the blob", at)
            properties, children = {}, {}
            open_nodes.append((path, name, properties, children))
            at = stop + 4 & ~3
        elif tag == _END_NODE:
            if not open_nodes:
                raise DtbError("the end of a node that did not begin", at)
            path, name, properties, children = open_nodes.pop()
            node = Node(path, name, MappingProxyType(properties), tuple(children.values()))
            if open_nodes:
                _, _, properties, children = open_nodes[-1]
                children[node.name] = node
            else:
                root = Node("/", "", node.properties, node.children)
            at += 4
        elif tag == _NOP:
            at += 4
        elif tag == _END:
            if root is None:
                raise DtbError("the structure block ends inside a node", at)
            return Tree(root, memreserve=blocks.memreserve)
        else:
            raise DtbError(f"unknown structure tag {tag:#x}", at)


def _memreserve(blob: bytes, at: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the rows (address, size) of the memory reservation block at byte `at`, which a row of
    zeros ends; () if it has no end.
    """
    rows: list[tuple[int, int]] = []
    while at + 16 <= end:
        row: tuple[int, int] = unpack_from(">QQ", blob, at)
        if row == (0, 0):
            return tuple(rows)
        rows.append(row)
        at += 16
    return ()


def room_for_paths(size: int) -> int:
    """Return how many characters all paths of a tree may have together, for a blob or text of
    `size`.
    """
    return _PATHS * size + _SHORT_PATHS


def _path(parent: str, name: str, siblings: dict[str, Node], at: int) -> str:
    """Return the path of child `name`. Raises DtbError if the name cannot be part of a path."""
    if not name or "/" in name:
        raise DtbError(f"{parent} has a child with the name {name!r}", at)
    if len(parent) + len(name) >= MAX_PATH:
        raise DtbError(f"a path is longer than {MAX_PATH} characters", at)
    if name in siblings:
        raise DtbError(f"{parent} has two children {name!r}", at)
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def _property_name(blob: bytes, blocks: _Blocks, offset: int, at: int) -> str:
    first = blocks.strings + offset
    stop = blob.find(b"\0", first, blocks.strings_end) if first < blocks.strings_end else -1
    if stop < 0:
        raise DtbError("a property name lies outside the strings block", at)
    if stop == first:
        raise DtbError("a property without a name", at)
    return _text(blob[first:stop], first)


def _text(raw: bytes, at: int) -> str:
    if len(raw) > MAX_NAME:
        raise DtbError(f"a name is longer than {MAX_NAME} bytes", at)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise DtbError("a name is not UTF-8", at) from None
