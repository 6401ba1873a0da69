# SPDX-License-Identifier: Apache-2.0
"""Stream IDs that several SMMUs, or several masters of one SMMU, have in common."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.host.intervals import Interval, meetings, merged, overlaps
from west_viommu.host.inventory import Inventory, Master, all_intervals, claimed


class Meeting(NamedTuple):
    """IDs that several SMMUs (a collision) or several masters of one SMMU (a shared ID) have."""

    first: int
    last: int
    paths: tuple[str, ...]


def collisions(inventory: Inventory) -> tuple[Meeting, ...]:
    """Return the IDs that enabled masters have behind two or more supported SMMUs, in ascending
    order.
    """
    supported = [iommu.path for iommu in inventory.iommus if iommu.supported]
    index = {path: i for i, path in enumerate(supported)}
    claims = (
        (interval, index[iommu])
        for master in inventory.masters
        if master.enabled
        for iommu, interval in claimed(master)
        if iommu in index
    )
    return tuple(
        Meeting(first, last, tuple(supported[i] for i in owners))
        for first, last, owners in overlaps(claims)
    )


def shared_ids(inventory: Inventory) -> tuple[tuple[str, Meeting], ...]:
    """Return each supported SMMU with the IDs that two or more enabled masters have on it, in tree
    order.
    """
    claims: dict[str, list[tuple[Interval, int]]] = {
        iommu.path: [] for iommu in inventory.iommus if iommu.supported
    }
    for i, master in enumerate(inventory.masters):
        if master.enabled:
            for iommu, interval in claimed(master):
                if iommu in claims:
                    claims[iommu].append((interval, i))
    return tuple(
        (iommu, Meeting(first, last, tuple(inventory.masters[i].path for i in owners)))
        for iommu, of_iommu in claims.items()
        for first, last, owners in overlaps(of_iommu)
    )


class Selection(NamedTuple):
    """Some masters, the IOMMUs that they are behind (all if no filter was given), the collisions of
    their IDs, and the IDs that they share, each with its SMMU. `is_filtered`: a filter was given.
    """

    inventory: Inventory
    collisions: tuple[Meeting, ...]
    shared: tuple[tuple[str, Meeting], ...]
    is_filtered: bool


def selection(inventory: Inventory, tests: Iterable[Callable[[Master], bool]] = ()) -> Selection:
    """Return the masters of `inventory` that pass all of `tests`; everything if there are
    no tests.
    """
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
    """Yield each of `collisions` of which one of `masters` has an ID, on one of the colliding
    IOMMUs.
    """
    claims = ((*interval, iommu) for master in masters for iommu, interval in claimed(master))
    asked = ((meeting.first, meeting.last, at) for at, meeting in enumerate(collisions))
    concerning: set[int] = set()
    for at, iommu, _, _ in meetings(asked, claims, concerning):
        if iommu in collisions[at].paths:
            concerning.add(at)
    return (meeting for at, meeting in enumerate(collisions) if at in concerning)


class Place(NamedTuple):
    """A master as seen by the SMMU at the path `iommu`."""

    iommu: str
    master: Master


class Hub(NamedTuple):
    """IDs that exactly the same `members` have, as indexes of places, behind two or more SMMUs.
    `elsewhere`: the SMMUs on which no place has them, as only a part of a host is shown.
    """

    ids: tuple[Interval, ...]
    members: tuple[int, ...]
    elsewhere: tuple[str, ...]


def hubs(places: Sequence[Place], collisions: Sequence[Meeting]) -> list[Hub]:
    """Return the parts of `collisions` that concern `places`, by the lowest ID. A master with 0x40
    and one with 0x41 share no ID, even if both numbers are behind the same SMMUs. Raises
    TooManyIntervals.
    """
    claims = [
        (interval, at)
        for at, place in enumerate(places)
        if place.master.enabled
        for interval in all_intervals(place.master, place.iommu)
    ]
    # The collisions are added as the last owners: only IDs that a place shares with one count.
    claims += [
        (Interval(meeting.first, meeting.last), len(places) + at)
        for at, meeting in enumerate(collisions)
    ]
    ids_of: dict[tuple[tuple[int, ...], tuple[str, ...]], list[Interval]] = {}
    for first, last, owners in overlaps(claims):
        meeting_at = owners[-1] - len(places)
        if meeting_at < 0:
            continue
        paths = collisions[meeting_at].paths
        members = tuple(at for at in owners[:-1] if places[at].iommu in paths)
        shown = {places[at].iommu for at in members}
        elsewhere = tuple(path for path in paths if path not in shown)
        if members:
            ids_of.setdefault((members, elsewhere), []).append(Interval(first, last))
    return [
        Hub(tuple(merged(ids)), members, elsewhere) for (members, elsewhere), ids in ids_of.items()
    ]
