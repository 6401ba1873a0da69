# SPDX-License-Identifier: Apache-2.0
"""`ranges` of /passthrough in a partial tree: each region of its nodes is inside of one entry."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.hypervisor.partial import bus_ranges
from west_viommu.tree.addresses import AddressMap


def entries(cells: tuple[int, int], reg: str) -> list[tuple[int, int]]:
    """Where each entry begins, and its size, for a bus of such cells with one node."""
    guest = tree(
        f"#address-cells = <2>; #size-cells = <2>; bus {{ #address-cells = <{cells[0]}>; "
        f"#size-cells = <{cells[1]}>; ranges; n {{ reg = <{reg}>; }}; }};"
    )
    bus, node = guest.node("/bus"), guest.node("/bus/n")
    assert bus and node
    value = bus_ranges(bus, cells, (2, 2), AddressMap(guest), [node])
    assert value is not None
    widths = [4 * width for width in (cells[0], 2, cells[1])]
    found = []
    for at in range(0, len(value), sum(widths)):
        child, parent, size = (
            int.from_bytes(value[at + sum(widths[:i]) : at + sum(widths[: i + 1])], "big")
            for i in range(3)
        )
        assert child == parent
        found.append((child, size))
    return found


@pytest.mark.parametrize(
    ("cells", "reg", "expected"),
    [
        # One entry from 0, in whole pages, as large as the cells can say.
        ((1, 1), "0x1000 0x1000", [(0, 0xFFFFF000)]),
        ((1, 1), "0xffffe000 0x1000", [(0, 0xFFFFF000)]),
        # Beyond the last whole page; from below it.
        ((1, 1), "0xfffff000 0x800", [(0, 0xFFFFF000), (0xFFFFF000, 0x800)]),
        ((1, 1), "0xffffe800 0x1000", [(0, 0xFFFFF000), (0xFFFFE800, 0x1000)]),
        # A region that ends beyond it has one of its own, from where it begins.
        ((1, 1), "0xffffe000 0x2000", [(0, 0xFFFFF000), (0xFFFFE000, 0x2000)]),
        ((1, 1), "0xfffff000 0x1000", [(0, 0xFFFFF000), (0xFFFFF000, 0x1000)]),
        ((2, 1), "0x1 0 0x1000", [(0, 0xFFFFF000), (0x100000000, 0x1000)]),
        # What lies behind that is in the same, as far as its size goes.
        (
            (2, 1),
            "0x1 0 0x1000 0x1 0x8000 0x1000",
            [(0, 0xFFFFF000), (0x100000000, 0x9000)],
        ),
        (
            (2, 1),
            "0x1 0 0x1000 0x2 0 0x1000",
            [(0, 0xFFFFF000), (0x100000000, 0x1000), (0x200000000, 0x1000)],
        ),
        # The last that one size can hold, and one byte more.
        (
            (2, 1),
            "0x1 0 0x1000 0x1 0xfffff000 0xfff",
            [(0, 0xFFFFF000), (0x100000000, 0xFFFFFFFF)],
        ),
        (
            (2, 1),
            "0x1 0 0x1000 0x1 0xfffff000 0x1000",
            [(0, 0xFFFFF000), (0x100000000, 0x1000), (0x1FFFFF000, 0x1000)],
        ),
    ],
)
def test_each_region_is_inside_of_one_entry(
    cells: tuple[int, int], reg: str, expected: list[tuple[int, int]]
) -> None:
    assert entries(cells, reg) == expected


def test_a_bus_with_the_cells_of_the_root_needs_no_entry() -> None:
    assert entries((2, 2), "0x1 0 0 0x1000") == []


@pytest.mark.parametrize("cells", [(0, 1), (0, 2), (2, 0), (0, 0)])
def test_a_bus_without_addresses_or_sizes_has_nothing_to_map(cells: tuple[int, int]) -> None:
    guest = tree(
        f"bus {{ #address-cells = <{cells[0]}>; #size-cells = <{cells[1]}>; ranges; n {{ }}; }};"
    )
    bus = guest.node("/bus")
    assert bus
    assert bus_ranges(bus, cells, (2, 2), AddressMap(guest), bus.children) is None
