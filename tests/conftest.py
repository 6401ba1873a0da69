# SPDX-License-Identifier: Apache-2.0
"""The fixtures of all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.build import Build
from tests.support import CORPUS, DEMO, NO_CORPUS, Outcome, Run
from west_viommu.__main__ import main
from west_viommu.names import VARIABLES

# What a user has set is no test's business, nor that of the processes that one starts.
for _name in (*VARIABLES, "NO_COLOR", "FORCE_COLOR", "COLUMNS", "GITHUB_WORKSPACE"):
    os.environ.pop(_name, None)
# Whoever is started in the background by a shell ignores Ctrl-C, and so do those that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def corpus() -> Path:
    """The folder of real host DTBs."""
    if CORPUS is None:
        pytest.skip(NO_CORPUS)
    return CORPUS


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


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A Zephyr build without Zephyr: the preprocessor's own step, in process."""
    monkeypatch.setenv("ZEPHYR_BASE", "")
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(tmp_path / "none"))
    return Build(tmp_path)
