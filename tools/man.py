# SPDX-License-Identifier: Apache-2.0
"""Prints the man page viommu(1), made from the parser of the command line by argparse-manpage."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from argparse_manpage.manpage import Manpage  # noqa: E402

from west_viommu import __version__  # noqa: E402
from west_viommu.__main__ import parser  # noqa: E402
from west_viommu.cli.arguments import COMMANDS  # noqa: E402


def examples() -> str:
    """What the help of each command ends with, which argparse-manpage leaves out, as roff."""
    texts = [command.epilog % {"prog": f"viommu {command.name}"} for command in COMMANDS]
    lines = "\n\n".join(texts).replace("\\", "\\e").replace("-", "\\-").splitlines()
    # A dot or a quote at the start of a line would be a request.
    return "\n".join([".nf", *(re.sub("^(?=[.'])", r"\\&", line) for line in lines), ".fi"])


def man_page() -> str:
    """The page as roff. Its date is that of the newest release in CHANGELOG.md, not today."""
    released = re.search(r"^## \[.*\] - (\S+)$", (CHECKOUT / "CHANGELOG.md").read_text(), re.M)
    assert released, "CHANGELOG.md has no release"
    page = Manpage(
        parser(),
        {
            "date": released[1],
            "description": "bind the passthrough devices of a Xen guest to its virtual SMMUv3",
            "project_name": "west-viommu",
            "version": __version__,
            "manual_title": "west-viommu",
            "include": CHECKOUT / "tools" / "man.txt",
        },
        format="single-commands-section",
    )
    page.add_section("examples", "=", examples())
    return str(page)


if __name__ == "__main__":
    print(man_page(), end="")
