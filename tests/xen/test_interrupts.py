# SPDX-License-Identifier: Apache-2.0
"""Which interrupts a real Xen routes to whom, and where it stops: route_irq_to_guest(),
map_device_to_domain() (4.17: handle_device()) and gic_irq_xlate().
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import Run
from tests.xen.edu import LEVEL_HIGH, Edit, Edu, Said, compatible
from tests.xen.hypervisor import said_by
from tests.xen.nodes import Node, pack
from tests.xen.stage2 import FIRST, SECOND, THIRD, console, needs_stage2, right

pytestmark = needs_stage2

SPI, EXTENDED_SPI = 0, 2
DISABLED = {"status": b"disabled\0"}
FIRST_LINE = pack(SPI, FIRST.spi, LEVEL_HIGH)


def taken(line: Edu, domain: int) -> str:
    """What Xen says to whoever asks for the line after that domain."""
    return f"IRQ {line.intid} is already used by domain {domain}"


def test_a_line_of_a_disabled_node_is_dom0s(viommu: Run, tmp_path: Path) -> None:
    shadow = Said(edu=THIRD, interrupts=FIRST_LINE, props=DISABLED)
    refused = taken(FIRST, 0)
    printed = console(viommu, tmp_path, [FIRST], at_boot=[shadow], with_dom0=True, until=refused)
    assert refused in printed, printed


def test_a_line_of_a_marked_node_is_nobodys(viommu: Run, tmp_path: Path) -> None:
    shadow = Said(edu=THIRD, interrupts=FIRST_LINE, props={**DISABLED, "xen,passthrough": b""})
    printed = console(viommu, tmp_path, [FIRST], at_boot=[shadow], with_dom0=True)
    assert said_by(1, printed) == right(FIRST), printed


def test_the_lines_of_a_pci_bridge_are_dom0s(viommu: Run, tmp_path: Path) -> None:
    """The targets of its interrupt-map, which for QEMU's are the lines of all slots."""
    refused = taken(FIRST, 0)
    printed = console(viommu, tmp_path, [FIRST], bridge=True, with_dom0=True, until=refused)
    assert refused in printed, printed


def test_two_devices_of_a_guest_on_one_line(viommu: Run, tmp_path: Path) -> None:
    """Xen takes it: the line is that domain's already."""
    both = [Said(edu=SECOND, interrupts=FIRST_LINE)]
    printed = console(viommu, tmp_path, [FIRST, SECOND], at_boot=both)
    assert said_by(1, printed) == right(FIRST), printed


def test_two_guests_on_one_line(viommu: Run, tmp_path: Path) -> None:
    both = [Said(edu=SECOND, interrupts=FIRST_LINE)]
    refused = taken(FIRST, 1)
    printed = console(viommu, tmp_path, [FIRST], [SECOND], at_boot=both, until=refused)
    assert refused in printed, printed


def test_an_extended_spi_comes_out_as_another_line(viommu: Run, tmp_path: Path) -> None:
    """Any type but 0 counts as PPI: number + 16, here the line of the second guest's device."""
    other = pack(EXTENDED_SPI, SECOND.intid - 16, LEVEL_HIGH)
    refused = taken(SECOND, 1)
    printed = console(
        viommu,
        tmp_path,
        [FIRST],
        [SECOND],
        at_boot=[Said(edu=FIRST, interrupts=other)],
        until=refused,
    )
    assert refused in printed, printed


def nexus(root: Node) -> None:
    """The third device's interrupt goes through a nexus that has no row for it."""
    gic = compatible(root, "arm,gic-v3").cell("phandle", 0)
    known, asked, phandle = 1, 7, 0x7000
    row = pack(known, gic, 0, 0, SPI, 20, LEVEL_HIGH)
    props = {"#interrupt-cells": pack(1), "#address-cells": pack(0), "phandle": pack(phandle)}
    root.add(Node("nexus", {**props, "interrupt-map": row}))
    third = root.child(THIRD.name)
    assert third is not None
    third.props |= {"interrupts": pack(asked), "interrupt-parent": pack(phandle)}


@pytest.mark.parametrize(
    ("said", "edit", "message"),
    [
        (Said(edu=THIRD), nexus, f"Unable to retrieve irq 0 for {THIRD.path}"),
        (
            Said(edu=THIRD, interrupts=pack(SPI, 987, LEVEL_HIGH)),
            None,
            "Unable to map IRQ1019 to d",  # dom0, or from 4.20 on d0
        ),
    ],
    ids=["nexus without a row", "beyond the last line"],
)
def test_a_line_that_is_none_stops_dom0(
    said: Said, edit: Edit | None, message: str, viommu: Run, tmp_path: Path
) -> None:
    printed = console(viommu, tmp_path, [FIRST], at_boot=[said], edit=edit, with_dom0=True)
    assert message in printed, printed
    assert re.search("Could not set up (DOM0|d0) guest OS", printed), printed
