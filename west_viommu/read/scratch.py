# SPDX-License-Identifier: Apache-2.0
"""Files for a moment, which nobody else sees: in memory where the system has such, else in its
folder for temporary files.

Not by tempfile alone: that imports shutil, random and bz2 besides, a twentieth of a run of `bind`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
