# SPDX-License-Identifier: Apache-2.0
"""Which names of properties are a slip of one that makes a request."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.faults import misspelt
from west_viommu.guest.source import without_source


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        # A letter less: the first, one inside, the last.
        ("en,path", "xen,path"),
        ("xen,pth", "xen,path"),
        ("xen,pat", "xen,path"),
        # A letter more.
        ("exen,path", "xen,path"),
        ("xen,,path", "xen,path"),
        ("xen,paths", "xen,path"),
        # Another letter.
        ("yen,path", "xen,path"),
        ("xen.path", "xen,path"),
        ("xen,patc", "xen,path"),
        # Two that changed places.
        ("exn,path", "xen,path"),
        ("xen,ptah", "xen,path"),
        ("xen,paht", "xen,path"),
        ("iommu", "iommus"),
        ("iommu_map", "iommu-map"),
        # Two edits, or none.
        ("xen,pa", None),
        ("n,path", None),
        ("xen,patxy", None),
        ("xen,paxy", None),
        ("nex,path", None),
        ("xenp,ath", "xen,path"),
        ("xenpa,th", None),
        ("xen,path", None),
        ("compatible", None),
    ],
)
def test_a_slip_is_one_edit(name: str, meant: str | None) -> None:
    guest = without_source(tree(f"passthrough {{ a {{ {name}; }}; }};"), "guest.dts")
    found = [(each.node, each.found, each.expected) for each in misspelt(guest, [])]
    assert found == ([("/passthrough/a", name, meant)] if meant else [])


@pytest.mark.parametrize(
    ("asking", "is_warning"),
    [
        (["/passthrough/a/b"], True),
        (["/passthrough/a"], True),
        (["/passthrough/c"], False),
        ([], False),
    ],
)
def test_it_is_a_warning_where_something_is_asked_for(asking: list[str], is_warning: bool) -> None:
    body = "passthrough { a { b { iomus = <0 1>; }; }; c { }; };"
    (found,) = misspelt(without_source(tree(body), "guest.dts"), asking)
    assert (found.node, found.warning) == ("/passthrough/a/b", is_warning)


def test_outside_of_passthrough_nothing_is_said() -> None:
    body = "iomus; passthrough { iomus; }; passthrough-b { a { iomus; }; };"
    assert not list(misspelt(without_source(tree(body), "guest.dts"), []))
