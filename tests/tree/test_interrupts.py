# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import gic_interrupts, gic_intid, interrupt_parent

GIC = """gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
    phandle = <1>; };"""
GPIO = "gpio { interrupt-controller; #interrupt-cells = <2>; phandle = <2>; };"


def intids(body: str, path: str = "/device") -> list[int]:
    found = tree(f"{body} {GIC} {GPIO}")
    device = found.node(path)
    assert device
    return [intid for intid, _ in gic_interrupts(found, device)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("device { interrupt-parent = <1>; interrupts = <0 5 4>; };", [37]),
        ("device { interrupt-parent = <1>; interrupts = <0 5 4 1 7 8>; };", [37, 23]),
        ("interrupt-parent = <1>; device { interrupts = <0 0 4>; };", [32]),
        ("interrupt-parent = <2>; device { interrupts = <3 4>; };", []),
        ("device { interrupts-extended = <1 0 5 4 2 9 9 1 0 6 4>; };", [37, 38]),
        (
            "device { interrupt-parent = <1>; interrupts = <0 1 4>;"
            " interrupts-extended = <1 0 2 4>; };",
            [34],
        ),
        ("device { interrupt-parent = <1>; interrupts = <2 5 4>; };", []),
        ("device { interrupts = <0 5 4>; };", []),
        ("device { interrupt-parent = <1>; };", []),
    ],
)
def test_intids(body: str, expected: list[int]) -> None:
    assert intids(body) == expected


NEXUS = """bus { #address-cells = <1>; #size-cells = <1>; #interrupt-cells = <1>;
    interrupt-map-mask = <0xff00 0xff>;
    interrupt-map = <0x100 1 &gic 0 10 4>, <0x200 1 &gic 0 20 4>;
    device@100 { reg = <0x100 4>; interrupts = <1>; };
    device@200 { reg = <0x200 4>; interrupts = <1>; };
    device@204 { reg = <0x204 4>; interrupts = <2>; };
    bare { interrupts = <1>; };
};"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bus/device@100", [42]),
        ("/bus/device@200", [52]),
        ("/bus/device@204", []),
        ("/bus/bare", []),
    ],
)
def test_a_nexus_maps_by_unit_address_and_specifier(path: str, expected: list[int]) -> None:
    assert intids(NEXUS, path) == expected


def test_a_nexus_may_lead_to_another() -> None:
    body = """outer: outer { #interrupt-cells = <2>; #address-cells = <1>;
            interrupt-map = <0x7 8 9 &gic 0 30 4>; };
        inner { #interrupt-cells = <1>; #address-cells = <0>;
            interrupt-map = <5 &outer 0x7 8 9>;
            device { interrupts = <5>; }; };"""
    assert intids(body, "/inner/device") == [62]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("device { interrupt-parent = <1>; interrupts = <0 5>; };", "interrupts does not fit"),
        ("device { interrupt-parent = <9>; interrupts = <0 5 4>; };", "a phandle that no node has"),
        ("device { interrupts-extended = <1 0 5>; };", "the last entry of interrupts-extended"),
        (
            "x: x { #interrupt-cells = <0>; };"
            " device { interrupt-parent = <&x>; interrupts = <1>; };",
            "#interrupt-cells is out of range",
        ),
        (
            "n: n { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1 &n 1>; };"
            " device { interrupt-parent = <&n>; interrupts = <1>; };",
            "interrupt-map nodes form a loop",
        ),
        (
            "n: n { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1 1 0 5>; };"
            " device { interrupt-parent = <&n>; interrupts = <1>; };",
            "the last entry of interrupt-map is cut off",
        ),
        (
            "n: n { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1>; };"
            " device { interrupt-parent = <&n>; interrupts = <1>; };",
            "the last entry of interrupt-map is cut off",
        ),
        (
            "n: n { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1>;"
            " interrupt-map-mask = <1 1>; };"
            " device { interrupt-parent = <&n>; interrupts = <1>; };",
            "the last entry of interrupt-map-mask is cut off",
        ),
    ],
)
def test_malformed(body: str, message: str) -> None:
    with pytest.raises(TreeError, match=message):
        intids(body)


def test_interrupt_parents_that_form_a_loop_lead_nowhere() -> None:
    found = tree("a: a { interrupt-parent = <&b>; }; b: b { interrupt-parent = <&a>; };")
    node = found.node("/a")
    assert node
    assert interrupt_parent(found, node) is None


def test_a_specifier_without_number_names_no_interrupt() -> None:
    assert gic_intid((0,)) is None
