# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import (
    gic_intid,
    interrupt_parent,
    primary_gic,
    received,
    xen_intid,
)

GIC = """gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
    phandle = <1>; };"""
GPIO = "gpio { interrupt-controller; #interrupt-cells = <2>; phandle = <2>; };"


def intids(body: str, path: str = "/device") -> list[int]:
    found = tree(f"{body} {GIC} {GPIO}")
    device = found.node(path)
    assert device
    return [intid for intid, _ in received(found, device, primary_gic(found)).by_gic]


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
            "n: n { #address-cells = <0>; #interrupt-cells = <2>; interrupt-map = <1 2 1 0 5 4>;"
            " interrupt-map-mask = <1>; };"
            " device { interrupt-parent = <&n>; interrupts = <1 2>; };",
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


@pytest.mark.parametrize(
    ("specifier", "intid", "of_xen"),
    [
        # The first and the last of each type, and the one beyond.
        ((0, 0, 4), 32, 32),
        ((0, 987, 4), 1019, 1019),
        ((0, 988, 4), None, 1020),
        ((1, 0, 4), 16, 16),
        ((1, 15, 4), 31, 31),
        ((1, 16, 4), None, 32),
        # Xen takes any other type for a PPI.
        ((2, 5, 4), None, 21),
        ((3, 5, 4), None, 21),
        # No flags.
        ((0, 5), 37, 37),
    ],
)
def test_the_intid_of_a_specifier(
    specifier: tuple[int, ...], intid: int | None, of_xen: int
) -> None:
    assert (gic_intid(specifier), xen_intid(specifier)) == (intid, of_xen)


def test_a_specifier_without_number_names_no_interrupt() -> None:
    assert gic_intid((0,)) is None


@pytest.mark.parametrize(
    ("gic", "interrupts", "by_gic", "unroutable"),
    [
        (GIC, "1 0 5 4", ((37, 4),), ()),
        (GIC, "1 0 988 4", (), ("<0 988 4> is beyond the last SPI",)),
        (GIC, "1 1 16 4", (), ("<1 16 4> is beyond the last PPI",)),
        (
            GIC,
            "1 2 5 4 1 0 6 1",
            ((38, 1),),
            ("<2 5 4> is of type 2, which Xen takes for INTID 21",),
        ),
        # A GIC with fewer cells: without flags, and without number.
        (GIC.replace("<3>", "<2>"), "1 0 5", ((37, 0),), ()),
        (GIC.replace("<3>", "<1>"), "1 5", (), ("<5> is too short",)),
        (GIC.replace("<3>", "<2>"), "1 0 988", (), ("<0 988> is beyond the last SPI",)),
        (GIC, "2 3 4 2 3 5", (), ()),
    ],
)
def test_who_receives_what(gic: str, interrupts: str, by_gic: object, unroutable: object) -> None:
    found = tree(f"{gic} {GPIO} device {{ interrupts-extended = <{interrupts}>; }};")
    device = found.node("/device")
    assert device
    others = ("/gpio",) if interrupts.startswith("2") else ()
    assert received(found, device, found.node("/gic")) == (by_gic, others, unroutable)
    assert received(found, device, None).by_gic == ()


@pytest.mark.parametrize(("cells", "is_right"), [(0, False), (1, True), (16, True), (17, False)])
def test_the_cells_of_an_interrupt(cells: int, is_right: bool) -> None:
    body = f"""x: x {{ #interrupt-cells = <{cells}>; }};
        device {{ interrupts-extended = <&x {"1 " * cells}>; }};"""
    if is_right:
        assert intids(body) == []
    else:
        with pytest.raises(TreeError, match="#interrupt-cells is out of range"):
            intids(body)


def test_a_node_without_interrupt_cells_is_no_controller() -> None:
    with pytest.raises(TreeError) as caught:
        intids("x: x { }; device { interrupts-extended = <&x 1>; };")
    assert (caught.value.diagnostic.what, caught.value.diagnostic.found) == (
        "#interrupt-cells is out of range",
        "0",
    )


@pytest.mark.parametrize(("count", "is_right"), [(79, True), (80, False)])
def test_nexuses_in_a_row(count: int, is_right: bool) -> None:
    last = "&gic 0 7 4"
    nexuses = "".join(
        f"n{i}: n{i} {{ #address-cells = <0>; #interrupt-cells = <1>; "
        f"interrupt-map = <1 {f'&n{i + 1} 1' if i + 1 < count else last}>; }};"
        for i in range(count)
    )
    body = f"{nexuses} device {{ interrupts-extended = <&n0 1>; }};"
    if is_right:
        assert intids(body) == [39]
    else:
        with pytest.raises(TreeError, match="interrupt-map nodes form a loop"):
            intids(body)


@pytest.mark.parametrize(("count", "is_right"), [(79, True), (80, False)])
def test_interrupt_parents_in_a_row(count: int, is_right: bool) -> None:
    nodes = "".join(
        f"p{i}: p{i} {{ interrupt-parent = <{f'&p{i + 1}' if i + 1 < count else '&gic'}>; }};"
        for i in range(count)
    )
    body = f"{nodes} device {{ interrupt-parent = <&p0>; interrupts = <0 7 4>; }};"
    if is_right:
        assert intids(body) == [39]
    else:
        with pytest.raises(TreeError, match="interrupt-parent leads through too many nodes"):
            intids(body)


