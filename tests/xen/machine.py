# SPDX-License-Identifier: Apache-2.0
"""A machine in QEMU, with the devicetree that QEMU makes for it, and what its console prints."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.xen.tools import QEMU, run

# The last line of a guest of tests/xen/guest.
ENDED = "PASS|FAIL|fault at"


@dataclass(frozen=True)
class Machine:
    """How QEMU is started. The devicetree is dumped for this very machine: other options may give
    another tree."""

    board: str
    devices: tuple[str, ...] = ()
    qemu: str = QEMU
    memory: int = 1024

    @property
    def command(self) -> list[str]:
        cpu = ["-cpu", "cortex-a57", "-m", str(self.memory)]
        return [self.qemu, "-M", self.board, *cpu, "-nic", "none", "-display", "none"]

    def with_devices(self, *options: list[str]) -> Machine:
        return replace(self, devices=(*self.devices, *(word for one in options for word in one)))


# That Xen can be started on; without SMMU, as samples/xen-rtc documents it.
FOR_XEN = Machine("virt,virtualization=on,gic-version=3")


def host_blob(folder: Path, machine: Machine = FOR_XEN) -> Path:
    """The devicetree that QEMU makes for the machine."""
    file = folder / "host.dtb"
    board = f"{machine.board},dumpdtb={file}"
    run(*replace(machine, board=board).command)
    return file


def console(folder: Path, machine: Machine, *options: str, until: str, seconds: int) -> str:
    """What the machine prints, until whole lines have a match of `until`, QEMU ends, or the time is
    up.
    """
    printed = folder / "console.txt"
    printed.write_text("")  # a line of an earlier boot is not to match
    # timeout ends QEMU even if nobody is left here to do it.
    command = ["timeout", "-k", "5", str(seconds), *machine.command, *machine.devices, *options]
    command += ["-no-reboot", "-monitor", "none", "-serial", f"file:{printed}"]
    whole = re.compile(f"(?:{until}).*\n")
    with subprocess.Popen(command) as qemu:
        try:
            while qemu.poll() is None and not whole.search(printed.read_text(errors="replace")):
                time.sleep(0.1)
        finally:
            qemu.terminate()
    return printed.read_text(errors="replace")
