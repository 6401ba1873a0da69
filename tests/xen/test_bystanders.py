# SPDX-License-Identifier: Apache-2.0
"""How a real Xen, with its SMMUv3 driver, reads nodes that no guest asks for: a malformed list of
streams up to the mistake, names without regard to case, and an SMMU that it cannot use not at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Run
from tests.xen.edu import SMMUV3, Edit, Said, compatible
from tests.xen.hypervisor import said_by
from tests.xen.nodes import Node, pack
from tests.xen.stage2 import FIRST, THIRD, console, needs_stage2, right

pytestmark = needs_stage2

UNUSABLE = "Couldn't configure correctly all the IOMMUs"


def with_iommus(*cells: int, rest: bytes = b"") -> Edit:
    """Give the third device this list, in which 0 stands for the SMMU's phandle."""

    def edit(root: Node) -> None:
        smmu = compatible(root, SMMUV3).cell("phandle", 0)
        third = root.child(THIRD.name)
        assert third is not None
        third.props["iommus"] = pack(*(cell or smmu for cell in cells)) + rest

    return edit


def in_capitals(root: Node) -> None:
    for node in root.below():
        if any(name in node.strings("compatible") for name in (SMMUV3, "arm,gic-v3")):
            node.props["compatible"] = node.props["compatible"].upper()


def with_smmu_props(**props: bytes | None) -> Edit:
    """Change properties of the SMMU; None takes one away."""

    def edit(root: Node) -> None:
        smmu = compatible(root, SMMUV3)
        for name, value in props.items():
            name = name.replace("iommu_cells", "#iommu-cells")
            smmu.props.pop(name, None)
            if value is not None:
                smmu.props[name] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        with_iommus(0),
        with_iommus(0, THIRD.stream, 0),
        with_iommus(0x7777, FIRST.stream),
        with_iommus(rest=b"\0"),
        in_capitals,
    ],
    ids=["no ID", "a second entry without ID", "no such phandle", "no cell", "capitals"],
)
def test_what_xen_passes_over(edit: Edit, viommu: Run, tmp_path: Path) -> None:
    shadow = [Said(edu=THIRD)]
    printed = console(viommu, tmp_path, [FIRST], at_boot=shadow, edit=edit, with_dom0=True)
    assert said_by(1, printed) == right(FIRST), printed


def test_an_id_before_the_mistake_is_attached(viommu: Run, tmp_path: Path) -> None:
    edit = with_iommus(0, FIRST.stream, 0)
    shadow = [Said(edu=THIRD)]
    printed = console(
        viommu, tmp_path, [FIRST], at_boot=shadow, edit=edit, with_dom0=True, until="Xen BUG at"
    )
    assert "Xen BUG at" in printed, printed


@pytest.mark.parametrize(
    "edit",
    [
        with_smmu_props(iommu_cells=pack(2)),
        with_smmu_props(iommu_cells=None),
        with_smmu_props(reg=None),
    ],
    ids=["two cells", "no cells", "no address"],
)
def test_an_smmu_that_stops_xen(edit: Edit, viommu: Run, tmp_path: Path) -> None:
    printed = console(viommu, tmp_path, [FIRST], edit=edit, until=UNUSABLE)
    assert UNUSABLE in printed, printed


@pytest.mark.parametrize(
    ("status", "is_on"),
    [
        (b"", False),
        (b"\0", False),
        (b"\0\0\0\1", False),
        (b"Okay\0", False),
        (b"okay\0disabled\0", True),
        (b"okay", True),
    ],
    ids=["no value", "empty", "a number", "capital", "two words", "no end"],
)
def test_the_status_of_an_smmu(status: bytes, is_on: bool, viommu: Run, tmp_path: Path) -> None:
    """dt_device_is_available(): its first word is okay or ok."""
    edit = with_smmu_props(status=status)
    seen = r"I/O virtualisation (en|dis)abled"
    printed = console(viommu, tmp_path, [FIRST], edit=edit, until=seen)
    assert f"I/O virtualisation {'en' if is_on else 'dis'}abled" in printed, printed
