# SPDX-License-Identifier: Apache-2.0
"""The model of the whole machine against what running Xens did, each case beside its harmless twin.

"Seen" says what was observed; the others are read at source alone.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.xen.one_nic import (
    BUS,
    GIVEN,
    NIC,
    PLAIN,
    SHARER,
    TAKEN,
    UNPROTECTED,
    WIDE,
    in_all,
    refused,
    said,
)
from tests.xen.xens import XENS


class Case(NamedTuple):
    """`old` in the host or the guest becomes `new` in the twin, where Xen finds nothing wrong."""

    name: str
    host: str
    says: dict[str, list[str]]
    old: str
    new: str
    guest: str = GIVEN


BUG = "BUG: dom1: /nic@9000000: stream 0x21 of /smmu@8000000 is attached to dom0 by /dma@9001000"
KNOWN = "Failed to add /nic@9000000 to the IOMMU: stream 33 already in tree, of /dma@9001000"
SHARED = {name: refused(KNOWN)[name] if xen.stream_tree else [BUG] for name, xen in XENS.items()}
TWICE = "Failed to add /nic@9000000 to the IOMMU: stream 32 already in tree, of itself"
REPEATED = {name: refused(TWICE)[name] for name, xen in XENS.items() if xen.stream_tree}
PART = "nic@9000000 { %s reg = <0 0x9000000 0 0x2000>; iommus = <&smmu 0x20>; " + BUS
PART += " port@9001000 { %s reg = <0 0x9001000 0 0x1000>; iommus = <&smmu 0x21>; }; };"
BOTH = "double page: dom1 and %s: page %#x of /passthrough/nic and %s"
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
        refused(UNPROTECTED + "no entry in iommus that Xen reads"),
        "<0>, <&smmu 0x20>",
        "<&smmu 0x20>, <0>",
    ),
    Case(
        "nothing at all",
        f"{NIC} }};",
        refused(UNPROTECTED + "no entry in iommus that Xen reads"),
        "<0 40 4>;",
        "<0 40 4>; iommus = <&smmu 0x20>;",
    ),
    # The vSMMU's look-up: arm_smmu_get_domain_by_sid(), RFC to v3.
    Case(
        "namesakes in one guest",
        f"{PLAIN} dma@9001000 {{ xen,passthrough; iommus = <&smmu2 0x20>; }};",
        {
            name: found
            for name, found in in_all(
                "double stream: dom1 and dom1: ID 0x20 behind /smmu@8000000 and /smmu@8100000"
            ).items()
            if XENS[name].vsmmu
        },
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
        refused(TAKEN % "dom0"),
        "{ status",
        "{ xen,passthrough; status",
    ),
    Case(
        "a line of the SMMU",
        PLAIN.replace("<0 40 4>", "<0 100 1>"),
        refused("Unable to map IRQ132 to dom1: IRQ 132 is already used by Xen (/nic@9000000)"),
        "<0 100 1>",
        "<0 102 1>",
    ),
    # Seen: "already used by domain 0".
    Case(
        "a line of a PCI bridge",
        PLAIN + BRIDGE % ("", "0xb000000", 40),
        refused(TAKEN % "dom0"),
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
        refused("Unable to map IRQ40 to dom1: IRQ 40 is already used by dom0 (/nic@9000000)"),
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
        refused("Unable to map IRQ23 to dom1: IRQ23 can only be routed to an SPI (/nic@9000000)"),
        "<1 7 4>",
        "<0 7 4>",
    ),
    Case(
        "behind two SMMUs",
        f"{NIC} iommus = <&smmu 0x20>, <&smmu2 0x21>; }};",
        refused("Failed to add /nic@9000000 to the IOMMU: behind /smmu@8000000 and /smmu@8100000"),
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
        refused("/passthrough/nic: Couldn't find node /nic in host_dt!"),
        '"/nic"',
        '"/nic@9000000"',
        GIVEN.replace("/nic@9000000", "/nic"),
    ),
    Case(
        "a path alone",
        PLAIN,
        refused("/passthrough/nic: xen,reg or xen,path missing for dom1"),
        "nic {",
        "nic { xen,reg;",
        'nic { xen,path = "/nic@9000000"; };',
    ),
    Case(
        "half a page",
        PLAIN,
        refused("/passthrough/nic: config has not page aligned addresses/sizes"),
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
