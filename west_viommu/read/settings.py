# SPDX-License-Identifier: Apache-2.0
"""Which host, profile and policy: options, then west's configuration, then viommu.yml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from typing import NamedTuple

from west_viommu.problems import Problem, Refused, Where, close_matches

FILE_NAME = "viommu.yml"
# Key of viommu.yml -> key of west's section [viommu].
_KEYS = {"host": "host-dtb", "profile": "profile", "vsid": "vsid"}


class Settings(NamedTuple):
    """What was chosen, None where nobody did. `files` are those that the answer came from."""

    host: str | None
    profile: str | None
    vsid: str | None
    files: tuple[str, ...]


def settings(
    options: Mapping[str, str | None],
    app: str,
    config: str | None = None,
    workspace: str | None = None,
) -> Settings:
    """The settings for the application in folder `app`, which is in the west `workspace`, or else
    in the one above it.

    `options` come first, then `west config viommu.*` (a relative host is relative to `app`), then
    `config` or viommu.yml in `app` (relative to that file). Raises Refused.
    """
    west, west_files = _of_west(app, workspace)
    own, own_files = _of_file(app, config)
    chosen = {key: options.get(key) or west.get(key) or own.get(key) for key in _KEYS}
    return Settings(**chosen, files=(*west_files, *own_files))


def west_board(app: str) -> str | None:
    """The board of `west config build.board`."""
    boards = (parser.get("build", "board", fallback=None) for parser, _ in _configs(app, None))
    return next((board for board in boards if board), None)


def _of_west(app: str, workspace: str | None) -> tuple[dict[str, str], list[str]]:
    values: dict[str, str] = {}
    files = []
    for parser, file in _configs(app, workspace):
        files.append(file)
        if parser.has_section("viommu"):
            for key, name in _KEYS.items():
                if name in parser["viommu"]:
                    values.setdefault(key, parser["viommu"][name])
    if "host" in values:
        values["host"] = os.path.normpath(os.path.join(app, values["host"]))
    return values, files


def _configs(app: str, workspace: str | None) -> list[tuple[ConfigParser, str]]:
    """West's configuration files, the workspace's before the user's. Read with configparser: to
    import west costs more than the rest of a run.
    """
    found = []
    for file in (_workspace_config(workspace or app), _user_config()):
        if file and os.path.isfile(file):
            parser = ConfigParser(interpolation=None)
            try:
                parser.read(file, encoding="utf-8")
            except (ConfigError, UnicodeDecodeError) as error:
                raise Refused(
                    [Problem("malformed", str(error).splitlines()[0], where=Where(file))]
                ) from None
            found.append((parser, file))
    return found


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


def _of_file(app: str, config: str | None) -> tuple[dict[str, str], list[str]]:
    file = config or os.path.join(app, FILE_NAME)
    if not config and not os.path.isfile(file):
        return {}, []
    values: dict[str, str] = {}
    problems = []
    for key, value, line in _entries(file):
        where = Where(file, line)
        if key not in _KEYS:
            close = close_matches(key, _KEYS, 1) or list(_KEYS)
            hint = f"did you mean {' or '.join(close)}?"
            problems.append(
                Problem("malformed", f"unknown key {key}", hint, "", ", ".join(_KEYS), key, where)
            )
        elif value is None:
            problems.append(
                Problem("malformed", f"{key} is no text", "quote the value", where=where)
            )
        else:
            values[key] = value
    if problems:
        raise Refused(problems)
    if "host" in values:
        values["host"] = os.path.normpath(os.path.join(os.path.dirname(file), values["host"]))
    return values, [file]


def _entries(file: str) -> list[tuple[str, str | None, int]]:
    """Key, value (None where it is no text) and line of each entry of the YAML mapping `file`."""
    import yaml

    def refused(id: str, what: str, hint: str, line: int | None = None) -> Refused:
        return Refused([Problem(id, what, hint, where=Where(file, line))])

    try:
        with open(file, encoding="utf-8") as stream:
            root = yaml.compose(stream, Loader=yaml.SafeLoader)
    except OSError as error:
        raise refused("unreadable", error.strerror or "cannot be read", "check its path") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what = f"not valid YAML: {error.problem}"
        raise refused("malformed", what, "correct the syntax", line) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise refused("malformed", "not valid YAML: no text", "write UTF-8 text") from None
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise refused("malformed", "the file is no mapping", "write `key: value` lines", 1)
    return [
        (
            str(key.value),
            value.value if value.tag == "tag:yaml.org,2002:str" else None,
            key.start_mark.line + 1,
        )
        for key, value in root.value
    ]
