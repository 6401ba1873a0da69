# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from west_viommu.host.devices import Numbered


def test_all_values_under_a_number_in_their_order() -> None:
    numbered = Numbered([(7, "a"), (9, "x"), (7, "b"), (7, "c"), (1 << 63, "z")])
    assert [list(numbered.under(number)) for number in (6, 7, 8, 9, 1 << 63)] == [
        *([], ["a", "b", "c"], [], ["x"], ["z"]),
    ]


def test_the_lowest_number_from_one_on() -> None:
    numbered = Numbered([(7, "a"), (9, "x")])
    assert [numbered.first_from(number) for number in (0, 7, 8, 9, 10)] == [7, 7, 9, 9, None]


def test_behind_the_last_of_many() -> None:
    numbered = Numbered((number, number) for number in range(1000))
    assert [list(numbered.under(number)) for number in (0, 999, 1000)] == [[0], [999], []]
    assert [numbered.first_from(number) for number in (999, 1000)] == [999, None]
