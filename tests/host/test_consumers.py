# SPDX-License-Identifier: Apache-2.0
"""Whom a device of the host serves."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.needs import consumers

# The device has phandle 7, and what is below it 8.
DEVICE = """dev@4000 { phandle = <7>; #clock-cells = <1>; #nvmem-cell-cells = <1>;
    interrupt-controller; #interrupt-cells = <2>;
    port { endpoint { phandle = <8>; remote-endpoint = <6>; }; }; };
    cells { phandle = <5>; #nvmem-cell-cells = <1>; #clock-cells = <0>; };"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("clocks = <7 1>;", [("clocks", "/dev@4000")]),
        ("clocks = <5 7 1>;", [("clocks", "/dev@4000")]),
        ("assigned-clocks = <7 0>;", [("assigned-clocks", "/dev@4000")]),
        ("nvmem-cells = <7 3>;", [("nvmem-cells", "/dev@4000")]),
        ("vdd.1_a-supply = <8>;", [("vdd.1_a-supply", "/dev@4000/port/endpoint")]),
        ("interrupts-extended = <7 1 4>;", [("interrupts-extended", "/dev@4000")]),
        ("interrupt-parent = <7>;", [("interrupt-parent", "/dev@4000")]),
        (
            "phy-handle = <7>; clocks = <7 0>;",
            [("phy-handle", "/dev@4000"), ("clocks", "/dev@4000")],
        ),
        # A number beside a phandle, a name that is no provider's, and the other end of a link.
        ("nvmem-cells = <5 7>;", []),
        ("clocks = <7 7 7>;", []),
        ("vendor,depth = <7>;", []),
        ("port { endpoint { phandle = <6>; remote-endpoint = <8>; }; };", []),
        ("clocks = [07];", []),
    ],
)
def test_of_one_user(user: str, expected: list[tuple[str, str]]) -> None:
    host = tree(f"{DEVICE} user@5000 {{ {user} }};")
    found = [(node.path, name, path) for node, name, path in consumers(host, ["/dev@4000"])]
    assert found == [("/user@5000", *each) for each in expected]


def test_a_device_serves_itself() -> None:
    host = tree(f"{DEVICE} bus {{ phandle = <9>; x {{ clocks = <7 1>; phys = <9>; }}; }};")
    found = consumers(host, ["/dev@4000", "/bus"])
    assert [node.path for node, _, _ in found] == []
