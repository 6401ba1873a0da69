# SPDX-License-Identifier: Apache-2.0
"""The devicetree of a Zephyr application: from a build directory, or by Zephyr's own stage."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from west_viommu.cli.console import Console
from west_viommu.cli.run import UsageError
from west_viommu.diagnostics import refusal
from west_viommu.names import BINDINGS
from west_viommu.read.plain_file import content
from west_viommu.read.preprocess import decoded, named_files
from west_viommu.read.settings import Settings
from west_viommu.read.sysbuild import DOMAINS, images
from west_viommu.read.west import application_of, west_board, west_build_dir

_PREPROCESSED = "zephyr/zephyr.dts.pre"
# A file that zephyr/cmake/dts.cmake leaves.
_ROOTS = "viommu_dts_roots.txt"
# The hook prints this once it has bound the tree.
_HOOK_RAN = "-- viommu: bound"


class Stage(NamedTuple):
    """A devicetree stage that has run. `source`: the output of Zephyr's preprocessor; `name`: its
    name in messages; `failure`: the output of a stage that failed, "" otherwise.
    """

    build: Path
    source: Path
    name: str
    failure: str

    def bindings(self) -> list[str]:
        """Return the directories of bindings of that build, without the generated ones; [] if the
        build does not run our module.
        """
        try:
            roots = os.fsdecode(content(str(self.build / _ROOTS)))
        except OSError:
            return []
        return [os.path.join(root, BINDINGS) for root in roots.split(";") if root]

    def check(self, output: Path, console: Console) -> None:
        """Check that Zephyr accepts the bound tree, else raise Refused. If the build did not run
        our module, print how to use the files in `output`.
        """
        if _HOOK_RAN in self.failure:
            raise refusal(
                "malformed",
                "Zephyr's devicetree stage refuses the bound tree: " + _error_line(self.failure),
                "run west build for all that it says",
                self.name,
            )
        if self.failure:
            console.note(
                f"Zephyr's devicetree stage failed: {_error_line(self.failure)}. It did not run "
                "west-viommu's module. Such a build needs the overlay by EXTRA_DTC_OVERLAY_FILE, "
                f"and the bindings by DTS_ROOT={output}"
            )


@contextmanager
def devicetree_stage(
    build_dir: str | None, board: str | None, app: str, chosen: Settings, console: Console
) -> Iterator[Stage]:
    """Yield the stage of `build_dir`, or else run one for `board` (default: west's) in a temporary
    build directory. Raises UsageError if neither is known, Refused if there is no devicetree.
    """
    if build_dir:
        build = image(build_dir)
        stage = _found(build, str(build), "")
        _tell_of_newer(stage, console)
        yield stage
        return
    board = board or west_board(app)
    base = os.environ.get("ZEPHYR_BASE")
    if not board or not base:
        missing = "" if base else "; to build for a board, ZEPHYR_BASE must be set"
        raise UsageError(
            "there is no build here, and no board is known: name the guest's devicetree source "
            "(GUEST.overlay or GUEST.dts), a board with -b (or `west config build.board`), or a "
            f"build directory with -d{missing}"
        )
    # Imported late: it imports much, and no other way to a devicetree needs it.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="viommu-") as folder:
        build = Path(folder, "build")
        failure = _run(app, build, board, Path(base), chosen)
        yield _found(build, f"{Path(app).resolve().name} for {board}", failure)


def _run(app: str, build: Path, board: str, base: Path, chosen: Settings) -> str:
    """Run Zephyr's devicetree stage; return its output if it failed."""
    command = ["cmake", f"-DBOARD={board}", "-B", str(build), "-S", app, "-DMODULES=dts"]
    for name, value in (
        ("HOST_DTB", os.path.abspath(chosen.host or "")),
        ("PROFILE", chosen.profile),
        ("VSID", chosen.vsid),
    ):
        if value:
            command.append(f"-DVIOMMU_{name}={value}")
    command += ["-P", str(base / "cmake/package_helper.cmake")]
    try:
        run = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        what = f"cmake cannot be run: {error.strerror}"
        raise refusal("unreadable", what, "install cmake") from None
    return run.stdout if run.returncode else ""


def _found(build: Path, name: str, failure: str) -> Stage:
    source = build / _PREPROCESSED
    if not os.path.isfile(source):
        what = f"this is not a configured build of Zephyr: there is no {_PREPROCESSED}"
        hint = "name the build directory, and configure it first: west build --cmake-only"
        if failure:
            what = f"Zephyr's devicetree stage failed: {_error_line(failure)}"
            hint = "correct it: the board, the application (-s), or ZEPHYR_BASE"
        raise refusal("unreadable", what, hint, name)
    return Stage(build, source, name, failure)


def _error_line(log: str) -> str:
    """Return the line of a build's log with the error: a script's own, else the exception that
    ended a script, else CMake's.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for pattern in (r"devicetree error:", r"[\w.]*(Error|Exception): ", r"CMake Error"):
        for i, line in enumerate(lines):
            if re.match(pattern, line):
                return " ".join(lines[i : i + 2]) if line.startswith("CMake Error") else line
    return lines[-1] if lines else "nothing was printed"


def _tell_of_newer(stage: Stage, console: Console) -> None:
    """Print a note if a source of the build is newer than its devicetree."""
    made = stage.source.stat().st_mtime
    text = decoded(stage.source.read_bytes(), stage.name)
    newer = [file for file in named_files(text) if os.stat(file).st_mtime > made]
    if newer:
        console.do_not_show(newer)
        console.note(
            f"{newer[0]} has changed since {stage.name} was configured, and this takes its "
            "devicetree as it was: run `west build --cmake-only` first"
        )


def found_build(source_dir: str | None, console: Console) -> str | None:
    """Return the build directory that `west build` would find, and print a note of it."""
    build = west_build_dir(source_dir)
    if not build:
        return None
    console.note(f"this takes the build in {build}")
    return str(build)


def application(source_dir: str | None, build_dir: str | None) -> str:
    """Return the folder of the application: `source_dir`, else the build's, else here."""
    if source_dir:
        return source_dir
    return (build_dir and application_of(image(build_dir))) or os.curdir


def image(build_dir: str) -> Path:
    """Return the build directory of the application; of a sysbuild, the build directory of its
    default domain. Raises Refused.
    """
    build = Path(build_dir)
    if os.path.isfile(build / _PREPROCESSED):
        return build
    found = images(build)
    if not found:
        return build
    folder = found.directories[found.default]
    if not os.path.isdir(folder):
        what, hint = "this names a build directory that is not there", "configure the build again"
        raise refusal("unreadable", what, hint, str(build / DOMAINS), found=str(folder))
    return folder
