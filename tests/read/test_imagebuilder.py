# SPDX-License-Identifier: Apache-2.0
"""The reader of ImageBuilder's configurations: data, never run."""

from __future__ import annotations

import pytest

from west_viommu.read.imagebuilder import script

SOURCE = rb"""# two domains
export NUM_DOMUS=2
DOMU_KERNEL[0]=Image; DOMU_MEM[0]="512"
DOMU_PASSTHROUGH_PATHS[0]="/soc/a \
/soc/b"' /soc/c' # three
DOMU_KERNEL[1]='a b'\$"\$x"
LIST=( one "two
lines" )
LIST+=("!")
"""


def test_values_are_read_as_a_shell_does() -> None:
    read = script(SOURCE, "config")
    assert [(v.name, v.number, v.value, v.line) for v in read.variables] == [
        ("NUM_DOMUS", None, "2", 2),
        ("DOMU_KERNEL", 0, "Image", 3),
        ("DOMU_MEM", 0, "512", 3),
        ("DOMU_PASSTHROUGH_PATHS", 0, "/soc/a /soc/b /soc/c", 4),
        ("DOMU_KERNEL", 1, "a b$$x", 6),
        ("LIST", 0, "one", 7),
        ("LIST", 1, "two\nlines", 7),
        ("LIST", None, "one!", 9),
    ]
    assert read.problems == ()
    last = read.value("LIST")
    assert last and last.value == "one!"
    assert read.value("DOMU_KERNEL", 2) is None


@pytest.mark.parametrize(
    "line, is_error, words",
    [
        ('DOMU_PASSTHROUGH_PATHS[0]="$(touch x)"', True, "a shell would have to run it"),
        ("DOMU_PASSTHROUGH_DTB[0]=`touch x`", True, "a shell would have to run it"),
        ("DOMU_PASSTHROUGH_DTB[0]=$DIR/x.dtb", True, "a shell would have to run it"),
        ('A="x $y"', False, "a shell would have to run it"),
        ("DOMU_PASSTHROUGH_DTB[0] = x.dtb", True, "blanks before ="),
        ("MEMORY_END =1", False, "blanks before ="),
        ("DOMU_PASSTHROUGH_DTB[0]= x.dtb", True, "for a command alone"),
        ("A_PATHS=/a /b", True, "needs quotes"),
        ('A="x', False, "its quote is not closed"),
        ("A=( x ", False, "the list is not closed"),
        ("A='\0'", False, "zero byte"),
        ("source other", False, "is not run: source other"),
        ("rm -rf x", False, "is not run: rm -rf x"),
        ("for i in 0; do A_DTB[$i]=x; done", True, "is not run: for i"),
    ],
)
def test_what_cannot_be_read(line: str, is_error: bool, words: str) -> None:
    read = script(f"B=1\n{line}\n".encode(), "config")
    (problem,) = read.problems
    assert words in problem.what and problem.warning is not is_error
    assert problem.where == ("config", 2)
    assert [v.name for v in read.variables] == ["B"]


def test_an_open_quote_takes_no_time() -> None:
    assert not script(b"A='" * 20000, "config").problems
    assert script(b'A="$\n' * 12000, "config").problems
