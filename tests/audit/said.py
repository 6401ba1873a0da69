# SPDX-License-Identifier: Apache-2.0
"""The board of tests/audit/board, and what audit says of a set for it."""

from __future__ import annotations

import re
from pathlib import Path

BOARD = Path(__file__).parent / "board"
# Said of every set of the board, whatever is wrong with it.
ALWAYS = (
    "is behind no IOMMU: nothing confines DMA",
    "the marks (xen,passthrough) are not judged: name",
    "was not found among the files",
)


def said(err: str) -> list[str]:
    """Each message on one line, with its hint, and each note."""
    messages: list[str] = []
    for line in err.splitlines():
        if line.startswith("hint: "):
            messages[-1] += f" -- {line[6:]}"
        elif not re.match(r"\s*\d+ \|", line):
            messages.append(line)
    return [message for message in messages if not any(each in message for each in ALWAYS)]
