# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.whole import Case, content, fill, remembered
from tests.support import DEMO, Run, blob
from west_viommu.cli import bind


@pytest.fixture
def case(viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """`viommu bind` of the demo with bindings for a Zephyr that has none."""
    zephyr = tmp_path / "zephyr"
    header = zephyr / "include/zephyr/dt-bindings/interrupt-controller/arm-gic.h"
    header.parent.mkdir(parents=True)
    header.write_text("")
    (zephyr / "dts/bindings").mkdir(parents=True)
    monkeypatch.setenv("ZEPHYR_BASE", str(zephyr))
    host, guest = tmp_path / "host.dtb", tmp_path / "guest.overlay"
    host.write_bytes(blob((DEMO / "host.dts").read_text()))
    text = (DEMO / "guest.overlay").read_text()
    guest.write_text(text)
    other_guest = tmp_path / "other.overlay"
    other_guest.write_text(text.replace("cdns,gem", "cdns,other"))
    folder = tmp_path / "viommu"
    command = ["bind", "--host", str(host), "--profile", "xen-rfc", str(guest)]
    of_profile = ["bind", "--host", str(host), "--profile", "xen-v3-dom0less", str(guest)]
    sets = []
    for each in (command, [*command[:-1], str(other_guest)], of_profile):
        fill(folder, {})
        outcome = viommu(*each)
        assert outcome.status == 0, outcome.err
        sets.append(content(folder))
    # The same plan again and again would take most of the time.
    monkeypatch.setattr(bind, "_both", remembered(bind._both, lambda *_: None))
    monkeypatch.setattr(bind, "done", remembered(bind.done, lambda *given: given[3:5]))
    befores = {"empty": {}, "other content": sets[1], "other profile": sets[2]}
    return Case(folder, command, sets[0], befores)
