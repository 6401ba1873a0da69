# SPDX-License-Identifier: Apache-2.0
"""`viommu system`: several guests of one host, judged together, and the files for Xen."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

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
from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import UsageError, named_host, named_profile, or_is_host, ram_of
from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.names import SYSTEM, SYSTEM_FOLDER
from west_viommu.read.plain_file import content
from west_viommu.read.settings import settings
from west_viommu.read.system import SystemFile
from west_viommu.read.west import application_of, host_given_to
from west_viommu.tree.cells import counted
from west_viommu.write.files import SystemOutput
from west_viommu.write.graphviz import svg, system_dot
from west_viommu.write.tables import system_table

# The default if no system is named.
_HERE = "system.yml"


class Options(NamedTuple):
    """The arguments of the command."""

    systems: list[str]
    build_dir: str | None
    host: str | None
    profile: str | None
    include: list[str]
    define: list[str]
    output: str | None
    format: str
    ram: list[str]


def run(options: Options, console: Console) -> None:
    """Read the plans, judge them together, write. Raises Refused with all mistakes."""
    options = _named(options)
    folder = Path(options.output or _folder(options))
    try:
        with SystemOutput(folder) as output:
            system = _read(options)
            found = judged(system)
            files = render_system(system, found, folder)
            told = shown(options.format, found, files)
            output.write(files)
        tell_of(console, found, system, files)
        if options.format == "table":
            console.result([told, _written(folder, files)])
        else:
            tell([told])
    except OSError:
        # The summary could not be printed, so leave no files.
        SystemOutput(folder).remove()
        raise


def check(options: Options, console: Console) -> None:
    """Run `viommu check --system`: judge, and compare with the files written. Raises Refused with
    all mistakes and changes.
    """
    options = _named(options)
    folder = _folder(options)
    system = _read(options)
    found = judged(system)
    files = render_system(system, found, folder)
    # Single plans on the command line may be a part of the system that was written.
    is_whole = bool(options.build_dir) or not any(map(os.path.isdir, options.systems))
    has_files = is_whole and (folder / SYSTEM).is_file()
    if has_files:
        stale = [name for name, data in files.items() if not _has(folder / name, data)]
        if stale:
            raise Refused(map(partial(_stale, folder), stale))
    tell_of(console, found, system, files if has_files else None)
    devices = sum(len(domain.plan.devices) for domain in found.domains)
    guests = counted(len(found.domains), "guest")
    agrees = f", as {folder} has it" if has_files else ""
    console.result([f"{guests} of {system.host.name} with {counted(devices, 'device')}{agrees}\n"])


def _folder(options: Options) -> Path:
    """Return the default folder for the files of the system."""
    return Path(options.build_dir or "", SYSTEM_FOLDER)


def _has(file: Path, data: bytes) -> bool:
    try:
        return content(str(file)) == data
    except FileNotFoundError:
        return False


def _stale(folder: Path, name: str) -> Diagnostic:
    what, hint = "this is not what the system is now", "run `viommu system` again"
    return Diagnostic(id="malformed", what=what, hint=hint, where=Where(str(folder / name)))


def _named(options: Options) -> Options:
    """Return `options` with the system.yml here if they name no system. Raises UsageError if they
    name several, or no system.yml is here. Called before the output folder is touched: its files
    came from a correct command line.
    """
    if not options.systems and not options.build_dir and os.path.isfile(_HERE):
        options = options._replace(systems=[_HERE])
    files, folders = _files_and_folders(options.systems)
    if len(files) + bool(folders) + bool(options.build_dir) != 1:
        what = "name one of these: a system.yml, the folders of plans, or a sysbuild with -d"
        raise UsageError(what if options.host else f"{what}{or_is_host(options.systems)}")
    return options


def _files_and_folders(named: Sequence[str]) -> tuple[list[str], list[str]]:
    folders = [each for each in named if os.path.isdir(each)]
    return [each for each in named if each not in folders], folders


def _read(options: Options) -> System:
    """Return the system that the command line names. Raises Refused."""
    ram = tuple(map(ram_of, options.ram))
    files, folders = _files_and_folders(options.systems)
    host = named_host(options.host)
    profile = named_profile(options.profile)
    if files:
        found = read_system(files[0], host, profile, options.include, options.define)
        return found._replace(ram=ram)
    said = read_folders(folders) if folders else read_built(options.build_dir or "")
    chosen = _chosen(said, host, profile)
    return system_of(chosen, options.include, options.define)._replace(ram=ram)


def _chosen(said: SystemFile, host: str | None, profile: str | None) -> SystemFile:
    """Return `said` with the settings for all domains: `host` and `profile`, or else the settings
    of the first domain, if that is a build.
    """
    build = said.domains[0].build
    app = application_of(Path(build)) or os.curdir
    options = {"host": host or host_given_to(build, app), "profile": profile}
    chosen = settings(options, app, os.environ.get("VIOMMU_CONFIG"))
    return said._replace(
        host=chosen.host,
        profile=chosen.profile,
        has_dom0=chosen.has_dom0,
        xen_version=chosen.xen_version,
        xen_version_where=chosen.xen_version_where,
        has_hardware_domain=chosen.has_hardware_domain,
        hardware_domain_where=chosen.hardware_domain_where,
    )


def shown(form: str, found: Judged, files: dict[str, bytes]) -> str:
    """Return the owners of the host's devices, in that form. Raises Refused if a picture cannot be
    drawn.
    """
    if form == "json":
        return files[SYSTEM].decode()
    if form == "table":
        return system_table(found)
    dot = system_dot(found)
    return svg(dot) if form == "svg" else dot


def tell_of(
    console: Console, found: Judged, system: System, files: dict[str, bytes] | None
) -> None:
    """Print warnings, and notes on missing `files`."""
    console.report(found.problems)
    for note in notes(system, found, files) if files is not None else ():
        console.note(note)


def _written(folder: Path, files: dict[str, bytes]) -> str:
    return f"wrote to {folder}: {', '.join(files)}\n"
