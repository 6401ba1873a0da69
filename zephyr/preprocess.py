# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor that zephyr/cmake/dts.cmake gives to Zephyr."""

import gc
import os
import sys

# As in west_viommu/start.py: it ends before a collection pays.
gc.set_threshold(100_000)
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from west_viommu.cli.preprocessor import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
