# SPDX-License-Identifier: Apache-2.0
"""A part of an inventory: the masters that somebody asks about, and what concerns them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.host.intervals import meetings
from west_viommu.host.inventory import (
    Inventory,
    Master,
    Meeting,
    claimed,
    collisions,
    shared_ids,
)


class Selection(NamedTuple):
    """Some masters, the IOMMUs that they are behind (all where nothing was asked for), the
    collisions of their IDs, and the IDs that they share, each with its SMMU. `is_filtered`: whether
    something was asked for.
    """

    inventory: Inventory
    collisions: tuple[Meeting, ...]
    shared: tuple[tuple[str, Meeting], ...]
    is_filtered: bool


def selection(inventory: Inventory, tests: Iterable[Callable[[Master], bool]] = ()) -> Selection:
    """The masters of `inventory` that pass all of `tests`; everything without any."""
    wanted = list(tests)
    everything = Selection(inventory, collisions(inventory), shared_ids(inventory), False)
    if not wanted:
        return everything
    masters = tuple(master for master in inventory.masters if all(test(master) for test in wanted))
    behind = {path for master in masters for path in master.iommus}
    paths = {master.path for master in masters}
    return Selection(
        Inventory(inventory.model, tuple(i for i in inventory.iommus if i.path in behind), masters),
        tuple(_concerning(masters, everything.collisions)),
        tuple(shared for shared in everything.shared if not paths.isdisjoint(shared[1].paths)),
        True,
    )


def _concerning(masters: Iterable[Master], collisions: Sequence[Meeting]) -> Iterator[Meeting]:
    """Those of `collisions` that one of `masters` has an ID of, on one of their IOMMUs."""
    claims = ((*interval, iommu) for master in masters for iommu, interval in claimed(master))
    asked = ((meeting.first, meeting.last, at) for at, meeting in enumerate(collisions))
    concerning: set[int] = set()
    for at, iommu, _, _ in meetings(asked, claims, concerning):
        if iommu in collisions[at].paths:
            concerning.add(at)
    return (meeting for at, meeting in enumerate(collisions) if at in concerning)
