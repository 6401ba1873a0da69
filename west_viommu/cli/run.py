# SPDX-License-Identifier: Apache-2.0
"""Runs a command and turns what it refuses into messages and an exit status."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

from west_viommu.problems import Refused, printable, rendered

if TYPE_CHECKING:
    from west_viommu.hypervisor.assignment import Terms

DONE, REFUSED, USAGE = 0, 1, 2
# 128 + SIGINT, as a shell has it.
INTERRUPTED = 130

NO_HOST = (
    "no host tree: give --host HOST, set VIOMMU_HOST_DTB, or write `host: HOST` into viommu.yml"
)


class UsageError(Exception):
    """The command line is wrong in a way that argparse cannot tell."""


def run(name: str, arguments: Namespace, program: str) -> int:
    """Run command `name`, a module of this package, and return its exit status. `program` is what
    the user typed to get here.

    Results go to stdout, everything else to stderr. Never a traceback for bad input, nor for
    Ctrl-C.
    """
    _speak_utf8()
    arguments.program = program
    try:
        status: int | None = import_module(f"west_viommu.cli.{name}").run(arguments)
        tell()
        return status or DONE
    except Refused as refused:
        for problem in refused.problems:
            print(as_typed(rendered(problem), program), file=sys.stderr)
        return REFUSED
    except UsageError as error:
        print(f"{program}: error: {as_typed(str(error), program)}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        # A reader that has stopped reading would keep us.
        _silence_stdout()
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has enough.
        _silence_stdout()
        return DONE
    except OSError as error:
        of_file = f"{error.filename}: " if error.filename else ""
        print(f"{program}: error: {printable(of_file)}{error.strerror or error}", file=sys.stderr)
        _silence_stdout()
        return REFUSED


def tell(pieces: Iterable[str] = ()) -> None:
    """Print the last of the results, in `pieces`, so that it is known whether stdout took them.

    A reader that has left (head, less) had enough. Raises OSError where stdout fails otherwise, and
    does nothing where it is closed.
    """
    if sys.stdout:
        try:
            sys.stdout.writelines(pieces)
            sys.stdout.flush()
        except BrokenPipeError:
            _silence_stdout()
        except OSError as error:
            error.filename = "stdout"
            raise


def as_typed(text: str, program: str) -> str:
    """`text` with each command that it tells to run as the user types it: where there is west,
    there need not be a `viommu`. `program` is what was typed for this run.
    """
    return text.replace("`viommu ", "`west viommu-") if program.startswith("west ") else text


def _speak_utf8() -> None:
    """The same bytes whatever the locale; what is no text goes out escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _silence_stdout() -> None:
    """Python would complain of what it could not write once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def host_of(arguments: Namespace) -> str:
    """HOST: the option, else the environment, west's configuration or viommu.yml. Raises
    UsageError where nobody says.
    """
    host: str | None = arguments.host or os.environ.get("VIOMMU_HOST_DTB")
    if not host:
        from west_viommu.read.settings import settings

        chosen = settings({}, os.curdir)
        chosen.check_host()
        host = chosen.host
    if not host:
        raise UsageError(NO_HOST)
    return host


def terms_of(arguments: Namespace) -> Terms | None:
    """On what a host is judged: the profile of the option, else of the environment, west's
    configuration or viommu.yml here, and what that says of dom0; None where nobody says anything.
    To read a profile takes time.
    """
    from west_viommu.read.settings import settings, terms

    environment = os.environ.get
    options = {"profile": arguments.profile or environment("VIOMMU_PROFILE")}
    chosen = settings(options, os.curdir, arguments.config or environment("VIOMMU_CONFIG"))
    return terms(chosen) if chosen.profile or not chosen.has_dom0 else None
