# SPDX-License-Identifier: Apache-2.0
"""The commands as west extension commands, `west viommu-NAME`.

west loads this file as a lone module, from the checkout that the manifest names: nothing is
installed, so the checkout itself goes on the module path.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from west.commands import CommandError, WestCommand

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from west_viommu.cli.arguments import COMMANDS, Command, configured  # noqa: E402
from west_viommu.cli.run import run  # noqa: E402


class _ViommuCommand(WestCommand):
    """One of our commands behind west's interface."""

    def __init__(self, command: Command):
        self.command = command
        # west prints the help of west-commands.yml, and a newer west warns of any here.
        super().__init__(f"viommu-{command.name}", "", command.description)

    def do_add_parser(
        self, parser_adder: argparse._SubParsersAction[argparse.ArgumentParser]
    ) -> argparse.ArgumentParser:
        return configured(parser_adder.add_parser(self.name, help=self.command.help), self.command)

    def do_run(self, args: argparse.Namespace, unknown: list[str]) -> None:
        status = run(self.command, args, f"west {self.name}", lambda: self.color_ui)
        if status:
            # The problems are printed; west ends with this status and prints nothing more.
            raise CommandError(returncode=status)  # type: ignore[no-untyped-call]


# west makes each command, without arguments, by the class name in west-commands.yml.
globals().update(
    (f"Viommu{command.name.capitalize()}", partial(_ViommuCommand, command)) for command in COMMANDS
)
