# SPDX-License-Identifier: Apache-2.0
"""Runs a command, and turns its refusals into messages and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

from west_viommu.cli.console import NO_FORM, Console, named_by, silence_stdout, tell
from west_viommu.diagnostics import Diagnostic, Refused, meant, refusal
from west_viommu.names import MESSAGE_FORMS, PROFILES, is_profile_path

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Protocol

    from west_viommu.cli.arguments import Command
    from west_viommu.hypervisor.assignment import Permission
    from west_viommu.read.settings import Settings
    from west_viommu.tree.addresses import Region

    class HostOptions(Protocol):
        """The options of each command that reads a host."""

        @property
        def host(self) -> str | None: ...
        @property
        def profile(self) -> str | None: ...
        @property
        def config(self) -> str | None: ...
        @property
        def xen_version(self) -> str | None: ...


DONE, REFUSED, USAGE = 0, 1, 2
# 128 + SIGINT, as in a shell.
INTERRUPTED = 130

NO_HOST = (
    "no host tree: give --host HOST, set VIOMMU_HOST_DTB, run `west config viommu.host-dtb HOST`, "
    "or write `host: HOST` into "
)
_NOWHERE = "the current folder has been removed: change to another one"


class UsageError(Exception):
    """The command line is wrong in a way that argparse cannot detect."""


def run(
    command: Command,
    arguments: Namespace,
    program: str,
    wants_colour: Callable[[], bool] | None = None,
) -> int:
    """Run `command` with the `arguments` that argparse read, and return its exit status. `program`
    is the command as the user typed it; `wants_colour` returns whether west prints colours.

    Results go to stdout, everything else to stderr. Bad input or Ctrl-C never causes a traceback.
    """
    _speak_utf8()
    form = arguments.errors or os.environ.get("VIOMMU_ERRORS") or MESSAGE_FORMS[0]
    console = Console(
        program,
        form,
        wants_colour,
        is_quiet=getattr(arguments, "quiet", False),
        named=named_by(vars(arguments).values()),
    )
    if form not in MESSAGE_FORMS:
        console.fail("usage", NO_FORM)
        return USAGE
    if not _is_somewhere():
        console.fail("failed", _NOWHERE)
        return REFUSED
    try:
        _take_standard_input(arguments)
        module = import_module(f"west_viommu.cli.{command.module or command.name}")
        options = module.Options(*[getattr(arguments, name) for name in module.Options._fields])
        status: int | None = getattr(module, command.function)(options, console)
        tell()
        return status or DONE
    except Refused as refused:
        is_named = getattr(arguments, "host", "")
        console.report(refused.problems if is_named else _with_variable(refused.problems))
        return REFUSED
    except UsageError as error:
        console.fail("usage", str(error))
        return USAGE
    except KeyboardInterrupt:
        console.fail("interrupted")
        # A reader that has stopped reading would block us.
        silence_stdout()
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has left.
        silence_stdout()
        return DONE
    except OSError as error:
        of_file = f"{error.filename}: " if error.filename else ""
        console.fail("failed", f"{of_file}{error.strerror or error}")
        silence_stdout()
        return REFUSED


def _with_variable(problems: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield `problems`, with the environment variable added to those of the host that it names."""
    host = os.environ.get("VIOMMU_HOST_DTB")
    for each in problems:
        is_of_host = each.id in ("malformed", "unreadable", "dom0-tree") and (
            each.where and each.where.file == host
        )
        if host and (is_of_host or each.id == "wrong-host"):
            each = each._replace(hint=f"{each.hint}; VIOMMU_HOST_DTB names {host}")
        yield each


def _take_standard_input(arguments: Namespace) -> None:
    """Replace - as HOST or GUEST by the name of standard input. Raises UsageError."""
    guests = getattr(arguments, "guests", None) or []
    is_host = getattr(arguments, "host", None) == "-"
    if not is_host and "-" not in guests:
        return
    from west_viommu.read.plain_file import STDIN

    if is_host and "-" in guests:
        raise UsageError("only one of HOST and GUEST can be -, standard input")
    if "-" in guests[:-1]:
        raise UsageError("write - behind the other files: standard input is the last GUEST")
    if is_host:
        arguments.host = STDIN
    else:
        arguments.guests = [*guests[:-1], STDIN]


def _is_somewhere() -> bool:
    """Return whether the current folder exists."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _speak_utf8() -> None:
    """Write the same bytes in any locale, and escape bytes that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def no_host(app: str, config: str | None, other_app: str = "") -> str:
    """Return the message if no host is named for the application in folder `app`, whose viommu.yml
    may be `config` instead. `other_app`: how the command line names another application.
    """
    from west_viommu.read.settings import FILE_NAME

    file = config or os.path.join(os.path.abspath(app), FILE_NAME)
    if os.path.exists(file):
        return f"{NO_HOST}{file}, which names none"
    return f"{NO_HOST}{FILE_NAME}, which was looked for in {os.path.dirname(file)}{other_app}"


def or_is_host(files: Sequence[str]) -> str:
    """Return the addition to a message that no host is named, if the first of several `files` may
    be meant as the host.
    """
    first = files[0] if files[1:] else ""
    is_tree = first.endswith((".dtb", ".dts"))
    return f"; if {first} is the host's tree, write --host {first}" if is_tree else ""


def named_config(options: HostOptions) -> str | None:
    """Return the viommu.yml that the option names, or else the environment."""
    return options.config or os.environ.get("VIOMMU_CONFIG")


def named_host(option: str | None) -> str | None:
    """Return the host that the option --host names, or else the environment. Raises Refused if the
    variable names a file that does not exist.
    """
    host = option or os.environ.get("VIOMMU_HOST_DTB")
    if host and not option:
        from west_viommu.read.plain_file import is_missing, near

        if is_missing(host):
            what = "the environment variable VIOMMU_HOST_DTB names a host tree that does not exist"
            hint = f"{near(host)}correct the variable, or give --host HOST"
            raise refusal("unreadable", what, hint, found=host)
    return host


def named_profile(option: str | None) -> str | None:
    """Return the profile that the option --profile names, or else the environment. Raises Refused
    if the variable names none.
    """
    name = option or os.environ.get("VIOMMU_PROFILE")
    if name and not option and name not in PROFILES and not is_profile_path(name):
        what = "the environment variable VIOMMU_PROFILE names no profile"
        hint = meant(name, PROFILES, "`viommu profiles` lists those that are shipped")
        raise refusal("malformed", what, hint, expected=" or ".join(PROFILES), found=name)
    return name or None


def chosen_by(
    options: HostOptions, app: str, vsid: str | None = None, build: str | None = None
) -> Settings:
    """Return the settings for the application in `app`: `vsid` and `options`, then the environment,
    then the host that was given to `build` alone, then west's configuration, then viommu.yml.
    Raises Refused.
    """
    from west_viommu.read.settings import check_host, settings

    host = named_host(options.host)
    if build and not host:
        from west_viommu.read.west import host_given_to

        host = host_given_to(build, app)
    wanted = {
        "host": host,
        "profile": named_profile(options.profile),
        "vsid": vsid,
        "xen_version": options.xen_version,
    }
    chosen = settings(wanted, app, named_config(options))
    check_host(chosen.host, chosen.host_where)
    return chosen


def settings_of_host(options: HostOptions, nodes: Iterable[str], console: Console) -> Settings:
    """Return the settings, with a host. If neither the options nor the files here name a host, use
    the settings of the application that is built in the directory which `west build` would find
    here.

    Raises UsageError if nothing names a host, and if one of the `nodes` is a file: HOST without its
    option.
    """
    for named in () if options.host else filter(os.path.isfile, nodes):
        raise UsageError(f"{named} is a file: if it is the host's tree, write --host {named}")
    chosen = chosen_by(options, os.curdir)
    if not chosen.host:
        app = _application_of_build(console) or os.curdir
        chosen = chosen_by(options, app)
        if not chosen.host:
            raise UsageError(no_host(app, named_config(options)))
    return chosen


def _application_of_build(console: Console) -> str | None:
    from west_viommu.read.west import application_of, west_build_dir

    build = west_build_dir(None)
    app = application_of(build) if build else None
    if app:
        console.note(f"this takes the host of {app}, which is built in {build}")
    return app


def ram_of(text: str) -> Region:
    """Return the region that --ram gives. Raises UsageError."""
    from west_viommu.tree.addresses import Region

    base, _, size = text.partition(":")
    try:
        region = Region(int(base, 0), int(size, 0))
    except ValueError:
        region = Region(0, 0)
    if region.base < 0 or region.size <= 0:
        raise UsageError(f"--ram {text}: write BASE:SIZE, as 0x80000000:0x40000000")
    return region


def permission(text: str) -> Permission:
    hazard, _, rest = text.partition(":")
    device, _, reason = rest.partition(":")
    if not (hazard and device.strip() and any(map(str.isalnum, reason))):
        raise UsageError(f"--allow {text!r}: write HAZARD:NODE:REASON")
    from west_viommu.diagnostics import Where
    from west_viommu.hypervisor.assignment import Permission

    return Permission(hazard, device, reason.strip(), Where("--allow"))
