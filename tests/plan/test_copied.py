# SPDX-License-Identifier: Apache-2.0
"""`iommus` with as many cells as the IOMMU has from behind which it was copied."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.requests import Request, asked
from west_viommu.guest.source import without_source
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.plan.match import with_pairs

HOST = tree("""#address-cells = <1>; #size-cells = <1>;
    one { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; };
    two { compatible = "arm,mmu-500"; #iommu-cells = <2>; phandle = <2>; };
    three { compatible = "acme,iommu"; #iommu-cells = <3>; phandle = <3>; };
    none { compatible = "acme,dart"; #iommu-cells = <0>; phandle = <4>; };
    a@10000 { iommus = <1 0x10>; reg = <0x10000 0x1000>; };
    b@20000 { iommus = <2 0x20 0x7f 2 0x21 0>; reg = <0x20000 0x1000>; };
    c@30000 { iommus = <3 0x30 1 2>; reg = <0x30000 0x1000>; };
    d@40000 { iommus = <4>; reg = <0x40000 0x1000>; };
    e@50000 { iommus = <1 0x50 2 0x51 0>; reg = <0x50000 0x1000>; };""")
DEVICES = Devices("host.dts", HOST, inventory(HOST)[0])
IOMMUS, LOPPER = "iommus", "xen,smmu-stream-ids"


def request(device: str) -> Request:
    source = f"""#address-cells = <1>; #size-cells = <1>;
        passthrough {{ #address-cells = <1>; #size-cells = <1>; ranges; x {{ {device} }}; }};
        vsmmu {{ compatible = "arm,smmu-v3"; phandle = <9>; }};"""
    (found,) = asked(without_source(tree(source), "guest.dts")).requests
    return found


AT_A, AT_B, AT_C, AT_D, AT_E = (
    f"reg = <{i}0000 0x1000>;" for i in ("0x1", "0x2", "0x3", "0x4", "0x5")
)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (f"{AT_B} iommus = <0 0x20 0x7f>;", [(0, 0x20, IOMMUS)]),
        (f"{AT_B} iommus = <0 0x99 0>;", [(0, 0x99, IOMMUS)]),
        ('xen,path = "/b@20000"; iommus = <0 0x20 0>;', [(0, 0x20, IOMMUS)]),
        # What is named goes before what lies there.
        (f'{AT_A} xen,path = "/b@20000"; iommus = <0xfdea 0x20 0>;', [(0xFDEA, 0x20, IOMMUS)]),
        # An even number of cells, which are no pairs: 0x7f is no IOMMU of the host.
        (
            f"{AT_B} iommus = <0 0x20 0x7f 0 0x21 0>;",
            [(0, 0x20, IOMMUS), (0, 0x21, IOMMUS)],
        ),
        # The phandle of an IOMMU of the host tells by itself, wherever the node lies.
        ("iommus = <2 0x20 0>;", [(2, 0x20, IOMMUS)]),
        ("iommus = <1 0x10 2 0x20 0>;", [(1, 0x10, IOMMUS), (2, 0x20, IOMMUS)]),
        (f"{AT_C} iommus = <0 0x30 1 2>;", [(0, 0x30, IOMMUS), (1, 2, IOMMUS)]),
        (f"{AT_C} iommus = <0 0x30 7 7>;", [(0, 0x30, IOMMUS)]),
        (
            f"{AT_B} iommus = <0 0x20 0>; xen,smmu-stream-ids = <0x21>;",
            [(0, 0x21, LOPPER), (0, 0x20, IOMMUS)],
        ),
    ],
)
def test_read_by_the_host(device: str, expected: list[tuple[int, int, str]]) -> None:
    found = with_pairs(request(device), DEVICES)
    assert found.malformed_ids is None
    assert [(each.phandle, each.id, each.prop) for each in found.entries] == expected


@pytest.mark.parametrize(
    "device",
    [
        # Pairs are pairs, whatever else they could be.
        f"{AT_B} iommus = <0 0x20>;",
        f"{AT_B} iommus = <0 0x20 0 0 0 0x21>;",
        f"{AT_B} iommus = <9 0x20>;",
        f"{AT_B} xen,smmu-stream-ids = <0x20>;",
        'xen,path = "/b@20000";',
        # Cut off, of no width that is known, or of none at all.
        f"{AT_B} iommus = <0 0x20 0 0>;",
        f"{AT_B} iommus = <0 0x20 0 0 0x21>;",
        f"{AT_B} iommus = <7 0x20 0>;",
        f"{AT_A} iommus = <0 0x10 0>;",
        f"{AT_D} iommus = <0>;",
        f"{AT_E} iommus = <0 0x51 0>;",
        "iommus = <0 0x20 0>;",
        "iommus = <2 0x20>;",
        f"{AT_B} iommus = [00];",
        f"{AT_B} iommus;",
        # A reference is to a node of the guest.
        f"{AT_B} iommus = <9 0x20 0>;",
    ],
)
def test_left_as_it_is(device: str) -> None:
    made = request(device)
    assert with_pairs(made, DEVICES) == made
