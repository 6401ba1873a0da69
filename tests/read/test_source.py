# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from west_viommu.diagnostics import Refused, Where
from west_viommu.guest.source import GuestTree
from west_viommu.read.dtb import MAX_DEPTH
from west_viommu.read.source import guest_tree


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CPP", raising=False)


def guest(*sources: str, **options: Any) -> GuestTree:
    files = []
    for i, source in enumerate(sources):
        files.append(f"guest{i}.dts")
        Path(files[-1]).write_text(source)
    return guest_tree(files, **options)


def test_files_are_read_in_order_and_amend_each_other() -> None:
    read = guest(
        "/dts-v1/;\n/ {\n\ta: a { x = <1>; };\n\tb { };\n};\n",
        "&a { x = <2>; };\n&{/b} { y; };\n",
    )
    assert [node.path for node in read.tree.nodes()][:3] == ["/", "/a", "/b"]
    a = read.tree.node("/a")
    assert a and a.number("x", 0) == 2
    assert read.tree.labels == {"a": "/a"}
    assert read.locate("/a", "x") == Where("guest1.dts", 1)
    assert read.locate("/b", "y") == Where("guest1.dts", 2)


def test_overlays_whose_base_is_not_given() -> None:
    read = guest(
        '&uart0 { status = "okay"; };\n&{/soc/bus} { x = <&{/cpus}>; };\n/ { y = <GIC_SPI &clk>; };'
    )
    assert read.open_labels == {"uart0", "clk"}
    assert read.tree.node("/soc/bus") and read.tree.node("/cpus")
    assert read.tree.root.properties["y"][:4] == bytes(4)


def test_includes_macros_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    os.makedirs("inc")
    Path("inc/ids.h").write_text("#define ID 0x10\n")
    Path("inc/dev.dtsi").write_text("/ {\n\tpassthrough {\n\t\te { iommus = <0 ID>; };\n\t};\n};\n")
    source = '#include "ids.h"\n/dts-v1/;\n#include "dev.dtsi"\n/ { n = <N>; };\n'
    read = guest(source, include_dirs=["inc"], defines=["N=7"])
    assert read.locate("/passthrough/e", "iommus") == Where("inc/dev.dtsi", 3)
    assert read.tree.root.number("n", 0) == 7


def test_zephyrs_include_folders_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = tmp_path / "zephyr/include/zephyr/dt-bindings/x.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define X 5\n")
    monkeypatch.setenv("ZEPHYR_BASE", str(tmp_path / "zephyr"))
    read = guest("#include <zephyr/dt-bindings/x.h>\n/dts-v1/;\n/ { x = <X>; };")
    assert read.tree.root.number("x", 0) == 5


