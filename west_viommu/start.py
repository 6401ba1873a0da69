# SPDX-License-Identifier: Apache-2.0
"""The console script `viommu`."""

import gc
import sys

# Objects. Those of a large host, or the closures by which json writes it, are more.
_COLLECTED_AFTER = 100_000


def entry_point() -> None:
    """Run the command line of this process."""
    # Most commands end before a collection pays, so this stands before all that they import; and
    # none has anything to collect at its end.
    gc.set_threshold(_COLLECTED_AFTER)
    from west_viommu.__main__ import main

    status = main(sys.argv[1:])
    gc.freeze()
    sys.exit(status)
