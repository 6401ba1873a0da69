# SPDX-License-Identifier: Apache-2.0
"""The model of the whole machine against what running Xens did, each case beside its harmless twin.

`seen` says what was observed; a case without it is read at source alone.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.conftest import blob
from tests.xen.attached import Stream
from tests.xen.domains import Iomem
from tests.xen.whole import AtBoot, ByXl, Hand, World, by_xl, faults, whole
from tests.xen.xens import MASTER, RFC, V3, V417, XENS, Xen

SMMU, SMMU2 = "/smmu@8000000", "/smmu@8100000"
HOST = """
/dts-v1/;
/ {
    interrupt-parent = <&gic>;
    #address-cells = <2>;
    #size-cells = <2>;
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x20000000>; };
    gic: gic@2f000000 {
        compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
        #address-cells = <0>; interrupts = <1 9 4>;
        reg = <0 0x2f000000 0 0x10000>, <0 0x2f100000 0 0x200000>;
    };
    timer { compatible = "arm,armv8-timer"; interrupts = <1 13 8>, <1 14 8>, <1 11 8>, <1 10 8>; };
    smmu: smmu@8000000 {
        compatible = "arm,smmu-v3"; reg = <0 0x8000000 0 0x20000>; #iommu-cells = <1>;
        interrupts = <0 100 1>, <0 101 1>; interrupt-names = "eventq", "gerror";
    };
    smmu2: smmu@8100000 {
        compatible = "arm,smmu-v3"; reg = <0 0x8100000 0 0x20000>; #iommu-cells = <1>;
    };
    %s
};
"""
GUEST = """
/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    passthrough { #address-cells = <2>; #size-cells = <2>; ranges; %s };
    gic { phandle = <1>; };
};
"""
NIC = "nic@9000000 { xen,passthrough; reg = <0 0x9000000 0 0x1000>; interrupts = <0 40 4>;"
PLAIN = f"{NIC} iommus = <&smmu 0x20>; }};"
GIVEN = 'nic { xen,path = "/nic@9000000"; xen,reg = <0 0x9000000 0 0x1000 0 0x9000000>; };'
BUS = "#address-cells = <2>; #size-cells = <2>; ranges;"


def world(host: str, guest: str, xen: Xen) -> World:
    return whole(blob(HOST % host), [AtBoot(blob(GUEST % guest))], xen)


def said(host: str, guest: str = GIVEN) -> dict[str, list[str]]:
    """What is wrong in each Xen that finds anything wrong."""
    wrong = {xen.name: faults(world(host, guest, xen)) for xen in XENS.values()}
    return {name: lines for name, lines in wrong.items() if lines}


def in_all(*lines: str) -> dict[str, list[str]]:
    return {name: list(lines) for name in XENS}


def refused(why: str, top: bool = False) -> dict[str, list[str]]:
    """A device that is not assigned: 4.17 and AMD's start the guest without it, later ones stop."""
    panic = [f"panic: dom1: Could not set up domain dom1: {why}"]
    forgiven = panic if top else [f"refused: dom1: {why}"]
    return {"4.17": forgiven, "master": panic, "rfc": forgiven, "v3": panic}


