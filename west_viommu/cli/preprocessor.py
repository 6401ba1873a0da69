# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor of a Zephyr build: the real one, and then the hook."""

from __future__ import annotations

import subprocess
import sys


def main(argv: list[str]) -> int:
    """Run `OPTION... -- PREPROCESSOR ARGUMENT...` and return the exit status."""
    split = argv.index("--")
    options, command = argv[:split], argv[split + 1 :]
    try:
        preprocessor = subprocess.Popen(command)
    except OSError as error:
        print(f"error: [unreadable] {command[0]} cannot be run: {error.strerror}", file=sys.stderr)
        return 1
    with preprocessor:
        # It has a core of its own to run on. Everything else is loaded only now, meanwhile.
        from west_viommu.cli.hook import Hook

        hook = Hook(options, command)
        hook.load()
    return preprocessor.returncode or hook.run()
