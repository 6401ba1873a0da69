# SPDX-License-Identifier: Apache-2.0
"""What Xen maps for a request: whole pages, and those that touch as one."""

from __future__ import annotations

import pytest

from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Request
from west_viommu.hypervisor.pages import mapped_pages
from west_viommu.tree.addresses import Region

NOTHING = Request("/passthrough/x", "x", None, (), (), (), (), False, None)


@pytest.mark.parametrize(
    ("mapped", "pages"),
    [
        # Touching: one entry.
        ([(0x1000, 0x1000), (0x2000, 0x1000)], [(0x1000, 0x2000)]),
        # On one page.
        ([(0x1000, 0x100), (0x1800, 0x100)], [(0x1000, 0x1000)]),
        # One inside of the other, and one that begins inside.
        ([(0x1000, 0x4000), (0x2000, 0x1000)], [(0x1000, 0x4000)]),
        ([(0x1000, 0x2000), (0x2000, 0x2000)], [(0x1000, 0x3000)]),
        # A page apart: two.
        ([(0x1000, 0x1000), (0x3000, 0x1000)], [(0x1000, 0x1000), (0x3000, 0x1000)]),
    ],
)
def test_pages_that_touch_are_joined(
    mapped: list[tuple[int, int]], pages: list[tuple[int, int]]
) -> None:
    given = tuple(Mapped(Region(*each), Region(*each)) for each in mapped)
    expected = tuple(Mapped(Region(*each), Region(*each)) for each in pages)
    assert mapped_pages(NOTHING._replace(mapped=given)) == expected
