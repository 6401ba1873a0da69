# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.hazards.odd import with_owners
from west_viommu.hazards.parts import Wanted
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId, inventory

HOST = tree(
    'smmu { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; };'
    + "d { iommus = <1 0x20>; };"
    + "".join(f"{name} {{ iommus = <1 0x10>; }};" for name in ("a", "b", "c", "e"))
    + "m { iommu-map = <0 1 0x30 2>; }; n { iommu-map = <0 1 0x31 2>; };"
)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        # Three of those that list it, else those that map it.
        ([0x10], "0x10 of /a and /b and /c"),
        ([0x20], "0x20 of /d"),
        ([0x20, 0x30], "0x20 of /d, 0x30 of /m"),
        ([0x31], "0x31 of /m and /n"),
        ([0x99], "0x99 of no master"),
    ],
)
def test_whose_the_ids_are(ids: list[int], found: str) -> None:
    devices = Devices("host.dts", HOST, inventory(HOST)[0])
    wanted = [Wanted(StreamId(each), None) for each in ids]
    assert with_owners(wanted, devices) == found
