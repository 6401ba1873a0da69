# SPDX-License-Identifier: Apache-2.0
"""The nearest harmless twin of each hazard: it must bind, and nothing be said of that hazard.

The harmful ones are in tests/refused. Where the host makes the difference, `edit` is what to
replace in it, and by what.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import HOSTS, PARTIAL_TREE, Run
from west_viommu.hazards.table import HAZARDS

# What an SMMUv2 must have beside its registers.
LINES = "#global-interrupts = <0>; interrupts = <0 80 4>"
# One SMMUv2 that Xen can use, and `iommus` of a device behind it.
SMMUV2 = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
gic: gic@f9000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
smmu: iommu@e0000000 { compatible = "arm,mmu-500"; reg = <0 0xe0000000 0 0x10000>;
    #iommu-cells = <2>; #global-interrupts = <1>; interrupts = <0 1 4>, <0 2 4>; };
ethernet@20000000 { reg = <0 0x20000000 0 0x1000>; iommus = <&smmu 0x40 0>; };
};"""


class Twin(NamedTuple):
    """A guest that has not the hazard: why not, and what makes it so. `host`, `edit`, `config` and
    `options` as in tests/refused; `warnings` are all that may be said.
    """

    hazard: str
    why: str
    passthrough: str
    host: str = "two-smmus.dts"
    edit: tuple[str, str] = ("", "")
    config: str = ""
    options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


