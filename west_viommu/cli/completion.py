# SPDX-License-Identifier: Apache-2.0
"""`viommu completion`: what makes a shell complete our command lines."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from west_viommu.cli.console import tell
from west_viommu.diagnostics import refusal

# hatch_build.py puts them there, in a wheel.
FOLDER = Path(__file__).resolve().parent.parent / "completions"


def run(arguments: Namespace) -> None:
    """Print the script for a shell as it was made with the package."""
    try:
        tell([(FOLDER / f"viommu.{arguments.shell}").read_text(encoding="utf-8")])
    except FileNotFoundError:
        what = "completions are made when the package is built, and this is a checkout"
        hint = f"install the package, or run here: python tools/completion.py {arguments.shell}"
        raise refusal("unreadable", what, hint) from None
