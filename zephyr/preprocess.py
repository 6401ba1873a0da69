# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor that zephyr/cmake/dts.cmake gives to Zephyr."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from west_viommu.cli.preprocessor import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
