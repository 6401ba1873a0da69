# SPDX-License-Identifier: Apache-2.0
"""What each node of a host holds beside the guest: streams, pages, lines."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.holdings import Holdings, Standing
from west_viommu.read.profiles import profile

DEFAULT = profile(None, None)

SMMU = 'smmu { compatible = "arm,mmu-500"; #iommu-cells = <2>; phandle = <1>; };'


def holdings(body: str, *, has_dom0: bool = True) -> Holdings:
    host = tree(body)
    devices = Devices("host.dts", host, inventory(host)[0])
    return Holdings(devices, DEFAULT, has_dom0=has_dom0)


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
        ("0x4000 0x1fe", [(0x4000 + i, 0x4000 + i) for i in range(0, 0x200, 2)]),
        ("0x4001 0x3fe", [(0x4001, 0x43FF)]),
        # Of an ID as well.
        ("0x8012 0", [(0x12, 0x12)]),
        ("0x8012 1", [(0x12, 0x13)]),
    ],
)
def test_a_mask_stands_for_many_ids(specifier: str, expected: list[tuple[int, int]]) -> None:
    """As Xen's SMMUv2 driver reads it."""
    claims = holdings(f"{SMMU} m {{ iommus = <1 {specifier}>; }};").all_streams()
    assert [(claim.first, claim.last) for claim in claims] == expected


TWO_SMMUS = """a { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; };
    b { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <2>; };"""


def test_a_stream_is_an_id_behind_an_iommu() -> None:
    found = holdings(f"""{TWO_SMMUS} m {{ iommus = <2 0xffffffff 1 0 2 5>; }};
        off {{ status = "disabled"; iommus = <1 7>; iommu-map = <0 1 0x10 4>; }};
        map {{ iommu-map = <0 2 0x20 4>; }};""")
    claims = found.all_streams()
    assert [(each.path, found.stream(each.first), found.stream(each.last)) for each in claims] == [
        ("/m", ("/b", 0xFFFFFFFF), ("/b", 0xFFFFFFFF)),
        ("/m", ("/a", 0), ("/a", 0)),
        ("/m", ("/b", 5), ("/b", 5)),
        # The map of a device that is off is not in use.
        ("/off", ("/a", 7), ("/a", 7)),
        ("/map", ("/b", 0x20), ("/b", 0x23)),
    ]


ONE_ONE = "#address-cells = <1>; #size-cells = <1>;"


def test_pages_are_registers_and_the_windows_of_bridges() -> None:
    found = holdings(f"""{ONE_ONE} m {{ reg = <0x1000 0x1000 0x8000 0 0x9000 1>; }};
        off {{ status = "disabled"; reg = <0xa000 0x10>; }};
        pci {{ device_type = "pci"; #address-cells = <3>; #size-cells = <2>; reg = <0xb000 0x10>;
            ranges = <0x2000000 0 0 0xc0000000 0 0x10000>, <0x2000000 0 0 0xd0000000 0 0>,
                <0x1000000 0 0 0xe0000000 0 1>; }};
        nobridge {{ {ONE_ONE} ranges = <0 0xf0000000 0x1000>; }};""")
    assert [(each.path, each.first, each.last) for each in found.all_pages()] == [
        ("/m", 0x1000, 0x1FFF),
        ("/m", 0x9000, 0x9000),
        ("/off", 0xA000, 0xA00F),
        ("/pci", 0xB000, 0xB00F),
        ("/pci", 0xC0000000, 0xC000FFFF),
        ("/pci", 0xE0000000, 0xE0000000),
    ]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        # The pages of 0x1800 to 0x27ff, and nothing before or behind them.
        (0x1000, 0x2FFF, True),
        (0x2FFF, 0x2FFF, True),
        (0xFFF, 0x1000, False),
        (0x2FFF, 0x3000, False),
        (0x5000, 0x5FFF, True),
        (0x6000, 0x6FFF, True),
        # Across two that touch.
        (0x5000, 0x6FFF, True),
        (0x5000, 0x7000, False),
        # Xen's own, reserved memory, RAM; what is below a node that dom0 does not get.
        (0x8000, 0x8FFF, False),
        (0x9000, 0x9FFF, False),
        (0xA000, 0xAFFF, False),
        (0xB000, 0xBFFF, False),
    ],
)
def test_what_dom0_may_hand_on(first: int, last: int, expected: bool) -> None:
    body = f"""{ONE_ONE} m {{ reg = <0x1800 0x1000>; }};
        off {{ status = "disabled"; reg = <0x5000 0x10>; }};
        marked {{ xen,passthrough; reg = <0x6000 0x1000>; }};
        smmu {{ compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0x8000 0x1000>; }};
        reserved-memory {{ {ONE_ONE} ranges; r {{ reg = <0x9000 0x1000>; }}; }};
        memory@a000 {{ reg = <0xa000 0x1000>; }};
        pmu {{ compatible = "arm,armv8-pmuv3"; {ONE_ONE} ranges;
            n {{ reg = <0xb000 0x1000>; }}; }};"""
    assert holdings(body).is_permitted()(first, last) == expected
    # Without a dom0, nothing but what is marked for somebody.
    is_marked = first >= 0x6000 and last < 0x7000
    assert holdings(body, has_dom0=False).is_permitted()(first, last) == is_marked


