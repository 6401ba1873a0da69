# SPDX-License-Identifier: Apache-2.0
"""boot.cmd: a script for U-Boot that loads what Xen starts, and starts Xen.

Every line was seen to be needed with Debian's U-Boot 2023.01 and 2025.01 (tests/xen/test_uboot.py):
a failed load does not stop a script, so the loads are joined by &&; the addresses are numbers, as
${fdt_addr_r} may be unset; fdt_high keeps the tree in its place, as booti would copy it over a
module; no fdt command runs, as many U-Boots lack fdt apply.
"""

from __future__ import annotations

import posixpath
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.names import XL_CFG_FIRST_LINE
from west_viommu.system.boot import files_of, files_of_dom0
from west_viommu.system.records import DomainFiles, Judged

_PLAIN = string.ascii_letters + string.digits + "._/+-@"
_FROM = "load ${devtype} ${devnum}:${distro_bootpart}"


class Load(NamedTuple):
    """A file that the script loads: its name, its address, and its size in bytes if xen.dtb states
    that size.
    """

    file: str
    address: int
    size: int | None


def name_on_board(path: str) -> str:
    """Return what boot.cmd calls a file: its path below the folder of the system, else its name."""
    is_below = not path.startswith(("../", "/"))
    return path if is_below else posixpath.basename(path)


def is_plain_name(name: str) -> bool:
    """Whether the shell of U-Boot takes `name` as it is."""
    return name.isascii() and not set(name).difference(_PLAIN)


def boot_script_of(
    judged: Judged, files: Mapping[str, DomainFiles], xen_file: str, tree_file: str
) -> str:
    """Return the script that boots a system whose files all have addresses."""
    boot = judged.boot
    if boot is None or boot.xen is None or boot.tree is None:
        raise AssertionError("no addresses")
    parts = [part for domain in judged.domains for part in files_of(domain, files[domain.name])]
    parts += files_of_dom0(boot.dom0) if boot.dom0 else []
    loads = [
        Load(name_on_board(file.file), address, file.size)
        for _, file, address in parts
        if address is not None
    ]
    xen = Load(name_on_board(xen_file), boot.xen.base, None)
    return boot_script(loads, xen, Load(name_on_board(tree_file), boot.tree.base, None))


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