def with_vsmmu(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same where nothing else is assigned: the RFC's vSMMU then has nothing behind it."""
    return {**found, "rfc": [*found["rfc"], "panic: dom1: dom1 has a vSMMU and nothing behind it"]}


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


class Case(NamedTuple):
    """`old` in the host or the guest becomes `new` in the twin, where Xen finds nothing wrong."""

    name: str
    host: str
    says: dict[str, list[str]]
    old: str
    new: str
    guest: str = GIVEN


SHARER = "dma@9001000 { %s reg = <0 0x9001000 0 0x1000>; iommus = <&smmu 0x21>; };"
WIDE = f"{NIC} iommus = <&smmu 0x20>, <&smmu 0x21>; }}; "
BUG = "BUG: dom1: /nic@9000000: stream 0x21 of /smmu@8000000 is attached to dom0 by /dma@9001000"
KNOWN = "Failed to add /nic@9000000 to the IOMMU: stream 33 already in tree, of /dma@9001000"
SHARED = {
    "4.17": [BUG],
    "master": [BUG],
    "rfc": with_vsmmu(refused(KNOWN))["rfc"],
    "v3": refused(KNOWN)["v3"],
}
TWICE = "Failed to add /nic@9000000 to the IOMMU: stream 32 already in tree, of itself"
REPEATED = {name: with_vsmmu(refused(TWICE))[name] for name in ("rfc", "v3")}
UNPROTECTED = "/nic@9000000 is not assigned: not protected by an IOMMU; "
PART = "nic@9000000 { %s reg = <0 0x9000000 0 0x2000>; iommus = <&smmu 0x20>; " + BUS
PART += " port@9001000 { %s reg = <0 0x9001000 0 0x1000>; iommus = <&smmu 0x21>; }; };"
BOTH = "double page: dom1 and %s: page %#x of /passthrough/nic and %s"
TAKEN = "Unable to map IRQ72 to dom1: IRQ 72 is already used by %s (/nic@9000000)"
BRIDGE = """
    pci@a000000 {
        %s device_type = "pci"; reg = <0 0xa000000 0 0x1000>;
        #address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>;
        ranges = <0x2000000 0 0xb000000 0 %s 0 0x1000000>;
        interrupt-map-mask = <0 0 0 7>; interrupt-map = <0 0 0 1 &gic 0 %s 4>;
    };
"""
NEXUS = "nexus: nexus { #interrupt-cells = <1>; #address-cells = <0>; "
NEXUS += "interrupt-map = <3 &gic 0 40 4>; }; "

CASES = (
    # Seen: the guest listed 0x20 alone; BUG in smmu-v3.c at the second attach.
    Case(
        "shared with dom0",
        WIDE + SHARER % "",
        SHARED,
        "0x1000>; iommus = <&smmu 0x21>",
        "0x1000>; iommus = <&smmu 0x22>",
    ),
    # Seen: the same BUG, for a node that is disabled; and with a mark on it the guest starts.
    Case(
        "shared with a disabled one",
        WIDE + SHARER % 'status = "disabled";',
        SHARED,
        "{ status",
        "{ xen,passthrough; status",
    ),
    # Seen on the RFC: "stream 16 already in tree".
    Case(
        "an ID twice",
        f"{NIC} iommus = <&smmu 0x20>, <&smmu 0x20>; }};",
        REPEATED,
        ", <&smmu 0x20>",
        ", <&smmu 0x21>",
    ),
    # Seen: "Failed to assign device".
    Case(
        "nothing first",
        f"{NIC} iommus = <0>, <&smmu 0x20>; }};",
        with_vsmmu(refused(UNPROTECTED + "no entry in iommus that Xen reads")),
        "<0>, <&smmu 0x20>",
        "<&smmu 0x20>, <0>",
    ),
    Case(
        "nothing at all",
        f"{NIC} }};",
        with_vsmmu(refused(UNPROTECTED + "no entry in iommus that Xen reads")),
        "<0 40 4>;",
        "<0 40 4>; iommus = <&smmu 0x20>;",
    ),
    # The vSMMU's look-up: arm_smmu_get_domain_by_sid(), RFC to v3.
    Case(
        "namesakes in one guest",
        f"{PLAIN} dma@9001000 {{ xen,passthrough; iommus = <&smmu2 0x20>; }};",
        in_all("double stream: dom1 and dom1: ID 0x20 behind /smmu@8000000 and /smmu@8100000"),
        "smmu2 0x20",
        "smmu2 0x21",
        GIVEN + 'dma { xen,path = "/dma@9001000"; xen,reg; };',
    ),
    # Seen: the part goes to dom0, its registers are the guest's.
    Case(
        "a part for dom0",
        PART % ("xen,passthrough;", ""),
        in_all(
            BOTH % ("dom0", 0x9001000, "/nic@9000000/port@9001000"),
            "double device: dom1 and dom0: /nic@9000000 and its part /nic@9000000/port@9001000",
        ),
        "{  reg",
        "{ xen,passthrough; reg",
        GIVEN.replace("0 0x1000 0", "0 0x2000 0"),
    ),
    Case(
        "on the page of its parent",
        "ccu@9000000 { reg = <0 0x9000000 0 0x1000>; " + BUS + " nic@9000800 { xen,passthrough; "
        "reg = <0 0x9000800 0 0x100>; iommus = <&smmu 0x20>; }; };",
        in_all(BOTH % ("dom0", 0x9000000, "/ccu@9000000")),
        "ccu@9000000 { reg = <0 0x9000000",
        "ccu@9000000 { reg = <0 0x9008000",
        GIVEN.replace("/nic@9000000", "/ccu@9000000/nic@9000800"),
    ),
    # Seen: Xen does not object.
    Case(
        "in the host's memory",
        PLAIN.replace("0x9000000 0", "0x50000000 0"),
        in_all(BOTH % ("Xen", 0x50000000, "memory")),
        "0x50000000",
        "0x9000000",
        GIVEN.replace("0x9000000 0", "0x50000000 0").replace("0 0x9000000>", "0 0x50000000>"),
    ),
    Case(
        "in reserved memory",
        f"{PLAIN} reserved-memory {{ {BUS} tee@9000000 {{ reg = <0 0x9000000 0 0x10000>; }}; }};",
        in_all(
            BOTH % ("Xen", 0x9000000, "reserved memory"),
            BOTH % ("dom0", 0x9000000, "/reserved-memory/tee@9000000"),
        ),
        "<0 0x9000000 0 0x10000>",
        "<0 0xe000000 0 0x10000>",
    ),
    Case(
        "a frame of the GIC",
        PLAIN.replace("xen,pass", 'compatible = "arm,gic-v3-its"; xen,pass'),
        in_all(BOTH % ("Xen", 0x9000000, "/nic@9000000")),
        "arm,gic-v3-its",
        "arm,no-its",
    ),
    # Seen: "IRQ 52 is already used by domain 0"; and with a mark on the node the guest starts.
    Case(
        "a line of a disabled node",
        f'{PLAIN} shadow {{ status = "disabled"; interrupts = <0 40 4>; }};',
        with_vsmmu(refused(TAKEN % "dom0")),
        "{ status",
        "{ xen,passthrough; status",
    ),
    Case(
        "a line of the SMMU",
        PLAIN.replace("<0 40 4>", "<0 100 1>"),
        with_vsmmu(
            refused("Unable to map IRQ132 to dom1: IRQ 132 is already used by Xen (/nic@9000000)")
        ),
        "<0 100 1>",
        "<0 102 1>",
    ),
    # Seen: "already used by domain 0".
    Case(
        "a line of a PCI bridge",
        PLAIN + BRIDGE % ("", "0xb000000", 40),
        with_vsmmu(refused(TAKEN % "dom0")),
        "<0 0 0 1 &gic 0 40 4>",
        "<0 0 0 1 &gic 0 41 4>",
    ),
    Case(
        "in a window of a PCI bridge",
        PLAIN + BRIDGE % ("", "0x9000000", 41),
        in_all(BOTH % ("dom0", 0x9000000, "/pci@a000000")),
        "pci@a000000 {",
        "pci@a000000 { xen,passthrough;",
    ),
    # Seen: GIC type 2 comes out as another device's line.
    Case(
        "an extended line",
        PLAIN.replace("<0 40 4>", "<2 24 4>") + " other { interrupts = <0 8 4>; };",
        with_vsmmu(
            refused("Unable to map IRQ40 to dom1: IRQ 40 is already used by dom0 (/nic@9000000)")
        ),
        "<2 24 4>",
        "<0 24 4>",
    ),
    # Seen: "Unable to retrieve irq", dom0 panics.
    Case(
        "a line in no row",
        NEXUS + PLAIN.replace("<0 40 4>", "<3>, <7>; interrupt-parent = <&nexus>"),
        in_all("panic: dom0: Unable to retrieve irq 1 for /nic@9000000"),
        "<3>, <7>",
        "<3>",
    ),
    # Seen: dom0 panics.
    Case(
        "a line that no GIC has",
        f"{PLAIN} far {{ interrupts = <0 988 4>; }};",
        in_all(
            "panic: dom0: Unable to map IRQ1020 to dom0: the vIRQ number 1020 is too high for dom0 "
            "(max = 992) (/far)"
        ),
        "988",
        "888",
    ),
    Case(
        "a line of two triggers",
        f"{PLAIN} other {{ xen,passthrough; interrupts = <0 40 1>; }};",
        in_all("panic: dom0: Unable to get irq 0 for /other"),
        "<0 40 1>",
        "<0 40 4>",
    ),
    Case(
        "a private line",
        PLAIN.replace("<0 40 4>", "<1 7 4>"),
        with_vsmmu(
            refused(
                "Unable to map IRQ23 to dom1: IRQ23 can only be routed to an SPI (/nic@9000000)"
            )
        ),
        "<1 7 4>",
        "<0 7 4>",
    ),
    Case(
        "behind two SMMUs",
        f"{NIC} iommus = <&smmu 0x20>, <&smmu2 0x21>; }};",
        with_vsmmu(
            refused(
                "Failed to add /nic@9000000 to the IOMMU: behind /smmu@8000000 and /smmu@8100000"
            )
        ),
        "smmu2 0x21",
        "smmu 0x21",
    ),
    Case(
        "behind two SMMUs, in dom0",
        f"{PLAIN} dma {{ iommus = <&smmu 0x22>, <&smmu2 0x21>; }};",
        in_all(
            "panic: dom0: Failed to add /dma to the IOMMU: behind /smmu@8000000 and /smmu@8100000"
        ),
        "smmu 0x22",
        "smmu2 0x22",
    ),
    Case(
        "an SMMU of two cells",
        f'{PLAIN} smmu@8200000 {{ compatible = "arm,smmu-v3"; reg = <0 0x8200000 0 0x20000>; '
        "#iommu-cells = <2>; };",
        in_all("panic: Xen: Couldn't configure correctly all the IOMMUs (/smmu@8200000)"),
        "smmu@8200000 {",
        'smmu@8200000 { status = "disabled";',
    ),
    Case(
        "no such path",
        PLAIN,
        with_vsmmu(refused("/passthrough/nic: Couldn't find node /nic in host_dt!")),
        '"/nic"',
        '"/nic@9000000"',
        GIVEN.replace("/nic@9000000", "/nic"),
    ),
    Case(
        "a path alone",
        PLAIN,
        with_vsmmu(refused("/passthrough/nic: xen,reg or xen,path missing for dom1")),
        "nic {",
        "nic { xen,reg;",
        'nic { xen,path = "/nic@9000000"; };',
    ),
    Case(
        "half a page",
        PLAIN,
        with_vsmmu(refused("/passthrough/nic: config has not page aligned addresses/sizes")),
        "0 0x800 0",
        "0 0x1000 0",
        GIVEN.replace("0 0x1000 0", "0 0x800 0"),
    ),
    Case(
        "twice",
        PLAIN,
        refused("/nic@9000000 is not assigned: already assigned to dom1; "),
        'again { xen,path = "/nic@9000000"; xen,reg; };',
        "",
        GIVEN + 'again { xen,path = "/nic@9000000"; xen,reg; };',
    ),
    Case(
        "on /passthrough itself",
        PLAIN,
        refused("/passthrough: xen,reg or xen,path missing for dom1", top=True),
        "xen,reg; nic",
        "nic",
        f"xen,reg; {GIVEN}",
    ),
    Case(
        "no way up",
        f"{PLAIN} bus {{ ranges = <1 0 1>; #address-cells = <1>; #size-cells = <1>; "
        "dev@5 { reg = <5 1>; }; };",
        in_all("panic: dom0: Unable to retrieve address 0 for /bus/dev@5"),
        "ranges = <1 0 1>;",
        "",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_xen_does(case: Case) -> None:
    assert said(case.host, case.guest) == case.says
    both = case.host + "//" + case.guest
    assert case.old in both
    assert said(case.host.replace(case.old, case.new), case.guest.replace(case.old, case.new)) == {}


# What Xen takes though it looks like one of the above. The first four were seen to start.
SOUND = {
    "one line for two devices of a guest": (
        f"{PLAIN} dma@9001000 {{ xen,passthrough; interrupts = <0 40 4>; iommus = <&smmu 1>; }};",
        GIVEN + 'dma { xen,path = "/dma@9001000"; xen,reg; };',
    ),
    "a namesake in dom0": (f"{PLAIN} dma@9001000 {{ iommus = <&smmu2 0x20>; }};", GIVEN),
    "adjacent regions in one entry": (
        PLAIN.replace("0 0x1000>;", "0 0x1000>, <0 0x9001000 0 0x1000>;"),
        GIVEN.replace("0 0x1000 0", "0 0x2000 0"),
    ),
    "a node with a PPI shares a page": (
        f"{PLAIN} pmu {{ reg = <0 0x9000000 0 0x1000>; interrupts = <1 7 4>; }};",
        GIVEN,
    ),
    "below a node that dom0 does not get": (
        f'{PLAIN} psci {{ compatible = "arm,psci-1.0"; a {{ iommus = <&smmu 0x20>; }}; }};',
        GIVEN,
    ),
    "a register that ends on the page": (
        f"{PLAIN} gpio {{ reg = <0 0x8fffff0 0 0x20>; }};",
        GIVEN,
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_xen_takes(name: str) -> None:
    assert said(*SOUND[name]) == {}


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
    assert said(host) == with_vsmmu(refused(TAKEN % "Xen"))
    assert said(f"{PLAIN} {chosen} {CONSOLE}") == {}
