# SPDX-License-Identifier: Apache-2.0
"""`viommu init`: a viommu.yml to start from."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from west_viommu.names import PROFILES, is_profile_path
from west_viommu.problems import Problem, Refused, Where
from west_viommu.read.host import read_host, read_inventory
from west_viommu.read.profiles import profile
from west_viommu.read.settings import FILE_NAME
from west_viommu.write.config_text import config_text


def run(arguments: Namespace) -> None:
    """Check what was named, write the file, and say what to do next."""
    folder = Path(arguments.source_dir or os.curdir)
    target = folder / FILE_NAME
    host = arguments.host or os.environ.get("VIOMMU_HOST_DTB")
    if host:
        read_inventory(host, read_host(host))
    chosen = arguments.profile
    profile(chosen, None)
    profiles = [profile(name, None) for name in PROFILES]
    text = config_text(
        _relative(host, folder) if host else None,
        profiles,
        _relative(chosen, folder) if chosen and is_profile_path(chosen) else chosen,
    )
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        what, hint = "it is there already", "change it, or move it away"
        raise Refused([Problem("unwritable", what, hint, where=Where(str(target)))]) from None
    except OSError as error:
        what = error.strerror or "cannot be written"
        hint = "name the folder of the application with -s"
        raise Refused([Problem("unwritable", what, hint, where=Where(str(target)))]) from None
    following = (
        "next: `viommu list --passable` shows what a guest could have, and `viommu extract NODE` "
        "gives its node"
        if host
        else "next: say in it where the host tree is"
    )
    arguments.console.result([f"wrote {target}\n{following}\n"])


def _relative(path: str, folder: Path) -> str:
    """`path` as it is written in a file in `folder`; it must look like a path."""
    relative = os.path.relpath(path, folder)
    return relative if os.sep in relative else f".{os.sep}{relative}"
