# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tree
from west_viommu.tree.addresses import AddressMap, Range, Region, Windows
from west_viommu.tree.cells import TreeError

TWO_TWO = "#address-cells = <2>; #size-cells = <2>;"
ONE_ONE = "#address-cells = <1>; #size-cells = <1>;"


def regions(body: str, path: str = "/bus/device") -> list[Region | None]:
    found = tree(body)
    device = found.node(path)
    assert device
    return list(AddressMap(found).regions(device))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            f"{TWO_TWO} bus {{ {TWO_TWO} ranges; device {{ reg = <1 2 3 4>; }}; }};",
            [(0x1_00000002, 0x3_00000004)],
            id="empty ranges is the identity",
        ),
        pytest.param(
            f"{TWO_TWO} bus {{ {TWO_TWO} device {{ reg = <0 2 0 4>; }}; }};",
            [None],
            id="no ranges is no mapping",
        ),
        pytest.param(
            f"{TWO_TWO} bus {{ {ONE_ONE} ranges = <0 0x8 0x1000 0x100>;"
            " device { reg = <0x10 0xf0 0x10 0xf1>; }; };",
            [(0x8_00001010, 0xF0), None],
            id="a region must lie inside one range as a whole",
        ),
        pytest.param(
            f"{TWO_TWO} bus {{ {ONE_ONE} ranges = <0 0 0x1000 0x10  0x10 0 0x9000 0x10>;"
            " device { reg = <0x8 0x4 0x18 0x8 0x8 0x10>; }; };",
            [(0x1008, 4), (0x9008, 8), None],
            id="each region in its range, none across two",
        ),
        pytest.param(
            "bus { #address-cells = <1>; #size-cells = <0>; ranges; device { reg = <4>; }; };",
            [],
            id="no size cells, no region",
        ),
        pytest.param(
            "bus { ranges; device { reg = <0 0x10 0x20>; }; };",
            [(0x10, 0x20)],
            id="default cells are 2 and 1",
        ),
        pytest.param(
            f"{TWO_TWO} bus {{ {TWO_TWO} ranges; device {{ reg = <0xffffffff 0xfffff000 0 0x1000"
            " 0xffffffff 0xfffff000 0 0x1001>; }; };",
            [(0xFFFFFFFFFFFFF000, 0x1000), None],
            id="no region past the end of memory",
        ),
        pytest.param("bus { device { }; };", [], id="no reg"),
        pytest.param(
            "bus { #address-cells = <4>; ranges; device { reg = <0 0 0 0x10 0x20>; }; };",
            [(0x10, 0x20)],
            id="at most 4 cells",
        ),
    ],
)
def test_regions(body: str, expected: list[object]) -> None:
    assert regions(body) == expected


@pytest.mark.parametrize(
    ("cells", "reg", "inherited", "by_default"),
    [
        ("", "0 0x10 0 0x20", (0x10, 0x20), None),
        ("#address-cells = <1>;", "0x10 0 0x20", (0x10, 0x20), None),
        ("#size-cells = <1>;", "0 0x10 0x20", (0x10, 0x20), (0x10, 0x20)),
        (ONE_ONE, "0x10 0x20", (0x10, 0x20), (0x10, 0x20)),
    ],
)
def test_the_cells_of_a_bus_that_says_none(
    cells: str, reg: str, inherited: object, by_default: object
) -> None:
    """A host's are those of the next node above that says them, a guest's the default."""
    found = tree(f"{TWO_TWO} bus {{ {cells} ranges; device {{ reg = <{reg}>; }}; }};")
    device = found.node("/bus/device")
    assert device
    assert AddressMap(found, inherits=True).reg(device) == (inherited,)
    if by_default:
        assert AddressMap(found).reg(device) == (by_default,)
    else:
        with pytest.raises(TreeError):
            AddressMap(found).reg(device)


def test_every_ancestor_translates() -> None:
    body = f"""{TWO_TWO}
        a {{ {TWO_TWO} ranges = <0 0 0x10 0 0x1 0>;
            b {{ {ONE_ONE} ranges = <0x0 0x0 0x2000 0x1000>;
                c {{ {ONE_ONE} ranges; device {{ reg = <0x30 0x8>; }}; }}; }}; }};"""
    assert regions(body, "/a/b/c/device") == [(0x10_00002030, 8)]


