# SPDX-License-Identifier: Apache-2.0
"""Damaged inputs against whole commands, run by hand; docs/verification.md has figures.

    python tools/fuzz --runs N --seed S [--corpus DIR] [--save DIR] TARGET

TARGET dtb: a host's blob, through `list` as table and as JSON, and every --every-th accepted one
through `extract` and `bind` of a master. guest: an overlay or source, through `bind`. shapes: a
guest that is made by shuffling what people write (shapes.py), through `bind`. config: viommu.yml,
through `bind`. profile: a profile of the user's own, through `bind`. dump: the tree that a guest
was given, through `check`. audit: a file of a set that somebody else wrote, through `audit` in each
of its forms. absurd: a host and a guest that are well-formed and mean nonsense,
through `list`, `extract` and, under each profile in turn, `bind`.

A failure is an exit status other than 0, 1 and 2, an exception, a command of more than --seconds of
a processor, or more memory than --memory beyond what the first inputs took. The same seed makes the
same inputs.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from commands import Failure, Hung, Runner
from scratch import scratch
from targets import TARGETS, target

# The first inputs import modules and fill caches.
WARM_UP = 200


def peak() -> int:
    """The most memory that this process took so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def fuzz(arguments: argparse.Namespace, report: io.TextIOBase) -> int:
    """All runs. Returns how many failed."""
    pick = random.Random(arguments.seed)
    run = Runner(arguments.seconds)
    inputs, commands = target(arguments.target, run, pick, arguments.corpus, arguments.every)
    run.commands, run.slowest = 0, 0.0
    statuses: Counter[int] = Counter()
    failures = 0
    started, base = time.perf_counter(), 0
    for number in range(arguments.runs):
        data = inputs.mutant()
        Path("input").write_bytes(data)
        before = peak()
        try:
            statuses[next(commands)] += 1
            if number == WARM_UP:
                base = peak()
            if base and peak() - base > arguments.memory and peak() > before:
                raise Failure(f"memory grew by {peak() - base} MiB")
        except (Exception, Hung):
            failures += 1
            what = traceback.format_exc()
            print(f"input {number} of seed {arguments.seed}: {what}", file=report, flush=True)
            save(arguments, number, data, what)
            _, commands = target(arguments.target, run, pick, arguments.corpus, arguments.every)
    print(
        f"{arguments.target}, seed {arguments.seed}: {arguments.runs} inputs, "
        f"{run.commands} commands, {time.perf_counter() - started:.0f} s",
        file=report,
    )
    print(
        f"  {statuses[0]} accepted, {statuses[1]} refused, {statuses[2]} wrong command line, "
        f"{failures} failed",
        file=report,
    )
    print(f"  slowest command {run.slowest:.3f} s: viommu {run.slowest_what}", file=report)
    print(
        f"  peak memory {peak()} MiB, {peak() - base if base else 0} MiB more than after "
        f"{WARM_UP} inputs",
        file=report,
    )
    return failures


def save(arguments: argparse.Namespace, number: int, data: bytes, what: str) -> None:
    if arguments.save:
        name = f"{arguments.target}-{arguments.seed}-{number}"
        folder = Path(arguments.save)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        (folder / f"{name}.txt").write_text(what, encoding="utf-8")


def arguments_of(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("target", choices=TARGETS)
    add("--runs", type=int, default=1000, metavar="N", help="how many inputs")
    add("--seed", type=int, default=0, metavar="S", help="another one makes other inputs")
    add("--corpus", type=os.path.abspath, metavar="DIR", help="a folder of real host DTBs")
    add("--save", type=os.path.abspath, metavar="DIR", help="where to put inputs that fail")
    add("--every", type=int, default=20, metavar="K", help="extract and bind of each K-th host")
    add("--seconds", type=float, default=2, help="the most that a command may take")
    add("--memory", type=int, default=128, metavar="MIB", help="the most that memory may grow")
    return parser.parse_args(argv)


if __name__ == "__main__":
    chosen = arguments_of(sys.argv[1:])
    # A command that cannot write to stdout closes it.
    with open(os.dup(1), "w", encoding="utf-8") as own_report, scratch():
        failed = fuzz(chosen, own_report)
    sys.exit(bool(failed))
