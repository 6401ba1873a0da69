# SPDX-License-Identifier: Apache-2.0
"""Files that `viommu audit` cannot judge, and the forms of its messages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support import DEMO, Run

ETHERNET = "/soc@e0000000/ethernet@100000"
WRONG = f'name = "x"\ndtdev = [ "{ETHERNET}" ]\nirqs = [ 56 ]\niomem = [ "e0100,1" ]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "NUM_DOMUS=1\nDOMU_KERNEL[0]=Image\nDOMU_PASSTHROUGH_DTB[0]=$X\n",
            "set:3: error: [malformed] the value of DOMU_PASSTHROUGH_DTB cannot be read",
        ),
        ("irqs = [ 112-114 ]\n", "set:1: error: [malformed] xl does not read this character"),
        ("irqs = [ 88 ]\nirqs = [ 88 ]\n", "set:2: error: [wrong] irqs is set again"),
        ('name = "x"\ndtb = "p.dtb"\n', "set:2: error: [wrong] xl has no key dtb"),
        ("hello\n", "set:1: error: [malformed] xl does not read this"),
        ("\x7fELF", "set: error: [malformed] this is a program (ELF), not a devicetree"),
        ("/dts-v1/; / { };\n", "set: error: [malformed] this tree is neither a partial tree nor"),
    ],
)
def test_what_cannot_be_judged_is_said_at_its_line(text: str, message: str, viommu: Run) -> None:
    shutil.copy(DEMO / "host.dts", "host.dts")
    Path("set").write_text(text)
    outcome = viommu("audit", "--host", "host.dts", "--profile", "xen", "set")
    assert outcome.status == 1
    assert message in outcome.err


def test_messages_are_for_programs_too(viommu: Run) -> None:
    shutil.copy(DEMO / "host.dts", "host.dts")
    Path("set").write_text(WRONG)
    arguments = ("audit", "--host", "host.dts", "--profile", "xen", "set")
    outcome = viommu(*arguments, "--format", "json")
    assert outcome.status == 1
    (domain,) = json.loads(outcome.out)["domains"]
    assert [device["host"] for device in domain["devices"]] == [ETHERNET]
    outcome = viommu(*arguments, "--errors", "github")
    assert "::error title=wrong,file=set,line=3::[wrong] INTID 88 (SPI 56)" in outcome.err
