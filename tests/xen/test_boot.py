# SPDX-License-Identifier: Apache-2.0
"""A guest of a real Xen uses the device that the partial devicetree gives it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import CHECKOUT, Run, blob
from tests.xen.hypervisor import Guest, booted, said_by_one
from tests.xen.machine import FOR_XEN, host_blob
from tests.xen.programs import rtc_guest
from tests.xen.rules import dom0less_faults
from tests.xen.tools import debian_xen, needs
from tests.zephyr.workspace import GICV3, Workspace, needs_toolchain, needs_zephyr

XEN = debian_xen()
pytestmark = needs({"Debian's Xen for arm64": XEN})

SAMPLE = CHECKOUT / "samples" / "xen-rtc"


def bound(folder: Path, viommu: Run) -> Path:
    """The output of `viommu bind` for the sample's guest, in `folder`."""
    host = host_blob(folder)
    out = folder / "viommu"
    arguments = ("--host", host, "--config", SAMPLE / "viommu.yml", "-o", out)
    outcome = viommu("bind", *arguments, SAMPLE / "app.overlay")
    assert outcome.status == 0, outcome.err
    assert "allowed by" in outcome.err
    return out


def console(
    folder: Path, kernel: Path, files: Path, host: Path, partial: Path | None = None
) -> str:
    """What Xen prints, and through it the guest `kernel`, until the guest is through. `files` is
    where viommu.overlay is, and the rest; `partial` another partial tree than that.
    """
    assert XEN is not None
    marks = (files / "host.overlay").read_text()
    guest = Guest(kernel, partial or files / "passthrough-dom0less.dtb", marks)
    return booted(folder, FOR_XEN, XEN, host, guest)


def test_a_guest_uses_its_device(viommu: Run, tmp_path: Path) -> None:
    files = bound(tmp_path, viommu)
    printed = console(tmp_path, rtc_guest(tmp_path), files, tmp_path / "host.dtb")
    lines = ["guest starts", "rtc id ok", "irq 34", "PASS"]
    assert said_by_one(printed) == lines, printed
    # Xen 4.17 starts the guest without these two as well; newer ones do not.
    assert "xen,force-assign-without-iommu;" in (files / "passthrough-dom0less.dts").read_text()
    assert '"/pl031@9010000"' in (files / "host.overlay").read_text()
    assert (
        dom0less_faults(
            (files / "passthrough-dom0less.dtb").read_bytes(),
            (tmp_path / "host.dtb").read_bytes(),
        )
        == []
    )


def test_without_xen_reg_the_guest_has_no_device(viommu: Run, tmp_path: Path) -> None:
    """So that PASS means something. Xen 4.20 panics; 4.17 starts the guest all the same."""
    files = bound(tmp_path, viommu)
    source = (files / "passthrough-dom0less.dts").read_text()
    without, count = re.subn(r"\t*xen,reg = .*\n", "", source)
    assert count == 1
    partial = tmp_path / "without.dtb"
    partial.write_bytes(blob(without))
    printed = console(tmp_path, rtc_guest(tmp_path), files, tmp_path / "host.dtb", partial)
    assert "xen,reg or xen,path missing for d1" in printed
    assert re.search("fault at 0x9010fe0|Panic on CPU", printed), printed
    assert "rtc id ok" not in printed


@needs_zephyr
@needs_toolchain
def test_a_zephyr_guest_uses_its_device(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", GICV3, "-d", str(workspace.build), str(SAMPLE)),
        *("--", "-DEXTRA_CFLAGS=-mno-outline-atomics"),
    )
    assert ran.status == 0, ran.log
    build = workspace.build
    kernel = build / "zephyr/zephyr.bin"
    printed = console(tmp_path, kernel, build / "viommu", build / "host.dtb")
    assert said_by_one(printed)[-3:] == ["rtc id ok", "irq 34", "PASS"], printed
