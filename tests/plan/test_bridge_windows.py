# SPDX-License-Identifier: Apache-2.0
"""The windows of a PCI bridge that a guest gets: the devices behind it are reached there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import PARTIAL_TREE, Outcome, Run

HOST = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>;
    memory@200000000 { device_type = "memory"; reg = <2 0 0 0x40000000>; };
    smmu: iommu@fd000000 { compatible = "arm,smmu-v3"; reg = <0 0xfd000000 0 0x20000>;
        #iommu-cells = <1>; };
    uart@f8000000 { reg = <0 0xf8000000 0 0x1000>; };
    bridge@20000000 { device_type = "pci"; #address-cells = <3>; #size-cells = <2>;
        reg = <0 0x20000000 0 0x1000>; iommus = <&smmu 0x5>;
        ranges = <0x2000000 0 %#x 0 %#x 0 0x8000000>,
                 <0x1000000 0 0 0 0x30000000 0 0x10000>; };
};
"""
REGS = "reg = <0 0x20000000 0 0x1000>;"
BOTH = "<0 0x20000000 0 0x1000 0 0x20000000>"
IO = (0x30000000, 0x30000000, 0x10000)


def bind(viommu: Run, more: str = "", window: int = 0xE0000000) -> Outcome:
    Path("host.dts").write_text(HOST % (window, window))
    node = f'pci {{ xen,path = "/bridge@20000000"; {REGS} {more} }};'
    Path("guest.dts").write_text(PARTIAL_TREE % node)
    return viommu("bind", "--host", "host.dts", "--profile", "xen", "guest.dts", "-o", "out")


def pages() -> list[tuple[int, int, int]]:
    """The pages of the device: where they are on the host, for the guest, and their size."""
    plan = json.loads(Path("out/viommu.json").read_text())
    return [(e["host"], e["guest"], e["size"]) for e in plan["devices"][0]["pages"]]


def test_a_window_is_mapped_and_memory_ends_below_it(viommu: Run) -> None:
    assert bind(viommu).status == 0
    registers = (0x20000000, 0x20000000, 0x1000)
    assert pages() == [registers, IO, (0xE0000000, 0xE0000000, 0x8000000)]
    assert json.loads(Path("out/viommu.json").read_text())["memory_limit"] == 0xA0000000
    assert '"e0000,8000@e0000"' in Path("out/xl.cfg").read_text()
    assert "0xe0000000 0x0 0x8000000" in Path("out/passthrough-dom0less.dts").read_text()


@pytest.mark.parametrize(
    ("given", "page"),
    [
        ("<0 0xe0000000 0 0x8000000 0 0xe0000000>", (0xE0000000, 0xE0000000, 0x8000000)),
        ("<0 0xe0000000 0 0x1000 0 0x10000000>", (0xE0000000, 0x10000000, 0x1000)),
        ("<0 0xe4000000 0 0x4000000 0 0xe4000000>", (0xE4000000, 0xE4000000, 0x4000000)),
    ],
)
def test_a_window_that_is_given_whole_or_in_part(
    given: str, page: tuple[int, int, int], viommu: Run
) -> None:
    assert bind(viommu, f"xen,reg = {BOTH}, {given};").status == 0
    assert sorted(pages()) == sorted([(0x20000000, 0x20000000, 0x1000), IO, page])


def test_xen_reg_of_neither_registers_nor_window(viommu: Run) -> None:
    outcome = bind(viommu, f"xen,reg = {BOTH}, <0 0xe8000000 0 0x1000 0 0xe8000000>;")
    assert outcome.status == 1
    assert "xen,reg maps memory that does not belong to /bridge@20000000" in outcome.err


@pytest.mark.parametrize(
    ("window", "says"),
    [
        (0xFC000000, "[hypervisor-owned] a page of /bridge@20000000 has registers of /iommu@fd0"),
        (0xF4000000, "[shared-page] /uart@f8000000 has registers on a page of /bridge@20000000"),
    ],
)
def test_a_window_over_what_others_have(window: int, says: str, viommu: Run) -> None:
    outcome = bind(viommu, window=window)
    assert outcome.status == 1
    assert says in outcome.err
    if "owned" in says:
        assert "give it a part of the window alone, such as xen,reg = <" in outcome.err
    part = f"<0 {window:#x} 0 0x1000000 0 0xe0000000>"
    assert bind(viommu, f"xen,reg = {BOTH}, {part};", window).status == 0
