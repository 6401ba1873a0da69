# SPDX-License-Identifier: Apache-2.0
"""The build hook that hatchling, which makes our wheel, runs: the man page, the completions."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


# hatchling makes wheels, and is not installed where mypy looks.
class OfTheParser(BuildHookInterface):  # type: ignore[misc]
    """Generates viommu.1 and has it installed into share/man, beside bin/viommu; and the
    completions, which `viommu completion` prints.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is made; `version` is "editable" for a link to the checkout."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from tools.completion import completion
        from tools.man import man_page
        from west_viommu.cli.arguments import SHELLS

        self.folder = tempfile.TemporaryDirectory()
        page = Path(self.folder.name, "viommu.1")
        page.write_text(man_page())
        build_data["shared_data"][str(page)] = "share/man/man1/viommu.1"
        for shell in SHELLS:
            script = Path(self.folder.name, f"viommu.{shell}")
            script.write_text(completion(shell))
            build_data["force_include"][str(script)] = f"west_viommu/completions/{script.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is made."""
        if version != "editable":
            self.folder.cleanup()