@given(
    base=st.integers(0, 0xFFFF),
    size=st.integers(0, 0xFFFF),
    child=st.integers(0, 0xFFFF),
    length=st.integers(0, 0xFFFF),
    parent=st.integers(0, 0xFFFFFFFF),
)
def test_one_range_is_an_offset(base: int, size: int, child: int, length: int, parent: int) -> None:
    inside = child <= base < child + length and base + size <= child + length
    expected = [(base - child + parent, size)] if inside else [None]
    body = f"""{TWO_TWO} bus {{ {ONE_ONE} ranges = <{child} 0 {parent} {length}>;
        device {{ reg = <{base} {size}>; }}; }};"""
    assert regions(body) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"{TWO_TWO} bus {{ {TWO_TWO} device {{ reg = <1 2 3>; }}; }};", "reg does not fit"),
        (
            f"{TWO_TWO} bus {{ {ONE_ONE} ranges = <1 2 3>; device {{ reg = <1 2>; }}; }};",
            "ranges does not fit",
        ),
        (
            "bus { #address-cells = <5>; device { reg = <1>; }; };",
            "#address-cells is out of range",
        ),
    ],
)
def test_malformed(body: str, message: str) -> None:
    with pytest.raises(TreeError, match=message):
        regions(body)


@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
def test_windows_that_touch(count: int) -> None:
    # In another order than that of their addresses, and with one that is empty.
    ranges = [Range(0x1000 + 0x10 * i, 0x9000 * i, 0x10) for i in range(count)]
    windows = Windows([*ranges[1:], ranges[0], Range(0x1008, 0, 0)])
    for each in ranges:
        assert windows.around(each.child, 0x10) == each
        assert windows.around(each.child + 0xF, 1) == each
        assert windows.around(each.child + 0xF, 2) is None
    assert windows.around(0xFFF, 1) is None
    assert windows.around(ranges[-1].child + 0x10, 1) is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=12),
    st.integers(0, 60),
    st.integers(0, 5),
    st.booleans(),
)
def test_of_windows_that_overlap_the_first_counts(
    spans: list[tuple[int, int]], base: int, size: int, has_many: bool
) -> None:
    ranges = [Range(child, 0x1000 * place, length) for place, (child, length) in enumerate(spans)]
    far = [Range(0x1000 * i, 0, 0x1000) for i in range(1, 65)] if has_many else []
    windows = Windows([*ranges, *far])
    holding = (each for each in ranges if each.child <= base < each.child + each.size)
    first = next(holding, None)
    assert windows.at(base) == first
    is_whole = first is not None and base + size <= first.child + first.size
    assert windows.around(base, size) == (first if is_whole else None)


def test_what_xen_finds_in_what_is_malformed() -> None:
    body = f"""{TWO_TWO}
        bus {{ {ONE_ONE} ranges = <0x1000 0 0x5000 0x100>, <0x9000 0>;
            device {{ reg = <0x1010 0x10 0x1080 0x400 0x1000>; }}; }};"""
    found = tree(body)
    device = found.node("/bus/device")
    assert device
    assert AddressMap(found, as_xen=True).regions(device) == (
        Region(0x5010, 0x10),
        # Where its first byte goes, all goes.
        Region(0x5080, 0x400),
    )


@pytest.mark.parametrize(
    ("other", "is_over"),
    [
        ((0xFFF, 1), False),
        ((0xFFF, 2), True),
        ((0x1FFF, 1), True),
        ((0x2000, 1), False),
        ((0, 0x4000), True),
        ((0x1000, 0x1000), True),
    ],
)
def test_whether_regions_overlap(other: tuple[int, int], is_over: bool) -> None:
    region = Region(0x1000, 0x1000)
    assert region.overlaps(Region(*other)) == Region(*other).overlaps(region) == is_over


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0x1000, 0x2FFF), (0xFFF, 0x1000)])
def test_a_region_between_two_addresses(first: int, last: int) -> None:
    region = Region.between(first, last)
    assert (region.base, region.size) == (first, last - first + 1)
    assert (region.ends, region.end) == ((first, last), last + 1)
    assert region.contains(first) and region.contains(last)
    assert not region.contains(first - 1) and not region.contains(last + 1)
