# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from west_viommu.diagnostics import Where
from west_viommu.read.outline import Outline

SOURCE = """# 1 "board.dts"
/dts-v1/;
/ {
	model = "a { b; } = c"; /* { */ // }
	soc: bus {
		eth0: eth_zero: ethernet@1 {
			iommus = <0 1>;
			status = "disabled";
		};
		/omit-if-no-ref/ pins { };
		/delete-property/ ranges;
		spare;
	};
};
# 10 "app \\"x\\".overlay" 2
&eth0 {
	iommus = <&smmu 2>, <(1 << 2)>;
	/delete-node/ child;
};
&{/bus/pins} { label: x = <1>; };
&unknown { y = <&eth0>; };
"""


@pytest.fixture
def outline() -> Outline:
    return Outline(SOURCE, "/base")


@pytest.mark.parametrize(
    ("path", "prop", "place"),
    [
        ("/", "model", ("board.dts", 3)),
        ("/bus", "", ("board.dts", 4)),
        ("/bus", "spare", ("board.dts", 11)),
        ("/bus", "ranges", ("board.dts", 4)),
        ("/bus/ethernet@1", "", ("board.dts", 5)),
        ("/bus/ethernet@1", "status", ("board.dts", 7)),
        ("/bus/ethernet@1", "iommus", ('app "x".overlay', 11)),
        ("/bus/pins", "x", ('app "x".overlay', 14)),
        ("/base/unknown", "y", ('app "x".overlay', 15)),
    ],
)
def test_places(outline: Outline, path: str, prop: str, place: tuple[str, int]) -> None:
    assert outline.where(path, prop) == Where(*place)


def test_what_is_nowhere_has_no_place(outline: Outline) -> None:
    assert outline.where("/nowhere") is None


def test_labels_and_what_uses_them(outline: Outline) -> None:
    assert outline.labels == {
        "soc": "/bus",
        "eth0": "/bus/ethernet@1",
        "eth_zero": "/bus/ethernet@1",
    }
    uses = [(use.label, use.prop) for use in outline.uses]
    assert uses == [("eth0", ""), ("smmu", "iommus"), ("unknown", ""), ("eth0", "y")]
    assert outline.open_labels == ["smmu", "unknown"]
    assert outline.open_paths == []


def test_a_base_tree_that_is_not_given() -> None:
    outline = Outline("&{/soc/a} { b { x = <&{/soc/c}>; }; };\n&{/soc/a/b} { };", "/base")
    assert not outline.is_complete
    assert outline.open_paths == ["/soc/a", "/soc/c"]
    assert outline.rootless == Where("", 1)


def test_more_closed_than_opened_is_left_to_the_parser() -> None:
    outline = Outline("}; / { a; }; }; } b;", "/base")
    assert outline.where("/", "a") == Where("", 1)
