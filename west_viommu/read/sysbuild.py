# SPDX-License-Identifier: Apache-2.0
"""domains.yaml, which a sysbuild leaves: its images, and where each was built."""

from __future__ import annotations

from pathlib import Path

from west_viommu.problems import Refused, refusal
from west_viommu.quick_typing import NamedTuple
from west_viommu.read.plain_file import unreadable

DOMAINS = "domains.yaml"


class Images(NamedTuple):
    """The build directories of a sysbuild by the names of the images, and the default one."""

    default: str
    directories: dict[str, Path]


def images(build: Path) -> Images | None:
    """The images of the sysbuild in `build`; None where it is none. Raises Refused."""
    file = build / DOMAINS
    if not file.exists():
        return None
    import yaml

    from west_viommu.read.plain_yaml import PlainLoader, plain_text

    try:
        found = yaml.load(plain_text(str(file)), Loader=PlainLoader)
        directories = {str(each["name"]): Path(each["build_dir"]) for each in found["domains"]}
        return Images(next(n for n in directories if n == found["default"]), directories)
    except OSError as error:
        raise Refused([unreadable(str(file), error, "configure the build again")]) from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, StopIteration):
        what, hint = "this is not the domains.yaml of a sysbuild", "configure the build again"
        raise refusal("malformed", what, hint, str(file)) from None
