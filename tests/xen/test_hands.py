# SPDX-License-Identifier: Apache-2.0
"""What the model gives to each hand, and what xl takes."""

from __future__ import annotations

import pytest

from tests.support import blob
from tests.xen.domains import Iomem
from tests.xen.drivers import Stream
from tests.xen.one_nic import (
    BUS,
    GIVEN,
    GUEST,
    HOST,
    NIC,
    PLAIN,
    SHARER,
    SMMU,
    TAKEN,
    UNPROTECTED,
    WIDE,
    refused,
    said,
    world,
)
from tests.xen.whole import AtBoot, ByXl, Hand, by_xl, faults, whole
from tests.xen.xens import MASTER, RFC, V3, V417, XENS, Xen


def test_one_device() -> None:
    for xen in XENS.values():
        found = world(PLAIN, GIVEN, xen)
        assert faults(found) == []
        guest = found.hands["dom1"]
        assert guest.streams == {Stream(SMMU, 0x20)}
        assert [(pages.host, pages.count, pages.guest) for pages in guest.pages] == [
            (0x9000, 1, 0x9000)
        ]
        assert guest.lines == {72}
        assert found.hands["dom0"] == Hand()
        assert found.hands["Xen"].lines == {132, 133}


def test_nothing_later_in_a_list_leaves_the_rest_out() -> None:
    found = world(f"{NIC} iommus = <&smmu 0x20>, <0>, <&smmu 0x21>; }};", GIVEN, MASTER)
    assert (faults(found), set(found.hands["dom1"].streams)) == ([], {Stream(SMMU, 0x20)})


def test_a_disabled_smmu_later_in_a_list() -> None:
    """4.17 attaches what came before; master adds nothing."""
    off = PLAIN.replace("0x20>", "0x20>, <&off 1>") + (
        'off: smmu@8200 { compatible = "arm,smmu-v3"; status = "disabled"; #iommu-cells = <1>; };'
    )
    found = world(off, GIVEN, V417)
    assert (faults(found), set(found.hands["dom1"].streams)) == ([], {Stream(SMMU, 0x20)})
    assert (
        faults(world(off, GIVEN, MASTER))
        == refused(UNPROTECTED + "/smmu@8200 is disabled")["master"]
    )


def test_an_extended_line_is_routed_as_another() -> None:
    found = world(PLAIN.replace("<0 40 4>", "<2 24 4>"), GIVEN, V3)
    assert (faults(found), set(found.hands["dom1"].lines)) == ([], {40})


AGIC = """
    agic: agic {
        compatible = "nvidia,tegra210-agic"; interrupt-controller; #interrupt-cells = <3>;
        interrupts = <0 60 4>; interrupt-map = <0 40 4 &gic 0 41 4>;
    };
"""


def test_a_line_of_a_second_controller_is_left_out() -> None:
    """Though it has an interrupt-map: the walk ends at the first controller."""
    host = AGIC + PLAIN.replace("<0 40 4>", "<0 40 4>; interrupt-parent = <&agic>")
    found = world(host, GIVEN, RFC)
    assert (faults(found), set(found.hands["dom1"].lines)) == ([], set())
    assert found.hands["dom0"].lines == {92}


def test_the_gic_is_the_first_that_xen_can_drive() -> None:
    gic = '%s: %s { compatible = "%s"; interrupt-controller; #interrupt-cells = <3>; %s };'
    first = gic % ("agic", "agic", "nvidia,tegra210-agic", "")
    first += gic % ("off", "off", "arm,gic-v3", 'status = "disabled";')
    first += gic % ("kept", "kept", "ARM,GIC-400", "xen,passthrough;")
    host = HOST.replace("gic: gic@2f000000", f"{first} gic: gic@2f000000") % PLAIN
    found = whole(blob(host), [AtBoot(blob(GUEST % GIVEN))], MASTER)
    assert (faults(found), set(found.hands["dom1"].lines)) == ([], {72})


def test_a_path_is_compared_without_case() -> None:
    """Seen: the other device was assigned."""
    host = f"NIC@9000000 {{ xen,passthrough; iommus = <&smmu 0x77>; }}; {PLAIN}"
    found = world(host, GIVEN, V417)
    assert found.hands["dom1"].streams == {Stream(SMMU, 0x77)}


def test_registers_without_a_path() -> None:
    raw = "scmi { xen,reg = <0 0xe000000 0 0x1000 0 0x22001000>; xen,force-assign-without-iommu; };"
    found = world(PLAIN, GIVEN + raw, MASTER)
    assert faults(found) == []
    pages = found.hands["dom1"].pages[-1]
    assert (pages.host, pages.count, pages.guest) == (0xE000, 1, 0x22001)
    assert faults(world(f"{PLAIN} sram {{ reg = <0 0xe000000 0 16>; }};", GIVEN + raw, MASTER)) == [
        "double page: dom1 and dom0: page 0xe000000 of /passthrough/scmi and /sram"
    ]


