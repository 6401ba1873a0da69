# SPDX-License-Identifier: Apache-2.0
"""The build directory that `west build` would find: where it looks, without importing it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from west_viommu.diagnostics import Refused
from west_viommu.read.plain_file import content, unreadable
from west_viommu.read.settings import placed, west_board, west_option, west_topdir

_CACHE = "CMakeCache.txt"
# No path has a zero byte, and what asks the system for one raises.
_HOME = r"(?m)^CMAKE_HOME_DIRECTORY:INTERNAL=([^\0\n]*)$"
# As in is_zephyr_build() of Zephyr's scripts/west_commands/build_helpers.py.
_ZEPHYR = r"(?m)^ZEPHYR_BASE\b"
# What west takes for a format of Python's could ask for a name of 99,999,999,999 characters.
_WIDTH = r"\{[^{}]*[:!]"
_LONGEST_FORMAT = 4096
_DEFAULT = "build"
_HOST = "viommu_host.txt"


def west_build_dir(app: str | None) -> Path | None:
    """The build that is where `west build`, run here, looks for one (find_build_dir() of the same
    file); None where there is none. With `app`, one of the application in that folder.
    """
    for folder in _candidates(app or os.curdir):
        cache = _cache(folder)
        home = re.search(_HOME, cache)
        if home and re.search(_ZEPHYR, cache):
            # The source folder of a sysbuild is Zephyr's own.
            is_any = not app or os.path.isfile(folder / "domains.yaml")
            if is_any or os.path.realpath(home[1]) == os.path.realpath(str(app)):
                return folder
    return None


def application_of(build: Path) -> str | None:
    """The folder of the application that `build` is of, where that is known and still there.
    Raises Refused.
    """
    home = re.search(_HOME, _cache(build))
    return home[1] if home and os.path.isdir(home[1]) else None


def host_given_to(build: str, app: str) -> str | None:
    """The host that was given to `build` of the application in `app` alone, by -D, the environment
    or CMakeLists.txt (zephyr/cmake/dts.cmake leaves it); None where it was not.
    """
    try:
        found = os.fsdecode(content(os.path.join(build, _HOST)))
    except OSError:
        return None
    return placed("host", found, app) if found else None


def _candidates(app: str) -> Iterator[Path]:
    here = Path()
    form = west_option(app, "build", "dir-fmt")
    if form:
        formatted = _formatted(form, app)
        if formatted:
            yield here / formatted
    yield here
    yield here / _DEFAULT


def _formatted(form: str, app: str) -> str | None:
    """The directory of `build.dir-fmt`; None where it needs what only a `west build` knows, or is
    more than a path with names of west's.
    """
    if len(form) > _LONGEST_FORMAT or re.search(_WIDTH, form):
        return None
    source = os.path.abspath(app)
    top = west_topdir(app) or os.getcwd()
    within = os.path.relpath(source, top) if os.path.commonpath([source, top]) == top else ""
    values = {
        "west_topdir": top,
        # As west has it: relative to here; nothing where this is inside of it.
        "source_dir": "" if _is_below(os.getcwd(), source) else os.path.relpath(source),
        "source_dir_workspace": within,
        "app": os.path.basename(source),
    }
    board = west_board(app)
    if board:
        values["board"] = board
    try:
        return form.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError):
        return None


def _is_below(path: str, folder: str) -> bool:
    return not os.path.relpath(path, folder).startswith(os.pardir)


def _cache(build: Path) -> str:
    try:
        return content(str(build / _CACHE)).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Refused([unreadable(str(build / _CACHE), error, "configure it again")]) from None
