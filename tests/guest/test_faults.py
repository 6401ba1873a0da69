# SPDX-License-Identifier: Apache-2.0
"""Requests that Xen would not see."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.faults import misplaced
from west_viommu.guest.source import without_source


@pytest.mark.parametrize(
    ("node", "is_told"),
    [
        ("", False),
        ('xen,path = "/d";', True),
        ("iommus = <0 5>;", True),
        ("iommus = <0xfdea 5>;", True),
        ("iommus = <0x77 5>;", True),
        # Behind an IOMMU of the guest itself; both ways.
        ("iommus = <9 5>;", False),
        ('iommus = <9 5>; xen,path = "/d";', True),
    ],
)
def test_a_request_outside_of_passthrough(node: str, is_told: bool) -> None:
    guest = without_source(tree(f"smmu {{ phandle = <9>; }}; x {{ {node} }};"), "guest.dts")
    # The phandle is a number of the node's own, or the compiler has given it.
    for each in (guest, guest._replace(links={})):
        found = guest.tree.node("/x")
        assert found
        assert [problem.node for problem in misplaced(each, found)] == ["/x"] * is_told
