# SPDX-License-Identifier: Apache-2.0
"""usage: python -m bench.growth [--most RATIO] [--doublings N] [NAME...]

How the time of a command grows where an input doubles in one dimension (bench/dimensions.py):
seconds of the processor, with those of cpp and dtc, without what the command takes for an input of
one. Ends with 1 where a doubling takes more than RATIO times as long. docs/verification.md has
figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.dimensions import DIMENSIONS, Dimension, Input
from bench.measure import clean_environment

# Below this many seconds, what is measured is the machine.
_LEAST = 0.1


def seconds(made: Input, runs: int) -> float:
    """What the command takes of a processor in the present folder: the least of so many runs."""
    Path("host.dtb").write_bytes(made.host)
    Path("guest.dts").write_text(made.guest)
    Path("viommu.yml").write_text(made.config)
    command = [*made.command, "--host", "host.dtb", *(["guest.dts"] if made.guest else [])]
    return min(_of_one_run([sys.executable, "-m", "west_viommu", *command]) for _ in range(runs))


def _of_one_run(command: list[str]) -> float:
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {status}")
    return usage.ru_utime + usage.ru_stime


def growth(dimension: Dimension, doublings: int) -> list[tuple[int, float]]:
    """How many, and the seconds for them beyond those for one."""
    least = seconds(dimension.make(1), 4)
    counts = [dimension.few << i for i in range(doublings + 1)]
    return [(count, seconds(dimension.make(count), 2) - least) for count in counts]


def ratio(found: Sequence[tuple[int, float]]) -> float:
    """The growth per doubling, over all of them."""
    (_, first), (_, last) = found[0], found[-1]
    return float((last / max(first, 0.001)) ** (1 / (len(found) - 1)))


@contextmanager
def scratch() -> Iterator[None]:
    """Works in an empty folder, without settings of the user's."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="viommu-growth-") as folder:
        kept = clean_environment(WEST_CONFIG_GLOBAL=os.path.join(folder, "none"))
        os.environ.clear()
        os.environ.update(kept)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def main() -> int:
    """Measure and print. The exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="dimensions; all by default")
    parser.add_argument("--most", type=float, default=2.2, help="what a doubling may take")
    parser.add_argument("--doublings", type=int, default=2, help="how many")
    arguments = parser.parse_args()
    too_fast = 0
    with scratch():
        for name in arguments.names or DIMENSIONS:
            found = growth(DIMENSIONS[name], arguments.doublings)
            per_doubling = ratio(found)
            is_wrong = per_doubling > arguments.most and found[-1][1] > _LEAST
            too_fast += is_wrong
            times = "  ".join(f"{count}: {taken:.2f} s" for count, taken in found)
            print(f"{name:42} {per_doubling:.2f}{' !' if is_wrong else '  '} {times}", flush=True)
    return 1 if too_fast else 0


if __name__ == "__main__":
    sys.exit(main())
