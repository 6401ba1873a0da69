# SPDX-License-Identifier: Apache-2.0
"""What our DT of dtlib does in another way than dtlib, and with the same outcome."""

from __future__ import annotations

from pathlib import Path

import pytest

from west_viommu.read.dtlib import Unique, bounded_dt, dtlib

SOURCES = [
    "/ { a: a { }; }; &a { x; }; b: &a { y; }; &b { z = <&a &b>; };",
    # A deleted node has no label any more, and what comes in its place may have it.
    "/ { a: a { }; }; /delete-node/ &a; / { a: b { }; n { x = <&a>; }; };",
    "/ { a: a { }; }; / { /delete-node/ a; a: c { }; n { x = <&a>; }; };",
    "/ { p { a: a { }; }; }; / { /delete-node/ p; q { a: a { }; }; }; &a { x; };",
    # Of two with a label, the first in the tree counts until it is deleted.
    "/ { p { }; a: q { }; }; / { p { a: r { }; }; }; /delete-node/ &a; &a { x; };",
    # Numbers that the source gives are left out of those that dtlib gives.
    "/ { a: a { }; b: b { phandle = <1>; }; c: c { phandle = <&c>; }; n { x = <&a &b &c &a>; }; };",
    '/ { n { x = <1 2>, "text", [00 ff], <3>, &a, /bits/ 8 <4 5>; }; a: a { }; };',
    "/ { n { x = <l: 1 m: &a>, k: <2>; }; a: a { }; };",
    "/ { a { x = <&{/b}>; }; b { }; };",
]


@pytest.mark.parametrize("source", SOURCES)
def test_source_is_read_as_dtlib_reads_it(source: str, tmp_path: Path) -> None:
    file = tmp_path / "source.dts"
    file.write_text(f"/dts-v1/; {source}")
    ours, theirs = bounded_dt(dtlib())(str(file)), dtlib().DT(str(file))
    assert str(ours) == str(theirs)
    assert {label: node.path for label, node in ours.label2node.items()} == {
        label: node.path for label, node in theirs.label2node.items()
    }
    assert {n: node.path for n, node in ours.phandle2node.items()} == {
        n: node.path for n, node in theirs.phandle2node.items()
    }
    values = {prop: prop.value for node in ours.node_iter() for prop in node.props.values()}
    assert all(type(value) is bytes for value in values.values())


@pytest.mark.parametrize(
    "source",
    [
        "/ { n { x = <&a>; }; };",
        "/ { }; &a { };",
        "/ { a: a { }; }; /delete-node/ &a; &a { };",
        "/ { a: a { }; }; /delete-node/ &a; / { n { x = <&a>; }; };",
        "/ { a: a { }; a: b { }; n { x = <&a>; }; };",
        "/ { n { x = <a: 1 a: 2>; }; };",
        "/ { a { phandle = <1>; }; b { phandle = <1>; }; };",
    ],
)
def test_source_is_refused_as_dtlib_refuses_it(source: str, tmp_path: Path) -> None:
    file = tmp_path / "source.dts"
    file.write_text(f"/dts-v1/; {source}")
    said = []
    for parser in (bounded_dt(dtlib()), dtlib().DT):
        with pytest.raises(dtlib().DTError) as caught:
            parser(str(file))
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_unique_list_is_a_list() -> None:
    found = Unique()
    for item in (("a", 1), ("b", 2)):
        found.append(item)
    assert found == [("a", 1), ("b", 2)]
    assert ("a", 1) in found and ("a", 2) not in found
