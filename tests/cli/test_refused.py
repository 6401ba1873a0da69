# SPDX-License-Identifier: Apache-2.0
"""One file in tests/refused/ for each way to fail, with the whole of what the user then sees.

A case has `passthrough` (the inside of a partial tree's /passthrough, from line 3 on) or `guest`
(a whole source file), `stderr`, and may have `host` (a file in tests/hosts/, or source),
`viommu.yml`, `profile.yaml` and `options` of bind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml

from tests.conftest import CHECKOUT, Run
from west_viommu.hazards.table import HAZARDS

CASES = sorted((CHECKOUT / "tests" / "refused").glob("*.yml"))
HOSTS = CHECKOUT / "tests" / "hosts"
PARTIAL_TREE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
%s}; };
"""


def prepared(content: dict[str, Any], folder: Path) -> Sequence[str]:
    """The files of a case, made in `folder`; its options."""
    host = content.get("host", "two-smmus.dts")
    if "{" in host:
        (folder / "host.dts").write_text(host)
    else:
        (folder / "host.dts").symlink_to(HOSTS / host)
    guest = content.get("guest") or PARTIAL_TREE % content["passthrough"]
    (folder / "guest.dts").write_text(guest)
    for name in ("viommu.yml", "profile.yaml"):
        if name in content:
            (folder / name).write_text(content[name])
    options: Sequence[str] = content.get("options", ())
    return options


def _rewrite(case: Path, stderr: str) -> None:
    """Put what is said now into the file, whose last key is `stderr`: VIOMMU_REWRITE=1 pytest
    ...
    """
    before = case.read_text().split("\nstderr: |\n")[0]
    case.write_text(f"{before}\nstderr: |\n{indent(stderr, '  ')}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_refused(case: Path, viommu: Run, tmp_path: Path) -> None:
    content = yaml.safe_load(case.read_text())
    options = prepared(content, tmp_path)
    outcome = viommu("bind", "--host", "host.dts", *options, "guest.dts")
    if os.environ.get("VIOMMU_REWRITE"):
        _rewrite(case, outcome.err)
    else:
        assert outcome.err == content["stderr"]
    assert (outcome.status, outcome.out) == (1, "")
    assert not (tmp_path / "viommu").exists()


def test_every_hazard_is_in_a_case() -> None:
    said = "".join(yaml.safe_load(case.read_text())["stderr"] for case in CASES)
    missing = [hazard.id for hazard in HAZARDS if f"[{hazard.id}]" not in said]
    assert missing == []
