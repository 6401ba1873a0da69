# SPDX-License-Identifier: Apache-2.0
"""The partial trees for real hosts, judged by the model of Xen in rules.py and by dtc."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import Run, blob
from tests.xen.rules import (
    dom0less_faults,
    dom0less_guest_tree,
    dom0less_vsids,
    libxl_faults,
    libxl_vsids,
    unmarked,
)

HEAD = """
/ { passthrough { #address-cells = <2>; #size-cells = <2>; ranges; %s }; };
"""
SPI = "interrupts = <GIC_SPI %d IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>;"
GUESTS = [
    pytest.param(
        "morello-sdp",
        """display@2cc00000 { compatible = "arm,mali-d71"; reg = <0x0 0x2cc00000 0x0 0x20000>;
        interrupts = <GIC_SPI 69 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>; clocks = <7 8>;
        iommus = <0x0 0x0 0x0 0x1 0x0 0x2 0x0 0x3 0x0 0x8>; };""",
        id="morello display",
    ),
    pytest.param(
        "versal-net-vn-x-b2197-01-revA",
        """ethernet@f19f0000 { compatible = "cdns,gem"; reg = <0x0 0xf19f0000 0x0 0x1000>;
        interrupts = <GIC_SPI 41 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>; iommus = <0 0x235>; };
        mmc@f1050000 { compatible = "xlnx,versal-net-emmc"; reg = <0x0 0xf1050000 0x0 0x10000>;
        interrupts = <GIC_SPI 186 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>;
        xen,path = "/axi/mmc@f1050000"; };""",
        id="versal-net Ethernet and eMMC",
    ),
    pytest.param(
        "imx95-19x19-evk-smmu-on",
        """usb@4c100000 { compatible = "nxp,imx95-dwc3"; reg = <0x0 0x4c100000 0x0 0x10000>,
        <0x0 0x4c010010 0x0 0x4>, <0x0 0x4c1f0000 0x0 0x20>;
        interrupts = <GIC_SPI 175 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>; iommus = <0 0xe>; };
        usb@4c200000 { compatible = "fsl,imx95-usb"; reg = <0x0 0x4c200000 0x0 0x200>;
        interrupts = <GIC_SPI 176 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>; iommus = <0 0xf>; };""",
        id="imx95 USB",
    ),
]


@pytest.mark.parametrize(("host", "devices"), GUESTS)
@pytest.mark.parametrize("profile", ["xen-rfc", "xen-v3-dom0less", "xen-v3-libxl"])
def test_both_are_what_xen_accepts(
    profile: str, host: str, devices: str, viommu: Run, corpus: Path, tmp_path: Path
) -> None:
    host_blob = corpus / f"{host}.dtb"
    (tmp_path / "g.overlay").write_text(HEAD % devices)
    outcome = viommu("bind", "--host", host_blob, "--profile", profile, "g.overlay")
    assert outcome.status == 0, outcome.err
    out = tmp_path / "viommu"
    at_boot = (out / "passthrough-dom0less.dtb").read_bytes()
    by_xl = (out / "passthrough-xl.dtb").read_bytes()
    host_for_xen = with_overlay(host_blob, out / "host.overlay", tmp_path)
    assert dom0less_faults(at_boot, host_for_xen) == []
    assert libxl_faults(by_xl, host_for_xen) == []
    assert unmarked(at_boot, host_for_xen) == []
    for source in (out / "passthrough-dom0less.dts", out / "passthrough-xl.dts"):
        command = ["dtc", "-I", "dts", "-O", "dtb", "-o", str(tmp_path / "o"), str(source)]
        compiled = subprocess.run(command, capture_output=True, text=True)
        assert (compiled.returncode, compiled.stderr) == (0, "")
        assert (tmp_path / "o").read_bytes() == source.with_suffix(".dtb").read_bytes()
    planned = json.loads((out / "viommu.json").read_text())
    ids = {d["node"]: [s["vmaster"] for s in d["streams"]] for d in planned["devices"]}
    if profile != "xen-rfc":
        assert ids == dom0less_vsids(at_boot) == libxl_vsids(by_xl, has_vpci=False)
    assert dom0less_guest_tree(at_boot)


def with_overlay(host: Path, overlay: Path, folder: Path) -> bytes:
    """The host's blob with an overlay applied, as the boot loader does it."""
    (folder / "host.dtbo").write_bytes(blob(overlay.read_text()))
    merged = folder / "host-xen.dtb"
    command = ["fdtoverlay", "-i", str(host), "-o", str(merged), str(folder / "host.dtbo")]
    subprocess.run(command, check=True, capture_output=True)
    return merged.read_bytes()
