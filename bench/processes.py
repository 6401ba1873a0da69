# SPDX-License-Identifier: Apache-2.0
"""Runs the processes of a block in turns, and tells the duration and peak memory of each run.

A program of its own that imports next to nothing: Linux counts the memory of whoever starts a
process as that process's own, so no peak comes out below that of this one. What comes in on stdin
and goes out on stdout is marshalled (measure.py).
"""

from __future__ import annotations

import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A subject that is slow gets fewer rounds, but not fewer than this.
_FEWEST = 3
_KILL = 9


def _run(
    command: list[str], environment: dict[str, str], limit: float
) -> tuple[float, int, int | None]:
    """Seconds, peak memory in KiB, and the exit status; None where `limit` seconds ended it."""
    nowhere = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
    start = time.perf_counter()
    # A group of its own, so that what it starts is ended with it.
    child = os.posix_spawn(command[0], command, environment, file_actions=nowhere, setpgroup=0)
    handle = os.pidfd_open(child)
    ended, _, _ = select.select([handle], [], [], limit)
    if not ended:
        os.killpg(child, _KILL)
    _, waited, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    os.close(handle)
    return seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(waited) if ended else None


def _runs(block: dict[str, Any]) -> list[tuple[int, int, float, int, int | None]]:
    """(subject, round, seconds, KiB, status) of every run. In a round the subjects run one after
    the other. One that used up its budget of seconds, or failed, has no further rounds.
    """
    found = []
    spent = [0.0] * len(block["subjects"])
    out: set[int] = set()
    # The first round warms the caches, and does not count.
    for number in range(-1, block["rounds"]):
        for i, (command, environment, folder) in enumerate(block["subjects"]):
            if i in out or (number >= _FEWEST and spent[i] > block["budget"]):
                continue
            os.chdir(folder)
            seconds, peak, status = _run(command, environment, block["limit"])
            spent[i] += seconds
            if status != 0:
                out.add(i)
            if number >= 0 or status != 0:
                found.append((i, number, seconds, peak, status))
    return found


if __name__ == "__main__":
    marshal.dump(_runs(marshal.load(sys.stdin.buffer)), sys.stdout.buffer)
