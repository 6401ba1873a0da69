# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from west_viommu.host.intervals import (
    Interval,
    Overlap,
    Spans,
    TooManyIntervals,
    merged,
    met,
    overlaps,
    submask_intervals,
)

BOUNDS = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda b: Interval(*sorted(b)))


def members(intervals: list[Interval]) -> list[int]:
    return [i for first, last in intervals for i in range(first, last + 1)]


@given(mask=st.integers(0, 0x1FF), within=BOUNDS)
def test_submasks_are_those_that_the_mask_leaves_unchanged(mask: int, within: Interval) -> None:
    found = submask_intervals(mask, within)
    assert members(found) == [i for i in range(within.first, within.last + 1) if i & mask == i]
    assert merged(found) == found


def test_submasks_of_the_masks_of_real_boards() -> None:
    assert submask_intervals(0x0, Interval(0, 0xFFFF)) == [(0, 0)]
    assert submask_intervals(0x1FF, Interval(0x100, 0x106)) == [(0x100, 0x106)]
    assert submask_intervals(0x31F, Interval(0, 0xFFFF)) == [
        (0x000, 0x01F),
        (0x100, 0x11F),
        (0x200, 0x21F),
        (0x300, 0x31F),
    ]
    assert submask_intervals(0xFFFFFFFF, Interval(5, 0xFFFFFFFF)) == [(5, 0xFFFFFFFF)]


def test_a_mask_that_makes_too_many_pieces_is_an_error_and_not_a_long_wait() -> None:
    with pytest.raises(TooManyIntervals):
        submask_intervals(0xAAAAAAAA, Interval(0, 0xFFFFFFFF))


@given(st.lists(BOUNDS))
def test_merged_keeps_the_ids_and_no_two_intervals_touch(intervals: list[Interval]) -> None:
    result = merged(intervals)
    assert members(result) == sorted(set(members(intervals)))
    assert all(b.first > a.last + 1 for a, b in zip(result, result[1:], strict=False))


@given(st.lists(st.tuples(BOUNDS, st.integers(0, 4))))
def test_overlaps_are_the_maximal_intervals_of_ids_with_the_same_owners(
    claims: list[tuple[Interval, int]],
) -> None:
    expected: list[Overlap] = []
    for i in range(302):
        owners = tuple(sorted({o for (first, last), o in claims if first <= i <= last}))
        if len(owners) < 2:
            continue
        if expected and expected[-1].last + 1 == i and expected[-1].owners == owners:
            expected[-1] = expected[-1]._replace(last=i)
        else:
            expected.append(Overlap(i, i, owners))
    assert overlaps(claims) == expected


SPANS = st.lists(BOUNDS, max_size=12)


@given(intervals=SPANS, asked=BOUNDS)
def test_spans_around_are_those_that_have_the_number(
    intervals: list[Interval], asked: Interval
) -> None:
    spans = Spans((*each, each) for each in intervals)
    number = asked.first
    expected = [each for each in intervals if each.first <= number <= each.last]
    assert sorted(spans.around(number)) == sorted(expected)
    is_around = any(each.first <= asked.first and asked.last <= each.last for each in intervals)
    assert spans.has_around(*asked) == is_around


@given(mine=SPANS, theirs=SPANS)
def test_met_are_all_that_have_a_number_in_common(
    mine: list[Interval], theirs: list[Interval]
) -> None:
    counted: list[None] = []
    others = [(first, last, "who") for first, last in theirs]
    found = met(mine, others, lambda: counted.append(None))
    assert {each: list(there) for each, there in found.items()} == {
        each: [
            place
            for place, (first, last) in enumerate(theirs)
            if first <= each.last and each.first <= last
        ]
        for each in mine
    }
    assert len(counted) == sum(map(len, found.values()))
