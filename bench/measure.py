# SPDX-License-Identifier: Apache-2.0
"""Whole processes, measured in turns: their durations, their peak memory, and ratios of those."""

from __future__ import annotations

import marshal
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Seconds: after so many of a slow subject, three rounds are enough.
_BUDGET = 15.0
_WORKER = Path(__file__).with_name("processes.py")


class Subject(NamedTuple):
    """A process to measure; `makes` is the file that shows that it did its work."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    makes: Path | None = None


class Measured(NamedTuple):
    """The runs of a subject: seconds by round, and the highest peak of its memory in KiB.
    `failure`: why there are none.
    """

    seconds: dict[int, float]
    peak: int
    failure: str = ""

    @property
    def median(self) -> float | None:
        """Seconds; None of a failure."""
        return statistics.median(self.seconds.values()) if self.seconds else None


# By the name of the subject.
Block = dict[str, Measured]


def block(subjects: Sequence[Subject], rounds: int, limit: float) -> Block:
    """As `measured`, of subjects with a name each."""
    found = measured(subjects, rounds, limit)
    return {subject.name: each for subject, each in zip(subjects, found, strict=True)}


def measured(subjects: Sequence[Subject], rounds: int, limit: float) -> list[Measured]:
    """The measured `subjects`, which run in turns. `limit`: the seconds that a run may take."""
    for subject in subjects:
        if subject.makes:
            subject.makes.unlink(missing_ok=True)
    order = {
        "subjects": [
            (list(map(str, each.command)), dict(each.environment), str(each.folder))
            for each in subjects
        ],
        "rounds": rounds,
        "limit": limit,
        "budget": _BUDGET,
    }
    # -I and -S: it is to be small.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_WORKER)],
        input=marshal.dumps(order),
        stdout=subprocess.PIPE,
        check=True,
    )
    runs = marshal.loads(done.stdout)
    return [
        _of([run[1:] for run in runs if run[0] == i], subject, limit)
        for i, subject in enumerate(subjects)
    ]


def _of(
    runs: Sequence[tuple[int, float, int, int | None]], subject: Subject, limit: float
) -> Measured:
    peak = max(kib for _, _, kib, _ in runs)
    for _, _, _, status in runs:
        if status is None:
            return Measured({}, peak, f"not finished in {limit:.0f} s")
        if status:
            return Measured({}, peak, f"failed with status {status}")
    if subject.makes and not subject.makes.exists():
        return Measured({}, peak, "made nothing")
    return Measured({number: seconds for number, seconds, _, _ in runs}, peak)


def ratio(one: Measured, other: Measured) -> float | None:
    """The median of `one` over `other`, round by round, so that what slows the machine down for a
    while slows both; None where one of them failed.
    """
    both = one.seconds.keys() & other.seconds.keys()
    if not both:
        return None
    return statistics.median(one.seconds[number] / other.seconds[number] for number in both)


def clean_environment(**more: str) -> dict[str, str]:
    """What measured processes get: nothing that changes how Python starts, or what they find."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIOMMU_", "ZEPHYR_BASE", "WEST_"))
    }
    return kept | more
