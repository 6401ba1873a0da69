# SPDX-License-Identifier: Apache-2.0
"""What lies at an address, among thousands of regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Generic, TypeVar

from west_viommu.tree.addresses import Region

# Regions are looked up by slots of 64 KiB; one of more slots than this is wide.
_SLOT = 1 << 16
_WIDE = 64
# Fewer than these are looked at one by one.
_FEW_REGIONS = 8
# To sort more at once would cost who needs the first alone.
_FEW = 256

T = TypeVar("T")


class Slots(Generic[T]):
    """Regions, and what has each, in an order that the look-ups keep."""

    def __init__(self, regions: Iterable[tuple[Region, T]]):
        self._all = tuple((place, region, what) for place, (region, what) in enumerate(regions))

    def near(self, region: Region) -> Iterator[tuple[Region, T]]:
        """Each region that may have an address in common with `region`, and what has it. One after
        the other, as there may be thousands, and perhaps one twice.
        """
        first, last = _slots(region)
        if last - first > _WIDE or len(self._all) < _FEW_REGIONS:
            found: Iterable[tuple[int, Region, T]] = self._all
        else:
            by_slot, wide = self._sorted
            slots = (by_slot.get(slot, ()) for slot in range(first, last + 1))
            found = _merged([each for each in (wide, *slots) if each])
        for _, other, what in found:
            yield other, what

    @cached_property
    def _sorted(self) -> tuple[dict[int, list[tuple[int, Region, T]]], list[tuple[int, Region, T]]]:
        """The regions of an ordinary size by the slots that they touch, and the others, few in any
        tree: windows of PCI, memory.
        """
        by_slot: dict[int, list[tuple[int, Region, T]]] = {}
        wide = []
        for each in self._all:
            first, last = _slots(each[1])
            if last - first > _WIDE:
                wide.append(each)
                continue
            for slot in range(first, last + 1):
                by_slot.setdefault(slot, []).append(each)
        return by_slot, wide


def _merged(lists: list[list[tuple[int, Region, T]]]) -> Iterable[tuple[int, Region, T]]:
    """What is in `lists`, in order."""
    if len(lists) == 1:
        return lists[0]
    if sum(map(len, lists)) < _FEW:
        return sorted((each for found in lists for each in found), key=lambda each: each[0])
    from heapq import merge

    return merge(*lists, key=lambda each: each[0])


def _slots(region: Region) -> tuple[int, int]:
    """The first and the last slot that `region` touches."""
    return region.base // _SLOT, (region.base + max(region.size, 1) - 1) // _SLOT
