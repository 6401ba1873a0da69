# SPDX-License-Identifier: Apache-2.0
"""Registers that a driver needs and the host's node does not list: `regions:` of viommu.yml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import CHECKOUT, PARTIAL_TREE, Run, blob
from west_viommu.read.dtb import tree_from_dtb

HOST = CHECKOUT / "tests" / "hosts" / "two-smmus.dts"
CLOCK = """regions:
  - device: {device}
    region: [0x2f000050, 0x4]
    reason: its clock
"""
MMC = """mmc { iommus = <0x0 0x11 0x0 0x12>;
    reg = <0 0x20010000 0 0x1000>, <0 0x2f000050 0 0x4>; };"""
WARNING = """\
guest.dts:4: warning: [region-mismatch] this region does not belong to /mmc@20010000 \
(node /passthrough/mmc, expected 0x20010000/0x1000 or 0x20020000/0x200, found 0x2f000050/0x4)
    4 | reg = <0 0x20010000 0 0x1000>, <0 0x2f000050 0 0x4>; };}; };
hint: added by viommu.yml:2, because: its clock; the guest gets the whole of 0x2f000000/0x1000
"""
SAYS = "0x2f000050/0x4 for {device}, because: its clock"


@pytest.mark.parametrize("device", ["/mmc@20010000", "/passthrough/mmc"])
def test_it_is_the_devices_and_named_on_both_sides(
    device: str, viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % MMC)
    (tmp_path / "viommu.yml").write_text(CLOCK.format(device=device))
    outcome = viommu("bind", "--host", HOST, "--profile", "xen-rfc", "guest.dts")
    assert outcome.status == 0
    assert WARNING in outcome.err
    out = tmp_path / "viommu"
    plan = json.loads((out / "viommu.json").read_text())
    assert plan["extra"] == [
        {"device": device, "host": 0x2F000050, "size": 4, "reason": "its clock"}
    ]
    says = SAYS.format(device=device)
    assert f" * added:   {says}\n" in (out / "viommu.overlay").read_text()
    assert f" * Added to its device: {says}\n" in (out / "host.overlay").read_text()
    node = tree_from_dtb((out / "passthrough-dom0less.dtb").read_bytes()).node("/passthrough/mmc")
    assert node and node.properties["xen,reg"].hex(" ", 4).split()[6:] == [
        *("00000000", "2f000000", "00000000", "00001000", "00000000", "2f000000")
    ]
    # No node has the page, so dom0 has no right to it.
    assert not (out / "xl.cfg").exists()
    assert "Xen gives dom0 no right to 0x2f000050/0x4" in outcome.err


def test_xl_gets_a_page_that_dom0_has(viommu: Run, tmp_path: Path) -> None:
    """A disabled node has it, which host.overlay then keeps from dom0."""
    clocks = 'clocks@2f000000 { reg = <0 0x2f000000 0 0x1000>; status = "disabled"; };'
    source = HOST.read_text().replace("\tethernet@20000000", f"\t{clocks}\n\tethernet@20000000", 1)
    (tmp_path / "host.dtb").write_bytes(blob(source))
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % MMC)
    (tmp_path / "viommu.yml").write_text(CLOCK.format(device="/mmc@20010000"))
    outcome = viommu("bind", "--host", "host.dtb", "--profile", "xen-rfc", "guest.dts")
    assert outcome.status == 0
    assert "belong to /mmc@20010000, but to /clocks@2f000000 (node" in outcome.err
    xl_cfg = (tmp_path / "viommu" / "xl.cfg").read_text()
    assert '"2f000,1@2f000"' in xl_cfg
    assert f"# Added: {SAYS.format(device='/mmc@20010000')}\n" in xl_cfg
    assert 'target-path = "/clocks@2f000000"' in (tmp_path / "viommu/host.overlay").read_text()
