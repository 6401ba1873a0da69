# SPDX-License-Identifier: Apache-2.0
"""What of the guest's tree nobody asks for, and what a request has to fit beside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import tree
from west_viommu.guest.gic import guest_gic
from west_viommu.guest.requests import asked, unrouted
from west_viommu.guest.source import without_source
from west_viommu.tree.interrupts import Intid

ONE_ONE = "#address-cells = <1>; #size-cells = <1>;"
DEVICE = 'xen,path = "/d"; reg = <0x1000 0x1000>; interrupts = <0 5 4>;'


def passthrough(inside: str) -> str:
    return f"{ONE_ONE} passthrough {{ {ONE_ONE} ranges; {inside} }};"


@pytest.mark.parametrize(
    ("child", "is_unasked"),
    [
        ("reg = <0x1000 0x1000>;", False),
        ("reg = <0x1fff 1>;", False),
        ("reg = <0x1fff 2>;", True),
        ("reg = <0xfff 1>;", True),
        ("reg = <0xfff 0x1001>;", True),
        ("reg = <0x2000 1>;", True),
        ("reg = <0x1000 1 0x2000 1>;", True),
        ("reg = <0x2000>;", False),
        ("reg;", False),
        ('reg = <0x2000 1>; xen,path = "/e"; status = "disabled";', False),
        ('reg = <0x2000 1>; xen,path = "/e";', False),
    ],
)
def test_registers_below_a_request_are_its_own_or_nobody_asks_for_them(
    child: str, is_unasked: bool
) -> None:
    body = passthrough(f"d {{ {DEVICE} {ONE_ONE} ranges; c {{ {child} }}; }};")
    found = asked(without_source(tree(body), "guest.dts"))
    assert found.unasked == (("/passthrough/d/c",) if is_unasked else ())


@pytest.mark.parametrize(
    ("child", "is_unrouted"),
    [
        ("interrupts = <0 5 4>;", False),
        ("interrupts = <0 6 4>;", True),
        ("interrupts = <0 5 4 0 6 4>;", True),
        ("interrupts = <0 6>;", False),
        ("", False),
    ],
)
def test_interrupts_below_a_request_are_its_own_or_nobody_routes_them(
    child: str, is_unrouted: bool
) -> None:
    body = passthrough(f"d {{ {DEVICE} c {{ {child} }}; }};")
    found = asked(without_source(tree(body), "guest.dts"))
    assert found.unrouted == (("/passthrough/d/c",) if is_unrouted else ())


def test_what_is_enabled_and_has_a_size_is_occupied() -> None:
    body = f"""{passthrough(f"d {{ {DEVICE} }};")}
        memory {{ device_type = "memory"; reg = <0x4000 0x1000 0x8000 1 0x9000 0>; }};
        off {{ status = "disabled"; reg = <0x6000 0x1000>; }};
        bad {{ reg = <0x7000>; }};"""
    found = asked(without_source(tree(body), "guest.dts"))
    assert [(path, *region) for path, region in found.occupied] == [
        ("/passthrough/d", 0x1000, 0x1000),
        ("/memory", 0x4000, 0x1000),
        ("/memory", 0x8000, 1),
    ]
    assert (found.problems, found.unasked) == ((), ())


def test_of_memory_a_malformed_reg_is_told() -> None:
    body = f'{ONE_ONE} memory {{ device_type = "memory"; reg = <0x7000>; }};'
    (problem,) = asked(without_source(tree(body), "guest.dts")).problems
    assert (problem.node, problem.what) == ("/memory", "reg does not fit the cells of its bus")


def test_the_interrupts_of_a_request_are_gone_through_once() -> None:
    below = "".join(f"c{i} {{ interrupts = <0 5 4>; }};" for i in range(20))
    guest = without_source(tree(passthrough(f"d {{ {DEVICE} {below} }};")), "guest.dts")
    times: list[int] = []

    class Counted(list[Intid]):
        def __iter__(self) -> Iterator[Intid]:
            times.append(len(self))
            return super().__iter__()

    asking = {"/passthrough/d": Counted([Intid(37)])}
    assert list(unrouted(guest, guest_gic(guest), asking)) == []
    assert times == [1]
