# SPDX-License-Identifier: Apache-2.0
"""Which nodes the guest's /passthrough refers to: those that come along, and others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from west_viommu.diagnostics import first_few
from west_viommu.guest.gic import Gic, Specifier, is_nexus, is_on_gic, specifiers
from west_viommu.guest.source import GuestTree, is_below_passthrough
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node
from west_viommu.tree.providers import companions, meaning
from west_viommu.tree.references import Reading, reading_of

# What is said anew for each toolstack, or is not for Xen.
REPLACED = frozenset(
    {
        "interrupts",
        "interrupts-extended",
        "interrupt-names",
        "interrupt-parent",
        "iommus",
        "iommu-map",
        "iommu-map-mask",
        "phandle",
        "linux,phandle",
    }
)


# More nodes are not named one by one.
_MOST_NAMED = 3


class LeftOut(NamedTuple):
    """Properties that a node does not keep, and why: the words, in which {} stands for `nodes`.
    Apart, as what is short in the source may name nodes by long paths.
    """

    names: tuple[str, ...]
    words: str
    nodes: Collection[str] = ()

    @property
    def why(self) -> str:
        """Why, for people."""
        if not self.nodes:
            return self.words
        return self.words.replace("{}", " and ".join(first_few(self.nodes, _MOST_NAMED)))

    def __str__(self) -> str:
        return f"{', '.join(self.names)} ({self.why})" if self.words else ", ".join(self.names)


class Links:
    """The references of one guest's /passthrough."""

    def __init__(self, guest: GuestTree, gic: Gic):
        self._guest = guest
        self._gic = gic
        self.below = [node for node in guest.tree.nodes() if is_below_passthrough(node.path)]
        self._readings = {node.path: dict(self._read(node)) for node in self.below}
        self.targets = frozenset(self._targets())

    def kept(self, node: Node) -> Mapping[str, Mapping[int, str]]:
        """The properties that refer to nodes which come along: index of a cell -> path."""
        return {
            name: reading.reference.cells
            for name, reading in self._readings[node.path].items()
            if _is_local(reading) and not reading.is_guess
        }

    def left_out(self, node: Node) -> Iterator[LeftOut]:
        """The properties that refer out of /passthrough, with the names that belong to them."""
        for name, reading in self._readings[node.path].items():
            if not _is_local(reading):
                names = (name, *(n for n in companions(name) if n in node.properties))
                targets = [p for p in reading.reference.targets if not is_below_passthrough(p)]
                words = "it may refer to {}" if reading.is_guess else meaning(name)
                nodes = targets if reading.is_guess or not words else ()
                yield LeftOut(names, words or ("it refers to {}" if nodes else ""), nodes)

    def local(self, written: Specifier) -> Node | None:
        """The controller of the interrupt, where that comes along and is the last on its way."""
        node = written.controller
        is_end = node and is_below_passthrough(node.path) and not is_nexus(node)
        return node if is_end and not is_on_gic(self._gic, written) else None

    def _read(self, node: Node) -> Iterator[tuple[str, Reading]]:
        for name in node.properties:
            if name not in REPLACED:
                reading = reading_of(self._guest.tree, node, name)
                if reading.is_open or reading.reference.targets:
                    yield name, reading

    def _targets(self) -> Iterator[str]:
        """The nodes that a property of the partial tree refers to."""
        for node in self.below:
            for cells in self.kept(node).values():
                yield from cells.values()
            for reading in self._readings[node.path].values():
                yield from reading.reference.others
            try:
                written = specifiers(self._guest, self._gic, node)
            except TreeError:
                # That is for whoever has a use for the interrupts of the node.
                continue
            yield from (target.path for target in map(self.local, written) if target)


def phandle_of(node: Node) -> int:
    """The phandle of `node`; 0 where it has none."""
    value = node.properties.get("phandle") or node.properties.get("linux,phandle") or b""
    return int.from_bytes(value, "big") if len(value) == 4 else 0


def _is_local(reading: Reading) -> bool:
    targets = reading.reference.targets
    if reading.is_guess:
        # A list of references begins with one.
        targets = tuple(path for i, path in reading.reference.cells.items() if i == 0)
    return not reading.is_open and all(map(is_below_passthrough, targets))
