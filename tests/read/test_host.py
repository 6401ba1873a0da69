# SPDX-License-Identifier: Apache-2.0
"""The same tree from a blob, from source and from a directory; and what is no host tree."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from tests.support import DEMO, blob, corpus_params, write_directory
from west_viommu.diagnostics import Refused
from west_viommu.read.dtb import MAX_DEPTH, tree_from_dtb
from west_viommu.read.tree import DirectoryError, read_host_tree, tree_from_directory
from west_viommu.tree.node import Node


def in_name_order(node: Node) -> Node:
    children = sorted(node.children, key=lambda child: child.name)
    return node._replace(children=tuple(map(in_name_order, children)))


@pytest.mark.parametrize("file", corpus_params())
def test_blob_source_and_directory_are_the_same_tree(file: Path, tmp_path: Path) -> None:
    from_blob = read_host_tree(str(file))

    source = tmp_path / "host.dts"
    command = ["dtc", "-q", "-I", "dtb", "-O", "dts", "-o", str(source), str(file)]
    subprocess.run(command, check=True)
    assert read_host_tree(str(source)).root == from_blob.root

    directory = tmp_path / "device-tree"
    write_directory(from_blob.root, directory)
    assert read_host_tree(str(directory)).root == in_name_order(from_blob.root)


def test_a_blob_is_known_by_its_magic_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "host.txt"
    file.write_bytes(blob((DEMO / "host.dts").read_text()))
    paths = [node.path for node in read_host_tree(str(file)).nodes()]
    assert paths == [node.path for node in read_host_tree(str(DEMO / "host.dts")).nodes()]


def test_host_source_is_preprocessed(tmp_path: Path) -> None:
    (tmp_path / "ids.h").write_text('#define MODEL "with cpp"\n')
    file = tmp_path / "host.dts"
    file.write_text('#include "ids.h"\n/dts-v1/;\n/ { model = MODEL; };\n')
    assert read_host_tree(str(file)).root.string_list("model") == ("with cpp",)


def test_directories_that_are_no_devicetree(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="it has no file '#address-cells'"):
        tree_from_directory(str(tmp_path))
    (tmp_path / "#address-cells").write_bytes(b"\0\0\0\2")
    (tmp_path / "compatible").write_bytes(b"x\0")
    assert tree_from_directory(str(tmp_path)).root.compatible == ("x",)
    deepest = tmp_path
    for _ in range(MAX_DEPTH):
        deepest = deepest / "d"
    deepest.mkdir(parents=True)
    with pytest.raises(DirectoryError, match="nested deeper than 64"):
        tree_from_directory(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x89PNG\0",
            "{file}: error: [malformed] neither a devicetree blob nor devicetree source (expected "
            "the magic d00dfeed, or text with /dts-v1/, found 89504e47)\nhint: give the blob that "
            "Xen is booted with, its .dts, or a /proc/device-tree directory",
        ),
        (
            b"/ {\n\ta;\n};\n",
            "{file}: error: [malformed] this is an overlay, without /dts-v1/: not a whole tree "
            "(expected the magic d00dfeed, or text with /dts-v1/, found other text)\n"
            "hint: give the blob that Xen is booted with, its .dts, or a /proc/device-tree "
            "directory",
        ),
        (
            b"memory = 512\n",
            "{file}: error: [malformed] neither a devicetree blob nor devicetree source (expected "
            "the magic d00dfeed, or text with /dts-v1/, found other text)\nhint: give the blob "
            "that Xen is booted with, its .dts, or a /proc/device-tree directory",
        ),
        (
            b"",
            "{file}: error: [malformed] neither a devicetree blob nor devicetree source (expected "
            "the magic d00dfeed, or text with /dts-v1/, found an empty file)\nhint: give the blob "
            "that Xen is booted with, its .dts, or a /proc/device-tree directory",
        ),
        (
            b"\xd0\x0d\xfe\xed",
            "{file}: error: [malformed] not a valid devicetree blob: the header is cut off at byte "
            "0x4\nhint: the file is damaged or cut off: copy it again",
        ),
        (
            blob("/dts-v1/; / { f { target-path = [00]; __overlay__ { }; }; };"),
            "{file}: error: [malformed] this is an overlay, not a whole tree\nhint: apply it with "
            "fdtoverlay (dtc makes a blob of source), and give the outcome: fdtoverlay -i BASE.dtb "
            "-o HOST.dtb OVERLAY.dtbo",
        ),
        (
            b"/dts-v1/;\n/plugin/;\n&{/soc} { };",
            "{file}: error: [malformed] this is an overlay, not a whole tree\nhint: apply it with "
            "fdtoverlay (dtc makes a blob of source), and give the outcome: fdtoverlay -i BASE.dtb "
            "-o HOST.dtb OVERLAY.dtbo",
        ),
        (
            blob('/dts-v1/; / { hypervisor { compatible = "xen,xen-4.17", "xen,xen"; }; };'),
            "{file}: error: [dom0-tree] this is the tree that Xen made for dom0: it lacks the "
            "SMMUs and the stream IDs (expected a tree without a xen,xen node)\nhint: give the "
            "blob that Xen was booted with; if a boot loader makes it, boot Linux in place of "
            "Xen, and copy its /sys/firmware/fdt",
        ),
        (
            gzip.compress(b"/dts-v1/; / { };", mtime=0),
            "{file}: error: [malformed] this is compressed by gzip, not a devicetree\nhint: "
            "unpack it: gzip -dk {file}, and give what comes out",
        ),
        (
            b"\x7fELF\2\1\1",
            "{file}: error: [malformed] this is a program (ELF), not a devicetree\nhint: give the "
            "devicetree: a blob, or its source",
        ),
        (
            b"/dts-v1/; / {\n\tbad bad;\n};\n",
            "{file}:2: error: [malformed] expected '{{', '=', or ';'\nhint: correct this line, or "
            "the end of the one before it",
        ),
        (
            b"/dts-v1/;\n/ {\n\ta = <&nowhere>;\n};\n",
            "{file}:3: error: [malformed] &nowhere is a label that the tree does not have\nhint: "
            "correct the label, or leave the property out",
        ),
        (
            b"/dts-v1/;\n&{/a} {\n};\n",
            "{file}:2: error: [malformed] a node is referred to before there is a root node\nhint: "
            "give the base tree (.dts) before its overlays",
        ),
    ],
)
def test_what_is_no_host_tree_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "host"
    file.write_bytes(content)
    with pytest.raises(Refused) as caught:
        read_host_tree(str(file))
    assert str(caught.value) == message.format(file=file)


def test_a_directory_that_is_no_devicetree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"\[malformed\] this is not a devicetree: it has no file"):
        read_host_tree(str(tmp_path))


def test_a_host_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_host_tree(str(tmp_path / "missing.dtb"))
    assert str(caught.value) == (
        f"{tmp_path}/missing.dtb: error: [unreadable] No such file or directory\n"
        "hint: check its path"
    )
    (tmp_path / "missing.dts").touch()
    with pytest.raises(
        Refused, match=rf"hint: did you mean {tmp_path}/missing.dts\? If not, check"
    ):
        read_host_tree(str(tmp_path / "missing.dtb"))


def test_the_same_tree_has_the_same_nodes_from_both_readers() -> None:
    source = (DEMO / "host.dts").read_text()
    from_blob = tree_from_dtb(blob(source))
    from_source = read_host_tree(str(DEMO / "host.dts"))
    assert [n.path for n in from_blob.nodes()] == [n.path for n in from_source.nodes()]
