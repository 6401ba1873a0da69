# SPDX-License-Identifier: Apache-2.0
"""The extension commands in a real west workspace whose manifest lists this project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import CHECKOUT, DEMO, GOLDEN, IS_CHECKOUT, NO_CHECKOUT

pytestmark = pytest.mark.skipif(not IS_CHECKOUT, reason=NO_CHECKOUT)


def west(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("ZEPHYR_BASE", "PYTHONPATH")}
    command = [sys.executable, "-m", "west", *arguments]
    return subprocess.run(
        command, cwd=workspace / "app", env=environment, capture_output=True, text=True
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace in a folder with a space: the demo app, and this checkout as its project."""
    top = tmp_path / "a workspace"
    shutil.copytree(DEMO, top / "app")
    (top / "west-viommu").symlink_to(CHECKOUT)
    init = [sys.executable, "-m", "west", "init", "-l", "app"]
    subprocess.run(init, cwd=top, check=True, capture_output=True)
    return top


def test_bind(workspace: Path) -> None:
    run = west(workspace, "viommu-bind", "--host", "host.dts", "guest.overlay")
    assert run.returncode == 0, run.stderr
    assert run.stdout == (GOLDEN / "demo.txt").read_text()
    overlay = (workspace / "app/viommu/viommu.overlay").read_text()
    assert overlay == (GOLDEN / "demo.overlay").read_text()


def test_list(workspace: Path) -> None:
    run = west(workspace, "viommu-list", "--host", "host.dts")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("west-viommu demo host\n")


def test_a_refusal_is_the_same_without_a_traceback(workspace: Path) -> None:
    run = west(workspace, "viommu-list", "--host", "nowhere.dtb")
    assert run.returncode == 1
    assert run.stderr == (
        "nowhere.dtb: error: [unreadable] No such file or directory\nhint: check its path\n"
    )


def test_a_wrong_command_line_has_status_2(workspace: Path) -> None:
    run = west(workspace, "viommu-bind", "--host", "host.dts")
    assert run.returncode == 2
    assert run.stderr.startswith(
        "west viommu-bind: error: there is no build here, and no board is known: name the guest's "
    )


def test_west_lists_the_commands_and_their_help(workspace: Path) -> None:
    assert "viommu-bind:" in west(workspace, "help").stdout
    run = west(workspace, "viommu-bind", "--help")
    assert "west viommu-bind --host versal-net.dtb boards/xenvm.overlay" in run.stdout


def test_this_checkout_is_a_manifest_repository_itself(tmp_path: Path) -> None:
    checkout = tmp_path / "app"
    shutil.copytree(
        CHECKOUT,
        checkout,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", ".demo", ".*_cache", ".hypothesis"),
    )
    init = [sys.executable, "-m", "west", "init", "-l", "app"]
    subprocess.run(init, cwd=tmp_path, check=True, capture_output=True)
    run = west(tmp_path, "viommu-list", "--host", "samples/demo/host.dts")
    assert run.stdout.startswith("west-viommu demo host\n"), run.stderr


def test_as_a_submanifest_of_zephyr(tmp_path: Path) -> None:
    """The file that docs/zephyr.md shows, where Zephyr is the manifest repository."""
    (tmp_path / "app/submanifests").mkdir(parents=True)
    (tmp_path / "app/west.yml").write_text(
        "manifest: {self: {path: zephyr, import: submanifests}}\n"
    )
    page = (CHECKOUT / "docs/zephyr.md").read_text()
    shown = page.split("`zephyr/submanifests/west-viommu.yaml`:\n\n")[1].split("\n\n")[0]
    (tmp_path / "app/submanifests/west-viommu.yaml").write_text(textwrap.dedent(shown))
    (tmp_path / "modules/lib").mkdir(parents=True)
    (tmp_path / "modules/lib/west-viommu").symlink_to(CHECKOUT)
    init = [sys.executable, "-m", "west", "init", "-l", "app"]
    subprocess.run(init, cwd=tmp_path, check=True, capture_output=True)
    run = west(tmp_path, "viommu-list", "--host", str(DEMO / "host.dts"))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("west-viommu demo host\n")
