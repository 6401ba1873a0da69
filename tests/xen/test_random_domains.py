# SPDX-License-Identifier: Apache-2.0
"""Random domains: a few of those that random_domains.py compares and boots by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.xen.programs import rtc_guest
from tests.xen.random_domains import boots, disagreements
from tests.xen.tools import debian_xen, needs


def test_the_places_of_files_are_those_of_the_model() -> None:
    counts: dict[str, int] = {}
    assert list(disagreements(range(200), counts)) == []
    assert min(counts.values()) > 40, counts


@needs({"Debian's Xen for arm64": debian_xen()})
@pytest.mark.parametrize("seed", [1, 2])
def test_the_domains_start(seed: int, tmp_path: Path) -> None:
    xen = debian_xen()
    assert xen
    assert boots(seed, tmp_path, xen, rtc_guest(tmp_path)) == ""
