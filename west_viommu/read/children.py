# SPDX-License-Identifier: Apache-2.0
"""Processes that this one started, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress


def end(process: subprocess.Popen[bytes], *, is_session: bool = False) -> None:
    """Kill `process`, with all that it started where it has a session of its own, and take note of
    its end.
    """
    if process.returncode is not None:
        return
    if not hasattr(os, "waitpid") or not hasattr(os, "killpg"):
        process.kill()
        process.wait()
        return
    # Not by its own methods: where Ctrl-C came within its wait(), the next one waits for ever for
    # the lock that the first did not give back.
    with suppress(ProcessLookupError):
        (os.killpg if is_session else os.kill)(process.pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGKILL
