# SPDX-License-Identifier: Apache-2.0
"""Runs a command and turns what it refuses into messages and an exit status."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

from west_viommu.cli.console import NO_FORM, Console, named_by, silence_stdout, tell
from west_viommu.diagnostics import Refused
from west_viommu.names import MESSAGE_FORMS

if TYPE_CHECKING:
    from west_viommu.hypervisor.assignment import Terms

DONE, REFUSED, USAGE = 0, 1, 2
# 128 + SIGINT, as a shell has it.
INTERRUPTED = 130

NO_HOST = (
    "no host tree: give --host HOST, set VIOMMU_HOST_DTB, run `west config viommu.host-dtb HOST`, "
    "or write `host: HOST` into "
)
_NOWHERE = "the folder in which this runs has been removed: go to another one, by cd"


class UsageError(Exception):
    """The command line is wrong in a way that argparse cannot tell."""


def run(
    name: str, arguments: Namespace, program: str, wants_colour: Callable[[], bool] | None = None
) -> int:
    """Run command `name`, a module of this package, and return its exit status. `program` is what
    the user typed to get here; `wants_colour` whether west is to have colours.

    Results go to stdout, everything else to stderr. Never a traceback for bad input, nor for
    Ctrl-C.
    """
    _speak_utf8()
    form = arguments.errors or os.environ.get("VIOMMU_ERRORS") or MESSAGE_FORMS[0]
    console = Console(
        program,
        form,
        wants_colour,
        is_quiet=getattr(arguments, "quiet", False),
        named=named_by(arguments),
    )
    if form not in MESSAGE_FORMS:
        console.fail("usage", NO_FORM)
        return USAGE
    arguments.console = console
    if not _is_somewhere():
        console.fail("failed", _NOWHERE)
        return REFUSED
    try:
        status: int | None = import_module(f"west_viommu.cli.{name}").run(arguments)
        tell()
        return status or DONE
    except Refused as refused:
        console.report(refused.problems)
        return REFUSED
    except UsageError as error:
        console.fail("usage", str(error))
        return USAGE
    except KeyboardInterrupt:
        console.fail("interrupted")
        # A reader that has stopped reading would keep us.
        silence_stdout()
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has enough.
        silence_stdout()
        return DONE
    except OSError as error:
        of_file = f"{error.filename}: " if error.filename else ""
        console.fail("failed", f"{of_file}{error.strerror or error}")
        silence_stdout()
        return REFUSED


def _is_somewhere() -> bool:
    """Whether the folder in which this runs is there."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _speak_utf8() -> None:
    """The same bytes whatever the locale; what is no text goes out escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def no_host(app: str, config: str | None, other_app: str = "") -> str:
    """What to say where nobody names a host for the application in folder `app`, whose viommu.yml
    may be `config` instead. `other_app`: how the command line names another application.
    """
    from west_viommu.read.settings import FILE_NAME

    file = config or os.path.join(os.path.abspath(app), FILE_NAME)
    if os.path.exists(file):
        return f"{NO_HOST}{file}, which names none"
    return f"{NO_HOST}{FILE_NAME}, which was looked for in {os.path.dirname(file)}{other_app}"


def or_is_host(files: Sequence[str]) -> str:
    """What to add where no host is named, and the first of several `files` may be meant by it."""
    first = files[0] if files[1:] else ""
    is_tree = first.endswith((".dtb", ".dts"))
    return f"; if {first} is the host's tree, write --host {first}" if is_tree else ""


def named_config(arguments: Namespace) -> str | None:
    """The viommu.yml that the option names, or else the environment."""
    return arguments.config or os.environ.get("VIOMMU_CONFIG")


def host_of(arguments: Namespace, nodes: Iterable[str]) -> str:
    """HOST: the option, else the environment, west's configuration or viommu.yml, here or of the
    application whose build `west build` would find here. Raises UsageError where nobody says, and
    where one of the `nodes` that the command line names is a file: HOST without its option.
    """
    arguments.app = os.curdir
    for named in () if arguments.host else filter(os.path.isfile, nodes):
        raise UsageError(f"{named} is a file: if it is the host's tree, write --host {named}")
    host: str | None = arguments.host or os.environ.get("VIOMMU_HOST_DTB")
    if not host:
        from west_viommu.read.settings import settings

        config = named_config(arguments)
        chosen = settings({}, os.curdir, config)
        if not chosen.host:
            arguments.app = _application_of_build(arguments) or os.curdir
            chosen = settings({}, arguments.app, config)
        chosen.check_host()
        host = chosen.host
    if not host:
        raise UsageError(no_host(arguments.app, named_config(arguments)))
    return host


def _application_of_build(arguments: Namespace) -> str | None:
    from west_viommu.read.west_build import application_of, west_build_dir

    build = west_build_dir(None)
    app = application_of(build) if build else None
    if app:
        arguments.console.note(f"this takes the host of {app}, which is built in {build}")
    return app


def terms_of(arguments: Namespace) -> Terms | None:
    """On what a host is judged: the profile of the option, else of the environment, west's
    configuration or viommu.yml where `host_of` found it, and what that says of dom0; None where
    nobody says anything. To read a profile takes time.
    """
    from west_viommu.read.settings import settings, terms

    options = {"profile": arguments.profile or os.environ.get("VIOMMU_PROFILE")}
    chosen = settings(options, arguments.app, named_config(arguments))
    return terms(chosen) if chosen.profile or not chosen.has_dom0 else None
