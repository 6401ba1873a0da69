# SPDX-License-Identifier: Apache-2.0
"""A Linux dom0 that starts one guest by xl: Debian's kernel and tools, and dom0/init."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.xen.hypervisor import Dom0, booted, overlaid
from tests.xen.machine import Machine

INIT = Path(__file__).parent / "dom0" / "init"
# The partial tree is where xl.cfg, as it is generated, looks for it: beside it.
CONFIG = """name = "guest"
kernel = "/guest.bin"
memory = 64
vuart = "sbsa_uart"
"""


@dataclass(frozen=True)
class Created:
    """What a dom0 shows after `xl create`."""

    console: str

    def section(self, name: str) -> list[str]:
        """The lines between `--- name` and the next such line; none if dom0 did not come so far."""
        found = re.search(rf"^--- {name}\n(.*?)^---", self.console, re.MULTILINE | re.DOTALL)
        # Linux ends its lines with \r\n, and Xen the \n with another \r: empty lines.
        return [line for line in found[1].splitlines() if line] if found else []

    @property
    def guest_tree(self) -> bytes:
        """What libxl gave the guest."""
        return base64.b64decode("".join(self.section("tree")))


def ramdisk(folder: Path, base: Path, files: Mapping[str, Path]) -> Path:
    """The initramfs `base` with these files in its root as well."""
    root = folder / "root"
    root.mkdir()
    for name, file in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / name)
    (root / "init").chmod(0o755)
    command = ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"]
    # A folder before what is in it.
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    packed = subprocess.run(
        command, cwd=root, input=names.encode(), capture_output=True, check=True
    ).stdout
    file = folder / "ramdisk.gz"
    # One archive after the other is one to the kernel.
    file.write_bytes(base.read_bytes() + gzip.compress(packed, 1))
    return file


def created(
    folder: Path, machine: Machine, xen: Path, dom0: Path, host: Path, files: Path, kernel: Path
) -> Created:
    """The guest `kernel`, by `xl create` from the `files` that `viommu bind` wrote."""
    config = folder / "guest.cfg"
    config.write_text(CONFIG + (files / "xl.cfg").read_text())
    own = {
        "guest.cfg": config,
        "guest.bin": kernel,
        "passthrough-xl.dtb": files / "passthrough-xl.dtb",
    }
    marks = (files / "host.overlay").read_text()
    return created_of(folder, machine, xen, dom0, host, marks, own)


def created_of(
    folder: Path,
    machine: Machine,
    xen: Path,
    dom0: Path,
    host: Path,
    marks: str,
    own: Mapping[str, Path],
) -> Created:
    """The guest of guest.cfg, which is one of the files that dom0 has of its `own`, by their
    paths. `marks`: the overlay for the host's tree.
    """
    files = {"init": INIT, **own}
    first = Dom0(
        dom0 / "vmlinuz", ramdisk(folder, dom0 / "root.cpio.gz", files), "console=hvc0 quiet"
    )
    marked = overlaid(folder, host, marks)
    return Created(booted(folder, machine, xen, marked, dom0=first, until="--- end", seconds=240))
