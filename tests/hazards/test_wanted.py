# SPDX-License-Identifier: Apache-2.0
"""Which masters of a host have the stream IDs that a request names."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.hazards.wanted import Wanted, candidates, has_all, lists_all, maps_all
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId, inventory

HOST = tree("""one { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; };
    two { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <2>; };
    a { iommus = <1 0x10 1 0x11>; };
    b { iommus = <2 0x10>; };
    c { iommus = <1 0x40>; iommu-map = <0 1 0x41 4>; };
    map { iommu-map = <0 1 0x40 0x10>; };
    masked { iommu-map = <0 2 0x80 4>; iommu-map-mask = <0xfffe>; };""")
DEVICES = Devices("host.dts", HOST, inventory(HOST)[0])


def wanted(*ids: int, iommu: str | None = None) -> list[Wanted]:
    return [Wanted(StreamId(each), iommu) for each in ids]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (wanted(), []),
        (wanted(0x10), ["/a", "/b"]),
        (wanted(0x10, iommu="/one"), ["/a"]),
        (wanted(0x10, iommu="/two"), ["/b"]),
        (wanted(0x10, 0x11), ["/a"]),
        (wanted(0x11, 0x10), ["/a"]),
        (wanted(0x10, 0x12), []),
        # The first and the last ID of a map, and beside it.
        (wanted(0x3F), []),
        (wanted(0x40), ["/c", "/map"]),
        (wanted(0x4F), ["/map"]),
        (wanted(0x50), []),
        # A mask lets every other requester ID through.
        (wanted(0x80), ["/masked"]),
        (wanted(0x81), []),
        (wanted(0x82), ["/masked"]),
    ],
)
def test_who_has_all_of_them(ids: list[Wanted], expected: list[str]) -> None:
    assert sorted(master.path for master in candidates(ids, DEVICES)) == expected


@pytest.mark.parametrize(
    ("path", "ids", "is_listed", "is_mapped"),
    [
        ("/a", wanted(0x10, 0x11), True, False),
        ("/a", wanted(0x10, iommu="/one"), True, False),
        ("/a", wanted(0x10, iommu="/two"), False, False),
        ("/a", wanted(0x10, 0x12), False, False),
        # A node that lists some gives out no others.
        ("/c", wanted(0x40), True, False),
        ("/c", wanted(0x41), False, False),
        ("/map", wanted(0x40, 0x4F), False, True),
        ("/map", wanted(0x40, 0x50), False, False),
        ("/masked", wanted(0x82), False, True),
        ("/masked", wanted(0x83), False, False),
    ],
)
def test_whether_a_master_has_them(
    path: str, ids: list[Wanted], is_listed: bool, is_mapped: bool
) -> None:
    master = DEVICES.master(path)
    assert master
    assert (lists_all(master, ids), maps_all(master, ids)) == (is_listed, is_mapped)
    assert has_all(master, ids) == (is_listed or is_mapped)
    assert not has_all(None, ids)
