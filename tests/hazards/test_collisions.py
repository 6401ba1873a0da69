# SPDX-License-Identifier: Apache-2.0
"""Maps of two devices of one guest whose IDs meet: behind two SMMUs they collide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import PARTIAL_TREE, Run

HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
one: smmu@10000000 { compatible = "arm,smmu-v3"; reg = <0 0x10000000 0 0x40000>;
    #iommu-cells = <1>; };
two: smmu@11000000 { compatible = "arm,smmu-v3"; reg = <0 0x11000000 0 0x40000>;
    #iommu-cells = <1>; };
a { reg = <0 0x20000000 0 0x1000>; iommu-map = <0 &one 0x10 0x10>; };
b { reg = <0 0x20001000 0 0x1000>; iommu-map = <0 &one 0x18 0x10>; };
c { reg = <0 0x20002000 0 0x1000>; iommu-map = <0 &two 0x1f 0x10>; };
d { reg = <0 0x20003000 0 0x1000>; iommu-map = <0 &two 0x8 0x8>; };
};
"""


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        # The last ID of one is the first of the other; and beside it.
        ("a", "c", ["0x1f"]),
        ("a", "d", []),
        ("b", "c", ["0x1f"]),
        # Behind one SMMU, which QEMU's machine has for both.
        ("a", "b", []),
    ],
)
def test_the_first_id_that_maps_have_in_common(
    first: str, second: str, found: list[str], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "host.dts").write_text(HOST)
    passthrough = f'x {{ xen,path = "/{first}"; }}; y {{ xen,path = "/{second}"; }};'
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % passthrough)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "qemu-virt", "guest.dts")
    assert re.findall(r"\[colliding-stream-id\].*, found (.*)\)", outcome.err) == found
    assert outcome.status == len(found)
