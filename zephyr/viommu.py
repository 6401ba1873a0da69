# SPDX-License-Identifier: Apache-2.0
"""The commands of this checkout, for the targets of zephyr/CMakeLists.txt: nothing is installed."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from west_viommu.start import entry_point  # noqa: E402

entry_point()
