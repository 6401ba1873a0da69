# SPDX-License-Identifier: Apache-2.0
"""The triggers that Xen sets, and the nodes for which dom0 does not start, each beside its twin."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.dom0 import Step, stops, trigger_clashes
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.read.profiles import profile

HOST = """#address-cells = <1>; #size-cells = <1>; interrupt-parent = <9>;
    gic { compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>; phandle = <9>;
        #address-cells = <1>; #size-cells = <1>; ranges; %s };
    smmu@0 { compatible = "arm,%s"; #iommu-cells = <1>; reg = <0 0x20000>; phandle = <1>;
        #global-interrupts = <0>; interrupts = <0 90 1>, <0 91 1>;
        interrupt-names = "eventq", "x"; };
    acme { #iommu-cells = <1>; phandle = <2>; };
    off { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <3>; status = "disabled"; };
    empty { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <4>; status = ""; };"""
FRAME = 'v { compatible = "arm,gic-v2m-frame"; arm,msi-base-spi = <80>; arm,msi-num-spis = <2>; };'


def holdings(
    body: str, name: str = "xen", *, dom0: bool = True, frame: str = "", smmu: str = "smmu-v3"
) -> Holdings:
    host = tree(HOST % (frame, smmu) + body)
    found = Devices("host.dts", host, inventory(host)[0])
    return Holdings(found, profile(name, None), has_dom0=dom0)


A = "a { interrupts = <0 5 4>; %s };"
B = "b { interrupts = <0 5 1>; %s };"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (A % "", []),
        (A % "" + B % "", [(37, "/b", 1, "/a", 4)]),
        (B % "" + A % "", [(37, "/a", 4, "/b", 1)]),
        # A mark or a status does not help.
        (A % "" + B % "xen,passthrough;", [(37, "/b", 1, "/a", 4)]),
        (A % 'status = "disabled";' + B % "", [(37, "/b", 1, "/a", 4)]),
        (A % "" + A.replace("a {", "c {", 1) % "", []),
        ("a { interrupts = <0 5 4>, <0 5 1>; };", [(37, "/a", 1, "/a", 4)]),
        # What Xen leaves out it does not read, but for the lines before a PPI.
        (A % "" + 'psci { compatible = "arm,psci"; interrupts = <0 5 1>; };', []),
        ("p { interrupts = <0 5 1>, <1 7 4>; };" + A % "", [(37, "/a", 4, "/p", 1)]),
        ("p { interrupts = <1 7 4>, <0 5 1>; };" + A % "", []),
        (A % "" + "p { interrupts = <0 5 1>, <1 7 4>; };", []),
        # A PPI of another trigger is no PPI to handle_node().
        ("p { interrupts = <1 7 4>; }; q { interrupts = <1 7 8>; };", [(23, "/q", 8, "/p", 4)]),
        # An SMMUv3 has its named lines, and reads no other.
        ("c { interrupts = <0 90 4>; };", [(122, "/c", 4, "/smmu@0", 1)]),
        ("c { interrupts = <0 91 4>; };", []),
        (
            'pci { device_type = "pci"; #address-cells = <0>; #interrupt-cells = <1>; ranges; '
            "interrupt-map = <1 9 0 0 5 1>; };" + A % "",
            [(37, "/a", 4, "/pci", 1)],
        ),
    ],
)
def test_triggers(body: str, expected: list[tuple[int, str, int, str, int]]) -> None:
    assert [tuple(clash) for clash in trigger_clashes(holdings(body), [])] == expected


def test_triggers_of_frames() -> None:
    body = "a { interrupts = <0 48 4>; }; b { interrupts = <0 49 1>; };"
    (found,) = trigger_clashes(holdings(body, frame=FRAME), [])
    assert found == (80, "/a", 4, "/gic/v", 1)
    assert trigger_clashes(holdings(body, frame=FRAME, dom0=False), ["/a", "/b"]) == ()


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ((80, 4), (84, 4), []),
        ((80, 4), (83, 4), ["INTID 83, which is also of /gic/v0"]),
        ((300, 4), (110, 20), ["INTID 122, which is also of /smmu@0"]),
        ((988, 5), (300, 4), ["INTID 992, beyond those of dom0"]),
    ],
)
def test_lines_of_frames(first: tuple[int, int], second: tuple[int, int], found: list[str]) -> None:
    frames = "".join(
        f'v{place} {{ compatible = "arm,gic-v2m-frame"; arm,msi-base-spi = <{base}>; '
        f"arm,msi-num-spis = <{count}>; }};"
        for place, (base, count) in enumerate((first, second))
    )
    host = holdings("", frame=frames)
    stopped = list(stops(host, (), ()))
    assert [stop.found for stop in stopped] == found
    assert {stop.step for stop in stopped} <= {Step.FRAMES}


def test_triggers_without_a_dom0() -> None:
    found = holdings(A % "" + B % "" + "c { interrupts = <0 6 4>, <0 6 1>; };", dom0=False)
    assert trigger_clashes(found, ["/a"]) == ()
    assert trigger_clashes(found, ["/b", "/a"]) == ((37, "/a", 4, "/b", 1),)
    # list asks of each by itself.
    alone = trigger_clashes(found, ["/a", "/b", "/c"], is_each_alone=True)
    assert alone == ((38, "/c", 1, "/c", 4),)
    assert trigger_clashes(holdings(A % "" + B % "", "qemu-virt"), ["/a", "/b"]) == ()


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ("bus { ranges = <0 0 0x100>; n { reg = <0x200 4>; }; };", Step.REGISTERS),
        ("bus { ranges = <0 0 0x400>; n { reg = <0x200 4>; }; };", None),
        ("bus { n { reg = <0x200 4>; }; };", None),
        ("bus { b { ranges; n { reg = <0x200 4>; }; }; };", Step.REGISTERS),
        ("bus { ranges = <0 0>; n { reg = <0x200 4>; }; };", Step.REGISTERS),
        ("bus { ranges; #size-cells = <0>; n { reg = <0x200>; }; };", None),
        (
            "bus { ranges; #size-cells = <0>; b { ranges; #size-cells = <1>; n { reg = <1 1>; }; };"
            " };",
            Step.REGISTERS,
        ),
        ('n { device_type = "pci"; };', Step.REGISTERS),
        ('n { device_type = "pci"; ranges; };', None),
        ("n { interrupts-extended = <0>; };", Step.LINES),
        ("n { interrupts = <0 990 4>; };", Step.ROUTES),
        ("n { interrupts = <0 990 4>; xen,passthrough; };", None),
        # Xen sets the trigger of marked nodes too, and up to a PPI, without a bound.
        ("n { interrupts = <0 992 4>; xen,passthrough; };", Step.LINES),
        ("n { interrupts = <0 992 4>, <1 7 4>; };", Step.LINES),
        ("n { interrupts = <1 7 4>, <0 992 4>; };", None),
        ("n { interrupts = <0 90 1>; };", Step.ROUTES),
        ("n { interrupts = <0 91 1>; };", None),
        ("n { iommus = <2 1>; };", Step.STREAMS),
        ("n { iommus = <2 1>; xen,passthrough; };", None),
        ('n { iommus = <2 1>; status = "disabled"; };', Step.STREAMS),
        # Xen reads no further than a phandle of 0, or an IOMMU that is off.
        ("n { iommus = <0 2 1>; };", None),
        ("n { iommus = <3 1 2 1>; };", None),
        ("n { iommus = <4 1 2 1>; };", None),
        ("n { iommus = <1 1 2 1>; };", Step.STREAMS),
        ("n { iommus = <1 0x2000000>; };", Step.STREAMS),
        ("n { iommus = <1 0x1ffffff>; };", None),
        ("m { iommus = <1 7>; }; n { iommus = <1 7>; };", Step.STREAMS),
        ("m { iommus = <1 7>; xen,passthrough; }; n { iommus = <1 7>; };", None),
        ("n { iommus = <1 7 1 7>; };", None),
    ],
)
def test_a_node_that_stops_dom0(body: str, step: Step | None) -> None:
    found = list(stops(holdings(body), (), ()))
    assert [stop.step for stop in found] == ([step] if step else [])
    assert all(stop.node.endswith("n") for stop in found)
    assert list(stops(holdings(body, dom0=False), (), ())) == []


IPMMU = 'reg = <0x100 0x10>; interrupts = <0 95 4>, <0 96 4>; compatible = "renesas,ipmmu-r8a7795";'


def test_an_ipmmu_has_one_line() -> None:
    second = "n { interrupts = <0 96 1>; };"
    of_ipmmu = holdings(f"n {{ interrupts = <0 95 1>; }}; m {{ {IPMMU} }};", smmu="other")
    assert [clash[:2] for clash in trigger_clashes(of_ipmmu, [])] == [(127, "/n")]
    assert trigger_clashes(holdings(f"{second} m {{ {IPMMU} }};", smmu="other"), []) == ()


def test_marks_of_host_overlay_count() -> None:
    body = "m { iommus = <1 7>; }; n { iommus = <1 7>; };"
    assert [stop.other for stop in stops(holdings(body), ["/x"], ())] == ["/m"]
    assert list(stops(holdings(body), ["/m"], ())) == []


def test_a_clash_of_triggers_is_one() -> None:
    found = holdings(A % "" + B % "xen,passthrough;")
    (stop,) = stops(found, (), trigger_clashes(found, []))
    assert stop[:2] == (Step.LINES, "/b") and stop.other == "/a"


def test_an_id_twice_where_xen_keeps_a_tree_of_streams() -> None:
    (stop,) = stops(holdings("n { iommus = <1 7 1 7>; };", "xen-amd"), (), ())
    assert "twice" in stop.found


def ids(count: int) -> str:
    return " ".join(f"1 {number}" for number in range(count))


@pytest.mark.parametrize(
    ("body", "is_stopped"),
    [
        (f"n {{ iommus = <{ids(16)}>; }};", False),
        (f"n {{ iommus = <{ids(17)}>; }};", True),
        ("m { iommus = <1 7>; }; n { iommus = <1 7>; };", False),
    ],
)
def test_an_smmuv2(body: str, is_stopped: bool) -> None:
    assert bool(list(stops(holdings(body, smmu="mmu-500"), (), ()))) == is_stopped


def test_masks_of_an_smmuv2() -> None:
    def found(first: str, second: str) -> list[Step]:
        host = tree(HOST.replace("#iommu-cells = <1>", "#iommu-cells = <2>") % ("", "mmu-500") + (
            f"m {{ iommus = <1 {first}>; }}; n {{ iommus = <1 {second}>; }};"
        ))  # fmt: skip
        devices = Devices("host.dts", host, inventory(host)[0])
        return [stop.step for stop in stops(Holdings(devices, profile("xen", None)), (), ())]

    assert found("0x10 0", "0x10 0xf") == [Step.STREAMS]
    assert found("0x10 0xf", "0x10 0") == []
