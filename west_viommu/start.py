# SPDX-License-Identifier: Apache-2.0
"""The console script `viommu`."""

import gc
import os
import sys

# Objects. Those of a large host, or the closures by which json writes it, are more.
_COLLECTED_AFTER = 100_000
# As in west_viommu/cli/run.py, which is not imported yet when this may be needed.
_INTERRUPTED = 130


def entry_point() -> None:
    """Run the command line of this process, and end it."""
    # Most commands end before a collection pays, so this stands before all that they import.
    gc.set_threshold(_COLLECTED_AFTER)
    try:
        status = _status()
    except KeyboardInterrupt:
        # It came while modules were imported, or at the very end.
        os.write(2, b"viommu: interrupted\n")
        status = _INTERRUPTED
    # Nothing is left to do but to take the objects of a host apart, which takes as long as a table.
    os._exit(status)


def _status() -> int:
    """The exit status of the command line, with all that it prints on its way."""
    from west_viommu.__main__ import main

    status = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream and not stream.closed:
                stream.flush()
        except OSError:
            status = status or 1
    return status
