# SPDX-License-Identifier: Apache-2.0
"""One file in tests/refused/ for each way to fail, with the whole of what the user then sees.

A case has `passthrough` (the inside of a partial tree's /passthrough, from line 3 on) or `guest`
(a whole source file), `stderr`, and may have `host` (a file in tests/hosts/, or source),
`viommu.yml`, `profile.yaml` and `options` of bind. `status` is 0 for a warning that only a set
without errors has.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest
import yaml

from tests.cli.refused_cases import CASES, prepared
from tests.support import REWRITES, Run
from west_viommu.hazards.table import HAZARDS


def _rewrite(case: Path, stderr: str) -> None:
    """Put what is said now into the file, whose last key is `stderr`."""
    before = case.read_text().split("\nstderr: |\n")[0]
    case.write_text(f"{before}\nstderr: |\n{indent(stderr, '  ')}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_refused(case: Path, viommu: Run, tmp_path: Path) -> None:
    content = yaml.safe_load(case.read_text())
    options = prepared(content, tmp_path)
    outcome = viommu("bind", "--host", "host.dts", *options, "guest.dts")
    if REWRITES:
        _rewrite(case, outcome.err)
    else:
        assert outcome.err == content["stderr"]
    status = content.get("status", 1)
    assert outcome.status == status
    assert (tmp_path / "viommu").exists() == (status == 0)
    assert status == 0 or not outcome.out


def test_every_hazard_is_in_a_case() -> None:
    said = "".join(yaml.safe_load(case.read_text())["stderr"] for case in CASES)
    missing = [hazard.id for hazard in HAZARDS if f"[{hazard.id}]" not in said]
    assert missing == []
