# SPDX-License-Identifier: Apache-2.0
"""What was chosen: by options, then west's configuration, then viommu.yml."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.diagnostics import Diagnostic, Refused, Where, refusal
from west_viommu.hypervisor.assignment import Explicit, Extra, Permission, Terms
from west_viommu.names import is_profile_path
from west_viommu.read.plain_file import content, is_missing, near, unreadable

if TYPE_CHECKING:
    from configparser import ConfigParser

    from west_viommu.read.config import Config

FILE_NAME = "viommu.yml"
# West's own has a few lines.
_MOST_OF_WEST = 1 << 20
# By which people call viommu.yml.
_NEAR_MISSES = ("viommu.yaml", ".viommu.yml", "viommu.yml.txt", "west-viommu.yml")
_WEST_FILES = (os.path.join(".west", "config"), ".westconfig")
# Key of viommu.yml -> key of west's section [viommu].
_KEYS = {"host": "host-dtb", "profile": "profile", "vsid": "vsid"}


class Settings(NamedTuple):
    """What was chosen, None where nobody did. `files` are those that the answer came from. The
    next five are those of viommu.yml, docs/zephyr.md; `host_where`: the line that names the host.
    """

    host: str | None
    profile: str | None
    vsid: str | None
    files: tuple[str, ...]
    domain: frozenset[str] = frozenset()
    permissions: tuple[Permission, ...] = ()
    explicit: tuple[Explicit, ...] = ()
    has_dom0: bool = True
    extra: tuple[Extra, ...] = ()
    host_where: Where | None = None

    def check_host(self) -> None:
        """Raises Refused where a file names the host tree, and it is not there."""
        if self.host and self.host_where and is_missing(self.host):
            is_own = not self.host_where.file.endswith(_WEST_FILES)
            of = "this file" if is_own else "the application: west config viommu.host-dtb PATH"
            raise Refused(
                [
                    Diagnostic(
                        id="unreadable",
                        what="this names a host tree that does not exist",
                        hint=f"{near(self.host)}correct the path, which is relative to {of}",
                        found=self.host,
                        where=self.host_where,
                    )
                ]
            )


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
    chosen = {key: options.get(key) or west.get(key) or getattr(own, key, None) for key in _KEYS}
    host, profile, vsid = (chosen[key] for key in _KEYS)
    where = _host_place(own, own_files, west, west_files) if not options.get("host") else None
    found = Settings(host, profile, vsid, (*west_files, *own_files), host_where=where)
    if own is None:
        return found
    return found._replace(
        domain=own.domain,
        permissions=own.permissions,
        explicit=own.explicit,
        has_dom0=own.has_dom0,
        extra=own.extra,
    )


def terms(chosen: Settings) -> Terms:
    """The terms of a plan, with the profile read. Raises Refused."""
    # Late: JSON and six profiles, which a run that only lists does not need.
    from west_viommu.read.profiles import profile

    return Terms(
        profile(chosen.profile, chosen.vsid),
        chosen.domain,
        chosen.permissions,
        chosen.explicit,
        chosen.has_dom0,
        chosen.extra,
    )


def west_option(app: str, section: str, key: str) -> str | None:
    """What `west config SECTION.KEY` says in the workspace of `app`."""
    values = (parser.get(section, key, fallback=None) for parser, _ in _configs(app, None))
    return next((value for value in values if value), None)


def west_board(app: str) -> str | None:
    """The board that `west build` would take for a new build."""
    return os.environ.get("BOARD") or west_option(app, "build", "board")


def west_wants_colour(app: str, workspace: str | None = None) -> bool:
    """Whether `west config color.ui`, in the workspace of `app`, leaves west its colours."""
    try:
        for parser, _ in _configs(app, workspace):
            value = parser.get("color", "ui", fallback=None)
            if value is not None:
                return parser.BOOLEAN_STATES.get(value.lower(), True)
    except Refused:
        # What is wrong with that file is told where it matters.
        pass
    return True


def west_topdir(app: str) -> str | None:
    """The west workspace of `app`."""
    file = _workspace_config(app)
    return file and os.path.dirname(os.path.dirname(file))


def _of_west(app: str, workspace: str | None) -> tuple[dict[str, str | None], list[str]]:
    values: dict[str, str] = {}
    files = []
    for parser, file in _configs(app, workspace):
        files.append(file)
        if parser.has_section("viommu"):
            for key, name in _KEYS.items():
                if name in parser["viommu"]:
                    values.setdefault(key, parser["viommu"][name])
    return {key: placed(key, value, app) for key, value in values.items()}, files


def _configs(app: str, workspace: str | None) -> list[tuple[ConfigParser, str]]:
    """West's configuration files, the workspace's before the user's. Read with configparser: to
    import west costs more than the rest of a run.
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
    """Why west cannot read its configuration `file` either, by what configparser says."""
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


def _of_file(app: str, config: str | None) -> tuple[Config | None, list[str]]:
    """What viommu.yml says, and its name; None where there is none."""
    file = config or os.path.normpath(os.path.join(app, FILE_NAME))
    if not config and not os.path.exists(file):
        _check_no_other(os.path.dirname(file))
        return None, []
    from west_viommu.read.config import config_of

    own = config_of(file)
    folder = os.path.dirname(file)
    host, profile = placed("host", own.host, folder), placed("profile", own.profile, folder)
    return own._replace(host=host, profile=profile), [file]


def _check_no_other(folder: str) -> None:
    """Raises Refused where `folder` has a viommu.yml by another name, which would count for
    nothing.
    """
    for name in _NEAR_MISSES:
        file = os.path.join(folder, name)
        if os.path.exists(file):
            what = f"nothing reads {name}"
            hint = f"rename it to {FILE_NAME}, or name it with --config or VIOMMU_CONFIG"
            raise refusal("malformed", what, hint, file, expected=FILE_NAME, found=name)


def _host_place(
    own: Config | None,
    own_files: Sequence[str],
    west: Mapping[str, str | None],
    west_files: Sequence[str],
) -> Where | None:
    """Which line names the host."""
    if not west.get("host"):
        return Where(own_files[0], own.lines.get("host")) if own and own.host else None
    for file in west_files:
        lines = content(file, _MOST_OF_WEST).decode("utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if line.partition("=")[0].strip() == _KEYS["host"]:
                return Where(file, number)
    return None


def placed(key: str, value: str | None, folder: str) -> str | None:
    """The value of a key, relative to `folder` where it is a path."""
    if value and (key == "host" or (key == "profile" and is_profile_path(value))):
        path = os.path.normpath(os.path.join(folder, value))
        # Without its ./ it would be the name of a shipped one.
        return path if key == "host" or is_profile_path(path) else os.path.join(os.curdir, path)
    return value
