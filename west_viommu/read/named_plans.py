# SPDX-License-Identifier: Apache-2.0
"""The guests of a system that no system.yml names: those of a sysbuild, or of plans."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from west_viommu.diagnostics import Where, refusal
from west_viommu.names import PLAN
from west_viommu.read.sysbuild import images
from west_viommu.read.system import Entry, SystemFile


def read_built(build: str | os.PathLike[str]) -> SystemFile:
    """The images of the sysbuild in `build` that have a plan, as a system.yml would name them.
    Raises Refused where it is no sysbuild, or has none.
    """
    folder = Path(build)
    found = images(folder)
    if found is None:
        what, hint = "there is no domains.yaml", "name the build directory of a sysbuild"
        raise refusal("unreadable", what, hint, str(folder))
    entries = [
        Entry(_as_name(name), str(directory), Where(str(directory / "viommu" / PLAN)))
        for name, directory in found.directories.items()
        if os.path.isfile(directory / "viommu" / PLAN)
    ]
    if not entries:
        what, hint = "no image of this sysbuild has passthrough devices", "configure it again"
        raise refusal("malformed", what, hint, str(folder))
    return SystemFile(str(folder), domains=tuple(entries))


def read_folders(folders: Iterable[str]) -> SystemFile:
    """Plans, each in its folder or in a build directory, as a system.yml would name them. Each
    domain is called as its folder is, or as the one above where that is `viommu`.
    """
    entries: dict[str, Entry] = {}
    for folder in folders:
        parts = [part for part in Path(os.path.abspath(folder)).parts if part != "viommu"]
        stem, number = _as_name(parts[-1]), 2
        name = stem
        while name in entries:
            name, number = f"{stem}-{number}", number + 1
        entries[name] = Entry(name, folder, Where(_plan_in(folder)))
    return SystemFile(os.curdir, domains=tuple(entries.values()))


def _as_name(text: str) -> str:
    """`text` as the name of a domain: of a node of /chosen, an xl guest and a file."""
    found = re.sub(r"[^A-Za-z0-9_-]", "-", text)[:24]
    return found if found[:1].isalpha() else f"guest-{found}"


def _plan_in(folder: str) -> str:
    """Where the plan is: in `folder` itself, or where a build has it."""
    own = os.path.join(folder, PLAN)
    built = os.path.join(folder, "viommu", PLAN)
    return built if os.path.isfile(built) and not os.path.isfile(own) else own
