# SPDX-License-Identifier: Apache-2.0
"""Files of a set that were damaged at random: no traceback, nothing is run, and an end."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.audit.said import BOARD
from tests.support import Run

FILES = {
    "domd.cfg": ("domd.cfg", "domd.dts"),
    "config": ("config", "domd.dts"),
    "domd.dts": ("domd.dts", "host.overlay"),
    "host.overlay": ("domd.dts", "host.overlay"),
    "xen.dts": ("xen.dts", "domd.dts"),
}
PIECES = (
    *(b"", b"\0", b"\xff", b'"', b"'", b"[", b"]", b"[" * 9000, b"<", b">", b"{", b"};", b"\\"),
    *(b"0", b"-1", b"0x", b"9" * 400, b"f" * 30, b"$(touch ran)", b"`touch ran`", b";touch ran;"),
    *(b"\n", b"\r\n", b"#", b"/*", b"@", b",", b"= ", b"+=", b" ", b"/", b"..", b"&sd0", b"%s"),
)
# Of a run on a busy machine.
SECONDS = 30


@pytest.mark.parametrize("file", FILES)
def test_no_damaged_file_ends_in_a_traceback(file: str, viommu: Run) -> None:
    rng = random.Random(file)
    for each in BOARD.iterdir():
        shutil.copy(each, each.name)
    before = (BOARD / file).read_bytes()
    statuses = set()
    for number in range(25):
        text = before
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(PIECES) + text[at + rng.choice((0, 1, 3, 20)) :]
        Path(file).write_bytes(text)
        start = time.monotonic()
        form = ("--fix",) if number % 3 == 0 else ("--json",) if number % 3 == 1 else ()
        command = ("audit", "--host", "host.dts", "--profile", "xen", *form, *FILES[file])
        outcome = viommu(*command)
        assert outcome.status in (0, 1), (text, outcome)
        assert time.monotonic() - start < SECONDS, text
        statuses.add(outcome.status)
    assert not Path("ran").exists()
    assert statuses == {0, 1} or file == "xen.dts"
