# SPDX-License-Identifier: Apache-2.0
"""What is told of many names, and which of them are compared."""

from __future__ import annotations

import difflib
import random
from typing import Any

import pytest

from west_viommu.diagnostics import Comparisons, close_matches, first_few


@pytest.mark.parametrize(
    ("texts", "most", "expected"),
    [
        ([], 3, []),
        (["a", "b", "a"], 3, ["a", "b"]),
        (["a", "b", "a", "c", "d"], 2, ["a", "b", "2 more"]),
        (["a" * 1000, "b"], 3, ["a" * 1000, "1 more"]),
        # One is told however long it is, and nothing behind one that is not.
        (["a" * 5000, "b", "b"], 3, ["a" * 5000, "1 more"]),
        (["a", "b" * 1000, "c"], 3, ["a", "2 more"]),
        (map(str, range(2000)), 1, ["0", "1,999 more"]),
    ],
)
def test_the_first_of_many(texts: list[str], most: int, expected: list[str]) -> None:
    assert list(first_few(texts, most)) == expected


def shuffled(count: int, length: int) -> list[str]:
    """Names that have all their letters in common, and those in another order each."""
    letters = [chr(0x400 + i) for i in range(length)]
    pick = random.Random(1)
    return ["".join(pick.sample(letters, length)) for _ in range(count)]


def test_close_matches_are_those_of_difflib() -> None:
    pick = random.Random(2)
    known = ["".join(pick.choices("abcde", k=pick.randrange(9))) for _ in range(200)]
    for name in known[:50]:
        assert close_matches(name, known, 4) == difflib.get_close_matches(name, known, 4)


def test_a_run_compares_no_more_than_so_many_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    ratio = difflib.SequenceMatcher.ratio

    def counted(matcher: Any) -> float:
        compared.append(len(matcher.a) * len(matcher.b))
        return ratio(matcher)

    monkeypatch.setattr("west_viommu.diagnostics._MOST_COMPARED", 1 << 16)
    monkeypatch.setattr(difflib.SequenceMatcher, "ratio", counted)
    names, comparisons = shuffled(20, 30), Comparisons()
    found = [comparisons.close_matches(name, names) for name in names]
    # The name itself is the closest, as long as any is looked for.
    assert found[0][0] == names[0]
    assert found[-1] == []
    assert 1 << 15 < sum(compared) < 1 << 16
