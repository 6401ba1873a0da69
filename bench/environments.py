# SPDX-License-Identifier: Apache-2.0
"""The virtual environments of what is measured: this project as users install it, and Lopper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.measure import clean_environment

CHECKOUT = Path(__file__).resolve().parent.parent
_FOLDER = CHECKOUT / ".venv" / "bench"
# Its YAML is an extra, without which it does not start.
LOPPER = "lopper[yaml]==1.6.0"


def project() -> Path:
    """The bin folder of an environment with this checkout, west and pylibfdt.

    Not the one of the tests: its editable install makes every Python there start more slowly.
    """
    folder = _FOLDER / "project"
    _make(folder)
    _install(folder, f"{CHECKOUT}[west]", "pylibfdt>=1.7")
    _install(folder, "--force-reinstall", "--no-deps", str(CHECKOUT))
    return folder / "bin"


def lopper() -> Path | None:
    """The program; None where it cannot be installed."""
    folder = _FOLDER / "lopper"
    try:
        _make(folder)
        _install(folder, LOPPER, "pylibfdt>=1.7")
    except subprocess.CalledProcessError:
        return None
    return folder / "bin" / "lopper"


def _make(folder: Path) -> None:
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)


def _install(folder: Path, *what: str) -> None:
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", *what]
    subprocess.run(command, check=True, env=clean_environment())
