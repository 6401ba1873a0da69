# SPDX-License-Identifier: Apache-2.0
"""An immutable devicetree, the same for every reader of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NewType, TypeVar

from west_viommu.tree.cells import TreeError, strings, u32

if TYPE_CHECKING:
    from west_viommu.tree.references import Source

T = TypeVar("T")
Phandle = NewType("Phandle", int)

# "No IOMMU behind this entry": Linux skips 0 (of_phandle_iterator_next), and dtc writes 0xffffffff
# for a reference that an overlay left open.
NO_PHANDLES = frozenset({0, 0xFFFFFFFF})

# The characters of names (devicetree specification 0.4, 2.2.1 and 2.2.4). Not compiled before they
# are needed: most runs write no names of a blob.
NODE_NAME = r"[A-Za-z0-9,._+-]+(@[A-Za-z0-9,._+-]+)?"
PROPERTY_NAME = r"[A-Za-z0-9,._+?#-]+"
# Devicetree specification 0.4, 2.3.4: absent counts as "okay"; "ok" is the historical spelling.
_OKAY = ("okay", "ok")


class Node(NamedTuple):
    """A node with its unparsed properties and its children, both in document order."""

    path: str
    name: str
    properties: Mapping[str, bytes]
    children: tuple[Node, ...]

    def string_list(self, name: str) -> tuple[str, ...]:
        """Return the strings of property `name`; () if the node does not have the property."""
        value = self.properties.get(name)
        return () if value is None else strings(value, self.path, name)

    def number(self, name: str, default: int) -> int:
        """Return the u32 property `name`, or `default` if the node does not have the property."""
        value = self.properties.get(name)
        return default if value is None else u32(value, self.path, name)

    @property
    def is_available(self) -> bool:
        """Whether Xen accepts the node's own status, for an IOMMU and for a GIC:
        dt_device_is_available() compares the first string, and an empty or malformed one is not
        "okay". Xen does not look at the nodes above.
        """
        value = self.properties.get("status", b"okay")
        return value.split(b"\0")[0] in (b"okay", b"ok")

    @property
    def compatible(self) -> tuple[str, ...]:
        """The compatible strings, most specific first."""
        return self.string_list("compatible")

    @property
    def known_compatible(self) -> tuple[str, ...]:
        """The compatible strings; () if they are malformed: code that needs them reads
        `compatible`.
        """
        try:
            return self.compatible
        except TreeError:
            return ()

    @property
    def compatible_for_xen(self) -> tuple[str, ...]:
        """The compatible strings in lower case, as Xen compares them without regard to case
        (dt_compat_cmp() is strcasecmp(), 4.17 to 4.22); () if they are malformed.
        """
        value = self.properties.get("compatible")
        try:
            return strings(value.lower(), self.path, "compatible") if value else ()
        except TreeError:
            return ()


def name_of(path: str) -> str:
    """Return the name of the node at `path`, with its unit address."""
    return path.rpartition("/")[2]


def unit_address(name: str) -> int | None:
    """Return the unit address in the name of a node; None if it has no number there."""
    try:
        return int(name.partition("@")[2], 16)
    except ValueError:
        return None


def is_at_or_below(path: str, above: str) -> bool:
    """Return whether the node at `path` is the node at `above` or below it; no node counts as below
    the root.
    """
    return path == above or path.startswith(f"{above}/")


def paths_above(path: str) -> Iterator[str]:
    """Yield the paths of the nodes above `path`, the nearest first, without the root."""
    at = path.rfind("/")
    while at > 0:
        path = path[:at]
        yield path
        at = path.rfind("/")


class Tree:
    """Nodes by path, by phandle and in document order. `source`: facts of the source, None for a
    blob. `memreserve`: the rows (address, size) of the memory reservation block.
    """

    __slots__ = (
        "_by_path",
        "_by_phandle",
        "_decoded",
        "_shared_phandles",
        "_statuses",
        "memreserve",
        "root",
        "source",
    )

    def __init__(
        self,
        root: Node,
        source: Source | None = None,
        memreserve: tuple[tuple[int, int], ...] = (),
    ):
        self.root: Final = root
        self.source: Final = source
        self.memreserve: Final = memreserve
        self._by_path: dict[str, Node] = {}
        self._by_phandle: dict[int, Node] = {}
        self._shared_phandles: set[int] = set()
        self._statuses: dict[str, str] = {}
        self._decoded: dict[tuple[Callable[[Tree, Node], Any], str], Any] = {}
        pending = [root]
        while pending:
            node = pending.pop()
            self._by_path[node.path] = node
            value = node.properties.get("phandle") or node.properties.get("linux,phandle")
            # A value of another length is no phandle: code that refers to the node reports it.
            if value and len(value) == 4:
                phandle = int.from_bytes(value, "big")
                if self._by_phandle.setdefault(phandle, node) is not node:
                    self._shared_phandles.add(phandle)
            pending.extend(reversed(node.children))

    def decoded(self, make: Callable[[Tree, Node], T], node: Node) -> T:
        """Return `make(tree, node)`, computed once for each `make` and node."""
        key = make, node.path
        if key not in self._decoded:
            self._decoded[key] = make(self, node)
        known: T = self._decoded[key]
        return known

    def nodes(self) -> Iterable[Node]:
        """Return every node, a node before its children, in document order."""
        return self._by_path.values()

    def node(self, path: str) -> Node | None:
        """Return the node at `path`, or None."""
        return self._by_path.get(path)

    def parent(self, node: Node) -> Node | None:
        """Return the parent of `node`; None for the root."""
        if node.path == "/":
            return None
        return self._by_path[node.path.rpartition("/")[0] or "/"]

    def lineage(self, node: Node) -> Iterator[Node]:
        """Yield `node`, its parent, and so on up to the root."""
        current: Node | None = node
        while current is not None:
            yield current
            current = self.parent(current)

    def with_phandle(self, phandle: int) -> Node | None:
        """Return the only node with `phandle`; None if no node or several nodes have it."""
        return None if phandle in self._shared_phandles else self._by_phandle.get(phandle)

    def by_number(self, number: int) -> Node | None:
        """Return the node to which `number` refers, if it is a phandle."""
        node = self.with_phandle(number)
        return node if node and self.is_numbered(node) else None

    def is_numbered(self, node: Node) -> bool:
        """Return whether the phandle of `node` was written as a number, so that a number elsewhere
        may refer to the node: not if the compiler chose the phandle. A blob does not show which, so
        any phandle counts.
        """
        if self.source:
            return node.path in self.source.numbered
        return "phandle" in node.properties or "linux,phandle" in node.properties

    @property
    def labels(self) -> Mapping[str, str]:
        """Label -> path; empty without the source."""
        return self.source.labels if self.source else {}

    def phandle_target(self, phandle: int, user: Node, prop: str) -> Node:
        """Return the node with `phandle`, to which property `prop` of `user` refers.

        Raises TreeError if no node, or more than one, has the phandle.
        """
        target = self._by_phandle.get(phandle)
        if target is None:
            raise TreeError(
                "a phandle that no node has", user.path, prop, "a node's phandle", f"{phandle:#x}"
            )
        if phandle in self._shared_phandles:
            raise TreeError(
                "a phandle that two nodes have", user.path, prop, "one node", f"{phandle:#x}"
            )
        return target

    def status(self, node: Node) -> str:
        """Return "okay", or the first other status value from `node` up to the root; "malformed"
        for an empty one.

        A device is usable only if its own status and the status of every ancestor is "okay"
        (devicetree specification 0.4, 2.3.4).
        """
        for value in node.string_list("status")[:1]:
            if value not in _OKAY:
                return value or "malformed"
        parent = self.parent(node)
        if parent is None:
            return "okay"
        # Kept only for nodes with children: in a large host, most nodes have no children.
        known = self._statuses.get(parent.path)
        if known is None:
            known = self._statuses[parent.path] = self.status(parent)
        return known
