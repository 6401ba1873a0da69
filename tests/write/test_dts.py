# SPDX-License-Identifier: Apache-2.0
"""A tree as source: dtc makes the same bytes of it."""

from __future__ import annotations

import pytest

from tests.support import blob, tree
from west_viommu.read.dtb import tree_from_dtb
from west_viommu.write.dts import dts


@pytest.mark.parametrize(
    ("count", "written"),
    [(1000, "iommus = <&smmu 0x0 &smmu 0x1 "), (1001, "iommus = <0x2 0x0 0x2 ")],
)
def test_references_are_labels_as_long_as_dtc_is_quick_with_them(count: int, written: str) -> None:
    ids = " ".join(f"2 {i}" for i in range(count))
    given = tree(f"m0 {{ iommus = <{ids}>; }}; smmu {{ #iommu-cells = <1>; phandle = <2>; }};")
    smmu = given.with_phandle(2)
    assert smmu
    source = dts(given.root, {"/m0": {"iommus": {2 * i: smmu for i in range(count)}}})
    assert written in source
    assert tree_from_dtb(blob(source)).root == given.root


def test_numbers_that_look_like_text_stay_numbers_with_their_labels_gone() -> None:
    node = tree("a { b = <0x61626300>; }; c { phandle = <0x61626300>; };")
    target = node.with_phandle(0x61626300)
    assert target
    many = {i: target for i in range(0, 1001)}
    source = dts(node.root, {"/a": {"b": {0: target}}, "/c": {"none": many}})
    assert "b = <0x61626300>;" in source
    assert tree_from_dtb(blob(source)).root == node.root
