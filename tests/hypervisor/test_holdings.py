# SPDX-License-Identifier: Apache-2.0
"""Which stream IDs an entry of `iommus` with a mask holds, as Xen's SMMUv2 driver reads it."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.plan.host_devices import DEFAULT

SMMU = 'smmu { compatible = "arm,mmu-500"; #iommu-cells = <2>; phandle = <1>; };'


@pytest.mark.parametrize(
    ("specifier", "expected"),
    [
        ("0x1483 0", [(0x1483, 0x1483)]),
        # The bits of the mask do not count: what the ID has of them neither.
        ("0x12 0x3", [(0x10, 0x13)]),
        ("0x1483 0x80", [(0x1403, 0x1403), (0x1483, 0x1483)]),
        ("0x1403 0x81", [(0x1402, 0x1403), (0x1482, 0x1483)]),
        # Of a mask, the SMMU has 15 bits.
        ("0x5 0x8000", [(5, 5)]),
        ("0x5 0x8001", [(4, 5)]),
        # 2^8 pieces are told apart; more stand for all between.
        ("0x8000 0x1fe", [(0x8000 + i, 0x8000 + i) for i in range(0, 0x200, 2)]),
        ("0x8001 0x3fe", [(0x8001, 0x83FF)]),
    ],
)
def test_a_mask_stands_for_many_ids(specifier: str, expected: list[tuple[int, int]]) -> None:
    host = tree(f"{SMMU} m {{ iommus = <1 {specifier}>; }};")
    devices = Devices("host.dts", host, inventory(host)[0])
    claims = Holdings(devices, DEFAULT).all_streams()
    assert [(claim.first, claim.last) for claim in claims] == expected
