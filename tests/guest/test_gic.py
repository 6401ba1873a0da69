# SPDX-License-Identifier: Apache-2.0
"""The interrupts of a guest's node, as INTIDs on the GIC that the guest will have."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.gic import guest_gic, guest_interrupts, names_xens_gic, own_lines
from west_viommu.guest.requests import asked
from west_viommu.guest.source import GuestTree, without_source
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Tree
from west_viommu.tree.references import Source

# None, as in a partial tree; Xen's stub; those of Linux and of Zephyr.
NO_GIC = ""
STUB = "gic { interrupt-controller; #interrupt-cells = <3>; phandle = <1>; };"
LINUX = (
    'intc { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; '
    "phandle = <1>; };"
)
ZEPHYR = LINUX.replace("<3>", "<4>")
GPIO = "a { interrupt-controller; #interrupt-cells = <2>; phandle = <2>; };"
TO_GIC = "interrupt-parent = <1>;"
NO_GIC_SAYS = ", as the tree has no GIC that says otherwise"
NO_TYPE = "an interrupt is of a type that cannot be passed through"
NO_TRIGGER = "an interrupt has a trigger that its GIC does not have"
LINUX_TRIGGERS = "IRQ_TYPE_LEVEL_HIGH (4) or IRQ_TYPE_EDGE_RISING (1)"


def guest(body: str) -> GuestTree:
    return without_source(tree(body), "guest.dts")


def interrupts(gic: str, device: str) -> list[tuple[int, bool]]:
    found = guest(f"{gic} device {{ {device} }};")
    node = found.tree.node("/device")
    assert node
    return [
        (int(each.intid), each.is_edge) for each in guest_interrupts(found, guest_gic(found), node)
    ]


@pytest.mark.parametrize(
    ("gic", "device", "expected"),
    [
        (NO_GIC, "", []),
        # The first and the last SPI, the first and the last PPI.
        (NO_GIC, "interrupts = <0 0 4>;", [(32, False)]),
        (NO_GIC, "interrupts = <0 987 4>;", [(1019, False)]),
        (NO_GIC, "interrupts = <1 0 4>;", [(16, False)]),
        (NO_GIC, "interrupts = <1 15 4>;", [(31, False)]),
        (NO_GIC, "interrupts = <0 5 1  0 6 4>;", [(37, True), (38, False)]),
        # The trigger in Linux' numbers and in Zephyr's; above it, the CPUs of a PPI.
        (
            LINUX,
            f"{TO_GIC} interrupts = <0 5 1  0 6 4  0 7 0xff04>;",
            [(37, True), (38, False), (39, False)],
        ),
        (ZEPHYR, f"{TO_GIC} interrupts = <0 5 4 0xa0  0 6 2 0xa0>;", [(37, True), (38, False)]),
        # Without an interrupt parent, to the GIC that Xen will put there.
        (LINUX, "interrupts = <0 5 4>;", [(37, False)]),
        (STUB, "interrupts = <0 5 4>;", [(37, False)]),
        (STUB, f"{TO_GIC} interrupts = <0 5 4>;", [(37, False)]),
        (STUB, "interrupt-parent = <65000>; interrupts = <0 5 4>;", [(37, False)]),
        (NO_GIC, "interrupts-extended = <65000 0 5 4>;", [(37, False)]),
        (NO_GIC, "interrupts-extended = <65000 0 5 4 65000 0 6 1>;", [(37, False), (38, True)]),
        (LINUX, "interrupts-extended = <1 0 5 4 65000 0 6 1>;", [(37, False), (38, True)]),
        # What goes to another controller is not the GIC's, also where there is none.
        (LINUX + GPIO, "interrupts-extended = <2 3 4  1 0 5 4>;", [(37, False)]),
        (GPIO, "interrupts-extended = <2 3 4  65000 0 5 4>;", [(37, False)]),
        (GPIO, "interrupt-parent = <2>; interrupts = <3 4>;", []),
    ],
)
def test_interrupts(gic: str, device: str, expected: list[tuple[int, bool]]) -> None:
    assert interrupts(gic, device) == expected


NO_NODE = "a phandle that no node has"


@pytest.mark.parametrize(
    ("gic", "device", "said"),
    [
        (LINUX, "interrupts-extended = <9 0 5 4>;", (NO_NODE, "a node's phandle", "0x9")),
        (
            LINUX.replace("<3>", "<1>"),
            f"{TO_GIC} interrupts = <1>;",
            (NO_TYPE, "type 0, an SPI", "type 1"),
        ),
        (
            LINUX.replace("<3>", "<1>"),
            f"{TO_GIC} interrupts = <0>;",
            (NO_TYPE, "type 0, an SPI", "type 0"),
        ),
        (
            NO_GIC,
            "interrupts = <0 988 4>;",
            ("an interrupt is beyond the last SPI", "a number up to 987", "988"),
        ),
        (NO_GIC, "interrupts = <1 16 4>;", (NO_TYPE, "type 0, an SPI", "type 1, PPI 16")),
        (NO_GIC, "interrupts = <2 5 4>;", (NO_TYPE, "type 0, an SPI", "type 2")),
        (
            NO_GIC,
            "interrupts = <0 5 2>;",
            (NO_TRIGGER, LINUX_TRIGGERS, "2"),
        ),
        (
            ZEPHYR,
            f"{TO_GIC} interrupts = <0 5 1 0xa0>;",
            (NO_TRIGGER, "IRQ_TYPE_LEVEL (2) or IRQ_TYPE_EDGE (4)", "1"),
        ),
        (
            LINUX.replace("<3>", "<2>"),
            f"{TO_GIC} interrupts = <0 5>;",
            ("the GIC has too few cells", "3 or 4 cells", "2 cells"),
        ),
        (
            NO_GIC,
            "interrupts = <0 5>;",
            ("interrupts does not fit the GIC", f"3 cells each{NO_GIC_SAYS}", "2 cells"),
        ),
        (
            STUB,
            "interrupts = <0 5>;",
            ("interrupts does not fit the GIC", "3 cells each", "2 cells"),
        ),
        (
            ZEPHYR,
            f"{TO_GIC} interrupts = <0 5 4>;",
            (
                "interrupts does not fit its interrupt parent",
                "entries of 4 cells, as /intc says",
                "3 cells",
            ),
        ),
        (
            NO_GIC,
            "interrupts-extended = <65000 0 5>;",
            ("the last entry of interrupts-extended is cut off", "a whole entry", ""),
        ),
        (
            NO_GIC,
            "interrupts-extended = <1 0 5 4>;",
            ("interrupts-extended needs a controller, and the tree has no GIC", "`interrupts`", ""),
        ),
    ],
)
def test_malformed(gic: str, device: str, said: tuple[str, str, str]) -> None:
    with pytest.raises(TreeError) as caught:
        interrupts(gic, device)
    assert (
        caught.value.diagnostic.what,
        caught.value.diagnostic.expected,
        caught.value.diagnostic.found,
    ) == said


def test_a_controller_above_receives_what_is_below_it() -> None:
    body = """bus { interrupt-controller; #interrupt-cells = <3>;
        device { interrupt-controller; #interrupt-cells = <1>; interrupts = <0 5 4>; }; };
        alone { interrupt-controller; #interrupt-cells = <1>; interrupts = <0 6 4>; };"""
    found = guest(STUB + body)
    intids = {
        node.path: [each.intid for each in guest_interrupts(found, guest_gic(found), node)]
        for node in found.tree.nodes()
        if "interrupts" in node.properties
    }
    assert intids == {"/bus/device": [], "/alone": [38]}


@pytest.mark.parametrize(
    ("root", "bus", "device", "expected"),
    [
        ("", "", "", None),
        ("", "", "interrupt-parent = <65000>;", "/bus/device"),
        ("", "interrupt-parent = <65000>;", "", "/bus"),
        ("interrupt-parent = <65000>;", "", "", "/"),
        ("interrupt-parent = <65000>;", "interrupt-parent = <1>;", "", None),
        ("interrupt-parent = <65000>;", "interrupt-parent = <0>;", "", "/"),
        ("", "", "interrupt-parent = <64999>;", None),
        # A node that has that phandle is meant by it.
        ("other { phandle = <65000>; };", "", "interrupt-parent = <65000>;", None),
    ],
)
def test_the_node_that_names_xens_gic(
    root: str, bus: str, device: str, expected: str | None
) -> None:
    found = guest(f"{root} bus {{ {bus} device {{ {device} }}; }};")
    node = found.tree.node("/bus/device")
    assert node
    assert names_xens_gic(found, node) == expected


def test_own_lines_are_the_spis_of_enabled_nodes_that_ask_for_nothing() -> None:
    found = guest(
        f"""{TO_GIC} {LINUX}
        asking {{ interrupts = <0 1 4>; }};
        first {{ interrupts = <0 0 4  0 987 4>; }};
        off {{ interrupts = <0 2 4>; status = "disabled"; }};
        kept {{ interrupts = <0 3 4>; status = "reserved"; }};
        private {{ interrupts = <1 15 4>; }};
        beyond {{ interrupts = <0 988 4>; }};
        malformed {{ interrupts = <0>; }};
        none {{ }};
        z {{ interrupt-controller; #interrupt-cells = <3>; phandle = <2>; }};
        key {{ interrupt-parent = <2>; interrupts = <0 3 4>; }};
        last {{ interrupts-extended = <1 0 4 4>; }};"""
    )
    assert list(own_lines(found, guest_gic(found), ["/asking"])) == [
        *(("/first", 32), ("/first", 1019), ("/last", 36)),
    ]


@pytest.mark.parametrize(
    ("body", "labels", "expected"),
    [
        ("", {}, (None, "", 3)),
        (GPIO, {}, (None, "", 3)),
        (STUB, {}, ("/gic", "&{/gic}", 3)),
        (GPIO + LINUX, {}, ("/intc", "&{/intc}", 3)),
        (ZEPHYR, {"z": "/z", "a": "/a", "gic0": "/intc", "gic": "/intc"}, ("/intc", "&gic0", 4)),
        ("soc { gic { interrupt-controller; }; };", {}, (None, "", 3)),
        ('b { compatible = "arm,gic-v3"; };', {}, (None, "", 3)),
        ("b { interrupt-controller; compatible = [01]; };", {}, (None, "", 3)),
    ],
)
def test_the_gic_of_a_guest(body: str, labels: dict[str, str], expected: object) -> None:
    source = Source(labels, frozenset(), lambda path: {})
    assert guest_gic(without_source(Tree(tree(body).root, source), "guest.dts")) == expected


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("", ()),
        ("interrupts = <0 5 4>;", ()),
        ("interrupts-extended = <2 3 4>;", ()),
        ("interrupts-extended = <2 3 4 65000 0 5 4>;", (("/a", (3, 4)), (None, (0, 5, 4)))),
    ],
)
def test_entries_that_name_xens_gic(device: str, expected: object) -> None:
    (request,) = asked(
        guest(f'{GPIO} passthrough {{ d {{ xen,path = "/d"; {device} }}; }};')
    ).requests
    assert request.extended == expected
