# SPDX-License-Identifier: Apache-2.0
"""Which host memory stands for each entry of a request's `reg`."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.regions import region_pairs, xen_reg
from west_viommu.guest.source import without_source
from west_viommu.tree.addresses import AddressMap
from west_viommu.tree.cells import TreeError

ONE_ONE = "#address-cells = <1>; #size-cells = <1>;"
TWO_TWO = "#address-cells = <2>; #size-cells = <2>;"
ONE_TWO = "#address-cells = <1>; #size-cells = <2>;"
# 0x2000 bytes at 0x8000 of the host, at 0x1000 of the guest.
TRIPLE = "xen,reg = <0x8000 0x2000 0x1000>;"

Pair = tuple[tuple[int, int], tuple[int, int] | None]


def pairs(cells: str, device: str) -> list[Pair]:
    """Each region of the guest, and that of the host."""
    body = f"{cells} passthrough {{ {cells} ranges; a {{ {device} }}; }};"
    guest = without_source(tree(body), "guest.dts")
    node = guest.tree.node("/passthrough/a")
    assert node
    mapped = xen_reg(guest, node)
    found = region_pairs(guest, AddressMap(guest.tree), node, mapped)
    return [((*each.guest,), each.host and (*each.host,)) for each in found]


@pytest.mark.parametrize(
    ("cells", "device", "expected"),
    [
        (ONE_ONE, "", []),
        # Without xen,reg, the same address.
        (ONE_ONE, "reg = <0x1000 0x10>;", [((0x1000, 0x10), (0x1000, 0x10))]),
        # The whole of a triple, its first byte and its last.
        (ONE_ONE, f"reg = <0x1000 0x2000>; {TRIPLE}", [((0x1000, 0x2000), (0x8000, 0x2000))]),
        (ONE_ONE, f"reg = <0x1000 1>; {TRIPLE}", [((0x1000, 1), (0x8000, 1))]),
        (ONE_ONE, f"reg = <0x2fff 1>; {TRIPLE}", [((0x2FFF, 1), (0x9FFF, 1))]),
        # A byte before it, or beyond it, is not mapped.
        (ONE_ONE, f"reg = <0xfff 1>; {TRIPLE}", [((0xFFF, 1), None)]),
        (ONE_ONE, f"reg = <0x1000 0x2001>; {TRIPLE}", [((0x1000, 0x2001), None)]),
        (ONE_ONE, f"reg = <0x3000 1>; {TRIPLE}", [((0x3000, 1), None)]),
        # Of two triples the one that has it; none goes across.
        (
            ONE_ONE,
            "reg = <0x1000 0x10 0x2000 0x10 0x1ff8 0x10>;"
            "xen,reg = <0x8000 0x1000 0x1000 0x5000 0x1000 0x2000>;",
            [
                ((0x1000, 0x10), (0x8000, 0x10)),
                ((0x2000, 0x10), (0x5000, 0x10)),
                ((0x1FF8, 0x10), None),
            ],
        ),
        # Of two that touch on both sides, in any order; not where the host's are apart.
        (
            ONE_ONE,
            "reg = <0x1800 0x1000>; xen,reg = <0x9000 0x1000 0x2000 0x8000 0x1000 0x1000>;",
            [((0x1800, 0x1000), (0x8800, 0x1000))],
        ),
        (
            ONE_ONE,
            "reg = <0x1000 0x3000>;"
            "xen,reg = <0x8000 0x1000 0x1000 0x9000 0x1000 0x2000 0xa000 0x1000 0x3000>;",
            [((0x1000, 0x3000), (0x8000, 0x3000))],
        ),
        (
            ONE_ONE,
            "reg = <0x1000 0x2000>; xen,reg = <0x8000 0x1000 0x1000 0xa000 0x1000 0x2000>;",
            [((0x1000, 0x2000), None)],
        ),
        # One page of the host twice: each with what follows it in the guest.
        (
            ONE_ONE,
            "reg = <0x1000 0x2000 0x5000 0x2000>; xen,reg = <0x8000 0x1000 0x1000"
            "  0x8000 0x1000 0x5000  0x9000 0x1000 0x2000  0x9000 0x1000 0x6000>;",
            [((0x1000, 0x2000), (0x8000, 0x2000)), ((0x5000, 0x2000), (0x8000, 0x2000))],
        ),
        (
            TWO_TWO,
            "reg = <1 0x1000 2 0x10>; xen,reg = <3 0x8000 2 0x20 1 0x1000>;",
            [((0x1_0000_1000, 0x2_0000_0010), (0x3_0000_8000, 0x2_0000_0010))],
        ),
        (
            ONE_TWO,
            "reg = <0x1000 0 0x10>; xen,reg = <0x8000 0 0x20 0x1000>;",
            [((0x1000, 0x10), (0x8000, 0x10))],
        ),
    ],
)
def test_regions(cells: str, device: str, expected: list[Pair]) -> None:
    assert pairs(cells, device) == expected


NO_TRIPLES = "xen,reg is not a list of triples"
NO_SIZES = "#address-cells = <1>; #size-cells = <0>;"


@pytest.mark.parametrize(
    ("cells", "device", "said"),
    [
        (
            ONE_ONE,
            "xen,reg = <1 2>;",
            (NO_TRIPLES, "<host size guest> in 1 + 1 + 1 cells", "2 cells"),
        ),
        (
            ONE_TWO,
            "xen,reg = <1 2 3>;",
            (NO_TRIPLES, "<host size guest> in 1 + 2 + 1 cells", "3 cells"),
        ),
        (ONE_ONE, "xen,reg = <0x8000 0 0x1000>;", ("xen,reg maps nothing", "a size", "0")),
        (
            ONE_ONE,
            "xen,reg = <0x8000 0x10 0x1000 0x9000 0 0x1000>;",
            ("xen,reg maps nothing", "a size", "0"),
        ),
        (
            NO_SIZES,
            "reg = <1>;",
            ("reg has no size", "a bus with #size-cells", "/passthrough with 0"),
        ),
    ],
)
def test_malformed(cells: str, device: str, said: tuple[str, str, str]) -> None:
    with pytest.raises(TreeError) as caught:
        pairs(cells, device)
    assert (
        caught.value.diagnostic.what,
        caught.value.diagnostic.expected,
        caught.value.diagnostic.found,
    ) == said


def test_triples_in_the_cells_of_the_bus() -> None:
    body = f"{ONE_ONE} passthrough {{ {ONE_TWO} a {{ xen,reg = <0x8000 0 0x2000 0x1000>; }}; }};"
    guest = without_source(tree(body), "guest.dts")
    node = guest.tree.node("/passthrough/a")
    assert node
    assert xen_reg(guest, node) == (((0x8000, 0x2000), (0x1000, 0x2000)),)
