# SPDX-License-Identifier: Apache-2.0
"""Tests that run once, to see which lines they run, and then again with each mutant."""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from coverage import Coverage
from kept import Kept
from loaded import put_in
from made import CHECKOUT, Mutant, module_of, unchanged


class Lines(NamedTuple):
    """How long each test takes that passes, and which tests run each line of a module."""

    seconds: dict[str, float]
    tests: dict[str, dict[int, list[str]]]

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Those that run the mutant's line; of what is run at import, those that run something of
        its module, or where that has no functions, all. The quickest first.
        """
        own = self.tests.get(mutant.module, {})
        chosen = mutant.lines if mutant.is_in_function else own
        found = {test for line in chosen for test in own.get(line, ())}
        if not found and not mutant.is_in_function:
            found = set(self.seconds)
        return sorted(found, key=lambda test: (self.seconds[test], test))


class Chosen:
    """A plugin of pytest that runs the tests `chosen` of those there are, and ends the process
    with the first that fails, or that takes far longer than ever; or after so many `seconds`.
    """

    def __init__(self, chosen: Sequence[str], lines: Lines, seconds: float):
        self._chosen, self._lines, self._seconds = chosen, lines, seconds
        self.files = sorted({test.partition("::")[0] for test in chosen})

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of pytest's own."""
        items = {item.nodeid: item for item in session.items}
        chosen = [items[test] for test in self._chosen if test in items]
        for place, (item, following) in enumerate(zip(chosen, [*chosen[1:], None], strict=False)):
            if sum(os.times()[:4]) > self._seconds:
                sys.stderr.write(f"{place}\n")
                os._exit(0)
            signal.setitimer(signal.ITIMER_PROF, 3 + 5 * self._lines.seconds[item.nodeid])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        sys.stderr.write(f"all {len(chosen)}\n")
        os._exit(0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            sys.stderr.write(f"{report.nodeid}\n")
            os._exit(1)


class Server:
    """A plugin of pytest that runs all tests once, and gives a copy of the process to each of the
    mutants of functions; first to one that is none, which must survive.
    """

    def __init__(self, mutants: Sequence[Mutant], run: Run):
        self._mutants, self._run = mutants, run
        self._seconds: dict[str, float] = {}
        # The package of each mutant, and whether it survived.
        self.survived: list[tuple[str, bool]] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of pytest's own."""
        Kept()
        coverage = Coverage(data_file=None, include=f"{CHECKOUT}/west_viommu/*", config_file=False)
        coverage.start()
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            coverage.switch_context(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        coverage.stop()
        self._run.lines = self._lines(coverage)
        body = functools.partial(self._loaded, session)
        if not self._run(unchanged(), body):
            raise pytest.UsageError("the tests fail in another order, or a second time")
        for mutant in self._mutants:
            self.survived.append((mutant.package, self._run(mutant, body)))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        took = report.duration if report.outcome == "passed" else float("inf")
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0) + took
        if report.failed:
            print(f"fails without a mutant: {report.nodeid}", flush=True)

    def _lines(self, coverage: Coverage) -> Lines:
        seconds = {test: took for test, took in self._seconds.items() if took != float("inf")}
        data = coverage.get_data()
        tests = {}
        for file in data.measured_files():
            tests[module_of(Path(file))] = {
                line: [test for test in contexts if test in seconds]
                for line, contexts in data.contexts_by_lineno(file).items()
            }
        return Lines(seconds, tests)

    @staticmethod
    def _loaded(session: pytest.Session, mutant: Mutant, tests: Chosen) -> None:
        put_in(mutant)
        # Emptied, so that the names of folders are those of the first run.
        session.config._tmp_path_factory._basetemp = None  # type: ignore
        session.config.pluginmanager.register(tests)
        tests.pytest_runtestloop(session)


class Run:
    """Runs the tests of a mutant in a copy of this process, and tells what became of it."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self.lines = Lines({}, {})

    def __call__(self, mutant: Mutant, body: Callable[[Mutant, Chosen], None]) -> bool:
        """Whether it survived; `body` loads the mutant, and runs the tests."""
        tests = self.lines.tests_of(mutant)
        start = time.monotonic()
        status, last = in_child(lambda: body(mutant, Chosen(tests, self.lines, self._seconds)))
        found = f"killed by {last}"
        if os.WIFSIGNALED(status):
            found = "killed by time"
        elif status == 0:
            found = f"SURVIVED {last} of {len(tests)} tests"
        print(
            f"{mutant.module}:{mutant.line} {mutant.operator} {time.monotonic() - start:.1f} s\n"
            f"    - {mutant.before}\n    + {mutant.after}\n    {found}",
            flush=True,
        )
        return status == 0


def in_child(body: Callable[[], object]) -> tuple[int, str]:
    """How a copy of this process ended that ran `body`, and what it said last."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(os.open(os.devnull, os.O_RDWR), 1)
                os.dup2(said.fileno(), 2)
                body()
            except BaseException as error:
                # What it raised before a test could be run.
                sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return status, (said.read().splitlines() or ["its import"])[-1]
