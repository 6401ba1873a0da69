# SPDX-License-Identifier: Apache-2.0
"""Other programs: private files for them, and how they end.

The files are in memory if the system supports that, else in its folder for temporary files; not by
tempfile alone, which also imports shutil, random and bz2, a twentieth of a run of `bind`.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_NAME = "viommu"


def scratch() -> BinaryIO:
    """Return an empty file without a name, open for reading and writing. RLIMIT_FSIZE bounds it
    too.
    """
    descriptor = _in_memory()
    if descriptor is not None:
        return os.fdopen(descriptor, "w+b")
    import tempfile

    return tempfile.TemporaryFile()  # noqa: SIM115


@contextmanager
def scratch_path(content: bytes) -> Iterator[str]:
    """Yield the path by which this process can open a file with that `content`."""
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
    """Return a descriptor of a file in memory; None if the system has no such files."""
    try:
        return os.memfd_create(_NAME)
    except (AttributeError, OSError):
        return None


def end(process: subprocess.Popen[bytes], *, is_session: bool = False) -> None:
    """Kill `process`, and all processes that it started if it has a session of its own, and wait
    for its end.
    """
    if process.returncode is not None:
        return
    if not hasattr(os, "waitpid") or not hasattr(os, "killpg"):
        process.kill()
        process.wait()
        return
    # Not by Popen's own methods: if Ctrl-C interrupted its wait(), the next wait() waits for ever
    # for the lock that the first did not release.
    with suppress(ProcessLookupError):
        (os.killpg if is_session else os.kill)(process.pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGKILL
