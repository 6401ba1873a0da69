# SPDX-License-Identifier: Apache-2.0
"""A machine in QEMU on which Xen starts one guest, without any dom0 ("true dom0less")."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.conftest import blob

# The devicetree is dumped for this very machine: other options may give another tree.
MACHINE = "virt,virtualization=on,gic-version=3"
OPTIONS = ["-cpu", "cortex-a57", "-m", "1024", "-nic", "none", "-display", "none"]

# QEMU puts Xen at the start of RAM and the devicetree 128 MiB behind, at 0x48000000.
KERNEL = 0x50000000
PARTIAL_TREE = 0x58000000

GUEST = Path(__file__).parent / "guest"
CROSS = "aarch64-linux-gnu-"
CFLAGS = "-O2 -Wall -Wextra -Werror -ffreestanding -mgeneral-regs-only -mstrict-align -fno-pie"
LDFLAGS = "-nostdlib -static -no-pie -Wl,--build-id=none,--no-warn-rwx-segments"

# What Xen reads in /chosen: docs/misc/arm/device-tree/booting.txt of Xen.
DOMAIN = """/dts-v1/;
/plugin/;

&{{/chosen}} {{
	xen,xen-bootargs = "console=dtuart";
	#address-cells = <2>;
	#size-cells = <2>;

	guest {{
		compatible = "xen,domain";
		#address-cells = <2>;
		#size-cells = <2>;
		cpus = <1>;
		memory = <0 0x10000>; /* KiB */
		vpl011;

		module@{kernel:x} {{
			compatible = "multiboot,kernel", "multiboot,module";
			reg = <0 {kernel:#x} 0 {kernel_size:#x}>;
		}};

		module@{partial_tree:x} {{
			compatible = "multiboot,device-tree", "multiboot,module";
			reg = <0 {partial_tree:#x} 0 {partial_tree_size:#x}>;
		}};
	}};
}};
"""


def xen_image() -> Path | None:
    """The hypervisor: what VIOMMU_XEN names, or else what Debian installs on an arm64 machine."""
    if named := os.environ.get("VIOMMU_XEN"):
        return Path(named)
    return max(Path("/boot").glob("xen-*-arm64"), default=None)


def missing() -> str | None:
    """Why nothing can be booted here, if so."""
    for tool in ("qemu-system-aarch64", "dtc", "fdtoverlay", f"{CROSS}gcc"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if not xen_image():
        return "VIOMMU_XEN is not set: it names a Xen for arm64, as in Debian's xen-hypervisor"
    return None


def host_blob(folder: Path) -> Path:
    """The devicetree that QEMU makes for the machine."""
    file = folder / "host.dtb"
    _run("qemu-system-aarch64", "-M", f"{MACHINE},dumpdtb={file}", *OPTIONS)
    return file


def guest_image(folder: Path) -> Path:
    """Our own guest, as an arm64 Linux Image."""
    program, image = folder / "guest.elf", folder / "guest.bin"
    sources = [str(GUEST / "start.S"), str(GUEST / "main.c")]
    options = [*CFLAGS.split(), *LDFLAGS.split(), "-T", str(GUEST / "guest.ld")]
    _run(f"{CROSS}gcc", *options, *sources, "-o", str(program))
    _run(f"{CROSS}objcopy", "-O", "binary", str(program), str(image))
    return image


def booted(
    folder: Path,
    host: Path,
    host_overlay: str,
    partial_tree: Path,
    kernel: Path,
    until: str,
    seconds: int,
) -> str:
    """The console until a whole line has a match of `until`, QEMU ends, or the time is up.

    The guest is `kernel`. `partial_tree` says which devices it owns, and the source `host_overlay`
    marks them in the devicetree `host`.
    """
    domain = DOMAIN.format(
        kernel=KERNEL,
        kernel_size=kernel.stat().st_size,
        partial_tree=PARTIAL_TREE,
        partial_tree_size=partial_tree.stat().st_size,
    )
    marks, guest, tree = (folder / name for name in ("host.dtbo", "guest.dtbo", "xen.dtb"))
    marks.write_bytes(blob(host_overlay))
    guest.write_bytes(blob(domain))
    _run("fdtoverlay", "-i", str(host), "-o", str(tree), str(marks), str(guest))
    console = folder / "console.txt"
    console.write_text("")  # a line of an earlier boot is not to match
    # timeout ends QEMU even if nobody is left here to do it.
    command = ["timeout", "-k", "5", str(seconds), "qemu-system-aarch64", "-M", MACHINE, *OPTIONS]
    command += ["-no-reboot", "-monitor", "none", "-serial", f"file:{console}"]
    command += ["-kernel", str(xen_image()), "-dtb", str(tree)]
    for module, address in ((kernel, KERNEL), (partial_tree, PARTIAL_TREE)):
        command += ["-device", f"loader,file={module},addr={address:#x},force-raw=on"]
    with subprocess.Popen(command) as qemu:
        try:
            while qemu.poll() is None and not _has_line(until, console):
                time.sleep(0.1)
        finally:
            qemu.terminate()
    return console.read_text(errors="replace")


def _has_line(pattern: str, console: Path) -> bool:
    return bool(re.search(f"(?:{pattern}).*\n", console.read_text(errors="replace")))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
