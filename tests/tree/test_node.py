# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import MappingProxyType

import pytest

from tests.support import tree
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree


def node(path: str, *children: Node, **properties: bytes) -> Node:
    return Node(path, path.rpartition("/")[2], MappingProxyType(properties), children)


def test_nodes_come_in_document_order_each_before_its_children() -> None:
    paths = [n.path for n in tree("b { y {}; x {}; }; a { };").nodes()]
    assert paths == ["/", "/b", "/b/y", "/b/x", "/a"]


def test_parent_and_lineage() -> None:
    found = tree("bus { device {}; };")
    device = found.node("/bus/device")
    assert device
    assert [n.path for n in found.lineage(device)] == ["/bus/device", "/bus", "/"]
    assert found.parent(found.root) is None
    assert found.node("/nowhere") is None


@pytest.mark.parametrize(
    ("bus", "device", "expected"),
    [
        ("", "", "okay"),
        ("", 'status = "okay";', "okay"),
        ("", 'status = "ok";', "okay"),
        ("", 'status = "disabled";', "disabled"),
        # The first word counts.
        ("", 'status = "okay", "disabled";', "okay"),
        ("", 'status = "reserved";', "reserved"),
        ("", 'status = "";', "malformed"),
        ('status = "disabled";', "", "disabled"),
        ('status = "reserved";', 'status = "disabled";', "disabled"),
        ('status = "disabled";', 'status = "okay";', "disabled"),
    ],
)
def test_status_is_that_of_the_node_and_all_its_ancestors(
    bus: str, device: str, expected: str
) -> None:
    found = tree(f"bus {{ {bus} device {{ {device} }}; }};")
    target = found.node("/bus/device")
    assert target
    assert found.status(target) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (b"okay\0", b"ok\0", b"okay\0no\0", b"okay")),
        *((value, False) for value in (b"", b"\0", b"Okay\0", b"disabled\0", b"\0\0\0\1", b"\xff")),
    ],
)
def test_what_xen_takes_for_available(value: bytes, expected: bool) -> None:
    assert node("/a", status=value).is_available is expected


def test_a_node_without_status_is_available() -> None:
    assert node("/a").is_available


def test_a_phandle_that_two_nodes_have_is_an_error_where_it_is_used() -> None:
    found = Tree(
        node(
            "/",
            node("/a", phandle=b"\0\0\0\5"),
            node("/b", phandle=b"\0\0\0\5"),
            node("/c", **{"linux,phandle": b"\0\0\0\6"}),
        )
    )
    assert found.phandle_target(6, found.root, "iommus").path == "/c"
    with pytest.raises(TreeError, match="/: iommus: a phandle that two nodes have"):
        found.phandle_target(5, found.root, "iommus")


@pytest.mark.parametrize("first", ["/a", "/c"])
def test_the_node_of_a_phandle_is_the_one_that_has_it(first: str) -> None:
    nodes = (node(first, phandle=b"\0\0\0\5"), node("/b", phandle=b"\0\0\0\5"))
    assert Tree(node("/", *nodes)).with_phandle(5) is None
    assert Tree(node("/", *nodes[:1])).with_phandle(5) is nodes[0]
    assert Tree(node("/", *nodes[:1])).with_phandle(6) is None


def test_nodes_cannot_be_changed() -> None:
    """Nor does mypy let anybody try."""
    root = tree("a { };").root
    with pytest.raises(TypeError):
        root.properties["x"] = b""  # type: ignore[index]
    with pytest.raises(AttributeError):
        root.name = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"okay", "status is not a list of strings"),
        (b"", "status is not a list of strings"),
        (b"\xff\0", "status is not text"),
    ],
)
def test_strings_must_end_and_be_text(value: bytes, message: str) -> None:
    with pytest.raises(TreeError, match=message):
        node("/a", status=value).string_list("status")


def test_a_number_must_be_one_cell() -> None:
    with pytest.raises(TreeError) as caught:
        node("/a", reg=b"\0").number("reg", 0)
    assert (
        caught.value.diagnostic.what,
        caught.value.diagnostic.expected,
        caught.value.diagnostic.found,
    ) == (
        "reg is not one cell",
        "4 bytes",
        "1 byte",
    )
