# SPDX-License-Identifier: Apache-2.0
"""From a device to a Zephyr guest that uses it, by the text of docs/assign.md alone: each command
of its section, and the overlay that it shows. The guest is booted by xen.dtb, as boot.cmd says.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.pages import blocks, steps
from tests.support import CHECKOUT
from tests.xen.edu import Said, host_tree
from tests.xen.hypervisor import by_boot_cmd, said_by
from tests.xen.machine import host_blob
from tests.xen.stage2 import FIRST, MACHINE, needs_stage2
from tests.xen.tools import dom0, needs, smmu_xen
from tests.zephyr.workspace import Workspace, needs_toolchain, needs_zephyr

PAGE = CHECKOUT / "docs" / "assign.md"
# Reads the PCI ID of the page of its configuration space, and asks edu for its version and for the
# complement of a number.
MAIN = """#include <zephyr/device.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/sys_io.h>

#define EDU DT_PATH(passthrough, edu_10200000)

int main(void)
{
	mm_reg_t edu, config;

	device_map(&edu, DT_REG_ADDR(EDU), DT_REG_SIZE(EDU), K_MEM_CACHE_NONE);
	device_map(&config, DT_REG_ADDR_BY_IDX(EDU, 1), 0x1000, K_MEM_CACHE_NONE);
	printk("PCI ID 0x%08x\\n", sys_read32(config));
	sys_write32(DT_REG_ADDR(EDU), config + 0x10);
	sys_write32(BIT(1), config + 0x04);
	sys_write32(0x12345678, edu + 0x04);
	printk("version 0x%08x, complement 0x%08x\\n", sys_read32(edu), sys_read32(edu + 0x04));
	printk("end\\n");
	return 0;
}
"""


@needs_zephyr
@needs_toolchain
@needs_stage2
@needs({"Debian's kernel for arm64": dom0()})
def test_a_zephyr_guest_reads_its_device(workspace: Workspace, tmp_path: Path) -> None:
    kernels, xen = dom0(), smmu_xen()
    assert kernels and xen
    top, app = workspace.top, workspace.top / "my-app"
    host = host_tree(host_blob(tmp_path, MACHINE), Said(edu=FIRST))
    shutil.copy(host, top / "host.dtb")
    shutil.copy(kernels / "vmlinuz", top / "Image")
    workspace.app.rename(app)
    workspace.run("west", "config", "manifest.path", app.name, cwd=top)
    (app / "main.c").write_text(MAIN)
    _, _, text = PAGE.read_text().partition("## A Zephyr guest\n")
    text = text.partition("\n## ")[0]
    assert "CONFIG_ARM64_VA_BITS_40 and CONFIG_ARM64_PA_BITS_40 in prj.conf" in text
    (app / "prj.conf").write_text("CONFIG_ARM64_VA_BITS_40=y\nCONFIG_ARM64_PA_BITS_40=y\n")
    section = tmp_path / "section.md"
    section.write_text(text)
    (console,) = (block for _, block in blocks(text) if block[0].strip() == "/ {")
    for step in steps(section):
        command = step.command.replace("ethernet@100000", FIRST.name)
        if command.startswith("west build"):
            with (app / "app.overlay").open("a") as overlay:
                overlay.write("\n".join(console))
            command += " -- -DEXTRA_CFLAGS=-mno-outline-atomics"
        ran = workspace.run("sh", "-c", command, cwd=top)
        assert ran.status == 0, ran.log
    kernel = top / "build/zephyr/zephyr.bin"
    printed = by_boot_cmd(tmp_path, MACHINE, top / "viommu", xen, [kernel], "end|FATAL ERROR")
    said = said_by(1, printed)
    start = next(i for i, line in enumerate(said) if line.startswith("*** Booting Zephyr"))
    assert said[start + 1 :] == [
        "PCI ID 0x11e81234",
        "version 0x010000ed, complement 0xedcba987",
        "end",
    ]
