# SPDX-License-Identifier: Apache-2.0
"""Which cells of a property are phandles, where only numbers are known."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.tree.references import PLAIN, Reading, Reference, reading_of

NODES = """clk { phandle = <5>; #clock-cells = <1>; }; rst { phandle = <6>; #reset-cells = <0>; };
    wide { phandle = <7>; #clock-cells = <2>; }; scu { phandle = <8>; };
    low { phandle = <0x1f202000>; }; space { phandle = <0x20202000>; };
    tilde { phandle = <0x7e7e7e00>; }; delete { phandle = <0x7f7e7e00>; };"""
OPEN = Reading(Reference({}), is_open=True)


def to(**paths: str) -> Reference:
    """A reference by cells: `to(at2="/clk")`."""
    return Reference({int(at.removeprefix("at")): path for at, path in paths.items()})


@pytest.mark.parametrize(
    ("prop", "value", "expected"),
    [
        # An entry is a phandle and as many arguments as its node says.
        ("clocks", "<5 1>", Reading(to(at0="/clk"))),
        ("clocks", "<5 6 7 5 6 5 8>", Reading(to(at0="/clk", at2="/wide", at5="/clk"))),
        ("resets", "<6 6>", Reading(to(at0="/rst", at1="/rst"))),
        ("vdd-supply", "<8>", Reading(to(at0="/scu"))),
        # 0 is an entry that is left out.
        ("clocks", "<0 5 1 0>", Reading(to(at1="/clk"))),
        ("clocks", "<0>", Reading(to())),
        # The last entry is cut off, or goes on; no node has the phandle; no cells.
        ("clocks", "<5 1 5>", OPEN),
        ("clocks", "<5 1 1>", OPEN),
        ("clocks", "<9 1>", OPEN),
        ("clocks", "[00 00 00 05 01]", OPEN),
        # No list that the table could tell.
        ("msi-map", "<0 5 0 1>", OPEN),
        # A syscon begins with one.
        ("st,syscon", "<8 0x10 5>", Reading(to(at0="/scu"))),
        ("st,syscon", "<9 0x10 5>", OPEN),
        # Any other: by equal numbers.
        ("vendor,link", "<1 8 2 5>", Reading(to(at1="/scu", at3="/clk"), is_guess=True)),
        ("vendor,link", "<1 2>", PLAIN),
        ("vendor,link-count", "<8>", PLAIN),
        ("vendor,link", "", PLAIN),
        ("vendor,link", "[08]", PLAIN),
        ("vendor,link", "[00 00 00 08 00]", PLAIN),
        # Text of four bytes is no number: from the space to the tilde.
        ("vendor,link", '"   "', PLAIN),
        ("vendor,link", '"~~~"', PLAIN),
        ("vendor,link", "<0x1f202000>", Reading(to(at0="/low"), is_guess=True)),
        ("vendor,link", "<0x7f7e7e00>", Reading(to(at0="/delete"), is_guess=True)),
    ],
)
def test_what_a_property_refers_to(prop: str, value: str, expected: Reading) -> None:
    found = tree(f"{NODES} user {{ {prop} = {value}; }};" if value else f"user {{ {prop}; }};")
    user = found.node("/user")
    assert user
    assert reading_of(found, user, prop) == expected


MAPS = """gic { phandle = <1>; #interrupt-cells = <3>; #address-cells = <2>; };
    bus { #address-cells = <1>; #interrupt-cells = <1>; interrupt-map = %s;
        intc { phandle = <2>; #interrupt-cells = <1>; }; };
    bare { phandle = <3>; };"""


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("<0 1 2 7>", Reading(to(at2="/bus/intc"))),
        ("<0 1 2 7>, <0 2 2 8>", Reading(to(at2="/bus/intc", at6="/bus/intc"))),
        # The unit address of the parent has its cells.
        ("<0 1 1 0 0 0 9 4>, <0 2 2 8>", Reading(to(at2="/gic", at10="/bus/intc"))),
        # Cut off; no node has the phandle; the node is no interrupt parent; no cells.
        ("<0 1 2>", OPEN),
        ("<0 1 2 7 0>", OPEN),
        ("<0 1 9 7>", OPEN),
        ("<0 1 3 7>", OPEN),
        ("[00 01]", OPEN),
    ],
)
def test_the_rows_of_an_interrupt_map(rows: str, expected: Reading) -> None:
    found = tree(MAPS % rows)
    bus = found.node("/bus")
    assert bus
    assert reading_of(found, bus, "interrupt-map") == expected
