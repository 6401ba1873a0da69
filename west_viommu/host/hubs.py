# SPDX-License-Identifier: Apache-2.0
"""Which of the masters behind several SMMUs have the same stream IDs: what a picture joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.host.intervals import Interval, merged, overlaps
from west_viommu.host.inventory import Master, Meeting, all_intervals


class Place(NamedTuple):
    """A master as the SMMU at the path `iommu` sees it."""

    iommu: str
    master: Master


class Hub(NamedTuple):
    """IDs that exactly the same `members` have, as indexes of places, behind two or more SMMUs.
    `elsewhere`: those of these SMMUs where no place has them, as only a part of a host is shown.
    """

    ids: tuple[Interval, ...]
    members: tuple[int, ...]
    elsewhere: tuple[str, ...]


def hubs(places: Sequence[Place], collisions: Sequence[Meeting]) -> list[Hub]:
    """What of `collisions` concerns `places`, by the lowest ID. A master with 0x40 and one with
    0x41 have none in common, though both numbers are behind the same SMMUs. Raises
    TooManyIntervals.
    """
    claims = [
        (interval, at)
        for at, place in enumerate(places)
        if place.master.enabled
        for interval in all_intervals(place.master, place.iommu)
    ]
    # The collisions themselves are the last owners: what they have in common with a place counts.
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
