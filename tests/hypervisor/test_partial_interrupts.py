# SPDX-License-Identifier: Apache-2.0
"""What of a node's interrupts a partial tree keeps: on the GIC of Xen, or on what comes along."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.gic import guest_gic
from west_viommu.guest.source import without_source
from west_viommu.hypervisor.links import Links
from west_viommu.hypervisor.partial import kept_interrupts

GIC_PHANDLE = 0x77
# 1: a controller that comes along. 2: one that does not. 3: the guest's GIC. 4: a nexus before it.
NODES = """
    gic { interrupt-controller; #interrupt-cells = <3>; phandle = <3>; };
    away { interrupt-controller; #interrupt-cells = <1>; phandle = <2>; };
    nexus { #address-cells = <0>; #interrupt-cells = <1>; phandle = <4>;
        interrupt-map = <5 3 0 50 1>; };
    passthrough { near { interrupt-controller; #interrupt-cells = <2>; phandle = <1>; };
        device { %s }; };"""


def kept(device: str, *, is_named: bool = True) -> tuple[dict[str, list[int] | bytes], object, str]:
    """The properties in cells, where their phandles are, and what is left out."""
    guest = without_source(tree(NODES % device), "guest.dts")
    node = guest.tree.node("/passthrough/device")
    assert node
    gic = guest_gic(guest)
    found = kept_interrupts(guest, gic, Links(guest, gic), node, GIC_PHANDLE, is_named=is_named)
    values = {
        name: value
        if name == "interrupt-names"
        else [int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4)]
        for name, value in found.properties.items()
    }
    return values, found.phandles, "; ".join(map(str, found.left_out))


@pytest.mark.parametrize(
    ("device", "expected", "phandles", "left_out"),
    [
        ("", {}, {}, ""),
        (
            "interrupts = <0 0 1  0 987 4>;",
            {"interrupt-parent": [GIC_PHANDLE], "interrupts": [0, 0, 1, 0, 987, 4]},
            {},
            "",
        ),
        # No guest can have a PPI; with one of two gone, the names cannot be told.
        (
            'interrupts = <1 15 4  0 0 4>; interrupt-names = "a", "b";',
            {"interrupt-parent": [GIC_PHANDLE], "interrupts": [0, 0, 4]},
            {},
            "",
        ),
        (
            'interrupts = <0 7 4  0 8 4>; interrupt-names = "a", "b";',
            {
                "interrupt-parent": [GIC_PHANDLE],
                "interrupts": [0, 7, 4, 0, 8, 4],
                "interrupt-names": b"a\0b\0",
            },
            {},
            "",
        ),
        (
            "interrupts = <0 7 4>; interrupt-names = [61];",
            {"interrupt-parent": [GIC_PHANDLE], "interrupts": [0, 7, 4]},
            {},
            "interrupt-names (interrupt-names is not a list of strings)",
        ),
        # On what comes along, and on what does not.
        (
            "interrupt-parent = <1>; interrupts = <5 6>;",
            {"interrupt-parent": [1], "interrupts": [5, 6]},
            {},
            "",
        ),
        ("interrupt-parent = <2>; interrupts = <5>;", {}, {}, "interrupts (what goes to /away)"),
        (
            "interrupts-extended = <1 5 6>, <2 7>, <1 8 9>;",
            {"interrupts-extended": [1, 5, 6, 1, 8, 9]},
            {"interrupts-extended": {0: 1, 3: 1}},
            "interrupts-extended (what goes to /away)",
        ),
        # Both, in the order of the node.
        (
            'interrupts-extended = <1 5 6>, <3 0 7 4>, <3 1 3 4>, <1 8 9>; interrupt-names = "a";',
            {"interrupts-extended": [1, 5, 6, GIC_PHANDLE, 0, 7, 4, 1, 8, 9]},
            {"interrupts-extended": {0: 1, 3: GIC_PHANDLE, 7: 1}},
            "",
        ),
        # With a nexus, those on the GIC first.
        (
            "interrupts-extended = <1 5 6>, <4 5>, <3 1 3 4>, <3 0 7 4>; "
            'interrupt-names = "a", "b", "c";',
            {
                "interrupts-extended": [GIC_PHANDLE, 0, 50, 1, GIC_PHANDLE, 0, 7, 4, 1, 5, 6],
                "interrupt-names": b"a\0b\0c\0",
            },
            {"interrupts-extended": {0: GIC_PHANDLE, 4: GIC_PHANDLE, 8: 1}},
            "",
        ),
        (
            "interrupt-parent = <4>; interrupts = <5>;",
            {"interrupt-parent": [GIC_PHANDLE], "interrupts": [0, 50, 1]},
            {},
            "",
        ),
    ],
)
def test_what_is_kept(
    device: str, expected: dict[str, object], phandles: object, left_out: str
) -> None:
    assert kept(device) == (expected, phandles, left_out)


def test_libxl_gives_the_parent() -> None:
    assert kept("interrupts = <0 7 4>;", is_named=False)[0] == {"interrupts": [0, 7, 4]}
    local = {"interrupt-parent": [1], "interrupts": [5, 6]}
    assert kept("interrupt-parent = <1>; interrupts = <5 6>;", is_named=False)[0] == local
