# SPDX-License-Identifier: Apache-2.0
"""One thing in two hands: a stream, a page or an interrupt line of an assigned device that a host
node has as well.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.holdings import ID_BITS, ID_MASK, Standing

# More IDs of one pair of nodes are not told.
MOST_IDS = 16


class Contest(NamedTuple):
    """The numbers from `first` to `last` are held by the device of `assignment` and by the host
    node at `other`; `ids`: of stream IDs, the first few that the two have on one IOMMU. `standing`
    tells whose that node is; None where it is the guest's as well. `part_of`: the assigned device
    that, and no other, names it as a part of itself; "" where none does. One with `more` stands for
    that many of its device that the hazards cannot tell from it but by `other` and numbers.
    """

    assignment: Assignment
    other: str
    standing: Standing | None
    part_of: str
    first: int
    last: int
    ids: tuple[int, ...] = ()
    more: int = 0


class Resource(Enum):
    """What is contested, and what makes a node contest it."""

    STREAMS = "has a stream ID"
    PAGES = "is on a page"
    LINES = "has an interrupt"

    def told_once_by(self, number: int) -> int:
        """What two of its numbers have in common where they are told once of two nodes that have
        both: stream IDs the IOMMU, and all pages.
        """
        if self is Resource.STREAMS:
            return number >> ID_BITS
        return 0 if self is Resource.PAGES else number


class Facts(NamedTuple):
    """What counts of a host node, whoever it meets: `whole` is what it is a part of; `below` is how
    the paths of its children begin. `kind`: what the hazards can tell.
    """

    path: str
    standing: Standing | None
    is_nobodys: bool
    whole: str | None
    is_bus: bool
    below: str
    kind: Hashable

    @property
    def may_be_marked(self) -> bool:
        """Whether host.overlay may keep the node from dom0."""
        return self.standing is Standing.OFF or self.whole is not None


def with_ids(contest: Contest, first: int, last: int, resource: Resource) -> Contest:
    """`contest` with the stream IDs from `first` to `last` as well, while they are not too many."""
    known = contest.ids
    if resource is not Resource.STREAMS or len(known) >= MOST_IDS:
        return contest
    ids = range(first, min(last + 1, first + MOST_IDS - len(known)))
    return contest._replace(ids=(*known, *(number & ID_MASK for number in ids)))
