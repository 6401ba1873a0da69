# SPDX-License-Identifier: Apache-2.0
"""`viommu profiles`: the hypervisors that are known, and the data file of one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from west_viommu.cli.console import tell
from west_viommu.diagnostics import printable
from west_viommu.hypervisor.profile import switched_on
from west_viommu.names import PROFILES
from west_viommu.read.profiles import profile, profile_file


def run(arguments: Namespace) -> None:
    """Print the names, or one file as it is written, once it is known to be a profile."""
    if arguments.name:
        profile(arguments.name, None)
        with open(profile_file(arguments.name), encoding="utf-8") as file:
            tell([file.read()])
    else:
        tell(_table())


def _table() -> Iterator[str]:
    for name in PROFILES:
        default = " (default)" if name == PROFILES[0] else ""
        found = profile(name, None)
        yield f"{name}{default}\n    {printable(found.about)}\n"
        for switch in switched_on(found):
            yield f"    its vSMMU is switched on by {switch}\n"
