# SPDX-License-Identifier: Apache-2.0
"""A sysbuild of two guests of one host: its configuration judges them together."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support import DEMO
from tests.zephyr.workspace import Workspace, needs_zephyr, since

pytestmark = [needs_zephyr, since(3, 4, "older Zephyrs have no sysbuild")]

OVERLAY = """/ {
	passthrough {
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;

		%s
	};
};
"""
ETHERNET = """ethernet@e0100000 {
			compatible = "vnd,ethernet";
			reg = <0x0 0xe0100000 0x0 0x1000>;
			xen,path = "/soc@e0000000/ethernet@100000";
		};"""
DMA = """dma-controller@e0200000 {
			compatible = "vnd,of-no-binding";
			reg = <0x0 0xe0200000 0x0 0x1000>;
			xen,path = "/soc@e0000000/dma-controller@200000";
		};"""
SECOND = """ExternalZephyrProject_Add(
  APPLICATION second
  SOURCE_DIR ${APP_DIR}/../second
)
"""


def image(folder: Path, overlay: str) -> None:
    """The application in `folder` asks for that; its host is that of the demo."""
    shutil.copy(DEMO / "host.dts", folder / "host.dts")
    (folder / "viommu.yml").write_text("host: host.dts\nprofile: xen-rfc\n")
    (folder / "app.overlay").write_text(OVERLAY % overlay)


def configured(workspace: Workspace, second: str) -> tuple[int, str]:
    """What a sysbuild of the Ethernet MAC's guest and of a `second` ends with, and its log."""
    other = workspace.top / "second"
    shutil.copytree(workspace.app, other)
    image(workspace.app, ETHERNET)
    image(other, second)
    (workspace.app / "sysbuild.cmake").write_text(SECOND)
    ran = workspace.run(
        *("west", "build", "--sysbuild", "--cmake-only", "-b", "xenvm"),
        *("-d", str(workspace.build)),
    )
    return ran.status, ran.log


def test_two_guests_of_one_host(workspace: Workspace) -> None:
    status, log = configured(workspace, DMA)
    assert status == 0, log
    assert log.count("-- viommu: bound 1 device of ") == 2, log
    assert f"-- viommu: 2 guests of {workspace.app}/host.dts with 2 devices" in log, log
    ran = workspace.run("west", "viommu-system", "-d", str(workspace.build))
    assert ran.status == 0, ran.log
    assert "app  64 MiB, 1 CPU, a vSMMU\n  /soc@e0000000/ethernet@100000\n" in ran.log
    assert "second  64 MiB, 1 CPU, a vSMMU\n  /soc@e0000000/dma-controller@200000\n" in ran.log
    assert "note: app has no kernel yet: no configuration names it; build it" in ran.log
    ran = workspace.run("west", "viommu-check", "--system", "-d", str(workspace.build))
    assert ran.status == 0, ran.log


def test_a_device_of_two_guests_ends_the_configuration(workspace: Workspace) -> None:
    status, log = configured(workspace, ETHERNET)
    assert status != 0
    assert "The images cannot be guests of one host together" in log
    assert "error: [duplicate-assignment]" in log.replace("\n  ", " ")
