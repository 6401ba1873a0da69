# SPDX-License-Identifier: Apache-2.0
"""Blobs as source: what in one could not stand in source, and references that lead nowhere."""

from __future__ import annotations

import pytest

from tests.flat import flat
from tests.support import blob
from west_viommu.diagnostics import Refused
from west_viommu.read.decompiled import source_of
from west_viommu.read.dtb import tree_from_dtb

PASSTHROUGH = 'target-path = "/passthrough";'
X = "/fragment@0/__overlay__:x"


def overlay(body: str, beside: str = "", target: str = PASSTHROUGH) -> bytes:
    """An overlay blob of one fragment, by hand."""
    return blob(f"/dts-v1/; / {{ fragment@0 {{ {target} __overlay__ {{ {body} }}; }}; {beside} }};")


def source(binary: bytes) -> str:
    return source_of(tree_from_dtb(binary), "o.dtbo")


def test_a_fragment_of_the_root() -> None:
    found = source(overlay("x = <1>;", target='target-path = "/";'))
    assert found == "/ {\nx = <0x00000001>;\n};\n"


@pytest.mark.parametrize(
    ("beside", "value"),
    [
        (f'__fixups__ {{ gic = "{X}:4"; }};', "<0x00000001>, <&gic>"),
        # No label, no such node, no offset, one beyond the end, and one within what is a label.
        (f'__fixups__ {{ no-label = "{X}:4"; }};', "<0x00000001 0x00000002>"),
        ('__fixups__ { gic = "/nowhere:x:4"; };', "<0x00000001 0x00000002>"),
        (f'__fixups__ {{ gic = "{X}:a"; }};', "<0x00000001 0x00000002>"),
        (f'__fixups__ {{ gic = "{X}:8"; }};', "<0x00000001 0x00000002>"),
        (f'__fixups__ {{ gic = "{X}:0", "{X}:2"; }};', "<&gic>, <0x00000002>"),
        (
            "__local_fixups__ { fragment@0 { __overlay__ { x = <0>; }; }; };",
            "<&viommu_local_3>, <0x00000002>",
        ),
        # A list of offsets that is none, a property and a node that are not there, no phandle.
        (
            "__local_fixups__ { fragment@0 { __overlay__ { x = [00]; y = <0>; n { x = <0>; }; }; "
            "}; };",
            "<0x00000001 0x00000002>",
        ),
        (
            "__local_fixups__ { fragment@0 { __overlay__ { x = <4>; }; }; };",
            "<0x00000001 0x00000002>",
        ),
    ],
)
def test_references(beside: str, value: str) -> None:
    found = source(overlay("x = <1 2>; a { phandle = <1>; };", beside))
    (line,) = [line for line in found.splitlines() if line.startswith("x")]
    assert line == f"x = {value};"


def test_labels() -> None:
    symbols = '__symbols__ { no-label = "/"; gone = "/gone"; here = "/fragment@0/__overlay__/a"; };'
    assert source(overlay("a { };", symbols)) == "&{/passthrough} {\nhere: a {\n};\n};\n"


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        (
            overlay("x;", "__fixups__ { gic = [ff ff]; };"),
            "gic is not a list of strings (node /__fixups__, expected nul-terminated strings, "
            "found b'\\xff\\xff')",
        ),
        (
            flat([b"", (b"a b", b""), None]),
            "a property has a name that source cannot have (node /)",
        ),
        (
            flat([b"", b"a b", None, None]),
            "a node has a name that source cannot have (node /a b)",
        ),
    ],
    ids=["fixups", "property", "node"],
)
def test_what_source_cannot_have(binary: bytes, message: str) -> None:
    with pytest.raises(Refused) as refused:
        source(binary)
    assert str(refused.value) == f"o.dtbo: error: [malformed] {message}\nhint: compile it again"
