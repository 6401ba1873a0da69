# SPDX-License-Identifier: Apache-2.0
"""`viommu assign`, booted: by its xen.dtb, each file at the address that its boot.cmd names."""

from __future__ import annotations

import re
from pathlib import Path
from struct import pack

from tests.support import Run
from tests.xen.edu import UNDER_XEN, Said, bound, host_tree
from tests.xen.hypervisor import STOPPED, by_boot_cmd, said_by_one
from tests.xen.machine import ENDED, Machine, console, host_blob
from tests.xen.programs import edu_guest, image
from tests.xen.stage2 import FIRST, MACHINE, needs_stage2, right
from tests.xen.tools import XL, debian_xen, dom0, needs, run, smmu_xen, uboot
from tests.xen.xl import INIT as INIT_OF_XL
from tests.xen.xl import Created, ramdisk

LINUX = Machine("virt,virtualization=on,gic-version=3", memory=2048)
# What a guest shows of its clock.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo "clock $(cat /sys/class/rtc/rtc0/name) $(cat /sys/class/rtc/rtc0/date)"
ls -d /proc/device-tree/passthrough/*@*
echo PASS
sleep 1000
"""


@needs({"Debian's Xen for arm64": debian_xen(), "Debian's kernel for arm64": dom0()})
def test_a_linux_guest_reads_the_clock_that_it_was_assigned(viommu: Run, tmp_path: Path) -> None:
    base, xen = dom0(), debian_xen()
    assert base and xen
    init = tmp_path / "init"
    init.write_text(INIT)
    root = ramdisk(tmp_path, base / "root.cpio.gz", {"init": init})
    outcome = viommu(
        *("assign", "--host", host_blob(tmp_path, LINUX), "-o", tmp_path / "out"),
        *("--kernel", base / "vmlinuz", "--ramdisk", root, "--xen", xen),
        *("--allow", "unprotected:/pl031@9010000:it does no DMA", "pl031@9010000"),
    )
    assert outcome.status == 0, outcome.err
    own = [base / "vmlinuz", root]
    printed = by_boot_cmd(tmp_path, LINUX, tmp_path / "out", xen, own, "PASS")
    assert re.search(r"clock rtc-pl031 9010000.pl031 20\d\d-", printed), printed
    assert "/proc/device-tree/passthrough/pl031@9010000" in printed


def disk(folder: Path, files: list[Path]) -> Path:
    """A disk with one bootable FAT partition, in which these files are."""
    image, start = folder / "disk.img", 1 << 20
    size = -(-sum(file.stat().st_size for file in files) // start) * start + 16 * start
    with image.open("wb") as out:
        out.truncate(start + size)
        # The one row of the partition table: bootable, FAT32 by LBA, from sector 2048 on.
        out.seek(446)
        out.write(pack("<8BII", 0x80, 0, 0, 0, 0x0C, 0, 0, 0, start // 512, size // 512))
        out.seek(510)
        out.write(b"\x55\xaa")
    run("mkfs.vfat", "-F", "32", "--offset", str(start // 512), str(image), str(size // 1024))
    run("mcopy", "-i", f"{image}@@{start}", *map(str, files), "::")
    return image


@needs({"Debian's Xen": debian_xen(), "Debian's kernel for arm64": dom0(), "U-Boot": uboot()})
def test_the_boot_loader_does_what_boot_cmd_says(viommu: Run, tmp_path: Path) -> None:
    """U-Boot finds the script on a disk, as on a board, and the guest has its device."""
    base, xen, loader = dom0(), debian_xen(), uboot()
    assert base and xen and loader
    init, out = tmp_path / "init", tmp_path / "out"
    init.write_text(INIT)
    root = ramdisk(tmp_path, base / "root.cpio.gz", {"init": init})
    outcome = viommu(
        *("assign", "--host", host_blob(tmp_path, LINUX), "-o", out),
        *("--kernel", base / "vmlinuz", "--ramdisk", root, "--xen", xen),
        *("--allow", "unprotected:/pl031@9010000:it does no DMA", "pl031@9010000"),
    )
    assert outcome.status == 0, outcome.err
    script = out / "boot.scr"
    run(
        "mkimage",
        "-A",
        "arm64",
        "-T",
        "script",
        "-C",
        "none",
        "-d",
        str(out / "boot.cmd"),
        str(script),
    )
    own = [base / "vmlinuz", root, xen, script, out / "xen.dtb", out / "passthrough-dom0less.dtb"]
    drive = f"if=none,id=disk,format=raw,file={disk(tmp_path, own)}"
    options = ("-bios", str(loader), "-drive", drive, "-device", "virtio-blk-device,drive=disk")
    printed = console(tmp_path, LINUX, *options, until=f"PASS|{STOPPED}", seconds=300)
    assert "U-Boot 20" in printed
    assert re.search(r"clock rtc-pl031 9010000.pl031 20\d\d-", printed), printed


@needs_stage2
def test_the_bytes_of_an_assigned_device_move(viommu: Run, tmp_path: Path) -> None:
    xen = smmu_xen()
    assert xen
    host = host_tree(host_blob(tmp_path, MACHINE), Said(edu=FIRST))
    # What the guest knows of its machine, as its own build would have it.
    known = bound(viommu, tmp_path / "guest", host, "xen", UNDER_XEN, Said(edu=FIRST))
    kernel = image(edu_guest(tmp_path / "guest", known.macros()))
    outcome = viommu(
        *("assign", "--host", host, "--kernel", kernel, "--xen", xen, "--memory", "64"),
        *("-o", tmp_path / "out", FIRST.name),
    )
    assert outcome.status == 0, outcome.err
    printed = by_boot_cmd(tmp_path, MACHINE, tmp_path / "out", xen, [kernel], ENDED)
    assert said_by_one(printed) == right(FIRST), printed


@needs(XL)
def test_a_guest_of_xl_beside_dom0(viommu: Run, tmp_path: Path) -> None:
    """The same device by xl: dom0 is started by xen.dtb and boot.cmd, and has xl.cfg as it is, but
    for the UART by which the guest of this test speaks.
    """
    xen, base, out = smmu_xen(), dom0(), tmp_path / "out"
    assert xen and base
    host = host_tree(host_blob(tmp_path, MACHINE), Said(edu=FIRST))
    known = bound(viommu, tmp_path / "guest", host, "xen", UNDER_XEN, Said(edu=FIRST))
    kernel = image(edu_guest(tmp_path / "guest", known.macros()))
    command = (
        *("assign", "--host", host, "--kernel", kernel, "--xen", xen, "--memory", "64"),
        *("--toolstack", "xl", "--dom0-kernel", base / "vmlinuz", "-o", out, FIRST.name),
    )
    first = viommu(*command)
    assert first.status == 0, first.err
    config = tmp_path / "guest.cfg"
    config.write_text((out / "xl.cfg").read_text() + 'vuart = "sbsa_uart"\n')
    files = {"init": INIT_OF_XL, "guest.cfg": config, kernel.name: kernel}
    files["passthrough-xl.dtb"] = out / "passthrough-xl.dtb"
    # Without dom0_mem on Xen's command line, xl locks a file there.
    files["var/lock/empty"] = config
    root = ramdisk(tmp_path, base / "root.cpio.gz", files)
    # xen.dtb states the size of the ramdisk, which has xl.cfg in it.
    outcome = viommu(*command, "--dom0-ramdisk", root)
    assert outcome.status == 0, outcome.err
    own = [base / "vmlinuz", root]
    shown = Created(by_boot_cmd(tmp_path, MACHINE, out, xen, own, "--- end"))
    assert shown.section("xl create")[-1] == "status 0", shown.console
    assert shown.section("guest") == right(FIRST), shown.console
