# SPDX-License-Identifier: Apache-2.0
"""Of many findings alike, the first are told and the rest counted, to the last one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.many import SOME, all_of_them, on_one_id_each, on_one_page_each
from tests.support import HOSTS, PARTIAL_TREE, Run
from west_viommu.diagnostics import MOST_ALIKE
from west_viommu.plan.planning import MOST_REQUESTS


def test_the_first_are_those_of_the_first_requests(viommu: Run, tmp_path: Path) -> None:
    """Each shares its ID with all before it: the second with one, the third with two."""
    (tmp_path / "host.dtb").write_bytes(on_one_id_each())
    (tmp_path / "guest.dts").write_text(all_of_them())
    told = re.findall(
        r"^guest.dts:2: error: \[shared-stream-id\] /m(\d+) and /m(\d+) share a stream ID",
        viommu("bind", "--host", "host.dtb", "guest.dts").err,
        re.MULTILINE,
    )
    pairs = [(str(this), str(other)) for this in range(11) for other in range(this)]
    assert told == pairs[:MOST_ALIKE]


ALLOWED = 'allow: [{hazard: shared-page, device: /m%d, reason: "all of one owner"}]\n'


@pytest.mark.parametrize("device", [0, 100])
def test_what_is_allowed_of_one_device_is_counted_by_itself(
    device: int, viommu: Run, tmp_path: Path
) -> None:
    """Also where none of its findings is told."""
    (tmp_path / "host.dtb").write_bytes(on_one_page_each())
    (tmp_path / "guest.dts").write_text(all_of_them("reg = <0 0x10000000 0 0x1000>;"))
    (tmp_path / "viommu.yml").write_text(ALLOWED % device)
    said = viommu("bind", "--host", "host.dtb", "guest.dts").err
    # As many stay with the host: each but one shares a page with them, and one may.
    more = (SOME - 1) * SOME - MOST_ALIKE
    assert f"error: [shared-page] and {more:,} more like this" in said
    untold = re.findall(r"^warning: \[shared-page\] and ([\d,]+) more like this", said, re.M)
    told = len(re.findall(r"^guest.dts:2: warning: \[shared-page\]", said, re.M))
    assert told + sum(map(int, untold)) == SOME
    assert "nothing to allow" not in said


TWICE = """
allow: [{hazard: duplicate-assignment, device: "/ethernet@20000000", reason: "by turns"}]
"""


def asking(count: int) -> str:
    """Requests for one device, with its interrupt, at a page of the guest for each."""
    return PARTIAL_TREE % "".join(
        f'n{i} {{ xen,path = "/ethernet@20000000"; interrupts = <0 20 4>; }};\n'
        for i in range(count)
    )


def said_of(count: int, viommu: Run, tmp_path: Path) -> tuple[int, list[tuple[str, str]]]:
    """The status, and severity and id of each message."""
    (tmp_path / "host.dts").write_text((HOSTS / "two-smmus.dts").read_text())
    (tmp_path / "guest.dts").write_text(asking(count))
    (tmp_path / "viommu.yml").write_text(TWICE)
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    return outcome.status, re.findall(r"(\w+): \[([\w-]+)\]", outcome.err)


def test_two_requests_for_one_device_may_have_its_interrupt_both(
    viommu: Run, tmp_path: Path
) -> None:
    status, said = said_of(2, viommu, tmp_path)
    assert (status, [each for each in said if "interrupt" in each[1]]) == (0, [])
    assert said.count(("warning", "duplicate-assignment")) == 1


def test_too_many_requests_for_one_device_are_refused_whatever_is_allowed(
    viommu: Run, tmp_path: Path
) -> None:
    status, said = said_of(MOST_REQUESTS, viommu, tmp_path)
    assert (status, said.count(("warning", "duplicate-assignment"))) == (0, MOST_REQUESTS - 1)
    status, said = said_of(MOST_REQUESTS + 1, viommu, tmp_path)
    assert (status, said.count(("error", "duplicate-assignment"))) == (1, 1)