BUS = "#address-cells = <1>; #size-cells = <1>;"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Neither a controller nor a nexus: the interrupt parent of that is asked, as it stands.
        ("bus: bus { #interrupt-cells = <3>; device { interrupts = <0 5 4>; }; };", [37]),
        (
            """bus { #address-cells = <0>; #interrupt-cells = <1>; interrupt-parent = <&n>;
                device { interrupts = <3>; }; };
            n: n { #interrupt-cells = <1>; interrupt-map = <3 &gic 0 6 4>; };""",
            [38],
        ),
        # An address has as many cells as the nexus says, or the nearest node above it.
        (
            f"""bus {{ {BUS} n: n {{ #interrupt-cells = <1>;
                    interrupt-map = <8 3 &gic 0 6 4>; }};
                device {{ reg = <8 1>; interrupts-extended = <&n 3>; }}; }};""",
            [38],
        ),
        (
            """bus { n: n { #interrupt-cells = <1>; interrupt-map = <8 1 3 &gic 0 6 4>; };
                device { reg = <8 1>; interrupts-extended = <&n 3>; }; };""",
            [38],
        ),
        # Behind another nexus, as its row has; none where that says none.
        (
            f"""bus {{ {BUS} n: n {{ #address-cells = <0>; #interrupt-cells = <1>;
                    interrupt-map = <3 &o 9>; }};
                o: o {{ #interrupt-cells = <1>; interrupt-map = <9 &gic 0 7 4>; }};
                device {{ reg = <8 1>; interrupts-extended = <&n 3>; }}; }};""",
            [39],
        ),
        # What a mask has too much is not looked at.
        (
            """n: n { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map-mask = <1 0>;
                interrupt-map = <1 &gic 0 6 4>; };
            device { interrupts-extended = <&n 3>; };""",
            [38],
        ),
    ],
)
def test_on_its_way(body: str, expected: list[int]) -> None:
    path = "/device" if "\n            device" in body else "/bus/device"
    assert intids(f"interrupt-parent = <&gic>; {body}", path) == expected


def test_an_interrupt_that_reaches_no_controller() -> None:
    found = tree(f"bus {{ #interrupt-cells = <1>; device {{ interrupts = <3>; }}; }}; {GIC}")
    device = found.node("/bus/device")
    assert device
    outcome = received(found, device, found.node("/gic"))
    assert outcome == ((), (), ("<3> reaches no controller by /bus",))


def test_of_rows_that_match_alike_the_first_counts() -> None:
    body = """n: n { #address-cells = <0>; #interrupt-cells = <1>; interrupt-map-mask = <0x1>;
        interrupt-map = <1 &gic 0 1 4>, <3 &gic 0 2 4>, <2 &gic 0 3 4>, <5 9 0 0>; };"""
    assert intids(f"{body} device {{ interrupts-extended = <&n 7 &n 4>; }};") == [33, 35]


def test_a_malformed_row_counts_where_none_before_it_matches() -> None:
    body = """n: n { #address-cells = <0>; #interrupt-cells = <1>;
        interrupt-map = <1 &gic 0 1 4>, <2 9 0 0>, <3 &gic 0 2 4>; };"""
    assert intids(f"{body} device {{ interrupts-extended = <&n 1>; }};") == [33]
    for number in (2, 3, 4):
        with pytest.raises(TreeError, match="a phandle that no node has"):
            intids(f"{body} device {{ interrupts-extended = <&n {number}>; }};")


OTHER_GIC = 'compatible = "arm,gic"; interrupt-controller;'
XENS_GIC = 'compatible = "vendor,gic", "arm,gic-400"; interrupt-controller;'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", None),
        (f"a {{ {XENS_GIC} }}; b {{ {XENS_GIC} }};", "/a"),
        # Xen's own before any other; of those, the first.
        (f"a {{ {OTHER_GIC} }}; b {{ {XENS_GIC} }};", "/b"),
        (f"a {{ {OTHER_GIC} }}; b {{ {OTHER_GIC} }};", "/a"),
        # By its own status, which is okay or ok, and not by those above.
        (f'a {{ {XENS_GIC} status = "disabled"; }}; b {{ {XENS_GIC} }};', "/b"),
        (f'a {{ {XENS_GIC} status = "ok"; }}; b {{ {XENS_GIC} }};', "/a"),
        (f'a {{ {XENS_GIC} status = "okay"; }}; b {{ {XENS_GIC} }};', "/a"),
        (f'a {{ status = "disabled"; b {{ {XENS_GIC} }}; }};', "/a/b"),
        # No controller, no compatible, the root.
        ('a { compatible = "arm,gic-400"; };', None),
        ("a { interrupt-controller; };", None),
        ("a { interrupt-controller; compatible = [00 01]; };", None),
        (f"{XENS_GIC}", None),
    ],
)
def test_the_gic_that_xen_drives(body: str, expected: str | None) -> None:
    found = primary_gic(tree(body))
    assert (found and found.path) == expected