TWINS = (
    Twin(
        "tree-size",
        "as large, for a Xen that adds the size of the partial tree",
        f'ethernet {{ xen,path = "/ethernet@20000000"; firmware-name = "{"x" * 3000}"; }};',
        options=("--profile", "xen", "--xen-version", "4.18"),
    ),
    Twin(
        "bus-cells",
        "three cells below the device, not above it",
        'ethernet { xen,path = "/ethernet@20000000"; #address-cells = <3>; #size-cells = <2>; '
        "port { #address-cells = <3>; }; };",
        options=("--profile", "xen"),
    ),
    Twin(
        "unknown-host-node",
        "a node that is disabled is a node",
        'spi { xen,path = "/spi@200b0000"; };',
        warnings=("device-disabled",),
    ),
    Twin(
        "unknown-stream-id",
        "the SMMU's own phandle before an ID that is behind it",
        "ethernet { iommus = <0x21 0x10>; };",
    ),
    Twin(
        "ambiguous-master",
        "two masters have the ID, and the name says which",
        "twin-b { iommus = <0x0 0xc0>; };",
        warnings=("device-disabled", "device-without-region"),
    ),
    Twin(
        "wrong-host",
        "one node of several is of this host, and the others are disabled",
        'ethernet { xen,path = "/ethernet@20000000"; };'
        ' mac@fe000000 { xen,path = "/soc/mac@fe000000"; reg = <0 0xfe000000 0 0x1000>; '
        'iommus = <0x0 0x999>; status = "disabled"; };',
    ),
    Twin(
        "path-mismatch",
        "a name, an address and a compatible of the guest's own, where all else is the device's",
        'mmc@50010000 { compatible = "guest,mmc"; reg = <0 0x50010000 0 0x1000>; '
        "xen,reg = <0 0x20010000 0 0x1000 0 0x50010000>; iommus = <0x0 0x11>, <0x0 0x12>; "
        'xen,path = "/mmc@20010000"; };',
        warnings=("several-streams",),
    ),
    Twin(
        "stream-mismatch",
        "some of the device's IDs, in another order than the host's",
        'mmc { xen,path = "/mmc@20010000"; iommus = <0x0 0x12>, <0x0 0x11>; };',
        warnings=("several-streams",),
    ),
    Twin(
        "duplicate-assignment",
        "two devices of the same kind",
        "usb { iommus = <0x0 0x30>; }; e { iommus = <0x0 0x10>; };",
        edit=("iommus = <&smmu1 0x30>", "iommus = <&smmu1 0x31>"),
    ),
    Twin(
        "unprotected",
        "the guest names no ID, the host node does",
        'e { xen,path = "/ethernet@20000000"; };',
    ),
    Twin(
        "unsupported-iommu",
        "arm,smmu-v3 is not the first compatible",
        "e { iommus = <0x0 0x10>; };",
        edit=('"arm,smmu-v3"', '"vendor,smmu", "arm,smmu-v3"'),
    ),
    Twin(
        "unsupported-iommu",
        "an MMU-500, under a released Xen",
        "e { iommus = <0x0 0x10>; };",
        edit=('"arm,smmu-v3"', f'"arm,mmu-500"; {LINES}'),
        options=("--profile", "xen"),
    ),
    Twin(
        "unsupported-iommu",
        "an IPMMU, under a released Xen",
        "e { iommus = <0x0 0x10>; };",
        edit=('"arm,smmu-v3"', f'"renesas,ipmmu-r8a7795"; {LINES}'),
        options=("--profile", "xen"),
    ),
    Twin(
        "iommu-disabled",
        "ok is okay",
        'vpu { xen,path = "/vpu@20070000"; };',
        edit=('status = "disabled";\n\t};\n\n\tsmmu_v2', 'status = "ok";\n\t};\n\n\tsmmu_v2'),
    ),
    Twin(
        "iommu-unusable",
        "one page of registers, where the driver is told to do with that",
        'vpu { xen,path = "/vpu@20070000"; };',
        edit=(
            'reg = <0 0x12000000 0 0x40000>;\n\t\t#iommu-cells = <1>;\n\t\tstatus = "disabled";',
            "reg = <0 0x12000000 0 0x10000>; cavium,cn9900-broken-page1-regspace;"
            "#iommu-cells = <1>;",
        ),
    ),
    Twin(
        "stream-id-range",
        "the last ID that an SMMUv2 compares, under a released Xen",
        'ethernet { xen,path = "/ethernet@20000000"; };',
        host=SMMUV2,
        edit=("0x40 0", "0x7fff 0"),
        options=("--profile", "xen"),
    ),
    Twin(
        "stream-id-range",
        "an SMMUv3, whose width no tree tells",
        'ethernet { xen,path = "/ethernet@20000000"; };',
        edit=("iommus = <&smmu0 0x10>", "iommus = <&smmu0 0x18005>"),
        options=("--profile", "xen"),
    ),
    Twin(
        "mask-dropped",
        "a mask that leaves the ID alone, under a released Xen",
        'ethernet { xen,path = "/ethernet@20000000"; };',
        host=SMMUV2,
        options=("--profile", "xen"),
    ),
    Twin(
        "mask-dropped",
        "a mask for all IDs of the SMMU that leaves them alone",
        'ethernet { xen,path = "/ethernet@20000000"; };',
        edit=('"arm,smmu-v3"', f'"arm,mmu-500"; stream-match-mask = <0>; {LINES}'),
        options=("--profile", "xen"),
    ),
    Twin(
        "mask-overlap",
        "an ID in a mask of a device before it",
        'a { xen,path = "/ethernet@20000000"; }; b { xen,path = "/usb@20010000"; };',
        host=SMMUV2,
        edit=(
            "ethernet@20000000 {",
            "usb@20010000 { reg = <0 0x20010000 0 0x1000>; iommus = <&smmu 0x41 0>; }; "
            "ethernet@20000000 { iommus = <&smmu 0x40 0xf>; }; ethernet@20000000 {",
        ),
        options=("--profile", "xen", "--xen-version", "4.20"),
    ),
    Twin(
        "two-iommus",
        "two streams behind one IOMMU",
        'gpu { xen,path = "/gpu@20060000"; };',
        edit=("<&smmu1 0x51>", "<&smmu0 0x51>"),
        warnings=("several-streams",),
    ),
    Twin(
        "map-only",
        "a hypervisor that programs the IDs of iommu-map",
        'pcie { xen,path = "/pcie@d0000000"; };',
        options=("--profile", "qemu-virt"),
    ),
    Twin(
        "colliding-stream-id",
        "the other device stays with the host",
        "usb@20030000 { iommus = <0x21 0x30>; };",
    ),
    Twin(
        "colliding-stream-id",
        "a Xen without vSMMU looks up no stream by its ID",
        'a { xen,path = "/usb@20030000"; }; b { xen,path = "/usb@21030000"; };',
        options=("--profile", "xen"),
    ),
    Twin(
        "shared-stream-id",
        "the other device is disabled",
        'dma { xen,path = "/dma@20040000"; };',
        edit=(
            "reg = <0 0x20050000 0 0x1000>;",
            'reg = <0 0x20050000 0 0x1000>; status = "disabled";',
        ),
        warnings=("stream-shared-with-disabled",),
    ),
    Twin(
        "shared-stream-id",
        "there is no dom0 that could have the other one",
        "camera { iommus = <0x0 0x11>, <0x0 0x12>; };",
        host="hands.dts",
        config="dom0: none\n",
        warnings=("several-streams",),
    ),
    Twin(
        "shared-stream-id",
        "an SMMUv2, and both are the guest's",
        'a { xen,path = "/dma@20040000"; }; b { xen,path = "/dma@20050000"; };',
        edit=('"arm,smmu-v3"', f'"arm,mmu-500"; {LINES}'),
        options=("--profile", "xen"),
    ),
    Twin(
        "hypervisor-owned",
        "an interrupt controller that Xen does not drive",
        'agic { xen,path = "/gpio@25000000"; };',
        host="pages.dts",
        config="allow: [{hazard: unprotected, device: /gpio@25000000, reason: no DMA}]\n",
        warnings=("unprotected", "provides-to-host"),
    ),
    Twin(
        "ambiguous-path",
        "the two differ in a letter",
        'ip { xen,path = "/ip@20090000"; };',
        host="hands.dts",
        edit=("IP@20090000", "JP@20090000"),
    ),
    Twin(
        "stream-list",
        "a released Xen takes an ID twice",
        'twice { xen,path = "/twice@20070000"; };',
        host="hands.dts",
        options=("--profile", "xen"),
    ),
    Twin(
        "unassigned-child",
        "both are asked for, beside each other",
        'engine { xen,path = "/engine@20060000"; };'
        ' queue { xen,path = "/engine@20060000/queue@20061000"; };',
        host="hands.dts",
    ),
    Twin(
        "unassigned-child",
        "the child is not enabled",
        'engine { xen,path = "/engine@20060000"; };',
        host="hands.dts",
        edit=("<&smmu 0x16>;", '<&smmu 0x16>; status = "disabled";'),
    ),
    Twin(
        "host-memory",
        "the page below the memory",
        'b { xen,path = "/buffer@90000000"; reg = <0 0x7ffff000 0 0x1000>; };',
        host="hands.dts",
        edit=("reg = <0 0x90000000 0 0x1000>", "reg = <0 0x7ffff000 0 0x1000>"),
    ),
    Twin(
        "not-given-to-dom0",
        "the node above has no PPI any more",
        'trace { xen,path = "/cluster@23000000/trace@23001000"; };',
        host="hands.dts",
        edit=("interrupts = <1 6 4>;", ""),
        options=("--profile", "xen-v3-libxl"),
    ),
    Twin(
        "interrupt-unroutable",
        "the last SPI",
        'beyond { xen,path = "/beyond@200b0000"; };',
        host="hands.dts",
        edit=("<0 988 4>", "<0 987 4>"),
    ),
    Twin(
        "malformed",
        "a passthrough node that asks for no host device",
        "clock { #clock-cells = <0>; }; e { iommus = <0x0 0x10>; };",
    ),
    Twin(
        "vsid-clash",
        "each stream has a number of its own, whatever the order",
        "net { iommus = <0x0 0x5>; }; usb { iommus = <0x0 0x3>; };",
        host="pages.dts",
        config="vsid: explicit\nvsids: {/passthrough/net: [0x1], /passthrough/usb: [0x0]}\n",
    ),
    Twin(
        "vsid-clash",
        "a Xen that renumbers, and the policy of its profile",
        "net { iommus = <0x0 0x5>; };",
        host="pages.dts",
        options=("--profile", "xen-v3-dom0less"),
    ),
    Twin(
        "vsid-range",
        "the largest ID of 16 bits",
        "wide { iommus = <0x0 0xffff>; };",
        host="pages.dts",
        edit=("<&smmu 0x10000>", "<&smmu 0xffff>"),
    ),
    Twin(
        "vsid-range",
        "a wide ID of the host that gets a small number",
        "wide { iommus = <0x0 0x10000>; };",
        host="pages.dts",
        options=("--profile", "xen-v3-dom0less"),
    ),
    Twin(
        "region-mismatch",
        "one of two regions, elsewhere in the guest, in whole pages",
        "mmc { iommus = <0x0 0x11>, <0x0 0x12>; reg = <0 0x50000000 0 0x200>;"
        " xen,reg = <0 0x20020000 0 0x1000 0 0x50000000>; };",
        warnings=("several-streams",),
    ),
    Twin(
        "region-mismatch",
        "one region, by two rows of xen,reg that touch",
        "net { iommus = <0x0 0x5>; reg = <0 0x23000000 0 0x2000>; "
        "xen,reg = <0 0x23000000 0 0x1000 0 0x23000000>, <0 0x23001000 0 0x1000 0 0x23001000>; };",
        host="pages.dts",
        edit=("<0 0x23000000 0 0x1000>", "<0 0x23000000 0 0x2000>"),
    ),
    Twin(
        "region-mismatch",
        "a region without a size, which xen,reg cannot map",
        "net { iommus = <0x0 0x5>; reg = <0 0x23000000 0 0x1000>, <0 0x22000100 0 0>; "
        "xen,reg = <0 0x23000000 0 0x1000 0 0x23000000>; };",
        host="pages.dts",
        edit=("<0 0x23000000 0 0x1000>", "<0 0x23000000 0 0x1000>, <0 0x22000100 0 0>"),
    ),
    Twin(
        "untranslatable-region",
        "the bus has ranges",
        "hidden { iommus = <0x0 0xb0>; reg = <0 0x30000100 0 0x100>; };",
        edit=("bus@30000000 {", "bus@30000000 { ranges = <0x0 0x0 0x30000000 0x1000>;"),
    ),
    Twin(
        "shared-page",
        "the bus above the device has the page as well",
        "net { iommus = <0x0 0x5>; reg = <0 0x23000000 0 0x1000>; };",
        host="pages.dts",
    ),
    Twin(
        "shared-page",
        "both devices of the page are the guest's",
        "a { iommus = <0x0 0x1>; reg = <0 0x20000000 0 0x100>; };"
        " b { iommus = <0x0 0x2>; reg = <0 0x20000100 0 0x100>; };",
        host="pages.dts",
        warnings=("page-shared-with-disabled", "page-shared-with-disabled"),
    ),
    Twin(
        "shared-page",
        "the guest does not get the registers",
        "can { iommus = <0x0 0x4>; };",
        host="pages.dts",
    ),
    Twin(
        "shared-page",
        "a region without a size, on the page of another",
        "net { iommus = <0x0 0x5>; reg = <0 0x23000000 0 0x1000>, <0 0x22000100 0 0>; };",
        host="pages.dts",
        edit=("<0 0x23000000 0 0x1000>", "<0 0x23000000 0 0x1000>, <0 0x22000100 0 0>"),
    ),
    Twin(
        "guest-overlap",
        "inside the window of vPCI, which this domain does not have",
        "net { iommus = <0x0 0x5>; reg = <0 0x23000000 0 0x1000>; };",
        host="pages.dts",
        config="domain: [vpl011]\n",
    ),
    Twin(
        "guest-overlap",
        "where a GICv3 has its redistributors, in a guest that has a GICv2, as its host does",
        "net { iommus = <0x0 0x5>; reg = <0 0x3440000 0 0x1000>; "
        "xen,reg = <0 0x23000000 0 0x1000 0 0x3440000>; };",
        host="pages.dts",
        edit=("arm,gic-v3", "arm,gic-400"),
    ),
    Twin(
        "guest-address-range",
        "the last page that a guest can have",
        "e { reg = <0xffff 0xfffff000 0 0x1000>; iommus = <0x0 0x10>; "
        "xen,reg = <0 0x20000000 0 0x1000 0xffff 0xfffff000>; };",
    ),
    Twin(
        "interrupt-mismatch",
        "some of the host's interrupts",
        "e { iommus = <0x0 0x10>; interrupts = <0 20 4>; };",
    ),
    Twin(
        "interrupt-private",
        "the PPI was removed from the host node",
        'pmu { xen,path = "/pmu@200d0000"; interrupts = <0 22 4>; };',
        edit=("<0 22 4>, <1 5 4>", "<0 22 4>"),
    ),
    Twin(
        "interrupt-clash",
        "a line of two nodes with one trigger, where nobody gets the other",
        'ethernet { xen,path = "/ethernet@20000000"; };',
        host=SMMUV2,
        edit=(
            "ethernet@20000000 {",
            "other { interrupts = <0 40 4>; }; another { interrupts = <0 41 1>; }; "
            "ethernet@20000000 { interrupts = <0 40 4>, <0 40 4>, <0 41 4>;",
        ),
        options=("--profile", "xen"),
        config="dom0: none\n",
    ),
    Twin(
        "interrupt-clash",
        "an interrupt of virtio-mmio, which this domain does not have",
        "usb { iommus = <0x0 0x3>; interrupts = <0 12 4>; };",
        host="pages.dts",
        config="domain: [vpl011]\n",
    ),
    Twin(
        "interrupt-clash",
        "two devices of one guest",
        'a { xen,path = "/ethernet@20000000"; interrupts = <0 20 4>; };'
        ' b { xen,path = "/mmc@20010000"; interrupts = <0 20 4>; };',
        edit=("<0 21 4>", "<0 20 4>"),
        warnings=("several-streams",),
    ),
    Twin(
        "interrupt-clash",
        "a PCI bridge whose interrupt-map leads elsewhere",
        'legacy { xen,path = "/legacy@200d0000"; interrupts = <0 40 4>; };',
        host="hands.dts",
        edit=("<0 0 0 1 &gic 0 40 4>", "<0 0 0 1 &gic 0 41 4>"),
    ),
    Twin(
        "shared-page",
        "below the window of a PCI bridge",
        'window { xen,path = "/window@50001000"; reg = <0 0x50001000 0 0x1000>; };',
        host="hands.dts",
        edit=("0 0x50000000 0 0x50000000 0 0x100000", "0 0x50002000 0 0x50002000 0 0x100000"),
    ),
    Twin(
        "stream-shared-with-disabled",
        "the two have different IDs",
        'audio { xen,path = "/audio@20030000"; };',
        host="hands.dts",
        edit=("iommus = <&smmu 0x13>;\n\t\tstatus", "iommus = <&smmu 0x33>;\n\t\tstatus"),
        warnings=("interrupt-shared-with-disabled",),
    ),
    Twin(
        "interrupt-shared-with-disabled",
        "no dom0 that could have it",
        'audio { xen,path = "/audio@20030000"; };',
        host="hands.dts",
        config="dom0: none\n",
    ),
    Twin(
        "marked-for-another",
        "the marked node shares nothing",
        'modem { xen,path = "/modem@20050000"; };',
        host="hands.dts",
        edit=("<&smmu 0x14>;\n\t\txen,passthrough", "<&smmu 0x34>;\n\t\txen,passthrough"),
    ),
    Twin(
        "msi-only",
        "it has an interrupt besides",
        'mailbox { xen,path = "/mailbox@200f0000"; };',
        host="hands.dts",
        edit=("msi-parent = <&its 0x23>;", "msi-parent = <&its 0x23>; interrupts = <0 60 4>;"),
    ),
    Twin(
        "needs-memory",
        "coherent on both sides, and without memory of its own",
        'video { xen,path = "/video@200e0000"; dma-coherent; };',
        host="hands.dts",
        edit=("memory-region = <&pool>;", ""),
    ),
    Twin(
        "coherence",
        "a bus above says it",
        'net { xen,path = "/bus@23000000/net@23000000"; dma-coherent; };',
        host="pages.dts",
        edit=("reg = <0 0x23000000 0 0x10000>;", "reg = <0 0x23000000 0 0x10000>; dma-coherent;"),
    ),
    Twin(
        "dma-ranges",
        "the bus moves nothing",
        'moved { xen,path = "/bus@21000000/moved@21000000"; };',
        host="hands.dts",
        edit=("<0 0 0 0x80000000 0 0x40000000>", "<0 0 0 0 0 0x40000000>"),
    ),
    Twin(
        "provides-to-host",
        "who it serves is disabled",
        'dma { xen,path = "/dma-controller@20100000"; };',
        host="hands.dts",
        edit=('dma-names = "tx";', 'dma-names = "tx"; status = "disabled";'),
    ),
    Twin(
        "xen-console",
        "Xen has another one",
        'serial { xen,path = "/serial@20000000"; };',
        host="hands.dts",
        edit=('"console:115200n8"', '"/spi@20110000"'),
    ),
    Twin(
        "device-disabled",
        "ok is okay",
        "spi { iommus = <0x0 0x90>; };",
        edit=('<&smmu0 0x90>;\n\t\tstatus = "disabled"', '<&smmu0 0x90>;\n\t\tstatus = "ok"'),
    ),
    Twin(
        "page-shared-with-disabled",
        "the disabled device is on the next page",
        "a { iommus = <0x0 0x1>; reg = <0 0x20000000 0 0x100>; };"
        " b { iommus = <0x0 0x2>; reg = <0 0x20000100 0 0x100>; };",
        host="pages.dts",
        edit=("reg = <0 0x20000200 0 0x100>", "reg = <0 0x20001000 0 0x100>"),
    ),
    Twin(
        "parts-omitted",
        "registers by xen,reg and interrupts by the number of Xen's GIC",
        "mmc { iommus = <0x0 0x11>, <0x0 0x12>; interrupt-parent = <0xfde8>;"
        " reg = <0 0x20010000 0 0x1000>, <0 0x20020000 0 0x200>; interrupts = <0 21 4>; };",
        warnings=("several-streams",),
    ),
    Twin(
        "several-streams",
        "two devices with one ID each",
        "e { iommus = <0x0 0x10>; }; usb@20030000 { iommus = <0x21 0x30>; };",
    ),
    Twin(
        "streams-omitted",
        "all IDs, in another order",
        "mmc { iommus = <0x0 0x12>, <0x0 0x11>; };",
        warnings=("several-streams",),
    ),
    Twin(
        "maps-not-programmed",
        "a hypervisor that programs the IDs of iommu-map",
        'net { xen,path = "/net@200c0000"; };',
        options=("--profile", "qemu-virt"),
    ),
    Twin(
        "device-without-region",
        "the host node has a region, the guest's has none",
        "e { iommus = <0x0 0x10>; };",
    ),
    Twin(
        "xen-stops",
        "registers below a bus that maps nothing, a PPI, and streams that are marked",
        'ethernet { xen,path = "/ethernet@20000000"; };',
        host=SMMUV2,
        edit=(
            "ethernet@20000000",
            "acme: acme { #iommu-cells = <1>; }; dma { iommus = <&acme 1>; xen,passthrough; }; "
            "spmi { #address-cells = <1>; #size-cells = <1>; fuse@1 { reg = <1 1>; }; }; "
            "pmu { interrupts = <1 5 4>; interrupts-extended = <&gic 1 5 4>; }; "
            "ethernet@20000000",
        ),
        options=("--profile", "xen"),
    ),
    Twin(
        "interrupt-not-routed",
        "interrupts-extended that names the GIC alone",
        "spi { iommus = <0x0 0x7>; interrupts = <0 15 4>; };",
        host="pages.dts",
        edit=("<&gic 0 15 4>, <&gpio 3 1>", "<&gic 0 15 4>"),
    ),
)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"{twin.hazard}: {twin.why}")
def test_the_harmless_twin_binds(twin: Twin, viommu: Run, tmp_path: Path) -> None:
    host = twin.host if "{" in twin.host else (HOSTS / twin.host).read_text()
    assert twin.edit[0] in host
    (tmp_path / "host.dts").write_text(host.replace(*twin.edit) if twin.edit[0] else host)
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % twin.passthrough)
    if twin.config:
        (tmp_path / "viommu.yml").write_text(twin.config)
    outcome = viommu("bind", "--host", "host.dts", *twin.options, "guest.dts")
    assert outcome.status == 0, outcome.err
    said = [line.split("[")[1].split("]")[0] for line in outcome.err.splitlines() if "[" in line]
    # Most twins leave out what does not matter to them, and the hosts have what is refused, with
    # some of which no dom0 starts.
    passed_over = {"parts-omitted", "xen-stops"} - {twin.hazard}
    assert tuple(hazard for hazard in said if hazard not in passed_over) == twin.warnings
    assert twin.hazard not in said


def test_every_hazard_has_a_harmless_twin() -> None:
    assert {twin.hazard for twin in TWINS} == {hazard.id for hazard in HAZARDS}
