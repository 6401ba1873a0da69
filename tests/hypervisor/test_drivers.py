# SPDX-License-Identifier: Apache-2.0
"""The IOMMUs that Xen's drivers can use, and their limits, by functions of Xen (drivers.py)."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.diagnostics import Severity
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.drivers import (
    Entry,
    cut_id,
    entries,
    most_ids,
    probed,
    refused_entry,
    v2m_frames,
)
from west_viommu.read.profiles import profile

GIC = """#address-cells = <1>; #size-cells = <1>; interrupt-parent = <9>;
    gic { compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>;
        phandle = <9>; #address-cells = <1>; #size-cells = <1>; ranges; %s };"""
V3 = 'v3@0 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0 0x20000>; phandle = <1>; };'
V2 = """v2@1 { compatible = "vnd,smmu", "arm,mmu-500"; #iommu-cells = <1>; reg = <1 0x1000>;
    #global-interrupts = <1>; interrupts = <0 1 4>, <0 2 4>; phandle = <2>; };"""
ROOT = """mm@2 { compatible = "renesas,ipmmu-r8a7795"; #iommu-cells = <1>; reg = <2 0x1000>;
    interrupts = <0 3 4>; phandle = <3>; };"""
CACHE = """vi@3 { compatible = "renesas,ipmmu-r8a7795"; #iommu-cells = <1>; reg = <3 0x1000>;
    renesas,ipmmu-main = <3 0>; phandle = <4>; };"""

OLD = "a { #stream-id-cells = <1>; phandle = <5>; }; b { #stream-id-cells = <1>; phandle = <6>; };"


def devices(body: str, frames: str = "") -> Devices:
    host = tree(GIC % frames + body)
    return Devices("host.dts", host, inventory(host)[0])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (V3, {}),
        (V2, {}),
        (V3.replace("arm,smmu-v3", "ARM,SMMU-V3").replace("0x20000", "1"), {"/v3@0": "0x1"}),
        (V3.replace("<1>; reg", "<2>; reg"), {"/v3@0": "<2>"}),
        (V3.replace("#iommu-cells = <1>;", ""), {"/v3@0": "none"}),
        (V3.replace("reg = <0 0x20000>;", ""), {"/v3@0": ""}),
        (V2.replace("reg = <1 0x1000>;", ""), {"/v2@1": ""}),
        (V2.replace("phandle", "mmu-masters = <5 8 5 9>; phandle") + OLD, {"/v2@1": ""}),
        (V2.replace("phandle", "mmu-masters = <5 8 6 9>; phandle") + OLD, {}),
        (ROOT + CACHE, {}),
        # A cache may stand before its root.
        (CACHE + ROOT, {}),
        (V3.replace("0x20000", "0x1ffff"), {"/v3@0": "0x1ffff"}),
        (V3.replace("0x20000", "0x10000"), {"/v3@0": "0x10000"}),
        (V3.replace("0x20000>;", "0x10000>; cavium,cn9900-broken-page1-regspace;"), {}),
        (V2.replace("#global-interrupts = <1>;", ""), {"/v2@1": ""}),
        (V2.replace("#global-interrupts = <1>", "#global-interrupts = [00]"), {"/v2@1": ""}),
        (V2.replace("#global-interrupts = <1>", "#global-interrupts = <2>"), {"/v2@1": "2"}),
        (V2.replace("interrupts = <0 1 4>, <0 2 4>;", ""), {"/v2@1": "0"}),
        (ROOT.replace("interrupts = <0 3 4>;", "") + CACHE, {"/mm@2": "", "/vi@3": ""}),
        (ROOT.replace("reg", 'status = "disabled"; reg') + CACHE, {"/vi@3": ""}),
        # Not tried at all: for these there is iommu-disabled.
        (V3.replace("0x20000>;", '1>; status = "disabled";'), {}),
        (V3.replace("0x20000>;", '1>; status = "";'), {}),
        (V3.replace("0x20000>;", "1>; status;"), {}),
        (V3.replace("0x20000>;", "1>; xen,passthrough;"), {}),
    ],
)
def test_what_an_iommu_needs_to_probe(body: str, expected: dict[str, str]) -> None:
    found = probed(devices(body), profile("xen", None)).faults
    assert {path: each.found for path, each in found.items()} == expected
    assert all(each.hint and each.cause == path for path, each in found.items())


@pytest.mark.parametrize(
    ("body", "second"),
    [
        (V2 + V3, ["/v3@0"]),
        (V3 + V2, ["/v2@1"]),
        (V3 + V2 + V3.replace("v3@0", "v3@9"), ["/v2@1"]),
        # One that does not probe does not count.
        (V2.replace("#global-interrupts = <1>;", "") + V3, []),
        (V2.replace("reg", 'status = "disabled"; reg') + V3, []),
        (CACHE + V3 + ROOT, ["/mm@2", "/vi@3"]),
    ],
)
def test_the_first_kind_that_probes_is_the_only_one(body: str, second: list[str]) -> None:
    found = probed(devices(body), profile("xen", None)).faults
    warned = [path for path, each in found.items() if each.severity is Severity.WARNING]
    assert sorted(warned) == sorted(second)


def test_a_xen_without_the_driver_of_ipmmus_does_not_try_them() -> None:
    assert probed(devices(ROOT + V3), profile("xen-amd", None)).faults == {}
    assert list(probed(devices(V2 + V3), profile("xen-amd", None)).faults) == ["/v3@0"]
    assert probed(devices(V2 + V3), profile("qemu-virt", None)).faults == {}


