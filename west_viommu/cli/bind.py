# SPDX-License-Identifier: Apache-2.0
"""`viommu bind`: guest tree + host tree -> the overlay that binds them, and the plan."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from west_viommu.api import Guest, Host, guest_of, read_guest_beside, read_host
from west_viommu.cli.console import Console, tell
from west_viommu.cli.job import Done, chosen_by, done
from west_viommu.cli.run import UsageError, named_config, no_host, or_is_host
from west_viommu.cli.stage import Stage, application, devicetree_stage, found_build, image
from west_viommu.diagnostics import Diagnostic, Refused, refusal
from west_viommu.names import BINDINGS
from west_viommu.read.settings import Settings
from west_viommu.read.source import guest_tree_of
from west_viommu.write.files import Output, Untouched
from west_viommu.write.plan_table import plan_table


def run(arguments: Namespace) -> None:
    """Read both trees, plan, write. Raises Refused with all that is wrong with either."""
    folder = next((name for name in arguments.guests if _is_application(name)), None)
    if folder:
        raise UsageError(f"{folder} is the folder of an application: name it with -s {folder}")
    if arguments.guests and (arguments.board or arguments.build_dir):
        raise UsageError("give GUEST files, a board with -b, or a build with -d: one of the three")
    if arguments.board and arguments.build_dir:
        raise UsageError("-b runs Zephyr's devicetree stage, -d takes that of a build: give one")
    if not (arguments.guests or arguments.board or arguments.build_dir):
        arguments.build_dir = found_build(arguments)
    is_dry = arguments.dry_run or arguments.diff
    output = (Untouched if is_dry else Output)(_folder(arguments))
    try:
        chosen, result = _result(arguments, output)
        if not chosen.profile:
            about = result.plan.profile.about
            arguments.console.note(f"no --profile: this assumes {about}")
        _report(arguments, output, result)
    except Refused as refused:
        # Whatever refused it: settings before the job, or Zephyr after it.
        output.remove_after(refused)
        raise
    except OSError:
        # Nobody was told of the set: by the exit status there is none.
        output.remove()
        raise


def _report(arguments: Namespace, output: Output, result: Done) -> None:
    """Print what there is to tell of a run that was not refused."""
    if arguments.diff and isinstance(output, Untouched):
        from west_viommu.write.changes import changes

        # The text of files: no command in it is named as the user types it.
        tell(changes(str(output.folder), output.content(), result.files))
    elif not arguments.quiet:
        is_dry = arguments.dry_run
        told = plan_table(result.plan, str(output.folder), result.files, is_dry=is_dry)
        arguments.console.result([told])


def _folder(arguments: Namespace) -> Path:
    """The output folder: -o, else viommu in the build directory, else here."""
    if arguments.output:
        return Path(arguments.output)
    return (image(arguments.build_dir) if arguments.build_dir else Path()) / "viommu"


def _result(arguments: Namespace, output: Output) -> tuple[Settings, Done]:
    """What was chosen, and what was made of it."""
    app = application(arguments)
    chosen = chosen_by(arguments, app)
    if not chosen.host:
        other_app = " (-s APP names another application)"
        said = no_host(app, named_config(arguments), other_app)
        raise UsageError(f"{said}{or_is_host(arguments.guests)}")
    host = partial(read_host, chosen.host, arguments.include, arguments.define)
    if arguments.guests:

        def guest(meanwhile: Callable[[], None]) -> Guest:
            given = (arguments.guests, arguments.include, arguments.define)
            return read_guest_beside(meanwhile, *given)

        bindings = _zephyr_bindings(app)
        return chosen, _bound(arguments.console, chosen, host, guest, output, bindings)
    with devicetree_stage(arguments, app, chosen) as stage:
        of_stage = partial(_guest_of_stage, stage)
        bindings = stage.bindings() or _zephyr_bindings(app)
        result = _bound(arguments.console, chosen, host, of_stage, output, bindings)
        stage.check(output.folder, arguments.console)
        return chosen, result


def _is_application(name: str) -> bool:
    return os.path.isfile(os.path.join(name, "CMakeLists.txt"))


def _guest_of_stage(stage: Stage, meanwhile: Callable[[], None]) -> Guest:
    return guest_of([stage.name], guest_tree_of(stage.source))


def _bound(
    console: Console,
    chosen: Settings,
    host: Callable[[], Host],
    guest: Callable[[Callable[[], None]], Guest],
    folder: Output,
    binding_dirs: Sequence[str],
) -> Done:
    """Do the job into `folder`. A refused run leaves none of our files there."""
    with folder as output:
        result = done(*_both(host, guest), chosen, binding_dirs)
        result.tell(console)
        output.write(result.files)
    return result


def _both(
    host: Callable[[], Host], guest: Callable[[Callable[[], None]], Guest]
) -> tuple[Host, Guest]:
    """What both read. What is wrong with the one does not hide the other's problems. The host is
    read while the preprocessor works on the guest, if it does.
    """
    of_host: list[Host | Refused] = []
    problems: list[Diagnostic] = []

    def read_the_host() -> None:
        if not of_host:
            try:
                of_host.append(host())
            except Refused as refused:
                of_host.append(refused)

    guest_side = None
    try:
        guest_side = guest(read_the_host)
    except Refused as refused:
        problems += refused.problems
    read_the_host()
    host_side = of_host[0]
    if isinstance(host_side, Refused):
        problems = [*host_side.problems, *problems]
    if problems or guest_side is None or isinstance(host_side, Refused):
        raise Refused(problems)
    return host_side, guest_side


def _zephyr_bindings(app: str) -> list[str]:
    """The bindings of Zephyr and of the application; [] where no Zephyr is known. Raises Refused
    where ZEPHYR_BASE is wrong: ours would include none of Zephyr's, without a word.
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
