# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tree
from west_viommu.host.intervals import Interval
from west_viommu.host.inventory import (
    IdMap,
    RequesterId,
    Stream,
    StreamId,
    id_maps,
    map_intervals,
    streams,
)
from west_viommu.tree.cells import TreeError

IOMMUS = """
    zero: zero { #iommu-cells = <0>; phandle = <1>; };
    one: one { #iommu-cells = <1>; phandle = <2>; };
    two: two { #iommu-cells = <2>; phandle = <3>; };
    none: none { phandle = <4>; };
    masked: masked { #iommu-cells = <1>; stream-match-mask = <0x7c00>; phandle = <5>; };
    both: both { #iommu-cells = <2>; stream-match-mask = <0x7c00>; phandle = <6>; };
    no-id { #iommu-cells = <0>; stream-match-mask = <0x7c00>; phandle = <7>; };
    short { #iommu-cells = <1>; stream-match-mask = [7c 00]; phandle = <8>; };
    long { #iommu-cells = <1>; stream-match-mask = <0x7c00 1>; phandle = <10>; };
"""


def stream_rows(iommus: str) -> list[Stream]:
    host = tree(f"{IOMMUS} m {{ iommus = {iommus}; }};")
    node = host.node("/m")
    assert node
    return list(streams(host, node))


def map_rows(iommu_map: str) -> list[IdMap]:
    host = tree(f"{IOMMUS} m {{ iommu-map = {iommu_map}; }};")
    node = host.node("/m")
    assert node
    return list(id_maps(host, node))


@pytest.mark.parametrize(
    ("iommus", "expected"),
    [
        ("<2 0x10>", [("/one", 0x10, None)]),
        ("<2 0x10 2 0x7fff>", [("/one", 0x10, None), ("/one", 0x7FFF, None)]),
        ("<1>", [("/zero", None, None)]),
        ("<3 0x10 0xff>", [("/two", 0x10, 0xFF)]),
        (
            "<1 3 0x10 0xff 2 0x20>",
            [("/zero", None, None), ("/two", 0x10, 0xFF), ("/one", 0x20, None)],
        ),
        # The mask of all IDs of an SMMU, where the entry has none of its own.
        ("<5 0x10>", [("/masked", 0x10, 0x7C00)]),
        ("<6 0x10 0>", [("/both", 0x10, 0)]),
        ("<7 8 0x10>", [("/no-id", None, None), ("/short", 0x10, None)]),
        ("<10 0x10>", [("/long", 0x10, 0x7C00)]),
        ("<0>", []),
        ("<0xffffffff>", []),
        ("<0 2 0x10 0xffffffff 2 0x11>", [("/one", 0x10, None), ("/one", 0x11, None)]),
    ],
)
def test_iommus_is_decoded_entry_by_entry(iommus: str, expected: list[object]) -> None:
    assert stream_rows(iommus) == expected


@pytest.mark.parametrize(
    ("iommus", "message"),
    [
        ("<2>", "/m: iommus: the last entry of iommus is cut off"),
        ("<3 0x10>", "/m: iommus: the last entry of iommus is cut off"),
        ("<9 0x10>", "/m: iommus: a phandle that no node has"),
        ("<4 0x10>", "/m: iommus: iommus refers to a node that is not an IOMMU"),
        ("[00 00 00]", "/m: iommus: the length of iommus is not a multiple of 4 bytes"),
    ],
)
def test_malformed_iommus(iommus: str, message: str) -> None:
    with pytest.raises(TreeError) as caught:
        stream_rows(iommus)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("iommu_map", "expected"),
    [
        ("<0 2 0x10 0x10000>", [("/one", 0, 0x10, 0x10000)]),
        ("<0 2 0x10 1 0x100 2 0x11 7>", [("/one", 0, 0x10, 1), ("/one", 0x100, 0x11, 7)]),
        ("<0 2 0x10 0>", []),
        ("<0 0 0x10 1  8 2 0x11 1>", [("/one", 8, 0x11, 1)]),
        ("<0 0xffffffff 0x10 1  8 2 0x11 1>", [("/one", 8, 0x11, 1)]),
        ("<0 1 0x10>", [("/zero", 0, None, 0x10)]),
        ("<0 3 0x10 0 0x20>", [("/two", 0, 0x10, 0x20)]),
        ("<0 2 0x10 4  0x100 3 0x20 0 4>", [("/one", 0, 0x10, 4), ("/two", 0x100, 0x20, 4)]),
        # Two boards: one cell of iommu-base for a 2-cell target.
        ("<0 3 0x10 1  8 3 0x11 1>", [("/two", 0, 0x10, 1), ("/two", 8, 0x11, 1)]),
    ],
)
def test_iommu_map_is_decoded_entry_by_entry(iommu_map: str, expected: list[object]) -> None:
    assert map_rows(iommu_map) == expected


@pytest.mark.parametrize(
    ("iommu_map", "message"),
    [
        ("<0>", "/m: iommu-map: the last entry of iommu-map is cut off"),
        ("<0 2 0x10>", "/m: iommu-map: the last entry of iommu-map is cut off"),
        ("<0 9 0x10 1>", "/m: iommu-map: a phandle that no node has"),
        (
            "<0xffffffff 2 0 2>",
            "/m: iommu-map: an entry of iommu-map runs past the last 32-bit ID",
        ),
        (
            "<0 2 0xffffffff 2>",
            "/m: iommu-map: an entry of iommu-map runs past the last 32-bit ID",
        ),
    ],
)
def test_malformed_iommu_map(iommu_map: str, message: str) -> None:
    with pytest.raises(TreeError) as caught:
        map_rows(iommu_map)
    assert str(caught.value) == message


@given(
    rid=st.integers(0, 0x200),
    length=st.integers(1, 0x200),
    base=st.integers(0, 0x1000),
    mask=st.none() | st.integers(0, 0x3FF),
)
def test_a_map_gives_out_the_ids_that_the_binding_says(
    rid: int, length: int, base: int, mask: int | None
) -> None:
    # "Any RID r in the interval [rid-base, rid-base + length) is associated with the listed
    # iommu, with the iommu-specifier (r - rid-base + iommu-base)", r ANDed with the mask first.
    expected = set()
    for r in range(0x400):
        masked = r if mask is None else r & mask
        if rid <= masked < rid + length:
            expected.add(masked - rid + base)
    entry = IdMap("/smmu", RequesterId(rid), StreamId(base), length)
    found = {i for first, last in map_intervals(entry, mask) for i in range(first, last + 1)}
    assert found == expected


def test_a_map_without_ids_gives_out_none() -> None:
    assert map_intervals(IdMap("/smmu", RequesterId(0), None, 4), None) == ()
    full = IdMap("/smmu", RequesterId(0), StreamId(0), 1 << 32)
    assert map_intervals(full, None) == (Interval(0, 0xFFFFFFFF),)


def test_a_map_may_end_at_the_last_id_and_not_behind_it() -> None:
    last = 0xFFFFFFFF
    assert map_rows(f"<0 &one {last:#x} 1>") == [IdMap("/one", RequesterId(0), StreamId(last), 1)]
    assert map_rows(f"<{last:#x} &one 0 1>") == [IdMap("/one", RequesterId(last), StreamId(0), 1)]
    for entry in (f"<0 &one {last:#x} 2>", f"<{last:#x} &one 0 2>"):
        with pytest.raises(TreeError, match="runs past the last 32-bit ID"):
            map_rows(entry)
