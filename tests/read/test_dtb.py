# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.read.by_libfdt import libfdt_nodes
from tests.support import blob, corpus_params
from west_viommu.read.dtb import MAX_DEPTH, DtbError, tree_from_dtb
from west_viommu.tree.cells import TreeError

SMALL = blob('/dts-v1/; / { model = "m"; a { reg = [01 02 03]; b { }; }; };')


@pytest.mark.parametrize("file", corpus_params())
def test_a_real_blob_reads_as_libfdt_reads_it(file: Path) -> None:
    data = file.read_bytes()
    nodes = [(node.path, dict(node.properties)) for node in tree_from_dtb(data).nodes()]
    assert nodes == libfdt_nodes(data)


def header(data: bytes, index: int, value: int) -> bytes:
    """`data` with 32-bit header field number `index` set to `value`."""
    return data[: 4 * index] + struct.pack(">I", value) + data[4 * index + 4 :]


def block(*tags: int | bytes) -> bytes:
    """A version 17 blob whose structure block is `tags`; its strings are "a" and "b"."""
    body = b"".join(tag if isinstance(tag, bytes) else struct.pack(">I", tag) for tag in tags)
    strings = b"a\0b\0\xff\0c"
    fields = (0xD00DFEED, 40 + len(body) + len(strings), 40, 40 + len(body), 40, 17, 16, 0)
    return struct.pack(">10I", *fields, len(strings), len(body)) + body + strings


ROOT = (1, 0)  # FDT_BEGIN_NODE, the empty name
END_ROOT = (2, 9)  # FDT_END_NODE, FDT_END
NAME_X = b"x\0\0\0"


def test_blocks_made_by_hand_are_read() -> None:
    tree = tree_from_dtb(block(*ROOT, 4, 3, 1, 0, b"\7\0\0\0", 4, 1, NAME_X, 2, 4, *END_ROOT))
    assert [(n.path, dict(n.properties)) for n in tree.nodes()] == [("/", {"a": b"\7"}), ("/x", {})]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data + bytes(100), id="bytes after totalsize"),
        pytest.param(lambda data: header(data + bytes(100), 1, len(data) + 100), id="padding"),
        pytest.param(lambda data: header(data, 5, 18), id="newer, but readable as 16"),
    ],
)
def test_what_a_valid_blob_may_look_like(change: Callable[[bytes], bytes]) -> None:
    assert tree_from_dtb(change(SMALL)).root == tree_from_dtb(SMALL).root


def test_version_16_has_no_size_of_its_structure_block() -> None:
    command_output = header(header(SMALL, 5, 16), 9, 0xFFFFFFFF)
    assert tree_from_dtb(command_output).root == tree_from_dtb(SMALL).root


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the header is cut off at byte 0x0"),
        (SMALL[:35], "the header is cut off at byte 0x23"),
        (header(SMALL, 0, 1), "no devicetree magic at byte 0x0"),
        (header(SMALL, 5, 3), "unsupported format version 3 at byte 0x14"),
        (header(SMALL, 6, 18), "unsupported format version 17 at byte 0x14"),
        (
            SMALL[:-1],
            f"the header says {len(SMALL)} bytes, the file has {len(SMALL) - 1}: "
            f"cut off at byte {len(SMALL) - 1:#x}",
        ),
        (header(SMALL, 1, 39), "totalsize does not hold the header at byte 0x4"),
        (header(SMALL, 2, 0), "the structure block is misplaced at byte 0x8"),
        (header(SMALL, 2, 58), "the structure block is misplaced at byte 0x8"),
        (header(SMALL, 9, 0xFFFF), "the structure block is misplaced at byte 0x8"),
        (header(SMALL, 3, 8), "the strings block is misplaced at byte 0xc"),
        (header(SMALL, 8, 0xFFFF), "the strings block is misplaced at byte 0xc"),
        (block(), "the structure block ends without FDT_END at byte 0x28"),
        (block(*ROOT), "the structure block ends without FDT_END at byte 0x30"),
        (block(9), "the structure block ends inside a node at byte 0x28"),
        (block(*ROOT, 9), "the structure block ends inside a node at byte 0x30"),
        (block(2), "the end of a node that did not begin at byte 0x28"),
        (block(7), "unknown structure tag 0x7 at byte 0x28"),
        (block(3, 0, 0), "a property outside the head of a node at byte 0x28"),
        (
            block(*ROOT, 1, NAME_X, 2, 3, 0, 0),
            "a property outside the head of a node at byte 0x3c",
        ),
        (block(*ROOT, 3, 0), "a property is cut off at byte 0x30"),
        (
            block(*ROOT, 3, 5, 0, b"\0\0\0\0"),
            "a property is longer than the structure block at byte 0x30",
        ),
        (block(*ROOT, 3, 0, 99), "a property name lies outside the strings block at byte 0x30"),
        (block(*ROOT, 3, 0, 6), "a property name lies outside the strings block at byte 0x30"),
        (block(*ROOT, 3, 0, 1), "a property without a name at byte 0x30"),
        (block(*ROOT, 3, 0, 4), "a name is not UTF-8 at byte 0x40"),
        (block(*ROOT, 3, 0, 0, 3, 0, 0), "/ has two properties 'a' at byte 0x3c"),
        (block(1, b"abcd"), "a node name is cut off at byte 0x28"),
        (block(*ROOT, 1, b"\xff\0\0\0"), "a name is not UTF-8 at byte 0x34"),
        (block(*ROOT, 1, 0), "/ has a child with the name '' at byte 0x30"),
        (block(*ROOT, 1, b"a/b\0"), "/ has a child with the name 'a/b' at byte 0x30"),
        (block(*ROOT, 1, NAME_X, 2, 1, NAME_X), "/ has two children 'x' at byte 0x3c"),
        (block(*ROOT, 2, *ROOT), "a second root node at byte 0x34"),
        (
            block(*ROOT, *(1, NAME_X) * MAX_DEPTH),
            f"nodes are nested deeper than 64 at byte {0x30 + 8 * 63:#x}",
        ),
    ],
)
def test_a_broken_blob_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DtbError) as caught:
        tree_from_dtb(data)
    assert str(caught.value) == message


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_blob_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DtbError, TreeError):
        tree_from_dtb(bytes(damaged))
