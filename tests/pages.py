# SPDX-License-Identifier: Apache-2.0
"""The commands and the files that a page of docs/ shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """A command of a page, the line where it stands, and what the page shows of its output."""

    line: int
    command: str
    shown: str


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The indented blocks of a page, each with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*text.splitlines(), "end"], 1):
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line[4:])
        elif block:
            yield number - len(block), block
            block = []


def steps(page: Path) -> list[Step]:
    """The commands of `page`."""
    found = []
    for first, block in blocks(page.read_text()):
        starts = [i for i, line in enumerate(block) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts, len(block)][1:], strict=True):
            after = start + 1
            while block[after - 1].endswith(("\\", "&&")):
                after += 1
            command = "\n".join(block[start:after])[2:]
            found.append(Step(first + start, command, "\n".join(block[after:end]).strip("\n")))
    return found
