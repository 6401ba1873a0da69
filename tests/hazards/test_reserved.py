# SPDX-License-Identifier: Apache-2.0
"""Which of the places that a profile reserves count: the guest's GIC is of the host's version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import PARTIAL_TREE, Run

HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; %s
smmu: smmu { compatible = "arm,smmu-v3"; reg = <0 0x10000000 0 0x20000>; #iommu-cells = <1>; };
a { reg = <0 0x20000000 0 0x10000>; iommus = <&smmu 0x1>; };
};"""
GIC = 'gic { compatible = "%s"; interrupt-controller; #interrupt-cells = <3>; };'
V2 = {"GIC distributor": "0x3001000/0x1000", "GIC CPU interface": "0x3002000/0x2000"}
V3 = {"GIC distributor": "0x3001000/0x10000"}


@pytest.mark.parametrize(
    ("gic", "told"),
    [
        (GIC % "arm,gic-v3", [*V3.items()]),
        (GIC % "arm,gic-400", [*V2.items()]),
        (GIC % "arm,cortex-a15-gic", [*V2.items()]),
        # Whichever the guest has.
        ("", [*V2.items(), *V3.items()]),
    ],
)
def test_the_gic_of_a_guest(
    gic: str, told: list[tuple[str, str]], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "host.dts").write_text(HOST % gic)
    device = 'a { xen,path = "/a"; reg = <0 0x3000000 0 0x10000>; '
    device += "xen,reg = <0 0x20000000 0 0x10000 0 0x3000000>; };"
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % device)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen-rfc", "guest.dts")
    found = re.findall(r"overlaps the (.+) of xen-rfc .*no overlap with (\S+),", outcome.err)
    assert found == told