LINES = """interrupt-parent = <9>;
    gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; phandle = <9>; };
    first { interrupts = <0 0 4>; };
    last { interrupts = <0 987 4>; };
    both { interrupts = <0 0 4  0 7 4>; };
    private { interrupts = <1 15 4>; };
    extended { interrupts = <2 16 4>; };
    smmu { compatible = "arm,smmu-v3"; #iommu-cells = <1>; interrupts = <0 8 1>; };
    idle { compatible = "arm,smmu-v3"; interrupts = <0 9 1>; status = "disabled"; };
    empty { compatible = "arm,smmu-v3"; interrupts = <0 9 1>; status = ""; };
    given { compatible = "arm,smmu-v3"; interrupts = <0 9 1>; xen,passthrough; };
    other { interrupts-extended = <9 0 10 4>; interrupts = <0 11 4>; };
    malformed { interrupts = <0 12>; };"""
# The number in a node behind a nexus is not that of the GIC.
NEXUS = """nexus { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1 9 0 20 4>;
        behind { interrupts = <1>; }; };"""
FIRST = [("/first", 32), ("/both", 32), ("/extended", 32)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({32}, FIRST),
        ({39}, [("/both", 39)]),
        ({40}, [("/smmu", 40)]),
        # Of an SMMU that Xen does not drive, they are nobody's.
        ({41}, []),
        ({42}, [("/other", 42)]),
        ({43}, []),
        ({1019}, [("/last", 1019)]),
        ({33}, []),
    ],
)
def test_who_has_a_line(wanted: set[int], expected: list[tuple[str, int]]) -> None:
    for body in (LINES, LINES + NEXUS):
        found = holdings(body).all_lines
        assert [(each.path, each.first) for each in found if each.first in wanted] == expected
        assert all(each.first == each.last for each in found)


def test_who_has_a_line_behind_a_nexus() -> None:
    found = holdings(LINES + NEXUS).all_lines
    assert ("/nexus/behind", 52) in [(each.path, each.first) for each in found]


def test_all_lines() -> None:
    assert [(each.path, each.first) for each in holdings(LINES + NEXUS).all_lines] == [
        *(("/first", 32), ("/last", 1019), ("/both", 32), ("/both", 39), ("/extended", 32)),
        *(("/smmu", 40), ("/other", 42), ("/nexus/behind", 52)),
    ]


@pytest.mark.parametrize(
    ("path", "status", "standing", "left_out_by"),
    [
        ("/on", "okay", Standing.STAYS, None),
        ("/reserved", "reserved", Standing.STAYS, None),
        ("/off", "disabled", Standing.OFF, None),
        ("/off/child", "disabled", Standing.OFF, None),
        ("/off/failed", "disabled", Standing.OFF, None),
        ("/marked", "okay", Standing.MARKED, None),
        ("/marked/child", "okay", Standing.STAYS, None),
        ("/private", "okay", Standing.NOBODY, "/private"),
        ("/private/child", "okay", Standing.NOBODY, "/private"),
        ("/private/twice", "okay", Standing.NOBODY, "/private"),
        ("/smmu", "okay", Standing.OWN, "/smmu"),
        ("/nowhere", "okay", Standing.NOBODY, None),
    ],
)
def test_whose_a_node_is(
    path: str, status: str, standing: Standing, left_out_by: str | None
) -> None:
    body = """interrupt-parent = <9>; on { }; reserved { status = "reserved"; };
        off { status = "disabled"; child { status = "okay"; }; failed { status = "fail"; }; };
        marked { xen,passthrough; child { }; };
        private { interrupts = <0 5 4  1 0 4>; child { };
            twice { interrupts = <1 1 4>; }; };
        gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
            phandle = <9>; };
        smmu { compatible = "arm,smmu-v3"; };"""
    found = holdings(body)
    assert (found.status(path), found.standing(path)) == (status, standing)
    assert found.left_out_by(path) == left_out_by
