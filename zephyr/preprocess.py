# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor that zephyr/cmake/dts.cmake gives to Zephyr."""

import gc
import os
import sys

# As in west_viommu/start.py, which is imported after it: the run ends before a collection pays.
gc.set_threshold(1_000_000)
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

try:
    from west_viommu.start import end
except KeyboardInterrupt:
    os.write(2, b"viommu: interrupted\n")
    sys.exit(130)


def _status() -> int:
    from west_viommu.cli.preprocessor import main

    return main(sys.argv[1:])


end(_status)
