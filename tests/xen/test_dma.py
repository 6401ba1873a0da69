# SPDX-License-Identifier: Apache-2.0
"""DMA of guests of a real Xen: by the right stream ID, and what becomes of it with another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import Run
from tests.xen.edu import Said
from tests.xen.hypervisor import said_by
from tests.xen.nodes import Node, pack
from tests.xen.stage2 import FIRST, SECOND, THIRD, console, needs_stage2, refusal, right

pytestmark = needs_stage2


def test_by_the_right_id_all_bytes_move(viommu: Run, tmp_path: Path) -> None:
    printed = console(viommu, tmp_path, [FIRST])
    assert said_by(1, printed) == right(FIRST), printed


def test_by_another_id_none_moves(viommu: Run, tmp_path: Path) -> None:
    """Xen attaches the stream that the host's tree names. The device has another."""
    printed = console(viommu, tmp_path, [FIRST], at_boot=[Said(edu=FIRST, stream=THIRD.stream)])
    assert said_by(1, printed) == [
        "guest starts",
        "irq 37",
        "by guest addresses: no byte moved",
        "FAIL",
    ], printed


def test_each_guest_has_its_own_stage_2(viommu: Run, tmp_path: Path) -> None:
    """Both have their buffers at the same guest addresses, and other bytes there."""
    printed = console(viommu, tmp_path, [FIRST], [SECOND])
    assert said_by(1, printed) == right(FIRST), printed
    assert said_by(2, printed) == right(SECOND), printed


def test_one_guest_has_two_devices(viommu: Run, tmp_path: Path) -> None:
    printed = console(viommu, tmp_path, [FIRST, SECOND])
    assert said_by(1, printed) == right(FIRST), printed


BUG = r"Xen BUG at drivers/passthrough/arm/smmu-v3\.c:\d+"


def test_two_guests_on_one_id(viommu: Run, tmp_path: Path) -> None:
    printed = console(
        viommu, tmp_path, [FIRST], [SECOND], at_boot=[Said(edu=SECOND, stream=FIRST.stream)]
    )
    assert re.search(BUG, printed), printed


def id_of_dom0(status: bytes | None) -> Said:
    props = {} if status is None else {"status": status}
    return Said(edu=THIRD, stream=FIRST.stream, props=props)


@pytest.mark.parametrize("status", [None, b"disabled\0"], ids=["enabled", "disabled"])
def test_a_guest_and_dom0_on_one_id(status: bytes | None, viommu: Run, tmp_path: Path) -> None:
    """handle_device() of Xen looks at no status: dom0 gets what is disabled, too."""
    printed = console(viommu, tmp_path, [FIRST], at_boot=[id_of_dom0(status)], with_dom0=True)
    assert re.search(BUG, printed), printed


def test_the_tool_refuses_an_id_of_dom0(viommu: Run, tmp_path: Path) -> None:
    assert "error: [shared-stream-id]" in refusal(viommu, tmp_path, FIRST, id_of_dom0(None))


def test_a_marked_sharer_goes_to_nobody(viommu: Run, tmp_path: Path) -> None:
    props = {"status": b"disabled\0", "xen,passthrough": b""}
    marked = Said(edu=THIRD, stream=FIRST.stream, props=props)
    printed = console(viommu, tmp_path, [FIRST], at_boot=[marked], with_dom0=True)
    assert said_by(1, printed) == right(FIRST), printed


def test_an_id_that_the_guest_leaves_out(viommu: Run, tmp_path: Path) -> None:
    """Xen attaches all IDs of the host's node, whatever the guest lists."""

    def two_ids(root: Node) -> None:
        child = root.child(FIRST.name)
        assert child is not None
        smmu = child.cells("iommus")[0]
        child.props["iommus"] += pack(smmu, THIRD.stream)

    printed = console(
        viommu, tmp_path, [FIRST], at_boot=[Said(edu=THIRD)], edit=two_ids, with_dom0=True
    )
    assert re.search(BUG, printed), printed
