# SPDX-License-Identifier: Apache-2.0
"""The commands without west: `viommu NAME ...` or `python -m west_viommu NAME ...`."""

from __future__ import annotations

from argparse import ArgumentParser

from west_viommu import __version__
from west_viommu.cli.arguments import COMMANDS, HelpFormatter, configured
from west_viommu.cli.run import run


def parser() -> ArgumentParser:
    """What reads the command line, whatever the command."""
    found = ArgumentParser(
        prog="viommu",
        formatter_class=HelpFormatter,
        description="Binds the passthrough devices of a Xen guest to its virtual SMMUv3, by the "
        "host's devicetree.",
        epilog="`viommu COMMAND --help` has the arguments of a command, and examples.\n\n"
        "exit status: 0 done; 1 the input is refused, or check found a difference;\n"
        "2 the command line is wrong; 130 interrupted (Ctrl-C)",
    )
    found.add_argument("--version", action="version", version=f"viommu {__version__}")
    commands = found.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, prog=found.prog
    )
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.name, help=command.help, formatter_class=HelpFormatter
        )
        configured(subparser, command)
    return found


def main(argv: list[str]) -> int:
    """Run the command line `argv` (without the program's name) and return the exit status."""
    name = argv[0] if argv else ""
    program = f"viommu {name}"
    try:
        for command in COMMANDS:
            if command.name == name:
                # A parser of all commands would delay the start of each.
                own = ArgumentParser(prog=program, formatter_class=HelpFormatter)
                return run(name, configured(own, command).parse_args(argv[1:]), program)
        parser().parse_args(argv)
    except SystemExit as stop:
        # argparse has printed help (0) or what is wrong with the command line (2).
        return int(stop.code or 0)
    raise AssertionError(f"the parser took {argv}, which is no command")


if __name__ == "__main__":
    from west_viommu.start import entry_point

    entry_point()
