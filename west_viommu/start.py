# SPDX-License-Identifier: Apache-2.0
"""The console script `viommu`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

# Objects: more than a host of 20,000 devices is. They stay to the end, and to look through them for
# garbage took a tenth of `list`; none is found.
_COLLECTED_AFTER = 1_000_000
# As in west_viommu/cli/run.py, which is not imported yet when this may be needed.
_INTERRUPTED = 130


def entry_point() -> None:
    """Run the command line of this process, and end it."""
    # Most commands end before a collection pays, so this stands before all that they import.
    gc.set_threshold(_COLLECTED_AFTER)
    end(_status)


def end(run: Callable[[], int]) -> NoReturn:
    """End this process with the status of `run()`, or, where an output fails, with 1 if that was 0.

    Python would make its own status, 120, of an output that still fails while it ends. And nothing
    is left to do but to take the objects of a host apart, which takes as long as a table.
    """
    os._exit(uninterrupted(lambda: _told(run)))


def uninterrupted(run: Callable[[], int]) -> int:
    """The status of `run()`, or, with a line on stderr, that of a Ctrl-C which came while modules
    were imported, or at the very end.
    """
    # Python only prints what is raised where nobody could catch it, as in a weak reference's end.
    sys.unraisablehook = _end_by_interrupt
    try:
        return run()
    except (KeyboardInterrupt, RuntimeError) as error:
        if not _is_interrupt(error):
            raise
        os.write(2, b"viommu: interrupted\n")
        return _INTERRUPTED


def _is_interrupt(error: BaseException | None) -> bool:
    # Python before 3.12 raises a RuntimeError from what comes while it makes a class.
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _end_by_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """End as a killed process does where `unraisable` is a Ctrl-C, else print it."""
    if _is_interrupt(unraisable.exc_value):
        os.write(2, b"viommu: interrupted\n")
        os._exit(_INTERRUPTED)
    sys.__unraisablehook__(unraisable)


def _status() -> int:
    """The exit status of the command line."""
    from west_viommu.__main__ import main

    return main(sys.argv[1:])


def _told(run: Callable[[], int]) -> int:
    """The status of `run()`, with all that it printed on its way."""
    try:
        status = run()
    except OSError:
        # What a command does not tell is that stderr fails.
        if _takes_all(sys.stderr):
            raise
        return 1
    outputs_take_all = [_takes_all(stream) for stream in (sys.stdout, sys.stderr)]
    return status if all(outputs_take_all) else status or 1


def _takes_all(stream: TextIO | None) -> bool:
    """Whether `stream` takes what is still to be written; one that is closed is given nothing."""
    try:
        if stream and not stream.closed:
            stream.flush()
    except OSError:
        return False
    return True
