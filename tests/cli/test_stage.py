# SPDX-License-Identifier: Apache-2.0
"""bind for a board: what it makes of Zephyr's devicetree stage, with a stand-in for its cmake."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.build import Build
from tests.support import Outcome, Run

# Leaves a build directory as the stage does, prints, and fails or not.
CMAKE = """#!/bin/sh
while [ "$1" != -B ]; do shift; done
{leaves}
cat <<'END'
{prints}
END
exit {status}
"""
LEAVES = 'mkdir -p "$2/zephyr"; cp "{source}" "$2/zephyr/zephyr.dts.pre"'


class Board:
    """`viommu bind -b xenvm` of an application whose devicetree is preprocessed already."""

    def __init__(self, build: Build, viommu: Run, monkeypatch: pytest.MonkeyPatch):
        assert build.run() == 0
        self._app, self._viommu = build.app, viommu
        self._source = build.source
        self._bin = build.app.parent / "bin"
        self._bin.mkdir()
        for tool in ("cpp", "dtc", "mkdir", "cp", "cat"):
            (self._bin / tool).symlink_to(str(shutil.which(tool)))
        monkeypatch.setenv("PATH", str(self._bin))
        monkeypatch.setenv("ZEPHYR_BASE", str(build.zephyr))

    def bind(self, prints: str, status: int = 1, *, leaves: bool = True) -> Outcome:
        left = LEAVES.format(source=self._source) if leaves else ""
        cmake = self._bin / "cmake"
        cmake.write_text(CMAKE.format(leaves=left, prints=prints, status=status))
        cmake.chmod(0o755)
        return self._viommu("bind", "-s", self._app, "-b", "xenvm", "--profile", "xen-rfc")


@pytest.fixture
def board(build: Build, viommu: Run, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(build, viommu, monkeypatch)


def test_a_stage_that_runs(board: Board) -> None:
    outcome = board.bind("-- viommu: bound 2 devices", 0)
    assert (outcome.status, outcome.err) == (0, "")
    assert Path("viommu/viommu.overlay").is_file()


def test_a_board_that_zephyr_does_not_know(board: Board) -> None:
    log = "CMake Error at boards.cmake:1 (message):\n  No board named 'xenvm'\n\nHint: ..."
    outcome = board.bind(log, leaves=False)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "app for xenvm: error: [unreadable] Zephyr's devicetree stage failed: CMake Error at "
        "boards.cmake:1 (message): No board named 'xenvm'\n"
        "hint: correct it: the board, the application (-s), or ZEPHYR_BASE\n"
    )


def test_a_script_of_zephyrs_that_lacks_a_module(board: Board) -> None:
    """CMake's own lines before it say only that a script failed."""
    log = (
        "CMake Error at cmake/modules/zephyr_module.cmake:77 (message):\n"
        '  Traceback (most recent call last):\n    File "zephyr_module.py", line 30, in <module>\n'
        "      import pykwalify.core\n  ModuleNotFoundError: No module named 'pykwalify'\n"
    )
    outcome = board.bind(log, leaves=False)
    assert "stage failed: ModuleNotFoundError: No module named 'pykwalify'\n" in outcome.err


def test_a_stage_without_our_module(board: Board) -> None:
    outcome = board.bind("Parsing the tree\ndevicetree error: 'iommus' lacks #iommu-cells\nbye")
    assert outcome.status == 0
    assert outcome.err == (
        "note: Zephyr's devicetree stage failed: devicetree error: 'iommus' lacks #iommu-cells. It "
        "did not run west-viommu's module. Such a build needs the overlay by "
        "EXTRA_DTC_OVERLAY_FILE, and the bindings by DTS_ROOT=viommu\n"
    )
    assert Path("viommu/viommu.overlay").is_file()


def test_a_stage_that_refuses_the_bound_tree(board: Board) -> None:
    outcome = board.bind("-- viommu: bound 2 devices\nsomething else\nlast words")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "app for xenvm: error: [malformed] Zephyr's devicetree stage refuses the bound tree: last "
        "words\nhint: run west build for all that it says\n"
    )


def test_a_stage_that_says_nothing(board: Board) -> None:
    outcome = board.bind("", leaves=False)
    assert outcome.status == 1
    assert "Zephyr's devicetree stage failed: nothing was printed\n" in outcome.err
