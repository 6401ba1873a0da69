# SPDX-License-Identifier: Apache-2.0
"""The console script `viommu`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

# Objects: more than a host of 20,000 devices makes. They live to the end, and searching them for
# garbage took a tenth of `list` and found nothing.
_COLLECTED_AFTER = 1_000_000
# As in west_viommu/cli/run.py, which may not be imported yet when this is needed.
_INTERRUPTED = 130


def entry_point() -> None:
    """Run the command line of this process, and end it."""
    # Most commands end before a collection pays, so this precedes their imports.
    gc.set_threshold(_COLLECTED_AFTER)
    end(_status)


def end(run: Callable[[], int]) -> NoReturn:
    """End this process with the status of `run()`; if that is 0 and an output fails, with 1.

    Python would set a status of its own, 120, for an output that still fails at exit. And its only
    other work would be to take the objects of a host apart, which takes as long as a table.
    """
    os._exit(uninterrupted(lambda: _told(run)))


def uninterrupted(run: Callable[[], int]) -> int:
    """Return the status of `run()`; for a Ctrl-C during imports or at the very end, print a line on
    stderr and return 130.
    """
    # Python only prints an exception that no code can catch, as in a weak reference's finalizer.
    sys.unraisablehook = _end_by_interrupt
    try:
        return run()
    except (KeyboardInterrupt, RuntimeError) as error:
        if not _is_interrupt(error):
            raise
        os.write(2, b"viommu: interrupted\n")
        return _INTERRUPTED


def _is_interrupt(error: BaseException | None) -> bool:
    # Python before 3.12 raises a RuntimeError from an exception that comes while it makes a class.
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _end_by_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """End the process if `unraisable` is a Ctrl-C, else print it."""
    if _is_interrupt(unraisable.exc_value):
        os.write(2, b"viommu: interrupted\n")
        os._exit(_INTERRUPTED)
    sys.__unraisablehook__(unraisable)


def _status() -> int:
    """Return the exit status of the command line."""
    from west_viommu.__main__ import main

    return main(sys.argv[1:])


def _told(run: Callable[[], int]) -> int:
    """Return the status of `run()` after flushing its outputs; 1 instead of 0 if that fails."""
    try:
        status = run()
    except OSError:
        # Commands report every other error; only a failing stderr they cannot.
        if _takes_all(sys.stderr):
            raise
        return 1
    outputs_take_all = [_takes_all(stream) for stream in (sys.stdout, sys.stderr)]
    return status if all(outputs_take_all) else status or 1


def _takes_all(stream: TextIO | None) -> bool:
    """Return whether `stream` accepts its remaining output; a closed one gets nothing."""
    try:
        if stream and not stream.closed:
            stream.flush()
    except OSError:
        return False
    return True
