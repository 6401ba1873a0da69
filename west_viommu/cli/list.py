# SPDX-License-Identifier: Apache-2.0
"""`viommu list`: the IOMMUs and masters of a host, and which of them could go to a guest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.cli.console import Console, columns, tell
from west_viommu.cli.run import DONE, REFUSED, host_and_terms
from west_viommu.diagnostics import refusal
from west_viommu.host.collisions import Selection, selection
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import TooManyIntervals
from west_viommu.host.inventory import Inventory, Master
from west_viommu.read.tree import inventory_of, read_host_tree
from west_viommu.write.list_length import is_endless

if TYPE_CHECKING:
    from west_viommu.diagnostics import Diagnostic
    from west_viommu.hypervisor.assignment import Terms
    from west_viommu.plan.host_devices import DeviceReport

_WIDTH = 80
# The profile of a Xen without a vSMMU.
_RELEASED = "xen"


class Options(NamedTuple):
    """The arguments of the command."""

    patterns: list[str]
    host: str | None
    compatible: str | None
    iommu: str | None
    passable: bool
    config: str | None
    profile: str | None
    include: list[str]
    define: list[str]
    format: str


def run(options: Options, console: Console) -> int:
    """Read the host, take its inventory, print what was asked for. 1 where that is nothing."""
    host, terms = host_and_terms(options, options.patterns, console)
    tree = read_host_tree(host, options.include, options.define)
    found = inventory_of(host, tree)
    if terms:
        from west_viommu.plan.host_devices import as_driven

        found = as_driven(found, terms.profile)
    devices = Devices(host, tree, found)
    asked = _Asked(found, devices, terms)
    tests, problems = _filters(options, devices, found)
    passable = [asked.is_passable] if options.passable else []
    try:
        selected = selection(found, (*tests, *passable))
    except TooManyIntervals:
        what = "the stream IDs of this host overlap in more ways than can be listed"
        hint = "correct the iommu-map of its masters: on real hosts few IDs are shared"
        raise refusal("malformed", what, hint, host) from None
    if is_endless(selected, tree):
        what = "a list of this host would be many times as long as the host"
        hint = "correct the paths and the iommus of its nodes, or name the devices to list"
        raise refusal("malformed", what, hint, host)
    console.report(problems)
    is_empty = selected.is_filtered and not selected.inventory.masters
    if is_empty and not problems:
        left = [m for m in found.masters if all(test(m) for test in tests)]
        console.note(_nothing(left, asked))
    if is_empty and options.format == "table":
        return REFUSED
    if options.format == "table":
        console.result(_table(selected, asked, console))
    else:
        tell(_FORMATS[options.format](selected, asked))
    return REFUSED if is_empty or problems else DONE


class _Asked:
    """A host that is listed, and on which terms."""

    def __init__(self, inventory: Inventory, devices: Devices, terms: Terms | None):
        self.inventory = inventory
        self._devices = devices
        self.terms = terms

    @cached_property
    def reports(self) -> dict[str, DeviceReport]:
        """What there is to tell of each master."""
        from west_viommu.plan.host_devices import device_reports

        return device_reports(self._devices, self.terms)

    def is_passable(self, master: Master) -> bool:
        """Whether a guest of Xen could have it as it is."""
        return not self.reports[master.path].refused


def _filters(
    options: Options, devices: Devices, found: Inventory
) -> tuple[Sequence[Callable[[Master], bool]], Sequence[Diagnostic]]:
    """What a master must pass to be listed, and the words that mean no master."""
    if not (options.patterns or options.compatible or options.iommu):
        return (), ()
    if not found.masters:
        return (lambda master: True,), ()
    from west_viommu.cli.filters import filters

    return filters(options, devices, found)


def _nothing(left: Sequence[Master], asked: _Asked) -> str:
    """Why nothing is listed: what refuses the masters that are `left` by the filters."""
    if not left:
        return f"this host has no master: no node has `iommus` or `iommu-map`{_no_iommu(asked)}"
    counts: dict[str, int] = {}
    for master in left:
        for hazard in asked.reports[master.path].refused:
            counts[hazard] = counts.get(hazard, 0) + 1
    if len(left) == 1:
        what = f"{left[0].path} cannot go to a guest of Xen as is: {', '.join(counts)}"
    else:
        why = ", ".join(f"{hazard} ({count})" for hazard, count in counts.items())
        what = f"none of the {len(left)} masters can go to a guest of Xen as is: {why}"
    about = "`viommu explain HAZARD` says why, and what to do"
    return f"{what}. {about}{_by_another_profile(left, asked)}"


def _by_another_profile(left: Sequence[Master], asked: _Asked) -> str:
    """Where nobody chose a profile, and a released Xen drives what a Xen with a vSMMU does not."""
    if asked.terms:
        return ""
    from west_viommu.plan.host_devices import as_driven
    from west_viommu.read.profiles import profile

    known = as_driven(asked.inventory, profile(_RELEASED, None))
    both = zip(asked.inventory.iommus, known.iommus, strict=True)
    more = {ours.path for ours, theirs in both if theirs.supported and not ours.supported}
    if more.isdisjoint(path for master in left for path in master.iommus):
        return ""
    return f". A released Xen drives more IOMMUs of this host: --profile {_RELEASED}"


def _no_iommu(asked: _Asked) -> str:
    return "" if asked.inventory.iommus else ", and none is an IOMMU"


def _table(selected: Selection, asked: _Asked, console: Console) -> Iterable[str]:
    from west_viommu.write.inventory_table import inventory_table

    has_colour = console.has_colour(sys.stdout)
    return inventory_table(selected, asked.reports, columns(1) or _WIDTH, colour=has_colour)


def _json(selected: Selection, asked: _Asked) -> Iterable[str]:
    from west_viommu.write.inventory_json import inventory_json

    return inventory_json(selected)


def _dot(selected: Selection, asked: _Asked) -> Iterable[str]:
    from west_viommu.write.inventory_dot import inventory_dot

    return [inventory_dot(selected, asked.reports)]


def _svg(selected: Selection, asked: _Asked) -> Iterable[str]:
    from west_viommu.write.graphviz import svg
    from west_viommu.write.inventory_dot import inventory_dot

    return [svg(inventory_dot(selected, asked.reports))]


# Each: the text in pieces. What could be refused is refused before the first.
_FORMATS = {"json": _json, "dot": _dot, "svg": _svg}
