# SPDX-License-Identifier: Apache-2.0
"""One thing on which two sides do not agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# Characters of all differences. A few bytes of a tree may stand for a long path in each.
_MOST_TEXT = 1 << 20


class Difference(NamedTuple):
    """What of the node at `node` is not as `expected`: a property, or [hazard id] and its words;
    and what to do about it, where there is more to say than to build again.
    """

    node: str
    what: str
    expected: str
    found: str
    hint: str = ""


def first_ones(found: Sequence[tuple[str, Difference]]) -> int:
    """How many of what was `found`, each on its side, people are shown: as much as they could
    read.
    """
    room = _MOST_TEXT
    for number, (_, each) in enumerate(found):
        room -= sum(map(len, each))
        if room < 0:
            return number
    return len(found)
