# SPDX-License-Identifier: Apache-2.0
"""One file in tests/refused/ for each way to fail, with the whole of what the user then sees.

A case has `passthrough` (the inside of a partial tree's /passthrough, from line 3 on) or `guest`
(a whole source file), `stderr`, and may have `host` (a file in tests/hosts/, or source),
`viommu.yml`, `profile.yaml` and `options` of bind.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import CHECKOUT, Run

CASES = sorted((CHECKOUT / "tests" / "refused").glob("*.yml"))
HOSTS = CHECKOUT / "tests" / "hosts"
PARTIAL_TREE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
%s}; };
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_refused(case: Path, viommu: Run, tmp_path: Path) -> None:
    content = yaml.safe_load(case.read_text())
    host = content.get("host", "two-smmus.dts")
    if "{" in host:
        (tmp_path / "host.dts").write_text(host)
    else:
        (tmp_path / "host.dts").symlink_to(HOSTS / host)
    guest = content.get("guest") or PARTIAL_TREE % content["passthrough"]
    (tmp_path / "guest.dts").write_text(guest)
    for name in ("viommu.yml", "profile.yaml"):
        if name in content:
            (tmp_path / name).write_text(content[name])
    outcome = viommu("bind", "--host", "host.dts", *content.get("options", ()), "guest.dts")
    assert outcome.err == content["stderr"]
    assert (outcome.status, outcome.out) == (1, "")
    assert not (tmp_path / "viommu").exists()
