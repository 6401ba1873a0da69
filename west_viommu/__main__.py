# SPDX-License-Identifier: Apache-2.0
"""The commands without west: `viommu NAME ...` or `python -m west_viommu NAME ...`."""

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn

from west_viommu import __version__
from west_viommu.cli.arguments import ALONE, COMMANDS, HelpFormatter, configured
from west_viommu.cli.console import Console
from west_viommu.cli.run import USAGE, run
from west_viommu.names import MESSAGE_FORMS

_FIRST = """\
usage: viommu COMMAND ...

  viommu list --host host.dtb                         which devices can a guest have?
  viommu assign --host host.dtb --kernel Image NODE   from a device to a guest that boots
  viommu bind --host host.dtb guest.overlay           bind the overlay of a Zephyr guest
  viommu system system.yml                            judge several guests of one host
  viommu audit --host host.dtb FILE...                judge a configuration that exists

`viommu help` lists all commands, `viommu help COMMAND` the arguments of one.
"""


class _Parser(ArgumentParser):
    """A parser that prints errors in the form chosen by --errors, else by VIOMMU_ERRORS."""

    line: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Print the mistake, with the word that was meant, and exit. Called by argparse."""
        message += self._suggestion(message)
        form = os.environ.get("VIOMMU_ERRORS", "")
        for word, following in zip(self.line, [*self.line, ""][1:], strict=True):
            if word.partition("=")[0] == "--errors":
                form = word.partition("=")[2] or following
        if form not in MESSAGE_FORMS or form == MESSAGE_FORMS[0]:
            self.print_usage(sys.stderr)
        Console(self.prog, form).fail("usage", message)
        self.exit(USAGE)

    def _suggestion(self, message: str) -> str:
        """Return ": did you mean ...?" for an unknown option or choice that resembles another, else
        "".
        """
        # Imported late: only errors need it.
        from west_viommu.diagnostics import close_matches

        wrong, _, choices = message.partition(" (choose from ")
        if choices and " invalid choice: " in wrong:
            close = close_matches(wrong.split("'")[-2], re.findall(r"[\w-]+", choices), 1)
        elif wrong.startswith("unrecognized arguments: --"):
            # Without the dashes, which all of them have in common.
            names = [name[2:] for name in self._option_string_actions if name.startswith("--")]
            word = wrong.split()[2].partition("=")[0]
            close = [f"--{name}" for name in close_matches(word[2:], names, 1)]
        else:
            close = []
        return f": did you mean {close[0]}?" if close else ""


def parser() -> ArgumentParser:
    """Return the parser of the whole command line, with all commands."""
    found = _Parser(
        prog="viommu",
        formatter_class=HelpFormatter,
        description="Binds the passthrough devices of a Xen guest to its virtual SMMUv3, by the "
        "host's devicetree.",
        epilog="`viommu help COMMAND` has the arguments of a command, and examples.\n\n"
        "exit status: 0 done; 1 the input is refused, or a difference was found;\n"
        "2 the command line is wrong; 130 interrupted (Ctrl-C)",
    )
    found.add_argument("--version", action="version", version=f"viommu {__version__}")
    commands = found.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, prog=found.prog
    )
    for command in (*COMMANDS, *ALONE):
        subparser = commands.add_parser(
            command.name, help=command.help, formatter_class=HelpFormatter
        )
        configured(subparser, command)
    return found


def main(argv: list[str]) -> int:
    """Run the command line `argv` (without the program's name) and return the exit status."""
    if not argv:
        ArgumentParser()._print_message(_FIRST, sys.stdout)
        return 0
    name = argv[0]
    if name == "help" and not argv[2:]:
        argv = [*argv[1:], "--help"]
        name = argv[0]
    program = f"viommu {name}"
    try:
        for command in (*COMMANDS, *ALONE):
            if command.name == name:
                # A parser of all commands would delay the start of each.
                own = _Parser(prog=program, formatter_class=HelpFormatter)
                own.line = argv
                configured(own, command)
                options, rest = own.parse_known_args(argv[1:])
                if rest:
                    # Positional arguments on both sides of an option.
                    options = own.parse_intermixed_args(argv[1:])
                return run(command, options, program)
        parser().parse_args(argv)
    except SystemExit as stop:
        # argparse has printed help (0), or the mistake in the command line (2).
        return int(stop.code or 0)
    raise AssertionError(f"the parser took {argv}, which is no command")


if __name__ == "__main__":
    from west_viommu.start import entry_point

    entry_point()
