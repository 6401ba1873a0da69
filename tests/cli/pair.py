# SPDX-License-Identifier: Apache-2.0
"""A guest as a build leaves it, and the trees that Xen gives it, without Zephyr and without Xen."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devicetree import dtlib

from tests.support import DEMO, XENVM, Run, blob
from tests.xen.rules import dom0less_guest_tree, libxl_guest_tree

MACROS = {"GIC_SPI": "0", "IRQ_TYPE_LEVEL": "2", "IRQ_DEFAULT_PRIORITY": "0xa0"}
BUILT = Path("build/zephyr/zephyr.dts")
PLAN = Path("build/viommu/viommu.json")
# Of a Xen that renumbers, as the model of Xen does.
PROFILE = ("--profile", "xen-v3-dom0less")
AT_BOOT, BY_XL = "at-boot.dtb", "by-xl.dtb"


def expanded(source: str) -> str:
    """`source` without the macros of Zephyr's GIC header."""
    for name, value in MACROS.items():
        source = source.replace(name, value)
    return source


def make_pair(
    viommu: Run,
    host: Path = DEMO / "host.dts",
    guest: str = "",
    options: Sequence[str] = PROFILE,
) -> None:
    """In this folder: host.dts, the build in build/, and what Xen gives the guest, at-boot.dtb and
    by-xl.dtb, as far as bind wrote a partial tree for either.
    """
    shutil.copy(host, "host.dts")
    overlay = expanded(guest or (DEMO / "guest.overlay").read_text())
    Path("board.dts").write_text(XENVM)
    Path("guest.overlay").write_text(overlay)
    outcome = viommu("bind", "--host", "host.dts", "board.dts", "guest.overlay", *options)
    assert outcome.status == 0, outcome.err
    BUILT.parent.mkdir(parents=True)
    shutil.move("viommu", "build/viommu")
    source = XENVM + overlay + Path("build/viommu/viommu.overlay").read_text()
    Path("all.dts").write_text(source)
    # Zephyr writes its zephyr.dts so.
    BUILT.write_text(str(dtlib.DT("all.dts")))
    for partial, make, given in (
        ("passthrough-dom0less.dtb", dom0less_guest_tree, AT_BOOT),
        ("passthrough-xl.dtb", libxl_guest_tree, BY_XL),
    ):
        file = Path("build/viommu", partial)
        if file.is_file():
            Path(given).write_bytes(make(file.read_bytes()))


def source_of(tree: bytes) -> str:
    """The blob `tree` as source, as dtc writes it: numbers where there were references."""
    command = ["dtc", "-q", "-f", "-I", "dtb", "-O", "dts", "-"]
    return subprocess.run(command, input=tree, capture_output=True, check=True).stdout.decode()


def compiled(file: Path) -> bytes:
    """The blob of the source in `file`."""
    return blob(file.read_text())
