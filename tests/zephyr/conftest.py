# SPDX-License-Identifier: Apache-2.0
"""The fixture of the tests with a real Zephyr."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zephyr.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")
