# SPDX-License-Identifier: Apache-2.0
"""A folder and an environment in which nothing but the input counts."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator

from commands import HANGS_AFTER, Hung

from west_viommu.names import VARIABLES


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Works in an empty folder, without settings of the user's, and ends what hangs."""
    signal.signal(signal.SIGALRM, _hung)
    for variable in (*VARIABLES, "ZEPHYR_BASE"):
        os.environ.pop(variable, None)
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="viommu-fuzz-") as folder:
        os.environ["WEST_CONFIG_GLOBAL"] = os.path.join(folder, "none")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _hung(*_: object) -> None:
    raise Hung(f"more than {HANGS_AFTER} s")
