# SPDX-License-Identifier: Apache-2.0
"""The rates of clocks, if a host tree states them."""

from collections.abc import Iterator
from functools import cached_property
from struct import unpack
from typing import NamedTuple

from west_viommu.tree.node import Node, Tree
from west_viommu.tree.references import reading_of

FIXED_CLOCK = "fixed-clock"
_FIXED_FACTOR = "fixed-factor-clock"
# The longest chain of derived clocks; it ends a loop of them.
_MOST_DERIVED = 8


class Clock(NamedTuple):
    """An entry of a list of clocks: the index of its phandle among the cells, the path of the
    provider, and the cells of the specifier.
    """

    at: int
    provider: str
    specifier: tuple[int, ...]

    def __str__(self) -> str:
        numbers = " ".join(map(str, self.specifier))
        return f"{self.provider} <{numbers}>" if numbers else self.provider


def clocks(tree: Tree, node: Node, name: str = "clocks") -> list[Clock] | None:
    """Return the entries of the property `name` of `node`; None if it cannot be read, or has an
    empty entry.
    """
    reading = reading_of(tree, node, name)
    if reading.is_open or reading.is_guess or reading.reference.others:
        return None
    value = node.properties[name]
    numbers = unpack(f">{len(value) // 4}I", value)
    found = []
    at = 0
    while at < len(numbers):
        provider = tree.node(reading.reference.cells.get(at, ""))
        if provider is None:
            return None
        width = _number(provider, "#clock-cells") or 0
        found.append(Clock(at, provider.path, numbers[at + 1 : at + 1 + width]))
        at += 1 + width
    return found


class Rates:
    """The rates in Hz that `tree` states: of a fixed-clock, of a fixed-factor-clock by its parent,
    of a provider of one clock with clock-frequency, and by assigned-clock-rates of any node.
    """

    def __init__(self, tree: Tree):
        self._tree = tree

    def of(self, provider: str, specifier: tuple[int, ...]) -> int | None:
        """Return the rate of a clock; None if the tree states no rate, or two."""
        return self._of(provider, specifier, _MOST_DERIVED)

    def _of(self, path: str, specifier: tuple[int, ...], deeper: int) -> int | None:
        node = self._tree.node(path)
        if node is None:
            return None
        if not specifier and _number(node, "#clock-cells") == 0:
            if rate := _number(node, "clock-frequency"):
                return rate
            if _FIXED_FACTOR in node.known_compatible and deeper:
                return self._derived(node, deeper - 1)
        return self._assigned.get((path, specifier))

    def _derived(self, node: Node, deeper: int) -> int | None:
        parents = clocks(self._tree, node) if "clocks" in node.properties else None
        multiplied, divided = _number(node, "clock-mult"), _number(node, "clock-div")
        if not parents or not multiplied or not divided:
            return None
        rate = self._of(parents[0].provider, parents[0].specifier, deeper)
        return rate * multiplied // divided if rate else None

    @cached_property
    def _assigned(self) -> dict[tuple[str, tuple[int, ...]], int | None]:
        stated: dict[tuple[str, tuple[int, ...]], int | None] = {}
        for node in self._tree.nodes():
            for clock, rate in self._of_node(node):
                key = clock.provider, clock.specifier
                stated[key] = rate if stated.setdefault(key, rate) == rate else None
        return stated

    def _of_node(self, node: Node) -> Iterator[tuple[Clock, int]]:
        value = node.properties.get("assigned-clock-rates", b"")
        if "assigned-clocks" not in node.properties or not value or len(value) % 4:
            return
        rates = unpack(f">{len(value) // 4}I", value)
        # The list of rates may be shorter, and 0 leaves a clock unchanged.
        for clock, rate in zip(
            clocks(self._tree, node, "assigned-clocks") or (), rates, strict=False
        ):
            if rate:
                yield clock, rate


def _number(node: Node, name: str) -> int | None:
    value = node.properties.get(name, b"")
    return int.from_bytes(value, "big") if len(value) == 4 else None
