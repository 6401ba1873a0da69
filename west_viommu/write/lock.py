# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder, by what the system has for that. Nothing of it is imported before
it is needed: Zephyr builds on Windows too, where there is no fcntl.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from west_viommu.tree.digest import sha256


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other run changes the files in `folder`, and keep others waiting.

    Not every network file system has locks, and not every system: the sums in the plan remain.
    Raises OSError where there is no such folder.
    """
    os.scandir(folder).close()
    fcntl = _module("fcntl")
    msvcrt = None if fcntl else _module("msvcrt")
    if fcntl:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    elif msvcrt:
        # It opens no folders, and locks bytes of files. That file stays: another run may wait.
        import tempfile

        name = sha256(os.path.normcase(os.path.realpath(folder)).encode())
        file = Path(tempfile.gettempdir(), f"west-viommu-{name[:16]}.lock")
        with file.open("ab") as stream:
            with suppress(OSError):
                msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
            yield
    else:
        yield


def _module(name: str) -> Any:
    """The module called `name`; None where this system has none."""
    try:
        return import_module(name)
    except ImportError:
        return None
