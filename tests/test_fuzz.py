# SPDX-License-Identifier: Apache-2.0
"""A short run of tools/fuzz for each kind of input; docs/verification.md has the long ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
CORPUS = os.environ.get("VIOMMU_CORPUS")


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("dtb", 400),
        ("guest", 150),
        ("shapes", 250),
        ("config", 200),
        ("profile", 100),
        ("dump", 200),
        ("audit", 150),
        ("absurd", 200),
    ],
)
def test_no_damaged_input_ends_in_a_traceback(target: str, runs: int) -> None:
    # How long a run may take depends on the machine: here, it must only end.
    command = [sys.executable, "tools/fuzz", "--runs", str(runs), "--seed", "7", "--seconds", "30"]
    if CORPUS:
        command += ["--corpus", CORPUS]
    done = subprocess.run([*command, target], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    accepted, refused = (int(done.stdout.split(word)[0].split()[-1]) for word in WORDS)
    # An input that is always refused, or never, tests nothing.
    assert accepted > 0 and refused > 0, done.stdout


WORDS = (" accepted", " refused")
