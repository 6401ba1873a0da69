# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor of a Zephyr build: the real one, and then the hook."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from west_viommu.cli.hook import Hook


def main(argv: list[str]) -> int:
    """Run `OPTION... -- PREPROCESSOR ARGUMENT...` and return the exit status."""
    split = argv.index("--")
    options, command = argv[:split], argv[split + 1 :]
    try:
        preprocessor = subprocess.Popen(command)
    except OSError as error:
        hook = _hook(options, command)
        return hook.cannot_run(error) or 1
    with preprocessor:
        # It runs on a core of its own. Load everything else only now, meanwhile.
        hook = _hook(options, command)
        hook.load()
    if preprocessor.returncode:
        return hook.clear() or preprocessor.returncode
    return hook.run()


def _hook(options: Sequence[str], command: Sequence[str]) -> Hook:
    from west_viommu.cli.hook import Hook

    return Hook(options, command)