def test_zephyrs_own_dtlib_is_used_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "zephyr/scripts/dts/python-devicetree/src"
    own.mkdir(parents=True)
    monkeypatch.setenv("ZEPHYR_BASE", str(tmp_path / "zephyr"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    guest("/dts-v1/; / { };")
    assert sys.path[0] == str(own)


def test_references_are_told_from_numbers() -> None:
    read = guest(
        """/dts-v1/; / { smmu: smmu { phandle = <5>; };
        a { iommus = <&smmu 1>; }; b { iommus = <5 1>; }; c { iommus = <&smmu 1>, <0 2>; };
        other: other { }; d { iommus = <1 1>; x = <&other>; }; };"""
    )
    # The phandle that the compiler gives to `other` is not what d means by 1.
    other = read.tree.node("/other")
    assert other and other.number("phandle", 0) == 1
    smmu = {0: "/smmu"}
    assert read.links == {"/a": smmu, "/b": smmu, "/c": smmu, "/d": {}}


def refusal(*sources: str, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        guest(*sources, **options)
    return str(caught.value)


NODE = "/dts-v1/;\n/ { a { %s };\n};\n"


@pytest.mark.parametrize(
    ("inside", "line", "what", "hint"),
    [
        ("c = “x”;", 2, "a value in quotes of another kind", 'write it in double quotes: "..."'),
        ("c = 'x';", 2, "a value in quotes of another kind", 'write it in double quotes: "..."'),
        ("c = 'xyz';", 2, "a value in quotes of another kind", 'write it in double quotes: "..."'),
        ("# my\nb;", 2, "# does not begin a comment here", "write /* comment */ or // comment"),
        (
            'c = "x",;',
            2,
            "a comma without a value after it",
            "remove the comma, or write the value",
        ),
        (
            "c = <0x2G5>;",
            2,
            "0x2G5 is not a number",
            "write decimal digits, or 0x and hexadecimal digits",
        ),
        (
            "c = <1, 2>;",
            2,
            "a comma between the cells of a list",
            "write blanks there: <1 2>; a comma is between lists: <1 2>, <3 4>",
        ),
        (
            "c = <-1>;",
            2,
            "a negative number without parentheses",
            "write it in parentheses: <(-1)>",
        ),
        ("c = <1;", 2, "a list of cells that is not closed", "close it, before the ;"),
        ('c = "x;', 2, "a string that is not closed", "close it, before the ;"),
        (
            "c = abc;",
            2,
            'a value that is neither a "string" nor in < > nor in [ ]',
            'write "text", <numbers> or [bytes]',
        ),
        (
            "c: <1>;",
            2,
            "a colon between a property and its value",
            "write = there: a colon is behind a label",
        ),
        (
            "x-1: b { };",
            2,
            "a label with a character that labels cannot have",
            "a label has letters, digits and _ only, and begins with no digit",
        ),
        (
            "b@1\nc = <1>; };",
            3,
            "a node name without the { behind it",
            "write NAME@ADDRESS {, at the end of the line before",
        ),
        (
            "b@1 = <1>;",
            2,
            "'@' is only allowed in node names",
            "correct the source",
        ),
        ("}; };", 2, "there is a } too many before this, or here", None),
        ("b {", 3, "the node before this is not closed", "write `};` where it ends"),
        (
            "b { c = <2>; };\n/ { };",
            3,
            "the node before this is not closed",
            "write `};` where it ends",
        ),
    ],
)
def test_a_frequent_mistake_in_source(inside: str, line: int, what: str, hint: str | None) -> None:
    message, _, hinted = refusal(NODE % inside).partition("\nhint: ")
    assert message.splitlines()[0] == f"guest0.dts:{line}: error: [malformed] {what}"
    assert hint in (hinted, None)


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        (
            '#include "x.h"',
            "x.h: No such file or directory",
            "give the folder of an included file with -I; or set ZEPHYR_BASE",
        ),
        (
            "#include zephyr/x.h",
            '#include expects "FILENAME" or <FILENAME>',
            'write #include "FILE", or #include <FILE> for a file in a folder of -I',
        ),
        ("/* x", "unterminated comment", "write */ where the comment ends"),
        ("#if 1", "unterminated #if", "write #endif where it ends"),
        ("#endif", "#endif without #if", "remove it, or write the #if before it"),
        (
            "#error no board",
            "#error no board",
            "correct the line, or give a macro that it needs with -D",
        ),
    ],
)
def test_what_the_preprocessor_complains_of(line: str, what: str, hint: str) -> None:
    assert refusal(f"/dts-v1/;\n{line}\n/ {{ }};\n") == (
        f"guest0.dts:2: error: [malformed] the C preprocessor says: {what}\nhint: {hint}"
    )


def test_a_folder_of_includes_that_is_not_there() -> None:
    assert refusal('#include "x.h"\n', include_dirs=["inclde"]).splitlines()[-1] == (
        "hint: correct -I inclde, which is no folder"
    )


def test_a_file_that_is_no_devicetree() -> None:
    assert refusal('name = "domU"\nmemory = 512\n') == (
        "guest0.dts:1: error: [malformed] expected '/' or label reference (&foo)\n"
        "hint: write `/ { };` or `&label { };`; or is this no devicetree?"
    )


def test_no_preprocessor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert refusal("/dts-v1/; / { };") == (
        "error: [unreadable] no C preprocessor, which devicetree source needs\n"
        "hint: install gcc or clang, or name the preprocessor in the variable CPP"
    )


def test_a_preprocessor_of_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPP", "cpp -DMINE=3")
    assert guest("/dts-v1/; / { x = <MINE>; };").tree.root.number("x", 0) == 3


def test_a_preprocessor_that_fails_without_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPP", "sh -c 'echo no licence >&2; exit 3'")
    assert refusal("/dts-v1/;") == (
        "guest0.dts: error: [malformed] the C preprocessor says: no licence\n"
        "hint: check the variable CPP and the -D options"
    )
    monkeypatch.setenv("CPP", "false")
    assert refusal("/dts-v1/;") == (
        "error: [unreadable] the preprocessor false fails, and says nothing\n"
        "hint: install gcc or clang, or name the preprocessor in the variable CPP"
    )
    monkeypatch.setenv("CPP", "sh -c 'kill $$'")
    assert "[malformed] the C preprocessor was ended by the system\n" in refusal("/dts-v1/;")


def test_a_preprocessor_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPP", "no-such-cpp -E")
    assert "[unreadable] the preprocessor no-such-cpp cannot be run" in refusal("/dts-v1/;")
    monkeypatch.setenv("CPP", "'")
    assert "[unreadable] the variable CPP cannot be read" in refusal("/dts-v1/;")
    monkeypatch.setenv("CPP", "")
    assert guest("/dts-v1/; / { };").tree.labels == {}


def test_a_folder_is_no_source() -> None:
    os.mkdir("folder.dts")
    with pytest.raises(Refused, match="this is a folder, and only plain files are read"):
        guest_tree(["folder.dts"])


def test_no_dtlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("devicetree"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refusal("/dts-v1/; / { };") == (
        "error: [unreadable] devicetree source needs the Python package devicetree\n"
        "hint: pip install devicetree, or set ZEPHYR_BASE"
    )


@pytest.mark.parametrize(
    ("source", "included", "place", "what"),
    [
        (b'/dts-v1/;\n/ { x = "\xe9"; };', b"", "a.dts:2", "source"),
        (b'#include "b.h"\n/dts-v1/;\n/ { x = "\xe9"; };', b"\n", "a.dts:3", "source"),
        (b'/dts-v1/;\n#include "b.h"', b'\n/ {\n\tx = "\xe9"; };', "b.h:3", "source"),
        (b'/dts-v1/;\n#include "\xe9.h"\n/ { };', b"", "\\udce9.h", "path of this file"),
    ],
)
def test_source_that_is_no_text(source: bytes, included: bytes, place: str, what: str) -> None:
    Path("a.dts").write_bytes(source)
    Path("b.h").write_bytes(included)
    Path(os.fsdecode(b"\xe9.h")).write_bytes(b"")
    hint = "write it in UTF-8" if what == "source" else "rename the file, or the folder that it"
    with pytest.raises(Refused) as caught:
        guest_tree(["a.dts"])
    text = str(caught.value)
    assert text.startswith(
        f"{place}: error: [malformed] the {what} is not UTF-8 text\nhint: {hint}"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/dts-v1/;\n/ { x = <08>; };", "guest0.dts:2: error: [malformed] this cannot be read: "),
        ("/dts-v1/;\n/ { x = <(" + "9" * 3000 + "*" + "9" * 3000 + ")>; };", "guest0.dts:2: error"),
        ('/dts-v1/; / { x = /incbin/ ("guest0.dts", (-1), 1); };', "guest0.dts:1: error: "),
        ("/dts-v1/; / { };\n/delete-node/ &{/};", "guest0.dts:2: error: [malformed] the root node"),
        ("/ { };\n/delete-node/ &{/};", "guest0.dts:2: error: [malformed] the root node cannot be"),
        ("/dts-v1/; r: &{/} { };\n/delete-node/ &{/};", "a node is referred to before"),
        ("/dts-v1/; / { };\n/omit-if-no-ref/ &{/};", "the root node cannot be deleted\nhint: "),
        ('# 5 ""\n/dts-v1/;\n/ { x = <y>; };', "guest0.dts:3: error: [malformed] y is neither"),
        ('# 5 ""\n/dts-v1/;\n/ { x = <&y>; };', "guest0.dts:3: error: [malformed] &y is a label"),
        ("/dts-v1/; / { a: x { }; a: y { }; };", "Label 'a' appears on /x and on /y"),
        ("/dts-v1/; / { x = <0x1ffffffff>; };", "8589934591 does not fit in 32 bits"),
        ("/dts-v1/; / { " + "a { " * 70 + "};" * 70 + " };", "nested deeper than 64"),
        ("/dts-v1/; / { x = <" + "(" * 5000 + ">; };", "this is nested too deeply"),
    ],
)
def test_whatever_dtlib_makes_of_it_is_refused(source: str, message: str) -> None:
    assert message in refusal(source)
    assert MAX_DEPTH == 64
