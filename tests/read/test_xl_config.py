# SPDX-License-Identifier: Apache-2.0
"""The reader of xl's configurations, held to Debian's libxlutil."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.read.xlutil import NO_XLUTIL, XLUTIL, Xlutil
from west_viommu.diagnostics import Refused
from west_viommu.read.xl_config import XlList, XlText, xl_config

WHOLE = b"""# a guest with two devices
name='guest'; kernel = "/boot/Image"
device_tree = "guest.dtb"
dtdev = [
# the first
    "/bus@60000000/ethernet@40000",
]
dtdev += [ '/bus@60000000/mmc@60000' ]
irqs = [ 102, 103,
    "117" , ]
iomem = [
    "60040,4",   # four
    "0x60060, 1@0x60060",
]
vnuma = [ [ "pnode=0", "size=512" ], [ "pnode=1" ] ]
extra = "a" ; extra += 'b\\'\\n'
empty = [
]
"""
PIECES = (
    *(b"a", b"irqs", b"iomem", b"=", b"+=", b"[", b"]", b",", b";", b"\n", b" ", b"\t", b"'x'"),
    *(b'"y"', b"12", b"0x1f", b"112-114", b"#c", b"#c\n", b"\r\n", b"\0", b"\\", b"'", b'"'),
    *(b'"\\n"', b'"\\x41"', b'"\\0123"', b"'\\0+1'", b'"\\12"', b"A", b"\xef\xbb\xbf", b"+", b"-"),
    *(b".", b"(", b"a=1\n", b"b=[1,2]\n", b"b+=[3]\n", b"a+='q'\n", b"\xff", b"'\xff'", b"'\0'"),
    *(b"[[1],2]", b"\x0c", b"#\0\n", b"_", b"a.b_9", b"'\\\n'", b"'\\7 12'"),
)


def plain(value: XlText | XlList) -> Any:
    if isinstance(value, XlText):
        return value.text.encode("utf-8", "surrogateescape").decode("latin-1")
    return [plain(item) for item in value.items]


def values(source: bytes) -> dict[str, Any]:
    return {key: plain(each.value) for key, each in xl_config(source, "g.cfg").last.items()}


def refused_at(source: bytes) -> int | None:
    try:
        xl_config(source, "g.cfg")
    except Refused as refused:
        where = refused.problems[0].where
        assert where and where.file == "g.cfg" and refused.problems[0].hint
        return where.line
    return None


def test_what_xl_takes() -> None:
    assert values(WHOLE) == {
        "name": "guest",
        "kernel": "/boot/Image",
        "device_tree": "guest.dtb",
        "dtdev": ["/bus@60000000/ethernet@40000", "/bus@60000000/mmc@60000"],
        "irqs": ["102", "103", "117"],
        "iomem": ["60040,4", "0x60060, 1@0x60060"],
        "vnuma": [["pnode=0", "size=512"], ["pnode=1"]],
        "extra": "ab'\n",
        "empty": [],
    }
    irqs = xl_config(WHOLE, "g.cfg").last["irqs"].value
    assert isinstance(irqs, XlList)
    assert [(i.line, WHOLE[slice(*i.span)]) for i in irqs.items] == [
        (9, b"102"),
        (9, b"103"),
        (10, b'"117"'),
    ]


@pytest.mark.parametrize(
    "source, line, word",
    [
        (b"a = 1\r\n", 1, "CR LF"),
        (b"\xef\xbb\xbfa = 1\n", 1, "byte order mark"),
        (b"a = 1\nb = 1\0\n", 2, "zero byte"),
        (b'a = 1\nb = "\0"\n', 2, "zero byte"),
        (b"a = 1\n# last", 2, "comment without a line end"),
        (b"a = 1\nIrqs = [ 1 ]\n", 2, "lower case"),
        (b"a = on\n", 1, "does not read this"),
        (b"irqs = [ 112-114 ]\n", 1, "does not read this character"),
        (b"a = 1\n\nimport os\n", 3, "does not read this"),
        (b"a = [ 1\n\n,, 2 ]\n", 3, "does not read this"),
        (b"a = [ 1 2 ]\n", 1, "does not read this"),
        (b"a = [\n1\n", 3, "does not read this"),
        (b"a = 'x\n", 1, "does not end in its line"),
        (b"a = 1\na += [ 1 ]\n", 2, "adds a list to a single value"),
        (b"a = '\\x41'\n", 1, "does not know this escape"),
        (b"a = " + b"[" * 40000, 1, "nested too deeply"),
    ],
)
def test_what_xl_refuses(source: bytes, line: int, word: str) -> None:
    with pytest.raises(Refused, match=word):
        xl_config(source, "g.cfg")
    assert refused_at(source) in (line, line - 1)


@pytest.fixture(scope="module")
def xlutil() -> Iterator[Xlutil]:
    if not XLUTIL.is_dir():
        pytest.skip(NO_XLUTIL)
    library = Xlutil()
    yield library
    library.close()


def check(xlutil: Xlutil, source: bytes) -> bool:
    """Whether the library takes `source`; checks that we say the same of it."""
    theirs, line = xlutil.read(source), refused_at(source)
    if "keys" in theirs:
        assert line is None and values(source) == theirs["keys"], source
        return True
    assert line is not None, (source, theirs)
    # xl takes one off the line of a token that is a line end (xlu__cfg_yyerror()).
    assert theirs.get("line") in (None, line, line - 1), (source, theirs)
    return False


def test_random_pieces_are_judged_as_by_xl(xlutil: Xlutil) -> None:
    rng = random.Random(1)
    for number in range(1000):
        source = b"".join(rng.choice(PIECES) for _ in range(rng.randint(0, 14)))
        if number % 2:
            source = b"a=[ " + source + b" ]"
        check(xlutil, source + b"\n" * (number % 3 == 0))


def test_random_mutations_are_judged_as_by_xl(xlutil: Xlutil) -> None:
    rng = random.Random(2)
    taken = 0
    for _ in range(1000):
        source = bytearray(WHOLE)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(source))
            source[at : at + rng.choice((0, 0, 1, 1, 4))] = rng.choice((b"", *PIECES))
        taken += check(xlutil, bytes(source))
    assert taken > 100


@pytest.mark.parametrize("depth", [4, 900, 4_990, 5_010])
def test_depth_is_bounded_as_by_xl(xlutil: Xlutil, depth: int) -> None:
    source = b"a=" + b"[" * depth + b"]" * depth + b"\n"
    theirs = xlutil.read(source) if depth < 800 or depth > 5_000 else {"keys": {}}
    assert ("keys" in theirs) is (refused_at(source) is None)
