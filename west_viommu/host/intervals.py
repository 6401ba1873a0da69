# SPDX-License-Identifier: Apache-2.0
"""Sets of IDs as intervals, and the overlaps between the sets of several owners."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Interval(NamedTuple):
    """The IDs from `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first:#x}" if self.first == self.last else f"{self.first:#x}-{self.last:#x}"


class Overlap(NamedTuple):
    """A maximal interval of IDs that have the same two or more owners, in ascending order."""

    first: int
    last: int
    owners: tuple[int, ...]


class TooManyIntervals(Exception):
    """A mask cuts a range into more pieces than on any real device, or the IDs of a host overlap in
    more ways than on any real host.
    """


# The masks of real boards leave at most 4 pieces; a mask of 16 bits, as wide as a RID, leaves 2^15
# (0xfffe).
MAX_PIECES = 1 << 15
# The owners in all overlaps, also overlaps that are joined later. 20,000 masters may have one ID,
# or 60 SMMUs 8,000 IDs; nested IDs need the square of their number.
_MAX_OWNERS = 1 << 19


def submask_intervals(mask: int, within: Interval) -> list[Interval]:
    """Return the numbers inside `within` that have no bit outside `mask`, as ascending
    intervals.
    """
    run = 1
    while mask & run:
        run <<= 1
    # The bits of the mask below its lowest 0 can have any value: `run` numbers in a row.
    high = mask & -run
    intervals: list[Interval] = []
    block = _lowest_submask(high, within.first & -run)
    while block is not None and block <= within.last:
        first = max(block, within.first)
        last = min(block + run - 1, within.last)
        if intervals and intervals[-1].last + 1 == first:
            intervals[-1] = Interval(intervals[-1].first, last)
        else:
            intervals.append(Interval(first, last))
            if len(intervals) > MAX_PIECES:
                raise TooManyIntervals
        block = _lowest_submask(high, block + run)
    return intervals


def _lowest_submask(mask: int, floor: int) -> int | None:
    """Return the lowest number >= `floor` without a bit outside `mask`, or None."""
    stray = floor & ~mask
    if not stray:
        return floor
    # Above the highest stray bit, the number must grow: set the lowest mask bit that is still 0
    # there, keep the bits above it, clear the bits below.
    bit = 1 << stray.bit_length()
    while bit <= mask:
        if mask & bit and not floor & bit:
            return (floor & mask & -bit) | bit
        bit <<= 1
    return None


def overlaps(claims: Iterable[tuple[Interval, int]]) -> list[Overlap]:
    """Return the IDs that two or more owners claim; `claims` may repeat an owner.

    One sweep over the ends of all intervals: the cost grows with the claims and the overlaps, not
    with the pairs of claims. Raises TooManyIntervals.
    """
    opening: dict[int, list[int]] = {}
    closing: dict[int, list[int]] = {}
    for (first, last), owner in claims:
        opening.setdefault(first, []).append(owner)
        closing.setdefault(last + 1, []).append(owner)
    overlapping: list[Overlap] = []
    active: dict[int, int] = {}
    owners: tuple[int, ...] = ()
    start = named = 0
    for position in sorted(opening.keys() | closing.keys()):
        if len(owners) > 1:
            _extend(overlapping, Overlap(start, position - 1, owners))
        for owner in opening.get(position, ()):
            active[owner] = active.get(owner, 0) + 1
        for owner in closing.get(position, ()):
            active[owner] -= 1
            if not active[owner]:
                del active[owner]
        owners = tuple(sorted(active)) if len(active) > 1 else ()
        named += len(owners)
        if named > _MAX_OWNERS:
            raise TooManyIntervals
        start = position
    return overlapping


def _extend(overlapping: list[Overlap], overlap: Overlap) -> None:
    """Append `overlap`, or lengthen the last one if `overlap` continues it."""
    before = overlapping[-1] if overlapping else None
    if before and before.last + 1 == overlap.first and before.owners == overlap.owners:
        overlapping[-1] = before._replace(last=overlap.last)
    else:
        overlapping.append(overlap)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same IDs in as few intervals as possible, ascending."""
    joined: list[Interval] = []
    for interval in sorted(intervals):
        if joined and interval.first <= joined[-1].last + 1:
            joined[-1] = Interval(joined[-1].first, max(interval.last, joined[-1].last))
        else:
            joined.append(interval)
    return joined


def covered_by(intervals: Iterable[Interval]) -> Callable[[int, int], bool]:
    """Return a test whether `intervals` together contain all numbers from a first to a last one."""
    parts = merged(intervals)
    firsts = [part.first for part in parts]

    def is_covered(first: int, last: int) -> bool:
        at = bisect_right(firsts, first) - 1
        return at >= 0 and last <= parts[at].last

    return is_covered


class Spans(Generic[T]):
    """Intervals, each with its owner, for look-ups of single numbers."""

    def __init__(self, spans: Iterable[tuple[int, int, T]]):
        # The search runs backwards, so intervals with the same beginning come out in their order.
        self._spans = sorted(reversed([*spans]), key=_beginning)
        self._firsts = [first for first, _, _ in self._spans]
        # The highest end of each interval and all before it.
        self._reach = list(accumulate((last for _, last, _ in self._spans), max))

    def around(self, number: int) -> Iterator[T]:
        """Yield the owners of the intervals that contain `number`."""
        at = bisect_right(self._firsts, number) - 1
        while at >= 0 and self._reach[at] >= number:
            _, last, owner = self._spans[at]
            if last >= number:
                yield owner
            at -= 1

    def has_around(self, first: int, last: int) -> bool:
        """Return whether a single interval contains all numbers from `first` to `last`."""
        at = bisect_right(self._firsts, first) - 1
        return at >= 0 and last <= self._reach[at]


def meetings(
    asked: Iterable[tuple[int, int, T]],
    others: Iterable[tuple[int, int, U]],
    settled: Container[T] = frozenset(),
) -> Iterator[tuple[T, U, int, int]]:
    """Yield each pair of an interval of `asked` and one of `others` that overlap: both owners, and
    the first and the last common number. An owner that becomes `settled` during the sweep needs no
    more pairs.

    One sweep over the beginnings of all intervals: the cost grows with the intervals and the pairs
    that overlap, not with all pairs.
    """
    mine = sorted(asked, key=_beginning)
    theirs = sorted(others, key=_beginning)
    # The intervals that have begun and not ended, by their end. The index in the middle keeps heaps
    # from comparing owners, which have no order.
    open_mine: list[tuple[int, int, T]] = []
    open_theirs: list[tuple[int, int, U]] = []
    at = other_at = 0
    while at < len(mine) or (open_mine and other_at < len(theirs)):
        is_mine = other_at == len(theirs)
        if not is_mine and at < len(mine):
            is_mine = mine[at][0] <= theirs[other_at][0]
        first, last = (mine[at] if is_mine else theirs[other_at])[:2]
        while open_mine and open_mine[0][0] < first:
            heappop(open_mine)
        while open_theirs and open_theirs[0][0] < first:
            heappop(open_theirs)
        if is_mine:
            who = mine[at][2]
            at += 1
            for end, _, other in open_theirs:
                if who in settled:
                    break
                yield who, other, first, min(last, end)
            if who not in settled:
                heappush(open_mine, (last, at, who))
        else:
            other = theirs[other_at][2]
            other_at += 1
            is_any_settled = False
            for end, _, who in open_mine:
                if who not in settled:
                    yield who, other, first, min(last, end)
                is_any_settled = is_any_settled or who in settled
            if is_any_settled:
                open_mine = [span for span in open_mine if span[2] not in settled]
                heapify(open_mine)
            heappush(open_theirs, (last, other_at, other))


def _beginning(interval: tuple[int, int, object]) -> int:
    return interval[0]


def met(
    asked: Iterable[tuple[int, int]],
    others: Sequence[tuple[int, int, object]],
    count: Callable[[], None],
) -> dict[tuple[int, int], array[int]]:
    """Return, for each of `asked`, the indexes of those `others` that overlap it. `count` is called
    for each, and may raise an exception to end the search.
    """
    places_met = {interval: array("I") for interval in asked}
    places = ((first, last, place) for place, (first, last, _) in enumerate(others))
    for mine, place, _, _ in meetings(((*interval, interval) for interval in places_met), places):
        count()
        places_met[mine].append(place)
    return {mine: array("I", sorted(there)) for mine, there in places_met.items()}


class Cover:
    """The union of intervals, for look-ups of one interval after the other."""

    def __init__(self, intervals: Iterable[Interval]):
        self.parts = merged(intervals)
        self._lasts = [part.last for part in self.parts]

    def common(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return the parts of `intervals` that are covered."""
        found = []
        for first, last in intervals:
            at = bisect_left(self._lasts, first)
            while at < len(self.parts) and self.parts[at].first <= last:
                part = self.parts[at]
                found.append(Interval(max(first, part.first), min(last, part.last)))
                at += 1
        return merged(found)

    def rest(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return the parts of `intervals` that are not covered."""
        rest = []
        for first, last in merged(intervals):
            for part in self.common([Interval(first, last)]):
                if first < part.first:
                    rest.append(Interval(first, part.first - 1))
                first = part.last + 1
            if first <= last:
                rest.append(Interval(first, last))
        return rest

    def has(self, first: int, last: int) -> bool:
        """Return whether all numbers from `first` to `last` are covered."""
        at = bisect_left(self._lasts, first)
        return at < len(self.parts) and self.parts[at].first <= first and last <= self._lasts[at]
