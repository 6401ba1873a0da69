# SPDX-License-Identifier: Apache-2.0
"""Devices at guest addresses of which Xen, or the guest's memory, has a part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support import PARTIAL_TREE, Outcome, Run

HOST = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
    chosen { stdout-path = "/uart@3200000"; };
    memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; };
    gic: gic@2f000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
        reg = <0 0x2f000000 0 0x10000>, <0 0x2f100000 0 0x100000>; };
    smmu: iommu@fd000000 { compatible = "arm,smmu-v3"; reg = <0 0xfd000000 0 0x20000>;
        #iommu-cells = <1>; };
    uart@3200000 { compatible = "arm,pl011"; reg = <0 0x3200000 0 0x1000>; };
    dma@9000000 { reg = <0 0x9000000 0 0x2000>; iommus = <&smmu 0x7>; };
};
"""
DMA = """dma { xen,path = "/dma@9000000";
    reg = <0 %#x 0 0x2000>; xen,reg = <0 0x9000000 0 0x2000 0 %#x>; };"""
MIB = 1 << 20
SHARED = """/ { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
    xen-shmem@58000000 { compatible = "xen,shared-memory-v1"; reg = <0 0x58000000 0 0x100000>; };
}; };"""


def bind(viommu: Run, at: int, config: str = "", more: str = "") -> Outcome:
    Path("host.dts").write_text(HOST)
    Path("guest.dts").write_text(PARTIAL_TREE % (DMA % (at, at)) + more)
    Path("viommu.yml").write_text(config)
    return viommu("bind", "--host", "host.dts", "--profile", "xen", "guest.dts", "-o", "out")


def plan() -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("out/viommu.json").read_text())
    return found


@pytest.mark.parametrize(
    ("at", "cpus", "is_refused"),
    [
        (0x3020000, 1, True),
        (0x303F000, 1, True),
        (0x3040000, 1, False),
        (0x3040000, 2, True),
        (0x3100000, 7, False),
        (0x3100000, 8, True),
        (0x401F000, 127, False),
        (0x401E000, 128, True),
    ],
)
def test_redistributors_are_taken_by_cpus(
    at: int, cpus: int, is_refused: bool, viommu: Run
) -> None:
    outcome = bind(viommu, at, f"cpus: {cpus}\n")
    assert outcome.status == is_refused
    hint = "reg = <0x0 0x5000000 0x0 0x2000>; xen,reg = <0x0 0x9000000 0x0 0x2000 0x0 0x5000000>;"
    assert hint in outcome.err
    if is_refused:
        assert "[guest-overlap] this region overlaps the GIC redistributors of xen" in outcome.err
    else:
        assert "warning: [guest-overlap] this region lies in the window of" in outcome.err
        limit = (at - 0x3020000) // 0x20000
        assert plan()["cpu_limit"] == limit
        assert f"CPUs of the domain: at most {limit}," in outcome.out
        assert f"# vcpus is at most {limit}," in Path("out/xl.cfg").read_text()
        assert f"Its CPUs are at most {limit}," in Path("out/host.overlay").read_text()


def test_a_hint_can_be_pasted(viommu: Run) -> None:
    outcome = bind(viommu, 0x40000000)
    assert "this region overlaps the beginning of the guest's memory under xen" in outcome.err
    (line,) = re.findall(r"hint: map the device elsewhere: (.*)", outcome.err)
    text = Path("guest.dts").read_text()
    Path("guest.dts").write_text(re.sub(r"(?<= )reg = <0 0x4.*0x40000000>;", line, text))
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen", "guest.dts", "-o", "out")
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        (
            "reg = <0 0x40000000 0 0x100>; xen,reg = <0 0x9000000 0 0x1000 0 0x40000000>, "
            "<0 0x9800000 0 0x1000 0 0x8000000>;",
            "reg = <0x0 0x5000000 0x0 0x100>; xen,reg = <0x0 0x9000000 0x0 0x1000 0x0 0x5000000>, "
            "<0x0 0x9800000 0x0 0x1000 0x0 0x8000000>;",
        ),
        (
            "xen,reg = <0 0x9800000 0 0x1000 0 0x40000000>, <0 0x9000000 0 0x1000 0 0x40001000>;",
            "xen,reg = <0x0 0x9000000 0x0 0x1000 0x0 0x5000000>, "
            "<0x0 0x9800000 0x0 0x1000 0x0 0x5001000>;",
        ),
    ],
    ids=["reg has one region", "no reg"],
)
def test_a_hint_moves_all_that_is_mapped(lines: str, hint: str, viommu: Run) -> None:
    """Also what xen,reg alone names."""
    Path("host.dts").write_text(
        HOST.replace("0x2000>; iommus", "0x100>, <0 0x9800000 0 0x1000>; iommus")
    )
    Path("guest.dts").write_text(PARTIAL_TREE % f'dma {{ xen,path = "/dma@9000000"; {lines} }};')
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen", "guest.dts", "-o", "out")
    assert re.findall(r"hint: map the device elsewhere: (.*)", outcome.err) == [hint]


@pytest.mark.parametrize(
    ("at", "warns"), [(0x40001000, True), (0x43FFF000, True), (0x44000000, False)]
)
def test_little_memory_below_a_device_is_warned_of(at: int, warns: bool, viommu: Run) -> None:
    outcome = bind(viommu, at)
    assert outcome.status == 0
    assert plan()["memory_limit"] == at - 0x40000000
    words = f"leaves the guest at most {(at - 0x40000000) >> 10} KiB of memory below it"
    assert (words in outcome.err) == warns
    if at == 0x40001000:
        assert "memory of the domain: at most 4 KiB (dom0less: <0 0x4>)" in outcome.out


def test_the_guests_memory_node_alone_is_named(viommu: Run) -> None:
    memory = '/ { memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x1000000>; }; };'
    outcome = bind(viommu, 0x40000000, more=memory)
    assert outcome.err.count("error:") == 1
    assert "this region overlaps /memory@40000000" in outcome.err


@pytest.mark.parametrize(
    ("at", "limit"), [(0x50000000, 256 * MIB), (0x60000000, 384 * MIB), (0x9000000, 384 * MIB)]
)
def test_memory_ends_below_shared_memory(at: int, limit: int, viommu: Run) -> None:
    assert bind(viommu, at, more=SHARED).status == 0
    assert plan()["memory_limit"] == limit


def test_with_direct_map_the_hosts_addresses_count(viommu: Run) -> None:
    config = "domain: [direct-map, static-mem, vpl011]\n"
    for free in (0x3020000, 0x22000000, 0x38000000, 0x40000000):
        assert bind(viommu, free, config).err == ""
        assert (plan()["memory_limit"], plan()["cpu_limit"]) == (None, None)
    for used, name in ((0x2F000000, "the GIC"), (0x2F100000, "the GIC"), (0x3200000, "the vpl011")):
        outcome = bind(viommu, used, config)
        assert f"this region overlaps {name}, which has the" in outcome.err


def test_a_gic_node_of_the_guest_has_no_more_than_xen_uses(viommu: Run) -> None:
    gic = """/ { interrupt-controller@3001000 { compatible = "arm,gic-v3"; interrupt-controller;
        #interrupt-cells = <3>; reg = <0 0x3001000 0 0x10000>, <0 0x3020000 0 0x1000000>; }; };"""
    outcome = bind(viommu, 0x3100000, more=gic)
    assert outcome.status == 0
    assert outcome.err.count("warning:") == 1
    assert bind(viommu, 0x3020000, more=gic).err.count("error:") == 1
