# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the corpus, dtc, and commands run in process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import west_viommu
from west_viommu.__main__ import main
from west_viommu.names import VARIABLES
from west_viommu.read.dtb import tree_from_dtb
from west_viommu.tree.node import Tree

CHECKOUT = Path(__file__).parent.parent
# Where the modules under test are: in the checkout, or installed (noxfile.py).
PACKAGE = Path(west_viommu.__file__).parent
IS_CHECKOUT = (CHECKOUT / "west_viommu").is_dir()
NO_CHECKOUT = "west runs the commands of a checkout, not those of an installed package"
DEMO = CHECKOUT / "samples" / "demo"
CORPUS = Path(os.environ["VIOMMU_CORPUS"]) if "VIOMMU_CORPUS" in os.environ else None
NO_CORPUS = "VIOMMU_CORPUS is not set: it names a folder of real host DTBs"
# What a user has set is no test's business, nor that of the processes that one starts.
for _name in (*VARIABLES, "NO_COLOR", "FORCE_COLOR", "COLUMNS", "GITHUB_WORKSPACE"):
    os.environ.pop(_name, None)
# Whoever is started in the background by a shell ignores Ctrl-C, and so do those that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def corpus_params() -> list[object]:
    """One parameter for each real host, or one that is skipped with the reason."""
    if CORPUS is None:
        return [pytest.param(Path("corpus"), marks=pytest.mark.skip(reason=NO_CORPUS))]
    return [pytest.param(path, id=path.stem) for path in sorted(CORPUS.glob("*.dtb"))]


@pytest.fixture
def corpus() -> Path:
    """The folder of real host DTBs."""
    if CORPUS is None:
        pytest.skip(NO_CORPUS)
    return CORPUS


def blob(source: str) -> bytes:
    """`source` compiled by dtc, even where dtc would rather not (-f)."""
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=True).stdout


def tree(body: str) -> Tree:
    """The tree of a root node with `body`, by way of dtc."""
    return tree_from_dtb(blob(f"/dts-v1/; / {{ {body} }};"))


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def viommu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `viommu ARGUMENT...` in process, in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("ZEPHYR_BASE", "CPP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(tmp_path / "none"))

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    return run


@pytest.fixture
def demo_host() -> Path:
    """The host of samples/demo."""
    return DEMO / "host.dts"
