# SPDX-License-Identifier: Apache-2.0
"""What the boot tests need from outside, where it is, and why a test is skipped without.

`make boot-tools` brings all of it; VIOMMU_BOOT names the folder for what it does not install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

CROSS = "aarch64-linux-gnu-"
QEMU = "qemu-system-aarch64"
HINT = "`make boot-tools` brings it, and VIOMMU_BOOT names its folder"

_BOOT = os.environ.get("VIOMMU_BOOT")


def brought(*names: str) -> Path | None:
    """The last file of those names in VIOMMU_BOOT (patterns), if there is one."""
    found = [file for name in names for file in Path(_BOOT).glob(name)] if _BOOT else []
    return max(found, default=None)


def debian_xen() -> Path | None:
    """Debian's hypervisor: what VIOMMU_XEN names, else what boot-tools brought, else what Debian
    installs on an arm64 machine."""
    if named := os.environ.get("VIOMMU_XEN"):
        return Path(named)
    return brought("boot/xen-*-arm64") or max(Path("/boot").glob("xen-*-arm64"), default=None)


def smmu_xen() -> Path | None:
    """Debian's source with its SMMUv3 driver built in, which Debian's binary lacks."""
    return brought("smmu/xen")


def stage2_qemu() -> Path | None:
    """A QEMU whose SMMUv3 does stage 2, as that Xen needs: 8.1 or later."""
    return brought(f"qemu/{QEMU}")


def dom0() -> Path | None:
    """The folder with a kernel (vmlinuz) and Xen's tools (root.cpio.gz) for a dom0."""
    return brought("dom0")


def uboot() -> Path | None:
    """Debian's U-Boot for QEMU's virt machine, if the tools that make a disk for it are here."""
    file = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
    tools = map(shutil.which, ("mkimage", "mcopy", "mkfs.vfat"))
    return file if file.exists() and all(tools) else None


def run(*command: str) -> str:
    """What `command` prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


# What a test under such a Xen needs, and one by xl; each with its name for people.
STAGE2 = {"a Xen with its SMMUv3 driver": smmu_xen(), "a QEMU from 8.1 on": stage2_qemu()}
XL = {**STAGE2, "a dom0": dom0()}


def needs(found: Mapping[str, Path | None]) -> pytest.MarkDecorator:
    """Skips a test, with the reason, unless a guest can be built and run and all is `found`."""
    tools = {tool: shutil.which(tool) for tool in (QEMU, "dtc", "fdtoverlay", f"{CROSS}gcc")}
    missing = [name for name, path in {**tools, **found}.items() if path is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not here: {HINT}")
