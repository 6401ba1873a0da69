# SPDX-License-Identifier: Apache-2.0
"""The commands that a damaged input goes through, and what none of them must do."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

from west_viommu.__main__ import main
from west_viommu.names import PROFILES

# An input that takes longer than this, in seconds, is given up.
HANGS_AFTER = 30


class Hung(BaseException):
    """The command takes too long. No Exception, so that nothing swallows it."""


class Failure(Exception):
    """What a command must not do."""


def processor_seconds() -> float:
    """What this process, and those that it started and that have ended, took of a processor: the
    clock tells what else runs on the machine.
    """
    return sum(os.times()[:4])


class Runner:
    """Runs commands in the present folder, and keeps the figures."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.commands = 0
        self.slowest = 0.0
        self.slowest_what = ""
        self.said = ""

    def __call__(self, *arguments: str) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        started = processor_seconds()
        signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(list(arguments))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            taken = processor_seconds() - started
            self.said = err.getvalue()
            self.commands += 1
            if taken > self.slowest:
                self.slowest, self.slowest_what = taken, " ".join(arguments)
        if status not in (0, 1, 2):
            raise Failure(f"exit status {status}")
        if status and not err.getvalue() and arguments[0] not in ("check", "audit"):
            raise Failure("refused without a word")
        if "Traceback" in err.getvalue():
            raise Failure(err.getvalue())
        if re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", err.getvalue()):
            raise Failure(f"control characters on stderr: {err.getvalue()!r}")
        if taken > self.seconds:
            raise Failure(f"{' '.join(arguments)} took {taken:.2f} s")
        return status, out.getvalue()


def dtb(run: Runner, pick: random.Random, every: int) -> Iterator[int]:
    accepted = 0
    while True:
        status, _ = run("list", "--host", "input")
        also, text = run("list", "--host", "input", "--format", "json")
        if status != also:
            raise Failure(f"status {status} as a table, {also} as JSON")
        if status == 0:
            accepted += 1
            masters = [each["path"] for each in json.loads(text)["masters"]]
            if accepted % every == 0 and masters:
                extracted, overlay = run("extract", "--host", "input", pick.choice(masters))
                if extracted == 0:
                    Path("extracted.overlay").write_text(overlay, encoding="utf-8")
                    run("bind", "--host", "input", "extracted.overlay")
        yield status


def absurd(run: Runner, pick: random.Random) -> Iterator[int]:
    """Each input under one profile after the other; its status is that of `bind`."""
    for profile in itertools.cycle(PROFILES):
        data = Path("input").read_bytes()
        (size,) = struct.unpack_from(">I", data, 4)
        Path("guest.dts").write_bytes(data[size:])
        _, text = run("list", "--host", "input", "--format", "json")
        masters = [each["path"] for each in json.loads(text)["masters"]] if text else []
        nodes = pick.sample(masters, min(2, len(masters)))
        for node in [*nodes, pick.choice(("/", "/gic0", "/smmu0", "/bus0"))]:
            run("extract", "--host", "input", node)
        yield run("bind", "--host", "input", "--profile", profile, "guest.dts")[0]


def guest(run: Runner) -> Iterator[int]:
    while True:
        yield run("bind", "--host", "host.dtb", "input")[0]


def shapes(run: Runner) -> Iterator[int]:
    """As guest; besides, whoever refuses a property must know the place of it."""
    while True:
        status = run("bind", "--host", "host.dtb", "input")[0]
        if re.search(r"^error: \[malformed\]", run.said, re.MULTILINE):
            raise Failure(f"refused without a place: {run.said}")
        yield status


def config(run: Runner) -> Iterator[int]:
    while True:
        yield run("bind", "--host", "host.dtb", "--config", "input", "guest.overlay")[0]


def profile(run: Runner) -> Iterator[int]:
    while True:
        yield run("bind", "--host", "host.dtb", "--profile", "./input", "guest.overlay")[0]


def dump(run: Runner) -> Iterator[int]:
    while True:
        yield run("check", "--dts", "built.dtb", "--guest-dtb", "input")[0]


def audit(run: Runner) -> Iterator[int]:
    """Each input in one form, beside other files and under one profile after the other."""
    forms = itertools.cycle(((), ("--fix",), ("--json",)))
    beside = itertools.cycle(((), ("domd.dts",), ("domd.dts", "host.overlay"), ("xen.dts",)))
    for profile in itertools.cycle(("xen", "xen-amd", "xen", "xen-v3-libxl", "xen-rfc")):
        host = ("--host", "host.dts", "--profile", profile)
        yield run("audit", *host, *next(forms), "input", *next(beside))[0]
