# SPDX-License-Identifier: Apache-2.0
"""boot.cmd: a script for U-Boot that loads what Xen starts, and starts Xen.

Every line was seen to be needed with Debian's U-Boot 2023.01 and 2025.01 (tests/xen/test_uboot.py):
a failed load does not stop a script, so the loads are joined by &&; the addresses are numbers, as
${fdt_addr_r} may be unset; fdt_high keeps the tree in its place, as booti would copy it over a
module; no fdt command runs, as many U-Boots lack fdt apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from west_viommu.names import XL_CFG_FIRST_LINE

_FROM = "load ${devtype} ${devnum}:${distro_bootpart}"


class Load(NamedTuple):
    """A file that the script loads: its name, its address, and its size in bytes if xen.dtb states
    that size.
    """

    file: str
    address: int
    size: int | None


def boot_script(loads: Sequence[Load], xen: Load, tree: Load) -> str:
    """Return the text: it loads the modules, `tree` and `xen`, and boots."""
    return "".join(f"{line}\n" for line in _lines([*loads, tree, xen], xen, tree))


def _lines(loads: Sequence[Load], xen: Load, tree: Load) -> Iterator[str]:
    yield XL_CFG_FIRST_LINE
    yield "# mkimage -A arm64 -T script -C none -d boot.cmd boot.scr makes it a script for U-Boot."
    steps = []
    for load in loads:
        steps.append(f"{_FROM} {load.address:#x} ${{prefix}}{load.file}")
        if load.size is not None:
            steps.append(f"test 0x${{filesize}} -eq {load.size:#x}")
    yield "if " + " \\\n&& ".join(steps)
    yield "then"
    yield "\tsetenv fdt_high 0xffffffffffffffff"
    yield f"\tbooti {xen.address:#x} - {tree.address:#x}"
    yield "else"
    yield '\techo "boot.cmd: a file is missing, or has another size than xen.dtb says"'
    yield "fi"
