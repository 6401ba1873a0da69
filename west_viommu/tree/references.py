# SPDX-License-Identifier: Apache-2.0
"""Which cells of a property are phandles: by its source, or by tables and equal numbers."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import address_cells, interrupt_cells
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.providers import Provider, is_number, is_syscon, provider


class Reference(NamedTuple):
    """The nodes to which one property refers. `cells`: index of a cell -> path of the node with
    that phandle. `others`: nodes referred to by path, or beside cells of other sizes.
    """

    cells: Mapping[int, str]
    others: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The path of each node that is referred to."""
        return (*self.cells.values(), *self.others)


class Reading(NamedTuple):
    """A property as far as it can be read: `reference` if it refers to nodes. `is_open`: by its
    name the property refers to nodes, but it is unknown to which. `is_guess`: only equal numbers
    show that it does.
    """

    reference: Reference
    is_open: bool = False
    is_guess: bool = False


NO_REFERENCE = Reference({})
PLAIN = Reading(NO_REFERENCE)


class Source(NamedTuple):
    """Facts of a tree that only its source has. `labels`: label -> path. `numbered`: the paths of
    the nodes with a phandle that was written as a number, to which a number elsewhere may refer.
    `references`: path of a node -> property -> its references by label or path.
    """

    labels: Mapping[str, str]
    numbered: frozenset[str]
    references: Callable[[str], Mapping[str, Reference]]


def reading_of(tree: Tree, node: Node, name: str) -> Reading:
    """Return to which nodes property `name` of a `node` of `tree` refers: by the references in the
    source; without any, by numbers that are phandles, if the name of the property allows that.
    """
    value = node.properties[name]
    of_source = tree.source.references(node.path) if tree.source else {}
    written = of_source.get(name, NO_REFERENCE)
    row = provider(name)
    if name == "interrupt-map":
        return _of_interrupt_map(tree, node, written)
    if row:
        return _of_table(tree, row, value, written)
    if written.targets:
        return Reading(written)
    if not value or len(value) % 4 or _is_text(value):
        return PLAIN
    numbers = [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4)]
    if is_syscon(name) and not is_number(name):
        first = tree.by_number(numbers[0])
        return Reading(Reference({0: first.path} if first else {}), is_open=not first)
    targets = enumerate(map(tree.by_number, numbers))
    named = {i: target.path for i, target in targets if target}
    if not named or is_number(name):
        return PLAIN
    return Reading(Reference(named), is_guess=True)


def _of_interrupt_map(tree: Tree, nexus: Node, written: Reference) -> Reading:
    """Return the reading of an interrupt-map: a row is a child's unit address and interrupt, and
    the phandle, unit address and interrupt of its parent.
    """
    value = nexus.properties["interrupt-map"]
    fallback = Reading(written, is_open=not written.targets)
    try:
        key = address_cells(tree, nexus) + nexus.number("#interrupt-cells", 0)
    except TreeError:
        return fallback
    if written.others or len(value) % 4:
        return fallback
    numbers = [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4)]
    named: dict[int, str] = {}
    at = 0
    while at + key < len(numbers):
        at += key
        path = written.cells.get(at)
        parent = tree.node(path) if path else tree.by_number(numbers[at])
        if parent is None:
            return fallback
        named[at] = parent.path
        try:
            at += 1 + parent.number("#address-cells", 0) + interrupt_cells(parent)
        except TreeError:
            return fallback
    is_whole = at == len(numbers) and set(written.cells) <= set(named)
    return Reading(Reference(named)) if is_whole else fallback


def _of_table(tree: Tree, row: Provider, value: bytes, written: Reference) -> Reading:
    """Return the reading by a row of the table: an entry is a phandle and as many arguments as its
    node wants. If the value does not come out even, return the references in the source, or an open
    reading.
    """
    fallback = Reading(written, is_open=not written.targets)
    if row.cells is None or written.others or len(value) % 4:
        return fallback
    numbers = [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4)]
    named: dict[int, str] = {}
    at = 0
    while at < len(numbers):
        path = written.cells.get(at)
        node = tree.node(path) if path else tree.by_number(numbers[at])
        width = 0
        if node:
            named[at] = node.path
            width = int.from_bytes(node.properties.get(row.cells, b""), "big")
        elif numbers[at]:
            return fallback
        # 0 stands for an omitted entry (of_phandle_iterator_next of Linux).
        at += 1 + width
    is_whole = at == len(numbers) and set(written.cells) <= set(named)
    return Reading(Reference(named)) if is_whole else fallback


def _is_text(value: bytes) -> bool:
    return value.endswith(b"\0") and _are_printable(value[:-1])


def _are_printable(text: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in text)
