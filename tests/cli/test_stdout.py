# SPDX-License-Identifier: Apache-2.0
"""An output that fails: the exit status says whether there is a set, and nothing else does."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.build import Build
from tests.support import CHECKOUT, DEMO, PACKAGE

HOST, GUEST = f"{DEMO}/host.dts", f"{DEMO}/guest.overlay"
VIOMMU = shlex.join([sys.executable, "-m", "west_viommu"])
BIND = f"{VIOMMU} bind --profile xen-rfc --host {shlex.quote(HOST)} {shlex.quote(GUEST)}"
FULL = "error: stdout: No space left on device\n"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # Without buffers, as some CI has it, Python ends otherwise where an output fails.
    unwanted = ("PYTHONUNBUFFERED", "ZEPHYR_BASE")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "status", "err", "is_set"),
    [
        # Nobody was told, so there is nothing.
        (f"{BIND} >/dev/full", 1, f"viommu bind: {FULL}", False),
        # Whoever leaves, or wants no output, has not asked for less of a set.
        (f"{BIND} | true", 0, "", True),
        (f"{BIND} >&-", 0, "", True),
        # Nor is there one where the warnings and notes could not be told.
        (f"{BIND.replace('--profile xen-rfc', '')} 2>/dev/full", 1, "", False),
        (f"{VIOMMU} list --host {shlex.quote(HOST)} >/dev/full", 1, f"viommu list: {FULL}", False),
        (
            f"{VIOMMU} extract --host {shlex.quote(HOST)} dma-controller@200000 >/dev/full",
            1,
            f"viommu extract: {FULL}",
            False,
        ),
    ],
)
def test_an_output_that_fails(
    command: str, status: int, err: str, is_set: bool, tmp_path: Path
) -> None:
    run = shell(command, tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (status, "", err)
    files = list((tmp_path / "viommu").iterdir()) if (tmp_path / "viommu").exists() else []
    assert bool(files) == is_set


@pytest.mark.parametrize(
    ("target", "status", "is_there"), [(">/dev/full", 1, False), ("| true", 0, True)]
)
def test_the_file_of_init(target: str, status: int, is_there: bool, tmp_path: Path) -> None:
    assert shell(f"{VIOMMU} init {target}", tmp_path).returncode == status
    assert (tmp_path / "viommu.yml").exists() == is_there


@pytest.mark.parametrize(
    "command",
    [
        f"bind --host {shlex.quote(HOST)} {shlex.quote(str(DEMO / 'guest.overlay'))}",
        f"list --host {shlex.quote(HOST)}",
        f"extract --host {shlex.quote(HOST)} dma-controller@200000",
        f"check --host {shlex.quote(HOST)} --dts {shlex.quote(HOST)}",
        f"system {shlex.quote(str(DEMO))}",
        "init",
    ],
)
def test_a_folder_that_has_been_removed(command: str, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    run = shell(f"cd gone && rmdir ../gone && {VIOMMU} {command}", tmp_path)
    name = command.split()[0]
    assert (run.returncode, run.stdout, run.stderr) == (
        1,
        "",
        f"viommu {name}: error: the current folder has been removed: change to another one\n",
    )


@pytest.mark.parametrize("target", ["| true", ">&-"])
def test_differences_are_a_status_though_nobody_reads_them(target: str, tmp_path: Path) -> None:
    text = "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough { %s }; };"
    (tmp_path / "built.dts").write_text(text % "")
    (tmp_path / "given.dts").write_text(text % "x { reg = <0 0 0 4>; };")
    run = shell(f"{VIOMMU} check --dts built.dts --guest-dtb given.dts {target}", tmp_path)
    assert (run.returncode, run.stderr) == (1, "")


@pytest.mark.parametrize(("target", "status"), [(">/dev/full", 1), ("| true", 0)])
def test_the_hook_of_a_build(target: str, status: int, build: Build) -> None:
    own = ["--zephyr-base", str(build.zephyr), "--app", str(build.app)]
    own += ["--output", str(build.output), "--dts-root", str(build.zephyr)]
    command = [
        *("cpp", "-x", "assembler-with-cpp", "-nostdinc"),
        *("-isystem", str(build.zephyr / "include")),
        *("-include", str(build.app / "board.dts"), "-include", str(build.app / "guest.overlay")),
        *("-undef", "-D__DTS__", "-E", "-MD", "-MF", str(build.rule), "-o", str(build.source)),
        str(build.zephyr / "empty_file.c"),
    ]
    script = CHECKOUT / "zephyr" / "preprocess.py"
    line = shlex.join([sys.executable, str(script), *own, "--", *command])
    run = shell(f"{line} {target}", build.app)
    assert "Traceback" not in run.stderr
    assert run.returncode == status
    assert (build.output / "viommu.json").exists() == (status == 0)
    if status:
        assert run.stderr.startswith("stdout: error: [unwritable] No space left on device\n")
