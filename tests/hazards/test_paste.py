# SPDX-License-Identifier: Apache-2.0
"""Lines to paste into a guest's node, in the cells of its tree."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.gic import Gic
from west_viommu.guest.source import without_source
from west_viommu.hazards.paste import Paper, as_entries
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import inventory

LINUX, ZEPHYR = Gic("/gic", "&gic", 3), Gic("/gic", "&gic", 4)


def device(body: str) -> Device:
    host = tree(f"""interrupt-parent = <9>; #address-cells = <2>; #size-cells = <2>;
        gic {{ compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
            phandle = <9>; }};
        smmu {{ compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; }};
        d {{ {body} }};""")
    found = Devices("host.dts", host, inventory(host)[0]).device("/d")
    assert found
    return found


def paper(cells: tuple[int, int], gic: Gic = LINUX) -> Paper:
    address, size = cells
    bus = f"#address-cells = <{address}>; #size-cells = <{size}>; x {{ bus {{ y {{ }}; }}; }};"
    return Paper(without_source(tree(f"passthrough {{ {bus} }};"), "guest.dts"), gic)


@pytest.mark.parametrize(
    ("cells", "reg", "expected"),
    [
        ((2, 2), "0 0x1000 0 0x10", "reg = <0x0 0x1000 0x0 0x10>;"),
        ((2, 2), "1 0xffffffff 2 3", "reg = <0x1 0xffffffff 0x2 0x3>;"),
        ((2, 1), "1 0x1000 0 0x10", "reg = <0x1 0x1000 0x10>;"),
        ((1, 1), "0 0x1000 0 0x10 0 0x2000 0 0x20", "reg = <0x1000 0x10>, <0x2000 0x20>;"),
        # The last that a cell can say, and the first that it cannot.
        ((1, 1), "0 0xffffffff 0 0xffffffff", "reg = <0xffffffff 0xffffffff>;"),
        ((1, 1), "1 0 0 0x10", ""),
        ((1, 1), "0 0 1 0", ""),
        # All of it, or nothing.
        ((1, 1), "0 0x1000 0 0x10 1 0 0 0x10", ""),
        ((5, 1), "0 0x1000 0 0x10", ""),
        ((2, 2), "0 0x1000 0 0x10 " * 32, f"reg = {', '.join(['<0x0 0x1000 0x0 0x10>'] * 32)};"),
        ((2, 2), "0 0x1000 0 0x10 " * 33, ""),
        ((2, 2), "", ""),
    ],
)
def test_reg(cells: tuple[int, int], reg: str, expected: str) -> None:
    assert paper(cells).reg("/passthrough/x", device(f"reg = <{reg}>;")) == expected
    # On another bus, its own addresses may mean something else.
    assert paper(cells).reg("/passthrough/x/bus", device(f"reg = <{reg}>;")) == ""


@pytest.mark.parametrize(
    ("gic", "interrupts", "expected"),
    [
        (LINUX, "<0 0 4>", "interrupts = <0 0 4>;"),
        (LINUX, "<0 987 1>, <0 5 4>", "interrupts = <0 987 1>, <0 5 4>;"),
        # Not those that no guest can have, and each once.
        (LINUX, "<1 15 4>, <0 0 4>, <0 0 4>", "interrupts = <0 0 4>;"),
        (LINUX, "<1 15 4>", ""),
        (
            ZEPHYR,
            "<0 5 1>, <0 6 4>",
            "interrupts = <GIC_SPI 5 IRQ_TYPE_EDGE IRQ_DEFAULT_PRIORITY>, "
            "<GIC_SPI 6 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>;",
        ),
        (
            LINUX,
            ", ".join(f"<0 {i} 4>" for i in range(32)),
            f"interrupts = {', '.join(f'<0 {i} 4>' for i in range(32))};",
        ),
        (LINUX, ", ".join(f"<0 {i} 4>" for i in range(33)), ""),
    ],
)
def test_interrupts(gic: Gic, interrupts: str, expected: str) -> None:
    assert paper((2, 2), gic).interrupts(device(f"interrupts = {interrupts};")) == expected


@pytest.mark.parametrize(
    ("body", "prop", "expected"),
    [
        ("iommus = <1 0x10>;", "iommus", "iommus = <0x0 0x10>;"),
        ("iommus = <1 0x10 1 0>;", "iommus", "iommus = <0x0 0x10>, <0x0 0x0>;"),
        ("iommus = <1 0x10 1 0>;", "xen,smmu-stream-ids", "xen,smmu-stream-ids = <0x10 0x0>;"),
        ("iommu-map = <0 1 0x10 1>;", "iommus", "it has no `iommus`, only iommu-map"),
    ],
)
def test_stream_ids(body: str, prop: str, expected: str) -> None:
    master = device(body).master
    assert master
    assert as_entries(master, prop) == expected
