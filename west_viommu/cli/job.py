# SPDX-License-Identifier: Apache-2.0
"""The main job on a command line: what was chosen, and the outcome of west_viommu.api told."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.api import Guest, Host, planned_by, render
from west_viommu.cli.console import Console
from west_viommu.diagnostics import Diagnostic
from west_viommu.names import partial_tree
from west_viommu.plan.records import Plan
from west_viommu.read.settings import Settings, settings


class Done(NamedTuple):
    """What a job made: the plan, the files by name in the order of writing, the warnings, and what
    else to tell the user.
    """

    plan: Plan
    files: dict[str, bytes]
    warnings: tuple[Diagnostic, ...]
    notes: tuple[str, ...]

    def tell(self, console: Console) -> None:
        """Print warnings and notes."""
        console.report(self.warnings)
        for note in self.notes:
            console.note(note)


def chosen_by(arguments: Namespace, app: str) -> Settings:
    """What options and environment say, then west's configuration, then viommu.yml. Raises
    Refused.
    """
    environment = os.environ.get
    chosen = settings(
        {
            "host": arguments.host or environment("VIOMMU_HOST_DTB"),
            "profile": arguments.profile or environment("VIOMMU_PROFILE"),
            "vsid": arguments.vsid or environment("VIOMMU_VSID"),
        },
        app,
        arguments.config or environment("VIOMMU_CONFIG"),
    )
    chosen.check_host()
    return chosen


def done(host: Host, guest: Guest, chosen: Settings, binding_dirs: Sequence[str]) -> Done:
    """Plan and render what the guest asks for. Raises Refused with every problem of the requests.

    `binding_dirs`: the directories of Zephyr's bindings; () where they are not known, and no
    bindings are generated.
    """
    made = planned_by(host, guest, chosen)
    files = render(made, binding_dirs)
    notes = made.notes
    if made.trees and partial_tree(made.trees[0].toolstack, ".dtb") not in files:
        notes += ("no dtc: passthrough-*.dtb are missing; install device-tree-compiler",)
    return Done(made.plan, files, made.warnings, notes)
