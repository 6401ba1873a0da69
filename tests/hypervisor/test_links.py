# SPDX-License-Identifier: Apache-2.0
"""What a guest's /passthrough refers to."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.gic import guest_gic
from west_viommu.guest.source import without_source
from west_viommu.hypervisor.links import Links, phandle_of


@pytest.mark.parametrize(
    ("properties", "phandle"),
    [
        ("", 0),
        ("phandle = <5>;", 5),
        ("linux,phandle = <6>;", 6),
        ("phandle = <5>; linux,phandle = <6>;", 5),
        ("phandle = <0xffffffff>;", 0xFFFFFFFF),
        # One of another length is no phandle.
        ("phandle = [00 05];", 0),
        ("phandle = <0 5>;", 0),
    ],
)
def test_the_phandle_of_a_node(properties: str, phandle: int) -> None:
    node = tree(f"a {{ {properties} }};").node("/a")
    assert node
    assert phandle_of(node) == phandle


@pytest.mark.parametrize(
    ("prop", "kept", "left_out"),
    [
        # By its name, a list of references: within /passthrough, or out of it.
        ("clocks = <5>;", {"clocks": {0: "/passthrough/clk"}}, ""),
        ("clocks = <7>;", {}, "clocks (its clocks; they must be running already)"),
        ("clocks = <5 7>;", {}, "clocks (its clocks; they must be running already)"),
        # By equal numbers alone: it may be one where it begins with one that is out of it.
        ("vendor,link = <7 5>;", {}, "vendor,link (it may refer to /outside)"),
        ("vendor,link = <5 7>;", {}, ""),
        ("vendor,link = <1 7>;", {}, ""),
        ("vendor,link = <1 2>;", {}, ""),
    ],
)
def test_references_by_number(prop: str, kept: object, left_out: str) -> None:
    body = f"""outside {{ phandle = <7>; #clock-cells = <0>; }};
        passthrough {{ clk {{ phandle = <5>; #clock-cells = <0>; }}; user {{ {prop} }}; }};"""
    guest = without_source(tree(body), "guest.dts")
    links = Links(guest, guest_gic(guest))
    user = guest.tree.node("/passthrough/user")
    assert user
    assert links.kept(user) == kept
    assert "; ".join(map(str, links.left_out(user))) == left_out
