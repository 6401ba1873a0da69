# SPDX-License-Identifier: Apache-2.0
"""A part of an inventory: the masters that somebody asks about, and what concerns them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from west_viommu.host.inventory import (
    Inventory,
    Master,
    Meeting,
    all_intervals,
    collisions,
    shared_ids,
)
from west_viommu.quick_typing import NamedTuple


class Selection(NamedTuple):
    """Some masters, the IOMMUs that they are behind (all where nothing was asked for), the
    collisions of their IDs, and the IDs that they share, each with its SMMU. `is_filtered`: whether
    something was asked for.
    """

    inventory: Inventory
    collisions: tuple[Meeting, ...]
    shared: tuple[tuple[str, Meeting], ...]
    is_filtered: bool


def selection(found: Inventory, tests: Iterable[Callable[[Master], bool]] = ()) -> Selection:
    """The masters of `found` that pass all of `tests`; everything without any."""
    wanted = list(tests)
    everything = Selection(found, collisions(found), shared_ids(found), False)
    if not wanted:
        return everything
    masters = tuple(each for each in found.masters if all(test(each) for test in wanted))
    behind = {path for master in masters for path in master.iommus}
    paths = {master.path for master in masters}
    return Selection(
        Inventory(found.model, tuple(i for i in found.iommus if i.path in behind), masters),
        tuple(each for each in everything.collisions if _concerns(each, masters)),
        tuple(each for each in everything.shared if not paths.isdisjoint(each[1].paths)),
        True,
    )


def _concerns(meeting: Meeting, masters: Iterable[Master]) -> bool:
    return any(
        first <= meeting.last and meeting.first <= last
        for first, last in _intervals(masters, meeting.paths)
    )


def _intervals(masters: Iterable[Master], iommus: Iterable[str]) -> Iterator[tuple[int, int]]:
    for master in masters:
        for iommu in iommus:
            yield from all_intervals(master, iommu)
