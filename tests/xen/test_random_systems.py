# SPDX-License-Identifier: Apache-2.0
"""Random systems: `viommu system` and the model of Xen say the same."""

from __future__ import annotations

import pytest

from tests.xen import random_systems
from tests.xen.judged import ENVIRONMENT
from tests.xen.random_systems import Verdict, main, refused, report, system_of, verdict
from tests.xen.running import Fault
from tests.xen.whole import World

SEEDS = range(1, 61)


def test_the_model_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    found = {seed: verdict(system_of(seed)) for seed in SEEDS}
    assert all(each.agrees for each in found.values()), report(found)
    kinds = {each.kind for each in found.values()}
    assert kinds >= {"taken, and Xen agrees", "refused, and Xen agrees"}, report(found)


def test_a_refusal_that_xen_does_not_share_is_seen() -> None:
    err = "f: error: [interrupt-clash] two (node b:/n, found)\nhint: none\n"
    assert refused(err, World({}, ())) == Verdict(
        False, "refused falsely: interrupt-clash", err.splitlines()
    )
    assert refused(err, World({}, (Fault("panic", "dom2", "IRQ"),))).agrees
    assert refused(err.replace("interrupt-clash", "unassigned-child"), World({}, ())).agrees
    assert not refused("Traceback", World({}, ())).agrees


def test_the_exit_status_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(random_systems, "verdict", lambda _: Verdict(False, "other", ["why"]))
    assert main(["--count", "2", "--seed", "5"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "2 systems",
        "      2  DISAGREES: other",
        "         seed 5",
        "             why",
    ]
