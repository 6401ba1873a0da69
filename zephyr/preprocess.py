# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor that zephyr/cmake/dts.cmake gives to Zephyr. See cli/hook.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from west_viommu.cli.hook import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