@pytest.mark.parametrize(
    ("body", "bits"),
    [(V3, 48), (V2, 48), (ROOT, 40), ("", 48), (V3 + ROOT, 40), (CACHE + V3, 48)],
)
def test_the_bits_of_a_guest_address(body: str, bits: int) -> None:
    assert probed(devices(body), profile("xen", None)).address_bits == bits


def test_an_smmuv2_has_room_for_16_ids_of_a_master() -> None:
    found, xen = devices(V3 + V2), profile("xen", None)
    assert [most_ids(iommu, xen) for iommu in found.iommus.values()] == [None, 16]
    # Without the key, as in a profile from before it.
    old = xen._replace(drivers=tuple(each._replace(most_ids=None) for each in xen.drivers))
    assert [most_ids(iommu, old) for iommu in found.iommus.values()] == [None, 16]
    more = xen._replace(drivers=tuple(each._replace(most_ids=20) for each in xen.drivers))
    assert [most_ids(iommu, more) for iommu in found.iommus.values()] == [20, 20]


@pytest.mark.parametrize(
    ("stated", "body", "bits"), [(None, ROOT, 40), (44, ROOT, 44), (39, V3, 39), (64, V3, 48)]
)
def test_a_profile_may_state_the_bits(stated: int | None, body: str, bits: int) -> None:
    xen = profile("xen", None)
    drivers = tuple(each._replace(address_bits=stated) for each in xen.drivers)
    assert probed(devices(body), xen._replace(drivers=drivers)).address_bits == bits


def test_an_smmuv2_keeps_15_bits_of_an_id() -> None:
    found = devices(f"{V3} {V2} m {{ iommus = <2 0x8012>; }}; n {{ iommus = <1 0x8012>; }};")
    m, n = (master.streams[0] for master in found.masters)
    assert cut_id(m, found.iommus["/v2@1"]) == 0x12
    assert cut_id(n, found.iommus["/v3@0"]) == 0x8012


def test_the_entries_of_a_master() -> None:
    cells = V2.replace("#iommu-cells = <1>", "#iommu-cells = <2>")
    found = devices(f"{V3} {cells} m {{ iommus = <2 0x8012 0x8003 2 5 0>; }};")
    (master,) = found.masters
    assert entries(master.streams) == [Entry(0x12, 3), Entry(5, 0)]


@pytest.mark.parametrize(
    ("new", "old", "is_refused"),
    [
        ([(0x10, 0)], [(0x11, 0)], False),
        # The same, or inside of an older one: that is used again.
        ([(0x10, 0)], [(0x10, 0)], False),
        ([(0x12, 1)], [(0x10, 3)], False),
        # Around an older one, or across it.
        ([(0x10, 3)], [(0x12, 1)], True),
        ([(0x10, 5)], [(0x10, 3)], True),
        # Within one device, in the order of its entries.
        ([(0x10, 3), (0x12, 0)], [], False),
        ([(0x12, 0), (0x10, 3)], [], True),
    ],
)
def test_an_entry_overlaps_an_older_one(
    new: list[tuple[int, int]], old: list[tuple[int, int]], is_refused: bool
) -> None:
    found = refused_entry([Entry(*each) for each in new], [Entry(*each) for each in old])
    assert (found is not None) == is_refused
    if found:
        assert found[0] == Entry(*new[-1])


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ("arm,msi-base-spi = <64>; arm,msi-num-spis = <3>;", [64, 65, 66]),
        # What only the frame's register says.
        ("", []),
        ("arm,msi-base-spi = <64>;", []),
        ("arm,msi-base-spi = <64>; arm,msi-num-spis = <0>;", []),
        ("arm,msi-base-spi = [00]; arm,msi-num-spis = <3>;", []),
        ("arm,msi-base-spi = <0x3fa>; arm,msi-num-spis = <0xffffffff>;", [1018, 1019]),
    ],
)
def test_the_lines_of_a_gicv2m_frame(properties: str, expected: list[int]) -> None:
    frame = f'v2m@5 {{ compatible = "arm,gic-v2m-frame"; reg = <5 1>; {properties} }}; its {{ }};'
    (found,) = v2m_frames(devices("", frame))
    assert (found.path, list(found.intids)) == ("/gic/v2m@5", expected)


@pytest.mark.parametrize(
    ("gic", "frame", "why"),
    [
        ("arm,gic-400", "reg = <5 1>;", ""),
        ("arm,gic-400", "reg = <5 1>; arm,msi-base-spi = <64>; arm,msi-num-spis = <955>;", ""),
        (
            "arm,gic-400",
            "reg = <5 1>; arm,msi-base-spi = <64>; arm,msi-num-spis = <956>;",
            "a GICv2m frame with lines that are no SPIs",
        ),
        (
            "arm,gic-400",
            "reg = <5 1>; arm,msi-base-spi = <16>; arm,msi-num-spis = <4>;",
            "a GICv2m frame with lines that are no SPIs",
        ),
        ("arm,gic-400", "", "a GICv2m frame without an address"),
        ("arm,gic-400", 'status = "disabled";', "a GICv2m frame without an address"),
        # The driver of GICv3 looks at no frame.
        ("arm,gic-v3", "", ""),
    ],
)
def test_a_frame_for_which_xen_stops(gic: str, frame: str, why: str) -> None:
    body = GIC.replace("arm,gic-400", gic) % f'v {{ compatible = "arm,gic-v2m-frame"; {frame} }};'
    host = tree(body)
    found = Devices("host.dts", host, inventory(host)[0])
    faults = probed(found, profile("xen", None)).faults
    assert [fault.what for fault in faults.values()] == (
        [f"Xen stops at boot for /gic/v: {why}"] if why else []
    )
    assert bool(list(v2m_frames(found))) is (gic == "arm,gic-400")
