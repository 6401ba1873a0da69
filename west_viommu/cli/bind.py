# SPDX-License-Identifier: Apache-2.0
"""`viommu bind`: guest tree + host tree -> the overlay that binds them, and the plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from west_viommu.api import (
    Guest,
    Host,
    guest_of,
    planned_by,
    read_host,
    reading_guest,
    render,
)
from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import UsageError, chosen_by, named_config, no_host, or_is_host
from west_viommu.diagnostics import Diagnostic, Refused, refusal
from west_viommu.names import BINDINGS, partial_tree
from west_viommu.plan.planning import Planned
from west_viommu.read.plain_file import content
from west_viommu.read.preprocess import decoded, first_files
from west_viommu.read.settings import Settings
from west_viommu.read.source import guest_tree_of
from west_viommu.write.files import Output, Untouched
from west_viommu.write.tables import plan_table

if TYPE_CHECKING:
    from west_viommu.cli.stage import Stage

T = TypeVar("T")


class Options(NamedTuple):
    """The arguments of the command."""

    guests: list[str]
    host: str | None
    board: str | None
    source_dir: str | None
    build_dir: str | None
    output: str | None
    dry_run: bool
    diff: bool
    quiet: bool
    config: str | None
    xen_version: str | None
    profile: str | None
    vsid: str | None
    include: list[str]
    define: list[str]


class Done(NamedTuple):
    """A finished job: the plan, the files by name in the order of writing, and notes for the
    user.
    """

    planned: Planned
    files: dict[str, bytes]
    notes: tuple[str, ...]

    def tell(self, console: Console, warnings: Iterable[Diagnostic] | None = None) -> None:
        """Print the `warnings` (default: all), and the notes."""
        console.report(self.planned.warnings if warnings is None else warnings)
        for note in self.notes:
            console.note(note)


def run(options: Options, console: Console) -> None:
    """Read both trees, plan, write. Raises Refused with all mistakes of either."""
    folder = next((name for name in options.guests if _is_application(name)), None)
    if folder:
        raise UsageError(f"{folder} is the folder of an application: name it with -s {folder}")
    if options.guests and (options.board or options.build_dir):
        raise UsageError("give GUEST files, a board with -b, or a build with -d: one of the three")
    if options.board and options.build_dir:
        raise UsageError("-b runs Zephyr's devicetree stage, -d takes that of a build: give one")
    if not (options.guests or options.board or options.build_dir):
        from west_viommu.cli.stage import found_build

        options = options._replace(build_dir=found_build(options.source_dir, console))
    is_dry = options.dry_run or options.diff
    output = (Untouched if is_dry else Output)(_folder(options))
    try:
        chosen, result = _result(options, console, output)
        if not chosen.profile:
            about = result.planned.profile.about
            console.note(f"no --profile: this assumes {about}")
        _report(options, console, output, result)
    except Refused as refused:
        # Settings may refuse it before the job, or Zephyr after it.
        output.remove_after(refused)
        raise
    except OSError:
        # The summary could not be printed, so leave no files.
        output.remove()
        raise


def _report(options: Options, console: Console, output: Output, result: Done) -> None:
    """Print the messages of a run that was not refused."""
    if options.diff and isinstance(output, Untouched):
        from west_viommu.write.files import changes

        # The text of files: the commands in it stay as they are written.
        tell(changes(output.folder, output.content(), result.files))
    elif not options.quiet:
        is_dry = options.dry_run
        told = plan_table(result.planned.plan, output.folder, result.files, is_dry=is_dry)
        console.result([told])


def _folder(options: Options) -> Path:
    """Return the output folder: -o, else viommu in the build directory, else here."""
    if options.output:
        return Path(options.output)
    if not options.build_dir:
        return Path("viommu")
    from west_viommu.cli.stage import image

    return image(options.build_dir) / "viommu"


def _result(options: Options, console: Console, output: Output) -> tuple[Settings, Done]:
    """Return the settings, and the result of the job."""
    # Imported late, as in the functions above: a build's own stage calls `done` alone.
    from west_viommu.cli.stage import application, devicetree_stage, image

    app = application(options.source_dir, options.build_dir)
    build = str(image(options.build_dir)) if options.build_dir else None
    chosen = chosen_by(options, app, options.vsid or os.environ.get("VIOMMU_VSID"), build)
    if not chosen.host:
        other_app = " (-s APP names another application)"
        said = no_host(app, named_config(options), other_app)
        raise UsageError(f"{said}{or_is_host(options.guests)}")
    host = partial(read_host, chosen.host, options.include, options.define)
    if options.guests:
        guest = reading_guest(options.guests, options.include, options.define)
        bindings = _zephyr_bindings(app)
        return chosen, _bound(console, chosen, host, guest, output, bindings)
    with devicetree_stage(options.build_dir, options.board, app, chosen, console) as stage:
        of_stage = nullcontext(partial(_guest_of_stage, stage))
        bindings = stage.bindings() or _zephyr_bindings(app)
        result = _bound(console, chosen, host, of_stage, output, bindings)
        stage.check(Path(output.folder), console)
        return chosen, result


def _is_application(name: str) -> bool:
    return os.path.isfile(os.path.join(name, "CMakeLists.txt"))


def _guest_of_stage(stage: Stage) -> Guest:
    names = first_files(decoded(content(str(stage.source)), stage.name))
    return guest_of(names or [stage.name], guest_tree_of(str(stage.source)))


def _bound(
    console: Console,
    chosen: Settings,
    host: Callable[[], Host],
    guest: AbstractContextManager[Callable[[], Guest]],
    folder: Output,
    binding_dirs: Sequence[str],
) -> Done:
    """Do the job into `folder`. A refused run leaves none of our files there."""
    with folder as output:
        result = done(*_both(host, guest), chosen, binding_dirs)
        result.tell(console)
        output.write(result.files)
    return result


def done(host: Host, guest: Guest, chosen: Settings, binding_dirs: Sequence[str]) -> Done:
    """Plan and render the requests of the guest. Raises Refused with every problem of the requests.

    `binding_dirs`: the directories of Zephyr's bindings; () if they are not known, and no bindings
    are generated.
    """
    made = planned_by(host, guest, chosen)
    files = render(made, binding_dirs)
    notes = made.notes
    if made.trees and partial_tree(made.trees[0].toolstack, ".dtb") not in files:
        notes += ("no dtc: passthrough-*.dtb are missing; install device-tree-compiler",)
    return Done(made, files, notes)


def _both(
    host: Callable[[], Host], guest: AbstractContextManager[Callable[[], Guest]]
) -> tuple[Host, Guest]:
    """Return both. Errors of one do not hide the other's. The host is read while the preprocessor
    works on the guest.
    """
    with ExitStack() as running:
        read_guest = _tried(lambda: running.enter_context(guest))
        host_side = _tried(host)
        guest_side = read_guest if isinstance(read_guest, Refused) else _tried(read_guest)
    if isinstance(host_side, Refused) or isinstance(guest_side, Refused):
        both = (side for side in (host_side, guest_side) if isinstance(side, Refused))
        raise Refused(problem for side in both for problem in side.problems)
    return host_side, guest_side


def _tried(read: Callable[[], T]) -> T | Refused:
    """Return the result of `read`, or its refusal."""
    try:
        return read()
    except Refused as refused:
        return refused


def _zephyr_bindings(app: str) -> list[str]:
    """Return the directories of bindings of Zephyr and of the application; [] if no Zephyr is
    known. Raises Refused if ZEPHYR_BASE is wrong: our bindings would silently include none of
    Zephyr's.
    """
    base = os.environ.get("ZEPHYR_BASE")
    if base and not os.path.isdir(os.path.join(base, BINDINGS)):
        what, hint = (
            "ZEPHYR_BASE does not name a Zephyr tree",
            "correct it; unset, no bindings are written",
        )
        found = f"no folder {BINDINGS}"
        raise refusal("unreadable", what, hint, base, found=found)
    return [os.path.join(root, BINDINGS) for root in (base, app)] if base else []
