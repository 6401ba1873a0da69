# SPDX-License-Identifier: Apache-2.0
"""Mutation testing of a sample, by hand: docs/verification.md, "Do the tests notice?".

    python tools/mutants [--count N] [--seed S] [--tests PATH...] PACKAGE...

cosmic-ray makes the mutants of west_viommu/PACKAGE, and of those that may change something, N are
picked at random: the same seed picks the same. First all tests run once, to see which lines each
runs. Then each mutant gets a copy of that process, in which no file is changed, and those tests
that run its line, the quickest first, until one fails. What cpp, dtlib and dtc made of an input is
kept from the first run.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest
from loaded import Instead
from made import CHECKOUT, Mutant, mutants
from runs import Chosen, Lines, Run, Server

PACKAGES = ("tree", "guest", "hypervisor", "hazards", "plan")
# They start processes, in which a mutant would not be, or measure, or do not look at the result, or
# at how cpp and dtlib are run, of which the results are kept.
LEFT_OUT = (
    "tests/test_bench.py",
    "tests/test_docs.py",
    "tests/test_fuzz.py",
    "tests/test_integrations.py",
    "tests/test_layout.py",
    "tests/test_memory.py",
    "tests/test_portable.py",
    "tests/test_west.py",
    "tests/test_west_commands.py",
    "tests/cli/test_completion.py",
    "tests/cli/test_deterministic.py",
    "tests/cli/test_hook.py",
    "tests/cli/test_interrupt.py",
    "tests/cli/test_stdout.py",
    "tests/cli/test_whole.py",
    "tests/read/test_plain_file.py",
    "tests/read/test_source.py::test_no_dtlib",
    "tests/read/test_source.py::test_zephyrs_own_dtlib_is_used_where_there_is_one",
    "tests/system/test_growth.py",
    "tests/zephyr",
)


def _pytest(plugin: object, *options: str) -> None:
    fixed = ["-q", "-s", "--no-header", "-p", "no:cacheprovider"]
    pytest.main([*fixed, "--hypothesis-seed=0", *options], plugins=[plugin])


def _served(
    mutants: Sequence[Mutant], run: Run, options: Sequence[str]
) -> tuple[Lines, list[tuple[str, bool]]]:
    server = Server(mutants, run)
    _pytest(server, *options)
    return run.lines, server.survived


def _imported(options: Sequence[str], mutant: Mutant, tests: Chosen) -> None:
    sys.meta_path.insert(0, Instead(mutant))
    _pytest(tests, *options, *tests.files)


def main() -> None:
    """Pick, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", choices=PACKAGES, metavar="PACKAGE")
    parser.add_argument("--count", type=int, default=60, metavar="N", help="of each package")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--seconds", type=float, default=60, help="that a mutant's tests may take")
    parser.add_argument("--tests", nargs="+", default=["tests"], metavar="PATH")
    arguments = parser.parse_args()
    os.chdir(CHECKOUT)
    sys.path.insert(0, str(CHECKOUT))
    sys.dont_write_bytecode = True
    picked: list[Mutant] = []
    for package in arguments.packages:
        makers = list(mutants(package))
        random.Random(arguments.seed).shuffle(makers)
        picked += itertools.islice(filter(None, (make() for make in makers)), arguments.count)
        print(f"{package}: there are {len(makers)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="viommu-mutants-") as folder:
        options = [f"--basetemp={folder}/tests", *(f"--deselect={each}" for each in LEFT_OUT)]
        # A process of its own, so that here nothing is imported before it is mutated.
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            of_functions = [mutant for mutant in picked if mutant.is_in_function]
            run = Run(arguments.seconds)
            served = pool.submit(_served, of_functions, run, [*options, *arguments.tests])
            run.lines, survived = served.result()
        for mutant in picked:
            if not mutant.is_in_function:
                body = functools.partial(_imported, options)
                survived.append((mutant.package, run(mutant, body)))
    for package in arguments.packages:
        found = [each for of, each in survived if of == package]
        print(f"{package}: {found.count(False)} of {len(found)} killed", flush=True)


if __name__ == "__main__":
    main()
