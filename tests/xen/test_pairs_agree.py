# SPDX-License-Identifier: Apache-2.0
"""What `viommu bind` says of a few hundred random pairs is what the model of Xen says. Two of three
pairs have a shape at the limits of Xen's drivers, trees and layouts.

The long runs are in docs/verification.md.
"""

from __future__ import annotations

import pytest

from tests.xen.random_pairs import report, result

TENTHS = 10
PAIRS = 30  # in each tenth


@pytest.mark.parametrize("tenth", range(TENTHS))
def test_the_model_agrees(tenth: int) -> None:
    seeds = range(1 + tenth * PAIRS, 1 + (tenth + 1) * PAIRS)
    found = [result(seed) for seed in seeds]
    assert all(item.verdict.agrees for item in found), report(found)
