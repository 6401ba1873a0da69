# SPDX-License-Identifier: Apache-2.0
"""West's configuration, and the build directory that `west build` would find. Importing west takes
longer than the rest of a run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.read.plain_file import content, unreadable
from west_viommu.read.settings import placed

if TYPE_CHECKING:
    from configparser import ConfigParser
    from pathlib import Path

# West's own file has a few lines.
_MOST_OF_WEST = 1 << 20
WEST_FILES = (os.path.join(".west", "config"), ".westconfig")
_CACHE = "CMakeCache.txt"
# Without zero bytes, as no path has one and system calls raise on them.
_HOME = r"(?m)^CMAKE_HOME_DIRECTORY:INTERNAL=([^\0\n]*)$"
# As in is_zephyr_build() of Zephyr's scripts/west_commands/build_helpers.py.
_ZEPHYR = r"(?m)^ZEPHYR_BASE\b"
# West takes the option as a Python format string, which could ask for a name of 99,999,999,999
# characters.
_WIDTH = r"\{[^{}]*[:!]"
_LONGEST_FORMAT = 4096
_DEFAULT = "build"
_HOST = "viommu_host.txt"


def west_option(app: str, section: str, key: str) -> str | None:
    """Return the value of `west config SECTION.KEY` in the workspace of `app`."""
    values = (parser.get(section, key, fallback=None) for parser, _ in west_configs(app, None))
    return next((value for value in values if value), None)


def west_board(app: str) -> str | None:
    """Return the board that `west build` would take for a new build."""
    return os.environ.get("BOARD") or west_option(app, "build", "board")


def west_wants_colour(app: str, workspace: str | None = None) -> bool:
    """Return whether `west config color.ui`, in the workspace of `app`, allows colours."""
    try:
        for parser, _ in west_configs(app, workspace):
            value = parser.get("color", "ui", fallback=None)
            if value is not None:
                return parser.BOOLEAN_STATES.get(value.lower(), True)
    except Refused:
        # A mistake in that file is reported by the code that needs the file.
        pass
    return True


def west_topdir(app: str) -> str | None:
    """Return the west workspace of `app`."""
    file = _workspace_config(app)
    return file and os.path.dirname(os.path.dirname(file))


def west_configs(app: str, workspace: str | None) -> list[tuple[ConfigParser, str]]:
    """Return west's configuration files, the workspace's before the user's. Read with configparser:
    importing west takes longer than the rest of a run.
    """
    files = [_workspace_config(workspace or app), _user_config()]
    there = [file for file in files if file and os.path.exists(file)]
    if not there:
        return []
    from configparser import ConfigParser
    from configparser import Error as ConfigError

    found = []
    for file in there:
        if file:
            parser = ConfigParser(interpolation=None)
            try:
                text = content(file, _MOST_OF_WEST).decode("utf-8", "surrogateescape")
                parser.read_string(text, file)
                text.encode()
            except OSError as error:
                raise Refused([unreadable(file, error, "check its permissions")]) from None
            except (ConfigError, UnicodeEncodeError) as error:
                raise Refused([_not_of_west(file, error)]) from None
            found.append((parser, file))
    return found


def _not_of_west(file: str, error: Exception) -> Diagnostic:
    """Return why west cannot read its configuration `file` either, by configparser's message."""
    line, hint = getattr(error, "lineno", None), "correct the line"
    name = getattr(error, "option", None) or getattr(error, "section", None)
    if isinstance(error, UnicodeEncodeError):
        what, hint = "this is not UTF-8 text", "write it in UTF-8"
        line = error.object.count("\n", 0, error.start) + 1
    elif hasattr(error, "errors"):
        what, line = "this is neither a [section] nor a line `key = value`", error.errors[0][0]
    elif name:
        what, hint = f"{name} appears twice", "remove one"
    else:
        what, hint = "this is not below a [section]", "write the section above it: [viommu]"
    return Diagnostic(id="malformed", what=what, hint=hint, where=Where(file, line))


def _workspace_config(app: str) -> str | None:
    folder = os.path.abspath(app)
    while not os.path.isdir(os.path.join(folder, ".west")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return os.path.join(folder, ".west", "config")


def _user_config() -> str:
    return os.environ.get("WEST_CONFIG_GLOBAL") or os.path.expanduser("~/.westconfig")


def line_in(file: str, key: str) -> int | None:
    """Return the line of west's configuration `file` that sets `key`."""
    lines = content(file, _MOST_OF_WEST).decode("utf-8").splitlines()
    return next(
        (n for n, line in enumerate(lines, 1) if line.partition("=")[0].strip() == key), None
    )


def west_build_dir(app: str | None) -> Path | None:
    """Return the build directory that `west build`, run here, would use (find_build_dir() of the
    same file); None if it does not exist. With `app`, it must be for the application in that
    folder.
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
    """Return the folder of the application that `build` is for, if it is known and still there.
    Raises Refused.
    """
    home = re.search(_HOME, _cache(build))
    return home[1] if home and os.path.isdir(home[1]) else None


def host_given_to(build: str, app: str) -> str | None:
    """Return the host that was given to `build` of the application in `app` alone, by -D, the
    environment or CMakeLists.txt (zephyr/cmake/dts.cmake stores it); None if it was not given.
    """
    try:
        found = os.fsdecode(content(os.path.join(build, _HOST)))
    except OSError:
        return None
    return placed("host", found, app) if found else None


def _candidates(app: str) -> Iterator[Path]:
    from pathlib import Path

    here = Path()
    form = west_option(app, "build", "dir-fmt")
    if form:
        formatted = _formatted(form, app)
        if formatted:
            yield here / formatted
    yield here
    yield here / _DEFAULT


def _formatted(form: str, app: str) -> str | None:
    """Return the directory of `build.dir-fmt`; None if it needs a value that only `west build`
    knows, or is not just a path with west's names.
    """
    if len(form) > _LONGEST_FORMAT or re.search(_WIDTH, form):
        return None
    source = os.path.abspath(app)
    top = west_topdir(app) or os.getcwd()
    within = os.path.relpath(source, top) if os.path.commonpath([source, top]) == top else ""
    values = {
        "west_topdir": top,
        # As in west: relative to here; empty if this folder is inside of it.
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
        return content(os.path.join(build, _CACHE)).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Refused(
            [unreadable(os.path.join(build, _CACHE), error, "configure it again")]
        ) from None
