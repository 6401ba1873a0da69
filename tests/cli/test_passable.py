# SPDX-License-Identifier: Apache-2.0
"""`list --passable` is what `assign` takes, for each master of each real host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import HOSTS, Run, corpus_params
from tests.system.guests import KERNEL

# Some boards state no RAM.
RAM = "0x80000000:0x40000000"


@pytest.mark.parametrize("has_dom0", [True, False], ids=["dom0", "without"])
@pytest.mark.parametrize("file", [HOSTS / "pages.dts", *corpus_params()])
def test_passable_is_what_assign_takes(file: Path, viommu: Run, has_dom0: bool) -> None:
    Path("Image").write_bytes(KERNEL)
    if not has_dom0:
        Path("viommu.yml").write_text("dom0: none\n")
    command = ("list", "--host", file, "--format", "json")
    every, passable = (
        [master["path"] for master in json.loads(viommu(*command, *more).out)["masters"]]
        for more in ([], ["--passable"])
    )
    dom0 = ["--dom0-kernel", "Image"] if has_dom0 else []
    taken = []
    for path in every:
        arguments = ("--host", file, "--kernel", "Image", "--ram", RAM, *dom0)
        outcome = viommu("assign", *arguments, path)
        if outcome.status == 0:
            taken.append(path)
        else:
            assert "error: [" in outcome.err
    assert taken == passable
