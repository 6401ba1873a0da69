# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C: status 130 and one line, whenever it comes, and the files that a killed run leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.build import Build
from tests.cli.faults import INTERRUPT, run_in_fork
from tests.cli.whole import Case, assert_foreign_untouched, assert_whole_or_unsealed, content, fill
from tests.support import CHECKOUT, DEMO, Run, environment, unmeasured
from west_viommu.__main__ import main
from west_viommu.read.programs import end
from west_viommu.start import uninterrupted

# Nothing of ours runs before Python has started: until then, the traceback is Python's own.
STARTED = "from west_viommu.start import entry_point; print('up', flush=True); entry_point()"
LIST = ["list", "--host", f"{DEMO}/host.dts"]
BIND = ["bind", "--host", f"{DEMO}/host.dts", f"{DEMO}/guest.overlay"]


@pytest.mark.parametrize("command", [LIST, BIND], ids=lambda command: str(command[0]))
def test_it_may_come_at_any_time(command: list[str], tmp_path: Path) -> None:
    statuses = set()
    for delay in range(0, 200, 10):
        run = subprocess.Popen(
            [sys.executable, "-c", STARTED, *command],
            env=unmeasured(),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stdout and run.stdout.readline() == "up\n"
        time.sleep(0.002 + delay / 1000)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate()
        statuses.add(run.returncode)
        said = [line for line in err.splitlines() if "interrupted" in line]
        assert "Traceback" not in err
        if run.returncode == 130:
            assert said in (["viommu: interrupted"], [f"viommu {command[0]}: interrupted"])
        else:
            assert (run.returncode, said) == (0, [])
    assert 130 in statuses


IN_A_CLASS = """
class Name:
    def __set_name__(self, owner, name):
        raise KeyboardInterrupt

class Owner:
    name = Name()
"""
IN_A_CALLBACK = """
import weakref

class Dies: pass

def ended(_):
    raise KeyboardInterrupt

one = Dies()
reference = weakref.ref(one, ended)
del one
"""


@pytest.mark.parametrize("moment", [IN_A_CLASS, IN_A_CALLBACK], ids=["class", "callback"])
def test_where_python_does_not_let_it_through(moment: str) -> None:
    """It makes another exception of it, or a mere message."""
    code = f"""
from west_viommu.start import uninterrupted
exit(uninterrupted(lambda: exec({moment!r}, {{"__name__": "moment"}})))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "viommu: interrupted\n")


def test_another_error_is_no_interrupt() -> None:
    code = """
import weakref
from west_viommu.start import uninterrupted

class Dies: pass

def ends():
    one = Dies()
    reference = weakref.ref(one, lambda _: 1 / 0)
    del one
    return gone

uninterrupted(ends)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "ZeroDivisionError" in run.stderr and "NameError" in run.stderr


def test_another_error_is_no_interrupt_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> int:
        raise RuntimeError("gone")

    # uninterrupted() sets it.
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(RuntimeError, match="gone"):
        uninterrupted(gone)


def test_while_the_preprocessor_runs(tmp_path: Path) -> None:
    """Which does not outlive it, though it has a session of its own."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nkill -INT $PPID\nsleep 60\n")
    slow.chmod(0o755)
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", "west_viommu", *LIST],
        env=environment(CPP=str(slow)),
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "viommu list: interrupted\n")
    assert time.monotonic() - started < 10
    assert has_ended(int((tmp_path / "pid").read_text()))


SLOW_POPEN = """
import subprocess, sys, time
from pathlib import Path

class Slow(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        while not Path("pid").exists():
            time.sleep(0.01)

subprocess.Popen = Slow
from west_viommu.start import entry_point
entry_point()
"""


def test_before_the_preprocessor_is_known(tmp_path: Path) -> None:
    """It is faster than we: it has told us to stop before Popen has come back."""
    quick = tmp_path / "quick"
    quick.write_text("#!/bin/sh\nkill -INT $PPID\necho $$ > pid\nsleep 60\n")
    quick.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-c", SLOW_POPEN, *LIST],
        env=environment(CPP=str(quick)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "viommu list: interrupted\n")
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_within_the_wait_for_a_process() -> None:
    """Popen then keeps its lock, and its wait() would never come back."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    # (typeshed has nothing private.)
    process._waitpid_lock.acquire()  # type: ignore[attr-defined]
    end(process, is_session=True)
    assert process.returncode == -signal.SIGKILL
    assert has_ended(process.pid)


def has_ended(pid: int) -> bool:
    """Whether the process ends soon. Killed, it may still wait for whoever inherits it."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.1)
    return False


def test_at_every_file_operation_of_bind(case: Case, viommu: Run) -> None:
    """And at each that follows, so that it cannot even remove what it wrote."""
    earlier = case.befores["other content"]
    first, reached = 0, True
    while reached:
        first += 3
        fill(case.folder, earlier)
        log = case.folder.parent / "log"
        status, reached = run_in_fork(case.run, case.folder, first, INTERRUPT, log)
        if reached:
            assert (status, log.read_text().count("interrupted\n")) == (130, 1)
        assert "Traceback" not in log.read_text()
        assert_whole_or_unsealed(case.folder, [earlier, case.files])
        assert_foreign_untouched(case.folder)
    assert viommu(*case.command).status == 0
    assert content(case.folder) == case.files


def test_a_second_one_while_it_cleans_up(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    fill(case.folder, case.befores["other content"])
    monkeypatch.setattr("west_viommu.cli.bind._both", interrupted)
    monkeypatch.setattr("west_viommu.write.files.Output._clear", interrupted)
    monkeypatch.setattr("west_viommu.cli.run.silence_stdout", lambda: None)
    assert main(case.command) == 130
    assert "viommu.json" not in content(case.folder)


def test_in_the_hook_of_a_build(build: Build) -> None:
    slow = build.app / "slow"
    slow.write_text("#!/bin/sh\nkill -INT $PPID\n")
    slow.chmod(0o755)
    own = ["--zephyr-base", str(build.zephyr), "--app", str(build.app)]
    own += ["--output", str(build.output)]
    run = subprocess.run(
        [sys.executable, str(CHECKOUT / "zephyr" / "preprocess.py"), *own]
        + ["--", str(slow), "-o", str(build.source)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "viommu: interrupted\n")
    assert not (build.output / "viommu.json").exists()
