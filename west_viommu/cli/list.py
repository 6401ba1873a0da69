# SPDX-License-Identifier: Apache-2.0
"""`viommu list`: the IOMMUs and masters of a host, and who of them could go to a guest."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from west_viommu.cli.console import Console, columns, tell
from west_viommu.cli.run import DONE, REFUSED, host_of, terms_of
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import TooManyIntervals
from west_viommu.host.inventory import Inventory, Master
from west_viommu.host.selection import (
    Selection,
    is_behind,
    is_compatible,
    path_matches,
    selection,
)
from west_viommu.read.host import read_host, read_inventory
from west_viommu.read.tree import refused
from west_viommu.tree.cells import counted
from west_viommu.write.list_length import is_endless

if TYPE_CHECKING:
    from west_viommu.hypervisor.assignment import Terms
    from west_viommu.plan.alone import Known

_WIDTH = 80


def run(arguments: Namespace) -> int:
    """Read the host, take its inventory, print what was asked for. 1 where that is nothing."""
    host = host_of(arguments)
    terms = terms_of(arguments)
    tree = read_host(host, arguments.include, arguments.define)
    found = read_inventory(host, tree)
    if terms:
        from west_viommu.plan.alone import as_driven

        found = as_driven(found, terms.profile)
    asked = _Asked(found, Devices(host, tree, found), terms)
    try:
        selected = selection(found, _tests(arguments, asked))
    except TooManyIntervals:
        what = "the stream IDs of this host overlap in more ways than can be listed"
        hint = "correct the iommu-map of its masters: on real hosts few IDs are shared"
        raise refused("malformed", host, what, hint) from None
    if is_endless(selected, tree):
        what = "a list of this host would be many times as long as the host"
        hint = "correct the paths and the iommus of its nodes, or name the devices to list"
        raise refused("malformed", host, what, hint)
    is_empty = selected.is_filtered and not selected.inventory.masters
    if is_empty:
        arguments.console.note(_nothing(arguments, asked))
        if arguments.format == "table":
            return REFUSED
    if arguments.format == "table":
        arguments.console.result(_table(selected, asked, arguments.console))
    else:
        tell(_FORMATS[arguments.format](selected))
    return REFUSED if is_empty else DONE


class _Asked:
    """A host that is listed, and on which terms."""

    def __init__(self, inventory: Inventory, devices: Devices, terms: Terms | None):
        self.inventory = inventory
        self._devices = devices
        self._terms = terms

    @cached_property
    def known(self) -> dict[str, Known]:
        """What there is to tell of each master."""
        from west_viommu.plan.alone import known

        return known(self._devices, self._terms)


def _tests(arguments: Namespace, asked: _Asked) -> Iterator[Callable[[Master], bool]]:
    """What a master must pass to be listed."""
    yield from _filters(arguments)
    if arguments.passable:
        yield lambda master: not asked.known[master.path].refused


def _filters(arguments: Namespace) -> Iterator[Callable[[Master], bool]]:
    if arguments.patterns:
        yield path_matches(arguments.patterns)
    if arguments.compatible:
        yield is_compatible(arguments.compatible)
    if arguments.iommu:
        yield is_behind(arguments.iommu)


def _nothing(arguments: Namespace, asked: _Asked) -> str:
    """Why nothing is listed."""
    tests = list(_filters(arguments))
    left = [m for m in asked.inventory.masters if all(test(m) for test in tests)]
    if not asked.inventory.masters:
        return "this host has no master: no node has `iommus` or `iommu-map`"
    if not left:
        return "no master of this host fits: `viommu list` shows all"
    counts: dict[str, int] = {}
    for master in left:
        for hazard in asked.known[master.path].refused:
            counts[hazard] = counts.get(hazard, 0) + 1
    why = ", ".join(f"{hazard} ({count})" for hazard, count in counts.items())
    return (
        f"0 of {counted(len(left), 'master')} could go to a guest of Xen as is, because of {why}: "
        "`viommu explain HAZARD` says why, and what to do"
    )


def _table(selected: Selection, asked: _Asked, console: Console) -> Iterable[str]:
    from west_viommu.write.inventory_table import inventory_table

    has_colour = console.has_colour(sys.stdout)
    return inventory_table(selected, asked.known, columns(1) or _WIDTH, colour=has_colour)


def _json(selected: Selection) -> Iterable[str]:
    from west_viommu.write.inventory_json import inventory_json

    return inventory_json(selected)


def _dot(selected: Selection) -> Iterable[str]:
    from west_viommu.write.inventory_dot import inventory_dot

    return [inventory_dot(selected)]


def _svg(selected: Selection) -> Iterable[str]:
    from west_viommu.write.inventory_dot import inventory_dot, svg

    return [svg(inventory_dot(selected))]


# Each: the text in pieces. What could be refused is refused before the first.
_FORMATS = {"json": _json, "dot": _dot, "svg": _svg}
