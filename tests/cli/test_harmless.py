# SPDX-License-Identifier: Apache-2.0
"""The nearest harmless twin of each hazard: it must bind, and nothing be said of that hazard.

The harmful ones are in tests/refused. Where the host makes the difference, `edit` is what to
replace in it, and by what.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.test_refused import HOSTS, PARTIAL_TREE
from tests.conftest import Run
from west_viommu.hazards.table import HAZARDS


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
        "stream-mismatch",
        "some of the device's IDs, in another order than the host's",
        'mmc { xen,path = "/mmc@20010000"; iommus = <0x0 0x12>, <0x0 0x11>; };',
        warnings=("interrupt-private",),
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
        "iommu-disabled",
        "ok is okay",
        'vpu { xen,path = "/vpu@20070000"; };',
        edit=('status = "disabled";\n\t};\n\n\tsmmu_v2', 'status = "ok";\n\t};\n\n\tsmmu_v2'),
    ),
    Twin(
        "two-iommus",
        "two streams behind one IOMMU",
        'gpu { xen,path = "/gpu@20060000"; };',
        edit=("<&smmu1 0x51>", "<&smmu0 0x51>"),
    ),
    Twin(
        "map-only",
        "a hypervisor that programs the IDs of iommu-map",
        'pcie { xen,path = "/pcie@d0000000"; };',
        options=("--profile", "qemu-virt"),
    ),
    Twin(
        "colliding-stream-id",
        "the other device is disabled",
        "usb@20030000 { iommus = <0x21 0x30>; };",
        edit=("iommus = <&smmu1 0x30>;", 'iommus = <&smmu1 0x30>; status = "disabled";'),
    ),
    Twin(
        "colliding-stream-id",
        "only an iommu-map has the ID, which Xen does not program",
        "e { iommus = <0x0 0x10>; };",
        edit=("<0x0 &smmu1 0x1000 0x100>", "<0x0 &smmu1 0x0 0x20>"),
    ),
    Twin(
        "shared-stream-id",
        "the other device is disabled",
        'dma { xen,path = "/dma@20040000"; };',
        edit=(
            "reg = <0 0x20050000 0 0x1000>;",
            'reg = <0 0x20050000 0 0x1000>; status = "disabled";',
        ),
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
        warnings=("interrupt-private",),
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
        "guest-overlap",
        "inside the window of vPCI, which this domain does not have",
        "net { iommus = <0x0 0x5>; reg = <0 0x23000000 0 0x1000>; };",
        host="pages.dts",
        config="domain: [vpl011]\n",
    ),
    Twin(
        "interrupt-mismatch",
        "some of the host's interrupts",
        "e { iommus = <0x0 0x10>; interrupts = <0 20 4>; };",
    ),
    Twin(
        "interrupt-private",
        "xl routes what irqs lists, and the guest's node lists an SPI",
        'mmc { xen,path = "/mmc@20010000"; interrupts = <0 21 4>; };',
        options=("--profile", "xen-v3-libxl"),
    ),
    Twin(
        "interrupt-clash",
        "an interrupt of virtio-mmio, which this domain does not have",
        "usb { iommus = <0x0 0x3>; interrupts = <0 12 4>; };",
        host="pages.dts",
        config="domain: [vpl011]\n",
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
        "streams-omitted",
        "all IDs, in another order",
        "mmc { iommus = <0x0 0x12>, <0x0 0x11>; };",
        warnings=("interrupt-private",),
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
        "interrupt-not-routed",
        "interrupts-extended that names the GIC alone",
        "spi { iommus = <0x0 0x7>; interrupts = <0 15 4>; };",
        host="pages.dts",
        edit=("<&gic 0 15 4>, <&gpio 3 1>", "<&gic 0 15 4>"),
    ),
)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"{twin.hazard}: {twin.why}")
def test_the_harmless_twin_binds(twin: Twin, viommu: Run, tmp_path: Path) -> None:
    host = (HOSTS / twin.host).read_text()
    assert twin.edit[0] in host
    (tmp_path / "host.dts").write_text(host.replace(*twin.edit) if twin.edit[0] else host)
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % twin.passthrough)
    if twin.config:
        (tmp_path / "viommu.yml").write_text(twin.config)
    outcome = viommu("bind", "--host", "host.dts", *twin.options, "guest.dts")
    assert outcome.status == 0, outcome.err
    said = [line.split("[")[1].split("]")[0] for line in outcome.err.splitlines() if "[" in line]
    assert tuple(said) == twin.warnings
    assert twin.hazard not in said


def test_every_hazard_has_a_harmless_twin() -> None:
    assert {twin.hazard for twin in TWINS} == {hazard.id for hazard in HAZARDS}
