# SPDX-License-Identifier: Apache-2.0
"""Xen on a machine in QEMU, with the guests that it makes at boot, and a dom0 or none.

What Xen reads in /chosen: docs/misc/arm/device-tree/booting.txt of Xen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support import blob
from tests.xen.machine import ENDED, Machine, console
from tests.xen.tools import run

# QEMU puts Xen at the start of RAM and the devicetree 128 MiB behind, at 0x48000000.
FIRST_MODULE = 0x50000000
MODULE_ALIGN = 0x200000

_LOAD = re.compile(r"load \S+ \S+ (0x[0-9a-f]+) \$\{prefix\}(\S+)")
STOPPED = r"Panic on CPU \d+:\n.*|Xen BUG at"

# By conswitch=ax Xen keeps the console when a guest starts: from 4.20 on it does not name, in what
# a guest prints, the guest that has the console.
CHOSEN = """/dts-v1/;
/plugin/;

&{{/chosen}} {{
	xen,xen-bootargs = "console=dtuart conswitch=ax {bootargs}";
	#address-cells = <2>;
	#size-cells = <2>;
{nodes}}};
"""

DOMAIN = """
	{name} {{
		compatible = "xen,domain";
		#address-cells = <2>;
		#size-cells = <2>;
		cpus = <1>;
		memory = <0 0x10000>; /* KiB */
		vpl011;
{modules}	}};
"""

MODULE = """
		module@{address:x} {{
			compatible = "multiboot,{kind}", "multiboot,module";
			reg = <0 {address:#x} 0 {size:#x}>;
			{more}
		}};
"""


@dataclass(frozen=True)
class Guest:
    """A guest that Xen makes at boot: its kernel, which devices it owns, and the overlay for the
    host's tree that marks them (its source)."""

    kernel: Path
    partial_tree: Path
    marks: str


@dataclass(frozen=True)
class Dom0:
    """What Xen starts first, if it is to start any."""

    kernel: Path
    ramdisk: Path | None = None
    bootargs: str = ""


class _Modules:
    """Places in RAM for the files that QEMU loads beside Xen."""

    def __init__(self) -> None:
        self._next = FIRST_MODULE
        self.options: list[str] = []

    def node(self, file: Path, kind: str, more: str = "") -> str:
        """The node of `file` in /chosen, or in a domain there."""
        address, size = self._next, file.stat().st_size
        self._next += -(-size // MODULE_ALIGN) * MODULE_ALIGN
        self.options += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
        return MODULE.format(address=address, kind=kind, size=size, more=more)


def overlaid(folder: Path, tree: Path, *sources: str) -> Path:
    """The tree with the overlays of these sources applied."""
    overlays = []
    for number, source in enumerate(sources):
        overlays.append(folder / f"{tree.stem}-{number}.dtbo")
        overlays[-1].write_bytes(blob(source))
    result = tree.with_name(f"{tree.stem}-overlaid.dtb")
    run("fdtoverlay", "-i", str(tree), "-o", str(result), *map(str, overlays))
    return result


def booted(
    folder: Path,
    machine: Machine,
    xen: Path,
    host: Path,
    *guests: Guest,
    dom0: Dom0 | None = None,
    until: str | None = None,
    seconds: int = 120,
) -> str:
    """The console, until all `guests` have ended, or `until`, or Xen has stopped. `host` is the
    machine's tree, which gets what Xen is to start."""
    modules = _Modules()
    domains, nodes, bootargs = [], "", ""
    if dom0 is not None:
        bootargs = "dom0_mem=256M"
        nodes += modules.node(dom0.kernel, "kernel", f'bootargs = "{dom0.bootargs}";')
        if dom0.ramdisk is not None:
            nodes += modules.node(dom0.ramdisk, "ramdisk")
    for number, guest in enumerate(guests, start=1):
        own = modules.node(guest.kernel, "kernel")
        own += modules.node(guest.partial_tree, "device-tree")
        domains.append(DOMAIN.format(name=f"guest{number}", modules=own))
    nodes += "".join(reversed(domains))  # fdtoverlay puts each node before those it has put
    chosen = CHOSEN.format(bootargs=bootargs, nodes=nodes)
    tree = overlaid(folder, host, chosen, *(guest.marks for guest in guests))
    end = until or "(?s:" + ".*".join([f"(?:{ENDED})"] * len(guests)) + ")"
    options = ["-kernel", str(xen), "-dtb", str(tree), *modules.options]
    return console(folder, machine, *options, until=f"{end}|{STOPPED}", seconds=seconds)


def said_by(guest: int, console: str) -> list[str]:
    """The lines of that guest. Xen 4.17 names it in each."""
    return re.findall(rf"^\(XEN\) DOM{guest}: (.+)$", console, re.MULTILINE)


def said_by_one(console: str) -> list[str]:
    """The lines of a guest that is alone, which Xen does not name from 4.20 on, and Xen's own of
    that time.
    """
    _, _, running = console.partition(" init memory.\n")
    return re.findall(r"^\(XEN\) (?:DOM1: )?(.+)$", running, re.MULTILINE)


def by_boot_cmd(
    folder: Path, machine: Machine, files: Path, xen: Path, own: list[Path], until: str
) -> str:
    """What the machine prints when a boot loader does what boot.cmd says, with the `files` of the
    run and the user's `own`. QEMU starts Xen itself, with the tree.
    """
    board = {file.name: file for file in own}
    options = []
    for address, name in _LOAD.findall((files / "boot.cmd").read_text()):
        file = board.get(name, files / name)
        if name == xen.name:
            options += ["-kernel", str(xen)]
        elif name == "xen.dtb":
            options += ["-dtb", str(file)]
        else:
            options += ["-device", f"loader,file={file},addr={address},force-raw=on"]
    return console(folder, machine, *options, until=f"{until}|{STOPPED}", seconds=240)
