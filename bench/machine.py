# SPDX-License-Identifier: Apache-2.0
"""The machine and the versions of what was measured, in words."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path

from bench.environments import LOPPER


def machine(project: Path, lopper: Path | None, zephyr: Path | None) -> dict[str, str]:
    """Facts by what they are about; no path and no name of the machine."""
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {re.split('[-+]', platform.release())[0]}, {platform.machine()}"
    facts = {
        "date": date.today().isoformat(),
        "machine": f"{_processor()}, {cores} cores, {memory:.0f} GiB of memory, {system}",
        "Python": platform.python_version(),
        "dtc": _last_word("dtc", "--version"),
        "pylibfdt": version("pylibfdt"),
        "Lopper": LOPPER.partition("==")[2] if lopper else "could not be installed",
        "west": _last_word(str(project / "west"), "--version"),
    }
    if zephyr:
        numbers = re.findall(r"^VERSION_M\w+ *= *(\d+)", (zephyr / "VERSION").read_text(), re.M)
        facts["Zephyr"] = ".".join(numbers)
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _last_word(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]
