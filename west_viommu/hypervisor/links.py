# SPDX-License-Identifier: Apache-2.0
"""The references of the guest's /passthrough: to nodes that are copied along, and to others."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from west_viommu.diagnostics import first_few
from west_viommu.guest.gic import Gic, Specifier, is_nexus, is_on_gic, specifiers
from west_viommu.guest.source import GuestTree, is_below_passthrough
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node
from west_viommu.tree.providers import companions, meaning
from west_viommu.tree.references import Reading, reading_of

# Properties that are written anew for each toolstack, or are not for Xen.
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


# Further nodes are only counted.
_MOST_NAMED = 3


class LeftOut(NamedTuple):
    """Properties that a node does not keep, and the reason: the words, in which {} stands for
    `nodes`. They are apart, as a short source may name nodes by long paths.
    """

    names: tuple[str, ...]
    words: str
    nodes: Collection[str] = ()

    @property
    def why(self) -> str:
        """The reason as text."""
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
        """Return the properties that refer to nodes which are copied along: index of a cell ->
        path.
        """
        return {
            name: reading.reference.cells
            for name, reading in self._readings[node.path].items()
            if _is_local(reading) and not reading.is_guess
        }

    def left_out(self, node: Node) -> Iterator[LeftOut]:
        """Yield the properties that refer out of /passthrough, with the properties of names that
        belong to them.
        """
        for name, reading in self._readings[node.path].items():
            if not _is_local(reading):
                names = (name, *(n for n in companions(name) if n in node.properties))
                targets = [p for p in reading.reference.targets if not is_below_passthrough(p)]
                words = "it may refer to {}" if reading.is_guess else meaning(name)
                nodes = targets if reading.is_guess or not words else ()
                yield LeftOut(names, words or ("it refers to {}" if nodes else ""), nodes)

    def local(self, written: Specifier) -> Node | None:
        """Return the controller of the interrupt, if it is copied along and is the last on the
        way.
        """
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
        """Yield the nodes to which a property of the partial tree refers."""
        for node in self.below:
            for cells in self.kept(node).values():
                yield from cells.values()
            for reading in self._readings[node.path].values():
                yield from reading.reference.others
            try:
                written = specifiers(self._guest, self._gic, node)
            except TreeError:
                # The code that uses the node's interrupts reports this.
                continue
            yield from (target.path for target in map(self.local, written) if target)


def phandle_of(node: Node) -> int:
    """Return the phandle of `node`; 0 without one."""
    value = node.properties.get("phandle") or node.properties.get("linux,phandle") or b""
    return int.from_bytes(value, "big") if len(value) == 4 else 0


def _is_local(reading: Reading) -> bool:
    targets = reading.reference.targets
    if reading.is_guess:
        # A list of references begins with a reference.
        targets = tuple(path for i, path in reading.reference.cells.items() if i == 0)
    return not reading.is_open and all(map(is_below_passthrough, targets))
