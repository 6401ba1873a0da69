# SPDX-License-Identifier: Apache-2.0
"""What Xen maps for a request: whole pages, and those that touch as one."""

from __future__ import annotations

import pytest

from west_viommu.guest.regions import Mapped, RegionPair
from west_viommu.guest.requests import Request
from west_viommu.hypervisor.pages import in_pages, mapped_pages
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
        # The last two of three.
        (
            [(0x1000, 0x1000), (0x3000, 0x1000), (0x4000, 0x1000)],
            [(0x1000, 0x1000), (0x3000, 0x2000)],
        ),
        # In the order of the host's addresses.
        ([(0x2000, 0x1000), (0x1000, 0x1000)], [(0x1000, 0x2000)]),
    ],
)
def test_pages_that_touch_are_joined(
    mapped: list[tuple[int, int]], pages: list[tuple[int, int]]
) -> None:
    given = tuple(Mapped(Region(*each), Region(*each)) for each in mapped)
    expected = tuple(Mapped(Region(*each), Region(*each)) for each in pages)
    assert mapped_pages(NOTHING._replace(mapped=given)) == expected


@pytest.mark.parametrize(
    ("guests", "pages"),
    [
        # Of two pages of the host that touch: in the guest as well, apart, in the other order.
        ((0x5000, 0x6000), [(0x1000, 0x5000, 0x2000)]),
        ((0x5000, 0x7000), [(0x1000, 0x5000, 0x1000), (0x2000, 0x7000, 0x1000)]),
        ((0x6000, 0x5000), [(0x1000, 0x6000, 0x1000), (0x2000, 0x5000, 0x1000)]),
        ((0x5000, 0x5000), [(0x1000, 0x5000, 0x1000), (0x2000, 0x5000, 0x1000)]),
    ],
)
def test_pages_are_joined_where_they_touch_on_both_sides(
    guests: tuple[int, int], pages: list[tuple[int, int, int]]
) -> None:
    given = tuple(
        Mapped(Region(host, 0x1000), Region(guest, 0x1000))
        for host, guest in zip((0x1000, 0x2000), guests, strict=True)
    )
    found = mapped_pages(NOTHING._replace(mapped=given))
    assert [(each.host.base, each.guest.base, each.guest.size) for each in found] == pages
    assert all(each.host.size == each.guest.size for each in found)


@pytest.mark.parametrize(
    ("region", "pages"),
    [
        ((0x1000, 1), (0x1000, 0x1000)),
        ((0x1FFF, 1), (0x1000, 0x1000)),
        ((0x1FFF, 2), (0x1000, 0x2000)),
        ((0x1000, 0x1000), (0x1000, 0x1000)),
        ((0x1000, 0x1001), (0x1000, 0x2000)),
        ((0, 1), (0, 0x1000)),
    ],
)
def test_the_pages_of_a_region(region: tuple[int, int], pages: tuple[int, int]) -> None:
    assert in_pages(Region(*region)) == Region(*pages)


@pytest.mark.parametrize(
    ("regions", "pages"),
    [
        ([(0x1000, 0x1000), (0x9000, 0)], [(0x1000, 0x1000)]),
        # Inside of a page as well.
        ([(0x1000, 0x1000), (0x9100, 0), (0x5100, 1)], [(0x1000, 0x1000), (0x5000, 0x1000)]),
        ([(0x9000, 0)], []),
    ],
)
def test_a_region_without_a_size_has_no_page(
    regions: list[tuple[int, int]], pages: list[tuple[int, int]]
) -> None:
    given = tuple(RegionPair(Region(*each), Region(*each)) for each in regions)
    found = mapped_pages(NOTHING._replace(regions=given))
    assert [tuple(each.host) for each in found] == pages
    assert all(each.host == each.guest for each in found)
