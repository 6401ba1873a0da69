# SPDX-License-Identifier: Apache-2.0
"""A host with one network card that goes to a guest, for cases that differ in one thing."""

from __future__ import annotations

from tests.support import blob
from tests.xen.whole import AtBoot, World, faults, whole
from tests.xen.xens import XENS, Xen

SMMU = "/smmu@8000000"
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
SHARER = "dma@9001000 { %s reg = <0 0x9001000 0 0x1000>; iommus = <&smmu 0x21>; };"
WIDE = f"{NIC} iommus = <&smmu 0x20>, <&smmu 0x21>; }}; "
UNPROTECTED = "/nic@9000000 is not assigned: not protected by an IOMMU; "
TAKEN = "Unable to map IRQ72 to dom1: IRQ 72 is already used by %s (/nic@9000000)"
BUS = "#address-cells = <2>; #size-cells = <2>; ranges;"


def with_iommus(source: str, name: str) -> str:
    """Return the source of a host with IOMMUs of that compatible, and all that their driver needs,
    in place of the SMMUv3s.
    """
    source = source.replace("arm,smmu-v3", name)
    source = source.replace("#iommu-cells = <1>;", "#iommu-cells = <1>; #global-interrupts = <1>;")
    two = "smmu2: smmu@8100000 { interrupts = <0 102 4>, <0 103 4>;"
    chip = 'chipid@7000000 { compatible = "renesas,prr"; reg = <0 0x7000000 0 4>; };'
    assert "smmu2: smmu@8100000 {" in source
    return source.replace("smmu2: smmu@8100000 {", f"{chip} {two}")


def world(host: str, guest: str, xen: Xen) -> World:
    return whole(blob(HOST % host), [AtBoot(blob(GUEST % guest))], xen)


def said(host: str, guest: str = GIVEN) -> dict[str, list[str]]:
    """What is wrong in each Xen that finds anything wrong."""
    tree, guests = blob(HOST % host), [AtBoot(blob(GUEST % guest))]
    wrong = {xen.name: faults(whole(tree, guests, xen)) for xen in XENS.values()}
    return {name: lines for name, lines in wrong.items() if lines}


def in_all(*lines: str) -> dict[str, list[str]]:
    return {name: list(lines) for name in XENS}


def refused(why: str, top: bool = False) -> dict[str, list[str]]:
    """A device that is not assigned: 4.17 and AMD's start the guest without it, later ones stop."""
    panic = [f"panic: dom1: Could not set up domain dom1: {why}"]
    forgiven = panic if top else [f"refused: dom1: {why}"]
    return {name: forgiven if xen.forgives_children else panic for name, xen in XENS.items()}