def test_forced_without_protection() -> None:
    forced = GIVEN.replace("nic {", "nic { xen,force-assign-without-iommu;")
    found = world(f"{NIC} }};", forced, MASTER)
    assert (faults(found), set(found.hands["dom1"].streams)) == ([], set())


XL_CFG = """
device_tree = "partial.dtb"
dtdev = [ "/nic@9000000" ]
irqs = [ 72 ]
iomem = [ "9000,1@9000" ]
"""


def xl(host: str, config: str = XL_CFG, xen: Xen = V417) -> tuple[list[str], ByXl]:
    guest = by_xl(config)
    return faults(whole(blob(HOST % host), [guest], xen)), guest


def test_a_guest_of_xl() -> None:
    assert xl(PLAIN)[0] == []
    assert xl(PLAIN)[1] == ByXl(("/nic@9000000",), (72,), (Iomem(0x9000, 1, 0x9000),))
    found = whole(blob(HOST % PLAIN), [by_xl(XL_CFG)], V3)
    assert found.hands["dom1"].streams == {Stream(SMMU, 0x20)}


# Seen: "failed give domain access to irq 37: Operation not permitted", of a node with a PPI.
XL_REFUSES = {
    "a node with a PPI": (
        PLAIN.replace("<0 40 4>", "<0 40 4>, <1 7 4>"),
        XL_CFG,
        "failed give domain access to irq 72: Operation not permitted",
    ),
    "a line of dom0": (
        f"{PLAIN} other {{ interrupts = <0 40 4>; }};",
        XL_CFG,
        "failed give domain access to irq 72: IRQ 72 is already used by dom0",
    ),
    "a line twice": (
        PLAIN,
        XL_CFG.replace("72", "72, 72"),
        "failed give domain access to irq 72: virq 72 is reserved",
    ),
    "the line of the vSMMU": (
        PLAIN.replace("0 40 4", "0 1 4"),
        XL_CFG.replace("72", "33"),
        "failed give domain access to irq 33: virq 33 is reserved",
    ),
    "pages that no node has": (
        PLAIN,
        XL_CFG.replace("9000,1", "9100,1"),
        "failed give domain access to iomem range 9100",
    ),
    "pages of reserved memory": (
        f"{PLAIN} reserved-memory {{ {BUS} tee@e000000 {{ reg = <0 0xe000000 0 0x1000>; }}; }};",
        XL_CFG.replace("9000,1", "e000,1"),
        "failed give domain access to iomem range e000",
    ),
    "nothing in iommus": (
        f"{NIC} }};",
        XL_CFG,
        UNPROTECTED + "no entry in iommus that Xen reads",
    ),
    "no such node": (PLAIN, XL_CFG.replace("/nic@", "/nik@"), "dtdev: no node /nik@9000000"),
}


@pytest.mark.parametrize("name", XL_REFUSES)
def test_xl_refuses(name: str) -> None:
    host, config, why = XL_REFUSES[name]
    assert xl(host, config, V3)[0] == [f"refused: dom1: {why}"]


def test_without_dom0_nobody_has_what_stays() -> None:
    host = blob(HOST % (WIDE + SHARER % ""))
    found = whole(host, [AtBoot(blob(GUEST % GIVEN))], MASTER, dom0=False)
    assert (faults(found), found.hands["dom0"]) == ([], Hand())


def test_two_guests() -> None:
    host = blob(HOST % (WIDE + SHARER % "xen,passthrough;"))
    other = GIVEN.replace("9000000", "9001000").replace("nic", "dma")
    guests = [AtBoot(blob(GUEST % GIVEN), "one"), AtBoot(blob(GUEST % other), "two")]
    assert faults(whole(host, guests, V417)) == [
        "BUG: two: /dma@9001000: stream 0x21 of /smmu@8000000 is attached to one by /nic@9000000"
    ]


CONSOLE = 'uart@9000000 { xen,passthrough; compatible = "arm,pl011"; interrupts = <0 40 4>; };'


def test_the_console_is_xens() -> None:
    chosen = 'chosen { stdout-path = "/uart@9000000:115200n8"; };'
    host = f"{PLAIN} {chosen} {CONSOLE.replace('xen,passthrough;', '')}"
    assert said(host) == refused(TAKEN % "Xen")
    assert said(f"{PLAIN} {chosen} {CONSOLE}") == {}
