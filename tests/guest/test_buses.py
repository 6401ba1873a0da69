# SPDX-License-Identifier: Apache-2.0
"""Buses that no node on them was written for: by their cells, or for want of `ranges`."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.regions import misread
from west_viommu.guest.source import without_source

ONE_ONE = "#address-cells = <1>; #size-cells = <1>;"
TWO_TWO = "#address-cells = <2>; #size-cells = <2>;"


def said(body: str) -> list[tuple[str, str, str, str]]:
    """What is said of the guest with `body`: of which bus, what, what was expected and found."""
    guest = without_source(tree(body), "guest.dts")
    asking = [node for node in guest.tree.nodes() if "xen,path" in node.properties]
    return [(path, p.what, p.expected, p.found) for path, p in misread(guest, asking)]


def node(name: str, reg: str) -> str:
    return f'{name} {{ reg = <{reg}>; xen,path = "/{name}"; }};'


NOTHING = None
# (#address-cells, #size-cells) that were meant, and what is wrong in words.
BOTH = ((2, 2), "#address-cells and #size-cells of /passthrough do not fit the reg")
ADDRESS = ((1, 1), "#address-cells of /passthrough does not fit the reg")
SIZE = ((2, 1), "#size-cells of /passthrough does not fit the reg")
LACKING = ((1, 1), "/passthrough lacks #address-cells, which the reg")


@pytest.mark.parametrize(
    ("cells", "nodes", "expected"),
    [
        (TWO_TWO, node("a@1000", "0 0x1000 0 0x10"), NOTHING),
        (ONE_ONE, node("a@1000", "0x1000 0x10"), NOTHING),
        (ONE_ONE, node("a@1000", "0 0x1000 0 0x10"), BOTH),
        (ONE_ONE, node("a@100001000", "1 0x1000 0 0x10"), BOTH),
        ("#address-cells = <2>; #size-cells = <1>;", node("a@1000", "0x1000 0x10"), ADDRESS),
        (TWO_TWO, node("a@1000", "0 0x1000 0x10"), SIZE),
        (TWO_TWO, node("a@1000", "0 0x1000 0x10 0 0x2000 0x10"), SIZE),
        ("", node("a@1000", "0x1000 0x10"), LACKING),
        ("", node("a@1000", "0 0x1000 0x10"), NOTHING),
        # One that fits tells what the bus was meant for; so do two that agree.
        (ONE_ONE, node("a@1000", "0 0x1000 0 0x10") + node("b@2000", "0x2000 0x10"), NOTHING),
        (ONE_ONE, node("a@1000", "0 0x1000 0 0x10") + node("b@2000", "0 0x2000 0 0x10"), BOTH),
        (ONE_ONE, node("a@1000", "0 0x1000 0 0x10") + node("b@2000", "0 0x2000 0x10"), NOTHING),
        # What has no unit address tells nothing, nor does one that is not that of the reg.
        (ONE_ONE, node("a", "0 0x1000 0 0x10"), NOTHING),
        (ONE_ONE, node("a@x", "0 0x1000 0 0x10"), NOTHING),
        (ONE_ONE, node("a@2000", "0 0x1000 0 0x10"), NOTHING),
        (ONE_ONE, node("a", "0 0x1000 0 0x10") + node("b@2000", "0 0x2000 0 0x10"), BOTH),
        # An empty region is none that somebody meant: the first, or another.
        (ONE_ONE, node("a@1000", "0 0x1000 0 0"), NOTHING),
        (ONE_ONE, node("a@1000", "0 0x1000 0 0x10 0 0x2000 0 0"), NOTHING),
        # In two ways that people write.
        (TWO_TWO, node("a@1000", "0x1000 1 2 3 4 5"), NOTHING),
    ],
)
def test_the_unit_address_tells_the_cells(
    cells: str, nodes: str, expected: tuple[tuple[int, int], str] | None
) -> None:
    found = said(f"passthrough {{ {cells} ranges; {nodes} }};")
    if expected is None:
        assert found == []
        return
    ((path, what, meant, _),) = found
    (address, size), start = expected
    assert (path, meant) == (
        "/passthrough",
        f"#address-cells = <{address}> and #size-cells = <{size}>",
    )
    assert what.startswith(start)


def test_what_the_bus_says_is_told() -> None:
    found = said(f"passthrough {{ {ONE_ONE} ranges; {node('a@1000', '0 0x1000 0 0x10')} }};")
    assert [each[3] for each in found] == ["<1> and <1>"]
    found = said(f"passthrough {{ ranges; {node('a@1000', '0x1000 0x10')} }};")
    assert [each[3] for each in found] == ["none"]


@pytest.mark.parametrize(
    ("outer", "inner", "reg", "hole"),
    [
        ("ranges;", "ranges;", "0 0x1000 0 0x10", None),
        ("", "ranges;", "0 0x1000 0 0x10", "/passthrough"),
        ("ranges;", "", "0 0x1000 0 0x10", "/passthrough/bus"),
        ("", "", "0 0x1000 0 0x10", "/passthrough/bus"),
        # No address, nothing to translate.
        ("", "", "", None),
    ],
)
def test_a_bus_without_ranges(outer: str, inner: str, reg: str, hole: str | None) -> None:
    bus = f"bus {{ {TWO_TWO} {inner} {node('a@1000', reg)} }};"
    found = said(f"passthrough {{ {TWO_TWO} {outer} {bus} }};")
    what = f"{hole} has no `ranges`, so that nothing on it has an address in the guest"
    assert [(path, said) for path, said, _, _ in found] == (
        [("/passthrough/bus", what)] if hole else []
    )
