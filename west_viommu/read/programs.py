# SPDX-License-Identifier: Apache-2.0
"""Other programs: files for them that nothing else sees, and their end.

The files are in memory if the system has such, else in its folder for temporary files; not by
tempfile alone, which imports shutil, random and bz2 besides, a twentieth of a run of `bind`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_NAME = "viommu"


def scratch() -> BinaryIO:
    """An empty file without a name, open for reading and writing. RLIMIT_FSIZE bounds it too."""
    descriptor = _in_memory()
    if descriptor is not None:
        return os.fdopen(descriptor, "w+b")
    import tempfile

    return tempfile.TemporaryFile()  # noqa: SIM115


@contextmanager
def scratch_path(content: bytes) -> Iterator[str]:
    """The path by which this process can open a file with that `content`."""
    descriptor = _in_memory()
    path = f"/proc/self/fd/{descriptor}"
    if descriptor is not None:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if os.path.exists(path):
                yield path
                return
    import tempfile

    with tempfile.TemporaryDirectory(prefix=f"{_NAME}-") as folder:
        path = os.path.join(folder, "source")
        with open(path, "wb") as file:
            file.write(content)
        yield path


def _in_memory() -> int | None:
    """A descriptor of a file in memory; None where the system has no such thing."""
    try:
        return os.memfd_create(_NAME)
    except (AttributeError, OSError):
        return None


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
