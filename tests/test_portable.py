# SPDX-License-Identifier: Apache-2.0
"""A checkout by git on Windows, where links are text, run by a Python that has nothing of POSIX.

Elsewhere the modules that such a Python lacks are kept from being imported. These tests need
nothing but cpp, so that CI can run them on macOS and Windows as well.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import CHECKOUT, DEMO, GOLDEN, IS_CHECKOUT, NO_CHECKOUT
from west_viommu.write import files

pytestmark = pytest.mark.skipif(not IS_CHECKOUT, reason=NO_CHECKOUT)

# Modules and names that a Python on Windows does not have, and what it refuses.
_WITHOUT = """
import os, runpy, subprocess, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("O_DIRECTORY", "O_CLOEXEC", "getuid", "geteuid", "fork"):
    if hasattr(os, name):
        delattr(os, name)
popen = subprocess.Popen.__init__
def without_preexec(self, *args, preexec_fn=None, **kwargs):
    if preexec_fn is not None:
        raise ValueError("preexec_fn is not supported on Windows platforms")
    popen(self, *args, **kwargs)
subprocess.Popen.__init__ = without_preexec
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
BOARD = """/dts-v1/;
/ {
	#address-cells = <2>;
	#size-cells = <2>;
	interrupt-parent = <&gic>;
	gic: interrupt-controller {
		compatible = "arm,gic-v3";
		interrupt-controller;
		#interrupt-cells = <4>;
	};
};
"""
MACROS = ("-DGIC_SPI=0", "-DIRQ_TYPE_LEVEL=2", "-DIRQ_DEFAULT_PRIORITY=0xa0")

Program = Callable[..., str]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This checkout with text in place of its links."""
    copy = tmp_path / "west-viommu"
    for name in ("west_viommu", "zephyr", "bindings"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, copy / name, symlinks=True, ignore=ignored)
    (copy / "docs").mkdir()
    shutil.copy(CHECKOUT / "docs/hazards.md", copy / "docs")
    for path in copy.rglob("*"):
        if path.is_symlink():
            target = os.readlink(path)
            path.unlink()
            path.write_text(target)
    assert (copy / "zephyr/dts/bindings").is_file()
    return copy


@pytest.fixture
def program(checkout: Path, tmp_path: Path) -> Program:
    """Runs a file of `checkout` in the folder of the demo, and returns what it printed."""
    folder = tmp_path / "app"
    shutil.copytree(DEMO, folder)
    ours = ("VIOMMU_", "ZEPHYR_", "PYTHONPATH", "CPP")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def run(file: str, *arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", _WITHOUT, str(checkout / file), *arguments],
            cwd=folder,
            env={**kept, "WEST_CONFIG_GLOBAL": str(folder / "none")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    return run


def test_list(program: Program) -> None:
    out = program("zephyr/viommu.py", "list", "--host", "host.dts", "--passable")
    assert "/soc@e0000000/ethernet@100000" in out


def test_bind(program: Program, tmp_path: Path) -> None:
    out = program("zephyr/viommu.py", "bind", "--host", "host.dts", "guest.overlay")
    assert "2 devices behind one vSMMU" in out
    overlay = (tmp_path / "app/viommu/viommu.overlay").read_bytes()
    assert overlay == (GOLDEN / "demo.overlay").read_bytes()
    assert "### shared-page" in program("zephyr/viommu.py", "explain", "shared-page")


def test_the_hook_of_a_build(program: Program, checkout: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    zephyr = tmp_path / "zephyr"
    (zephyr / "dts/bindings").mkdir(parents=True)
    (tmp_path / "app/board.dts").write_text(BOARD)
    (tmp_path / "empty.c").write_text("")
    source, rule = build / "zephyr.dts.pre", build / "zephyr.dts.d"
    out = program(
        *("zephyr/preprocess.py", "--zephyr-base", str(zephyr), "--app", str(tmp_path / "app")),
        *("--output", str(build / "viommu"), "--host_dtb", "host.dts"),
        *("--dts-root", str(checkout / "zephyr"), "--dts-root", str(zephyr), "--"),
        *("cpp", "-x", "assembler-with-cpp", "-nostdinc", *MACROS),
        *("-include", "board.dts", "-include", "guest.overlay"),
        *("-undef", "-D__DTS__", "-E", "-MD", "-MF", str(rule), "-o", str(source)),
        str(tmp_path / "empty.c"),
    )
    assert "-- viommu: bound 2 devices of " in out
    plan = json.loads((build / "viommu/viommu.json").read_text())
    bindings = [name for name in plan["files"] if name.startswith("dts/bindings/")]
    # The link to ours is text, so the build has them from its own folder.
    assert {"dts/bindings/viommu,passthrough.yaml", "dts/bindings/arm,smmu-v3.yaml"} <= {*bindings}
    assert f"\n {(tmp_path / 'app/host.dts').as_posix()}" in rule.read_text()
    assert "iommus = <&vsmmu 0x40>;" in source.read_text()


class Msvcrt:
    """Windows' module of this name, as far as it is needed."""

    LK_LOCK = 1

    def __init__(self) -> None:
        self.locked: list[tuple[int, int]] = []
        # How often it still gives up, after ten seconds each, as another run has the lock.
        self.busy = 0

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        os.fstat(descriptor)
        if self.busy:
            self.busy -= 1
            raise OSError(errno.EDEADLK, "Resource deadlock avoided")
        self.locked.append((mode, count))


def test_the_lock_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Msvcrt()
    folder = tmp_path / "viommu"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", system)
    with files.locked(str(folder)):
        assert system.locked == [(Msvcrt.LK_LOCK, 1)]
    assert list(folder.iterdir()) == []
    with pytest.raises(FileNotFoundError), files.locked(str(tmp_path / "none")):
        pass
    system.busy = 3
    with files.locked(str(folder)):
        assert len(system.locked) == 2
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    with files.locked(str(folder)):
        assert len(system.locked) == 2
