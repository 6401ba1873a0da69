# SPDX-License-Identifier: Apache-2.0
"""Damaged inputs against whole commands, run by hand; docs/reliability.md has figures.

    python tools/fuzz --runs N --seed S [--corpus DIR] [--save DIR] TARGET

TARGET dtb: a host's blob, through `list` as table and as JSON, and every --every-th accepted one
through `extract` and `bind` of a master. guest: an overlay or source, through `bind`. config:
viommu.yml, through `bind`. profile: a profile of the user's own, through `bind`. dump: the tree
that a guest was given, through `check`.

A failure is an exit status other than 0, 1 and 2, an exception, a command of more than --seconds,
or more memory than --memory beyond what the first inputs took. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from commands import HANGS_AFTER, Failure, Hung, Runner, config, dtb, dump, guest, profile
from mutants import DTS_TOKENS, YAML_TOKENS, Blobs, Texts
from seeds import (
    CHECKOUT,
    DEMO,
    built_blob,
    compiled,
    configs,
    given_blob,
    guest_sources,
    host_blobs,
    profiles,
)

# The first inputs import modules and fill caches.
WARM_UP = 200


def peak() -> int:
    """The most memory that this process took so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def target(
    arguments: argparse.Namespace, run: Runner, pick: random.Random
) -> tuple[Blobs | Texts, Iterator[int]]:
    """What mutates the inputs, and what runs the commands on each."""
    Path("host.dtb").write_bytes(compiled((DEMO / "host.dts").read_text()))
    shutil.copy(DEMO / "guest.overlay", "guest.overlay")
    if arguments.target == "dtb":
        seeds = host_blobs(arguments.corpus)
        return Blobs(seeds, pick), dtb(run, pick, arguments.every)
    if arguments.target == "dump":
        run("bind", "--host", "host.dtb", "guest.overlay")
        built = built_blob()
        Path("built.dtb").write_bytes(built)
        return Blobs([built, given_blob(built)], pick), dump(run)
    seeds, tokens, commands = {
        "guest": (guest_sources, DTS_TOKENS, guest),
        "config": (configs, YAML_TOKENS, config),
        "profile": (profiles, YAML_TOKENS, profile),
    }[arguments.target]
    return Texts(seeds(), tokens, pick), commands(run)


def fuzz(arguments: argparse.Namespace, report: io.TextIOBase) -> int:
    """All runs. Returns how many failed."""
    pick = random.Random(arguments.seed)
    run = Runner(arguments.seconds)
    inputs, commands = target(arguments, run, pick)
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
            _, commands = target(arguments, run, pick)
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


def hung(*_: object) -> None:
    raise Hung(f"more than {HANGS_AFTER} s")


def arguments_of(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("target", choices=("dtb", "guest", "config", "profile", "dump"))
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
    signal.signal(signal.SIGALRM, hung)
    for variable in ("VIOMMU_HOST_DTB", "VIOMMU_PROFILE", "VIOMMU_VSID", "VIOMMU_CONFIG"):
        os.environ.pop(variable, None)
    os.environ.pop("ZEPHYR_BASE", None)
    # A command that cannot write to stdout closes it.
    with (
        open(os.dup(1), "w", encoding="utf-8") as own_report,
        tempfile.TemporaryDirectory(prefix="viommu-fuzz-") as scratch,
    ):
        os.environ["WEST_CONFIG_GLOBAL"] = os.path.join(scratch, "none")
        os.chdir(scratch)
        failed = fuzz(chosen, own_report)
        os.chdir(CHECKOUT)
    sys.exit(bool(failed))
