# SPDX-License-Identifier: Apache-2.0
"""The stream IDs that a request names."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.guest.entries import entries
from west_viommu.guest.source import without_source
from west_viommu.tree.cells import TreeError

VSMMU = 'vsmmu { compatible = "vendor,smmu", "arm,smmu-v3"; phandle = <9>; };'
OTHER = "clk { phandle = <8>; };"


Found = list[tuple[int | None, int, str]]


def found(device: str) -> tuple[Found, TreeError | None]:
    guest = without_source(tree(f"a {{ {device} }}; {VSMMU} {OTHER}"), "guest.dts")
    node = guest.tree.node("/a")
    assert node
    read, wrong = entries(guest, node)
    return [(each.phandle, each.id, each.prop) for each in read], wrong


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("", []),
        ("iommus = <0 0x10>;", [(0, 0x10, "iommus")]),
        ("iommus = <0xfdea 0x10 0x77 0>;", [(0xFDEA, 0x10, "iommus"), (0x77, 0, "iommus")]),
        ("iommus = <0 0xffffffff>;", [(0, 0xFFFFFFFF, "iommus")]),
        # The vSMMU's phandle: bound already. An ID is no phandle, whatever its number.
        (
            "iommus = <9 0x10 0 8 9 9>;",
            [(None, 0x10, "iommus"), (0, 8, "iommus"), (None, 9, "iommus")],
        ),
        # As Lopper writes them; what iommus has as well counts once.
        (
            "xen,smmu-stream-ids = <0x10 0x11>;",
            [(0, 0x10, "xen,smmu-stream-ids"), (0, 0x11, "xen,smmu-stream-ids")],
        ),
        (
            "iommus = <0 0x11>; xen,smmu-stream-ids = <0x10 0x11>;",
            [(0, 0x11, "iommus"), (0, 0x10, "xen,smmu-stream-ids")],
        ),
    ],
)
def test_entries(device: str, expected: Found) -> None:
    assert found(device) == (expected, None)


PAIRS = "iommus is not a list of pairs"
NO_VSMMU = "iommus refers to a node that is not a vSMMU"


@pytest.mark.parametrize(
    ("device", "what", "has"),
    [
        ("iommus;", PAIRS, "0 cells"),
        ("iommus = <0>;", PAIRS, "1 cell"),
        ("iommus = <0 0x10 0>;", PAIRS, "3 cells"),
        ("iommus = <8 0x10>;", NO_VSMMU, "&/clk"),
        ("iommus = <0 0x10 8 0x11>;", NO_VSMMU, "&/clk"),
    ],
)
def test_malformed(device: str, what: str, has: str) -> None:
    read, wrong = found(device)
    assert wrong and (read, wrong.diagnostic.what, wrong.diagnostic.found) == ([], what, has)


def test_one_property_is_malformed() -> None:
    read, wrong = found("iommus = <0 0x10 0>; xen,smmu-stream-ids = <0x11>;")
    assert wrong and (read, wrong.diagnostic.prop) == ([(0, 0x11, "xen,smmu-stream-ids")], "iommus")
    read, wrong = found("iommus = <0 0x10>; xen,smmu-stream-ids = [00];")
    assert wrong and (read, wrong.diagnostic.prop) == ([(0, 0x10, "iommus")], "xen,smmu-stream-ids")
    read, wrong = found("iommus = <0 0x10 0>; xen,smmu-stream-ids = [00];")
    assert wrong and (read, wrong.diagnostic.prop) == ([], "iommus")
