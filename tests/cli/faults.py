# SPDX-License-Identifier: Apache-2.0
"""Faults at the file operations of a run: a kill, a full disk, a folder that turned read-only.

A run is a fork of this process. What it does to files below one folder is counted: each call that
opens for writing, makes, renames or removes, and each write, of which there are two halves.
"""

from __future__ import annotations

import builtins
import errno
import gc
import io
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Fault(NamedTuple):
    """What an operation ends in: an error, or for None a signal to the process. It spares some."""

    error: int | None
    spares: tuple[str, ...] = ()
    signal: signal.Signals = signal.SIGKILL


# As kill -9 or the power button make it.
KILL = Fault(None)
# As Ctrl-C makes it.
INTERRUPT = Fault(None, signal=signal.SIGINT)
# These need no room.
NO_SPACE = Fault(errno.ENOSPC, ("os.remove", "os.rmdir", "os.rename"))
READ_ONLY = Fault(errno.EROFS)


class Injector:
    """Counts the operations below `folder`; has `fault` at each from the `first` on, and then makes
    the file `reached`.
    """

    def __init__(self, folder: Path, first: int, fault: Fault, reached: Path):
        self._folder = os.path.realpath(folder)
        self._first = first
        self._fault = fault
        self._reached = reached
        self._count = 0

    def install(self) -> None:
        """From here to the end of this process: an audit hook cannot be taken off again."""
        open_file = io.open

        def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if not self._is_below(file) or not set(mode) & set("wxa+"):
                return open_file(file, mode, *rest, **options)
            raw = _File(file, mode.replace("b", "").replace("t", ""))
            raw.step = self.step
            if "b" in mode:
                return io.BufferedWriter(raw)
            return io.TextIOWrapper(io.BufferedWriter(raw), options.get("encoding"))

        io.open = builtins.open = opened
        if sys.version_info < (3, 11):
            # Its Path.open has taken hold of io.open when pathlib was imported.
            # (typeshed has nothing private.)
            pathlib._NormalAccessor.open = staticmethod(opened)  # type: ignore[attr-defined]
        sys.addaudithook(self._audit)

    def step(self, call: str) -> None:
        """An operation is about to be done."""
        self._count += 1
        if self._count < self._first or call in self._fault.spares:
            return
        os.close(os.open(self._reached, os.O_WRONLY | os.O_CREAT))
        if self._fault.error is None:
            os.kill(os.getpid(), self._fault.signal)
        else:
            raise OSError(self._fault.error, os.strerror(self._fault.error))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            file, _, flags = arguments
            if flags & _WRITING and self._is_below(file):
                self.step(event)
        elif event in _CHANGES and self._is_below(arguments[0]):
            self.step(event)

    def _is_below(self, file: Any) -> bool:
        if not isinstance(file, (str, bytes, os.PathLike)):
            return False
        path = os.path.abspath(os.fsdecode(file))
        return path == self._folder or path.startswith(self._folder + os.sep)


class _File(io.FileIO):
    """A file whose writes come in two halves, each an operation."""

    step: Callable[[str], None]

    def write(self, data: Any) -> int:
        content = bytes(data)
        half = len(content) // 2
        self.step("write")
        written = super().write(content[:half]) if half else 0
        self.step("write")
        return written + super().write(content[half:])


def run_in_fork(
    run: Callable[[], int], folder: Path, first: int, fault: Fault, log: Path
) -> tuple[int, bool]:
    """Do `run` in a process of its own, with `fault` from its operation number `first` on. Its exit
    status, below 0 for a signal, and whether it got as far as the fault. Its output goes to `log`.
    """
    reached = log.with_name("reached")
    reached.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _child(run, folder, first, fault, log, reached)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, reached.exists()


def _child(
    run: Callable[[], int], folder: Path, first: int, fault: Fault, log: Path, reached: Path
) -> NoReturn:
    status = 99
    # Both would touch, and so copy, every page of the parent; what a killed run covers is lost.
    gc.disable()
    sys.settrace(None)
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        Injector(folder, first, fault, reached).install()
        status = run()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
