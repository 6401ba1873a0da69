# SPDX-License-Identifier: Apache-2.0
"""`viommu list`: the IOMMUs and masters of a host, and who of them could go to a guest."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator

from west_viommu.cli.run import as_typed, host_of, tell
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import TooManyIntervals
from west_viommu.host.inventory import Master
from west_viommu.host.selection import (
    Selection,
    is_behind,
    is_compatible,
    path_matches,
    selection,
)
from west_viommu.read.host import read_host, read_inventory
from west_viommu.read.tree import refused
from west_viommu.write.list_length import is_endless

_WIDTH = 80


def run(arguments: Namespace) -> None:
    """Read the host, take its inventory, print what was asked for."""
    host = host_of(arguments)
    tree = read_host(host, arguments.include, arguments.define)
    found = read_inventory(host, tree)
    devices = Devices(host, tree, found)
    try:
        selected = selection(found, _tests(arguments, devices))
    except TooManyIntervals:
        what = "the stream IDs of this host overlap in more ways than can be listed"
        hint = "correct the iommu-map of its masters: on real hosts few IDs are shared"
        raise refused("malformed", host, what, hint) from None
    if is_endless(selected, tree):
        what = "a list of this host would be many times as long as the host"
        hint = "correct the paths and the iommus of its nodes, or name the devices to list"
        raise refused("malformed", host, what, hint)
    pieces = _FORMATS[arguments.format](selected, devices)
    if arguments.format == "table":
        pieces = (as_typed(piece, arguments.program) for piece in pieces)
    tell(pieces)


def _tests(arguments: Namespace, devices: Devices) -> Iterator[Callable[[Master], bool]]:
    """What a master must pass to be listed."""
    if arguments.patterns:
        yield path_matches(arguments.patterns)
    if arguments.compatible:
        yield is_compatible(arguments.compatible)
    if arguments.iommu:
        yield is_behind(arguments.iommu)
    if arguments.passable:
        from west_viommu.plan.alone import known

        by_path = known(devices)
        yield lambda master: not by_path[master.path].refused


def _table(selected: Selection, devices: Devices) -> Iterable[str]:
    from west_viommu.plan.alone import known
    from west_viommu.write.inventory_table import inventory_table

    return inventory_table(selected, known(devices), _width(), colour=_has_colour())


def _json(selected: Selection, devices: Devices) -> Iterable[str]:
    from west_viommu.write.inventory_json import inventory_json

    return inventory_json(selected)


def _dot(selected: Selection, devices: Devices) -> Iterable[str]:
    from west_viommu.write.inventory_dot import inventory_dot

    return [inventory_dot(selected)]


def _svg(selected: Selection, devices: Devices) -> Iterable[str]:
    from west_viommu.write.inventory_dot import inventory_dot, svg

    return [svg(inventory_dot(selected))]


# Each: the text in pieces. What could be refused is refused before the first.
_FORMATS = {"table": _table, "json": _json, "dot": _dot, "svg": _svg}


def _width() -> int:
    """The columns of the terminal; of what is no terminal, COLUMNS or 80."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and len(columns) < 6:
        return int(columns)
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return _WIDTH


def _has_colour() -> bool:
    """On a terminal, unless the user wants none (https://no-color.org)."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not is_plain and bool(sys.stdout) and sys.stdout.isatty()
