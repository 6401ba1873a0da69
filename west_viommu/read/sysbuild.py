# SPDX-License-Identifier: Apache-2.0
"""domains.yaml, which a sysbuild writes: its images, and their build directories."""

import os
from pathlib import Path
from typing import NamedTuple

from west_viommu.diagnostics import refusal

DOMAINS = "domains.yaml"
_AGAIN = "configure the build again"


class Images(NamedTuple):
    """The build directories of a sysbuild, by the names of the images, and the default image."""

    default: str
    directories: dict[str, Path]


def images(build: Path) -> Images | None:
    """Return the images of the sysbuild in `build`; None if `build` is not a sysbuild. Raises
    Refused.
    """
    file = build / DOMAINS
    if not os.path.exists(file):
        return None
    from west_viommu.read.yaml_reader import Hints, read_plain

    hints = Hints(_AGAIN, _AGAIN, _AGAIN)
    found = read_plain(str(file), hints)
    try:
        directories = {str(each["name"]): Path(each["build_dir"]) for each in found["domains"]}
        return Images(next(n for n in directories if n == found["default"]), directories)
    except (KeyError, TypeError, StopIteration):
        what = "this is not the domains.yaml of a sysbuild"
        raise refusal("malformed", what, _AGAIN, str(file)) from None
