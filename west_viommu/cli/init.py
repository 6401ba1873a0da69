# SPDX-License-Identifier: Apache-2.0
"""`viommu init`: a viommu.yml to start from."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from west_viommu.cli.console import Console
from west_viommu.diagnostics import refusal
from west_viommu.names import PROFILES, SCHEMAS, is_profile_path
from west_viommu.read.profiles import profile
from west_viommu.read.settings import FILE_NAME, west_topdir
from west_viommu.read.tree import inventory_of, read_host_tree
from west_viommu.write.config_text import config_text

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
# What a checkout has, and an installed package has not.
_OF_WEST = "west-commands.yml"
_SCHEMA = "config.json"


class Options(NamedTuple):
    """The arguments of the command."""

    source_dir: str | None
    host: str | None
    profile: str | None


def run(options: Options, console: Console) -> None:
    """Check what was named, write the file, and say what to do next."""
    folder = Path(options.source_dir or os.curdir)
    target = folder / FILE_NAME
    environment = os.environ.get
    host = options.host or environment("VIOMMU_HOST_DTB")
    if host:
        inventory_of(host, read_host_tree(host))
    chosen = options.profile or environment("VIOMMU_PROFILE")
    profile(chosen, None)
    profiles = [profile(name, None) for name in PROFILES]
    text = config_text(
        _relative(host, folder) if host else None,
        profiles,
        _relative(chosen, folder) if chosen and is_profile_path(chosen) else chosen,
        _schema(folder),
    )
    try:
        data = text.encode()
        with target.open("xb") as file:
            file.write(data)
    except UnicodeEncodeError:
        what, hint = "a name in it is not UTF-8 text", "rename the file, or its folder"
        raise refusal("unwritable", what, hint, str(target)) from None
    except FileExistsError:
        what, hint = "it exists already", "change it, or move it away"
        raise refusal("unwritable", what, hint, str(target)) from None
    except OSError as error:
        _remove(target)
        what = error.strerror or "cannot be written"
        hint = "name the folder of the application with -s"
        raise refusal("unwritable", what, hint, str(target)) from None
    following = (
        "next: `viommu list --passable` shows what a guest could have, and `viommu extract NODE` "
        "gives its node"
        if host
        else "next: say in it where the host tree is"
    )
    try:
        console.result([f"wrote {target}\n{following}\n"])
    except OSError:
        # Nobody was told of the file: by the exit status there is none.
        _remove(target)
        raise


def _remove(target: Path) -> None:
    """Remove what this run wrote, or began to."""
    with suppress(OSError):
        target.unlink()


def _schema(folder: Path) -> str:
    """Where an editor finds the schema of a file in `folder`: in our checkout where that is in the
    same west workspace, which is the same for all who have it, else on the network.
    """
    top = west_topdir(str(folder))
    file = _CHECKOUT / "west_viommu" / "schemas" / _SCHEMA
    # An environment of Python's may be in a workspace as well, and is one user's own.
    if top and file.is_relative_to(os.path.realpath(top)) and (_CHECKOUT / _OF_WEST).is_file():
        relative = Path(os.path.relpath(file, os.path.realpath(folder))).as_posix()
        # The line ends there for an editor.
        if " " not in relative:
            return relative
    return SCHEMAS + _SCHEMA


def _relative(path: str, folder: Path) -> str:
    """`path` as it is written in a file in `folder`; it must look like a path."""
    relative = os.path.relpath(path, folder)
    return relative if os.sep in relative else f".{os.sep}{relative}"
