# SPDX-License-Identifier: Apache-2.0
"""Trees read and written with libfdt, and the few rules of the devicetree that Xen's side needs.

Shares no code with the package: the model must not repeat the mistakes of what it judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libfdt

QUIET = [libfdt.NOTFOUND]
# pylibfdt makes a buffer larger when it is full, but not in its last step.
Span = tuple[int, int]


@dataclass
class Node:
    """A node. Two are equal with the same name, properties in any order, children in this one."""

    name: str
    props: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    parent: Node | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> str:
        if self.parent is None:
            return "/"
        return self.parent.path.rstrip("/") + "/" + self.name

    def add(self, child: Node) -> Node:
        child.parent = self
        self.children.append(child)
        return child

    def below(self) -> Iterator[Node]:
        """Every node below this one, a node before its children."""
        for child in self.children:
            yield child
            yield from child.below()

    def child(self, name: str) -> Node | None:
        """The child of exactly this name: libfdt's own look-up lets the unit address go."""
        return next((child for child in self.children if child.name == name), None)

    def ancestors(self) -> Iterator[Node]:
        """The node itself and all above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def cells(self, name: str) -> list[int]:
        return cells(self.props.get(name, b""))

    def cell(self, name: str, default: int) -> int:
        return (self.cells(name) or [default])[0]

    def strings(self, name: str) -> list[str]:
        return self.props.get(name, b"").decode(errors="replace").split("\0")[:-1]

    def enabled(self) -> bool:
        """A node is enabled when its own status and every ancestor's is absent, okay or ok."""
        return all(n.strings("status") in ([], ["okay"], ["ok"]) for n in self.ancestors())

    def phandles(self) -> set[int]:
        return {n for name in ("phandle", "linux,phandle") for n in self.cells(name)}


def cells(value: bytes) -> list[int]:
    """The whole cells of `value`."""
    return [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value) // 4 * 4, 4)]


def pack(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def number(parts: list[int]) -> int:
    return int.from_bytes(pack(*parts), "big")


def tree(blob: bytes) -> Node:
    """The tree in `blob`; ValueError when libfdt finds the blob wrong."""
    if libfdt.fdt_check_full(bytearray(blob), len(blob)):
        raise ValueError("no valid devicetree blob")
    fdt = libfdt.FdtRo(blob)
    root = Node("")
    try:
        _read(fdt, 0, root)
    except SystemError as error:  # pylibfdt's word for a name that is not text
        raise ValueError("no valid devicetree blob: a name is not text") from error
    return root


def _read(fdt: libfdt.FdtRo, offset: int, node: Node) -> None:
    at = fdt.first_property_offset(offset, QUIET)
    while at >= 0:
        prop = fdt.get_property_by_offset(at)
        node.props[prop.name] = bytes(prop)
        at = fdt.next_property_offset(at, QUIET)
    child = fdt.first_subnode(offset, QUIET)
    while child >= 0:
        _read(fdt, child, node.add(Node(fdt.get_name(child))))
        child = fdt.next_subnode(child, QUIET)


def blob_of(root: Node) -> bytes:
    """The blob of the tree at `root`, written from front to back as Xen and libxl write theirs."""
    writer = libfdt.FdtSw(_room(root))
    writer.finish_reservemap()
    _write(writer, root)
    fdt = writer.as_fdt()
    fdt.pack()
    return bytes(fdt.as_bytearray())


def _room(root: Node) -> int:
    """Bytes that surely do: pylibfdt makes room for nodes and properties, but not to finish."""
    size = 4096
    for node in [root, *root.below()]:
        size += 16 + len(node.name)
        size += sum(len(name) + len(value) + 20 for name, value in node.props.items())
    return size


def _write(writer: libfdt.FdtSw, node: Node) -> None:
    writer.begin_node(node.name)
    for name, value in node.props.items():
        writer.property(name, value)
    for child in node.children:
        _write(writer, child)
    writer.end_node()


def rows(bus: Node, values: list[int]) -> list[Span]:
    """The (address, size) rows of a reg in `bus`; without size cells it holds no addresses."""
    address, size = _said(bus, "#address-cells", 2), _said(bus, "#size-cells", 1)
    width = address + size
    if not size or not address:
        return []
    return [
        (number(values[i : i + address]), number(values[i + address : i + width]))
        for i in range(0, len(values) // width * width, width)
    ]


def _said(bus: Node, name: str, default: int) -> int:
    """What `bus`, or the nearest node above it that says so, has for its children: Xen and Linux
    walk up (__dt_n_addr_cells(), of_bus_n_addr_cells()).
    """
    return next((n.cell(name, default) for n in bus.ancestors() if name in n.props), default)


def absolute(bus: Node, base: int, size: int) -> int | None:
    """`base` as the root sees it: no ranges, no way up; empty ranges, no change."""
    if bus.parent is None:
        return base
    if "ranges" not in bus.props:
        return None
    if not bus.props["ranges"]:
        return absolute(bus.parent, base, size)
    here, above = _said(bus, "#address-cells", 2), _said(bus.parent, "#address-cells", 2)
    values, width = bus.cells("ranges"), here + above + _said(bus, "#size-cells", 1)
    for i in range(0, len(values), width or 1):
        child = number(values[i : i + here])
        parent = number(values[i + here : i + here + above])
        length = number(values[i + here + above : i + width])
        if child <= base and base + size <= child + length:
            return absolute(bus.parent, base - child + parent, size)
    return None


def regions(node: Node) -> list[Span]:
    """The absolute (base, size) of each reg entry that translates."""
    if node.parent is None:
        return []
    found = [
        (absolute(node.parent, base, size), size)
        for base, size in rows(node.parent, node.cells("reg"))
    ]
    return [(base, size) for base, size in found if base is not None]


def covered(start: int, end: int, spans: list[Span]) -> bool:
    """Whether the (start, end) `spans` together hold [start, end)."""
    for low, high in sorted(spans):
        if low <= start < high:
            start = high
    return start >= end
