# SPDX-License-Identifier: Apache-2.0
"""Values by number, thousands of them in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Numbered(Generic[T]):
    """Values, each under a number of at most 64 bits. Those under one number keep their order."""

    def __init__(self, pairs: Iterable[tuple[int, T]]):
        ordered = sorted(pairs, key=lambda pair: pair[0])
        # A dict of lists takes ten times as much.
        self._numbers = array("Q", (number for number, _ in ordered))
        self._values = [value for _, value in ordered]

    def under(self, number: int) -> Iterator[T]:
        """The values under `number`, one after the other, as there may be thousands."""
        at = bisect_left(self._numbers, number)
        while at < len(self._numbers) and self._numbers[at] == number:
            yield self._values[at]
            at += 1

    def first_from(self, number: int) -> int | None:
        """The lowest number, not below `number`, that has values."""
        at = bisect_left(self._numbers, number)
        return self._numbers[at] if at < len(self._numbers) else None
