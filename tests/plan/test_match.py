# SPDX-License-Identifier: Apache-2.0
"""Which of several masters with an ID is meant."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.entries import Entry
from west_viommu.guest.regions import RegionPair
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId, inventory
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.plan.match import NoMatch, named_device, wanted_ids
from west_viommu.read.profiles import profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import Phandle

HOST = tree("""#address-cells = <1>; #size-cells = <1>;
    one { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; };
    two { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <2>; };
    a@10000 { iommus = <1 0x10>; reg = <0x10000 0x1000>; };
    b@20000 { iommus = <2 0x10>; reg = <0x20000 0x1000>; };
    plain@50000 { reg = <0x50000 0x1000>; };
    other@50000 { iommus = <1 0x20>; reg = <0x50000 0x1000>; };
    m@40000 { iommu-map = <0 2 0x40 0x10>; reg = <0x40000 0x1000>; };""")
HOLDINGS = Holdings(Devices("host.dts", HOST, inventory(HOST)[0]), profile("xen-rfc", None))


@pytest.mark.parametrize(
    ("name", "reg", "ids", "expected"),
    [
        ("x", 0x20000, [0x10], "/b@20000"),
        ("x", 0x10000, [0x10], "/a@10000"),
        ("b@20000", 0x30000, [0x10], "/b@20000"),
        # The address before the name.
        ("a@10000", 0x20000, [0x10], "/b@20000"),
        ("x", 0x30000, [0x10], "ambiguous-master"),
        ("x", 0x30000, [0x11], "unknown-stream-id"),
        # Of two nodes at one address, the name says which: one is behind no IOMMU.
        ("plain@50000", 0x50000, [0x11], "/plain@50000"),
        ("other@50000", 0x50000, [0x11], "unknown-stream-id"),
        ("x", 0x50000, [0x11], "unknown-stream-id"),
        ("x", 0x30000, [0x4F], "/m@40000"),
        # A mistyped ID that a map gives out is not the map's where the address is another's.
        ("x", 0x10000, [0x4F], "stream-mismatch"),
        ("x", 0x40000, [0x4F], "/m@40000"),
        ("x", 0x10000, [0x10, 0x4F], "stream-mismatch"),
    ],
)
def test_the_address_then_the_name(name: str, reg: int, ids: list[int], expected: str) -> None:
    region = Region(reg, 0x1000)
    entries = tuple(Entry(Phandle(0), StreamId(each)) for each in ids)
    pairs = (RegionPair(region, region),)
    request = Request("/passthrough/x", name, None, entries, pairs, (), (), False, None)
    try:
        found = named_device(request, wanted_ids(request, HOLDINGS.devices), HOLDINGS).path
    except NoMatch as no_match:
        found = no_match.hazard
    assert found == expected
