# SPDX-License-Identifier: Apache-2.0
"""`viommu system`: several guests of one host, judged together, and what Xen is to be given."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from west_viommu.api_system import (
    Judged,
    System,
    judged,
    notes,
    read_built,
    read_folders,
    read_system,
    render_system,
    system_of,
)
from west_viommu.cli.run import UsageError, tell
from west_viommu.cli.stage import application
from west_viommu.names import SYSTEM, SYSTEM_FOLDER
from west_viommu.problems import printable, rendered
from west_viommu.read.settings import settings
from west_viommu.read.system import SystemFile
from west_viommu.write.files import SystemOutput
from west_viommu.write.inventory_dot import svg
from west_viommu.write.system_dot import system_dot
from west_viommu.write.system_table import system_table


def run(arguments: Namespace) -> None:
    """Read the plans, judge them together, write. Raises Refused with all that is wrong."""
    folder = Path(arguments.output or Path(arguments.build_dir or "", SYSTEM_FOLDER))
    try:
        with SystemOutput(folder) as output:
            system = read(arguments)
            found = judged(system)
            files = render_system(system, found, folder)
            told = shown(arguments.format, found, files)
            output.write(files)
        tell_of(found, system, files)
        tell([told] if arguments.format != "table" else [told, _written(folder, files)])
    except OSError:
        # Nobody was told of the set: by the exit status there is none.
        SystemOutput(folder).remove()
        raise


def read(arguments: Namespace) -> System:
    """The system that the command line names. Raises Refused, and UsageError where it names
    several, or none.
    """
    files = [each for each in arguments.systems if not os.path.isdir(each)]
    folders = [each for each in arguments.systems if os.path.isdir(each)]
    if len(files) + bool(folders) + bool(arguments.build_dir) != 1:
        raise UsageError(
            "name one of these: a system.yml, the folders of plans, or a sysbuild with -d"
        )
    if files:
        return read_system(
            files[0],
            arguments.host,
            arguments.profile,
            arguments.include,
            arguments.define,
        )
    said = read_folders(folders) if folders else read_built(arguments.build_dir)
    return system_of(_chosen(arguments, said), arguments.include, arguments.define)


def _chosen(arguments: Namespace, said: SystemFile) -> SystemFile:
    """`said`, with the host and what else is chosen for all domains: by the options, else as the
    first of them chose it for itself.
    """
    environment = os.environ.get
    options = {
        "host": arguments.host or environment("VIOMMU_HOST_DTB"),
        "profile": arguments.profile or environment("VIOMMU_PROFILE"),
    }
    of_build = Namespace(source_dir=None, build_dir=said.domains[0].build)
    app = application(of_build) if arguments.build_dir else os.curdir
    chosen = settings(options, app, environment("VIOMMU_CONFIG"))
    return said._replace(host=chosen.host, profile=chosen.profile, has_dom0=chosen.has_dom0)


def shown(form: str, found: Judged, files: dict[str, bytes]) -> str:
    """Who has what, in that form. Raises Refused where a picture cannot be drawn."""
    if form == "json":
        return files[SYSTEM].decode()
    if form == "table":
        return system_table(found)
    dot = system_dot(found)
    return svg(dot) if form == "svg" else dot


def tell_of(found: Judged, system: System, files: dict[str, bytes]) -> None:
    """Print warnings and notes to stderr."""
    for warning in found.problems:
        print(rendered(warning), file=sys.stderr)
    for note in notes(system, files):
        print(f"note: {printable(note)}", file=sys.stderr)


def _written(folder: Path, files: dict[str, bytes]) -> str:
    return f"wrote to {folder}: {', '.join(files)}\n"
