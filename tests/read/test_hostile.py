# SPDX-License-Identifier: Apache-2.0
"""Inputs made to take too much: each must be read or refused at once, in words, on one line.

What is exponential here never ends: nobody needs a clock to see it.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import libfdt
import pytest

from tests.flat import GUEST, Part, cells, device, flat, host
from tests.read.by_libfdt import libfdt_nodes
from tests.support import CHECKOUT, CORPUS, DEMO, Run, blob
from west_viommu.diagnostics import MOST_ALIKE, Refused
from west_viommu.read import dtlib
from west_viommu.read.dtb import MAX_DEPTH, MAX_NAME, MAX_PATH, DtbError, tree_from_dtb
from west_viommu.read.guest import sealed_plan
from west_viommu.tree.cells import TreeError

MANY = 20_000
SOME = 4_000
DEVICE = "m { reg = <0 0x10000000 0 0x1000>; %s };"
# Sequences of a terminal, the ends of a string, of a comment and of a line.
ESCAPES = 'e"*\n\x1b[31m\x9b'


def behind_many() -> bytes:
    iommus = (
        device(b"s@%x" % i, (b"phandle", cells(9 + i)), (b"#iommu-cells", cells(1)))
        for i in range(SOME)
    )
    user = device(b"m", (b"iommus", cells(*(each for i in range(SOME) for each in (9 + i, 1)))))
    return host(*iommus, user)


def on_one_id() -> bytes:
    return host(
        *(
            device(
                b"m@%x" % i,
                (b"reg", cells(0, 0x10000000 + 4096 * i, 0, 4096)),
                (b"iommus", cells(1, 7)),
            )
            for i in range(MANY)
        )
    )


def chained() -> bytes:
    first = 10
    nodes = [
        device(
            b"m@%x" % i,
            (b"phandle", cells(first + i)),
            (b"interrupt-parent", cells(first + i + 1)),
            (b"interrupts", cells(0, 1, 4)),
            (b"iommus", cells(1, i)),
        )
        for i in range(SOME)
    ]
    last = device(b"z", (b"phandle", cells(first + SOME)), (b"#interrupt-cells", cells(3)))
    return host(*nodes, last)


def through_a_map() -> bytes:
    rows = b"".join(cells(i, 2, 0, i, 4) for i in range(SOME))
    nexus = device(
        b"nexus",
        (b"phandle", cells(3)),
        (b"#address-cells", cells(0)),
        (b"#interrupt-cells", cells(1)),
        (b"interrupt-map", rows),
    )
    wanted = cells(*[SOME - 1] * SOME)
    user = device(
        b"m", (b"interrupt-parent", cells(3)), (b"interrupts", wanted), (b"iommus", cells(1, 1))
    )
    return host(nexus, user)


def through_ranges(step: int) -> bytes:
    """A bus of many ranges, and a device that uses the last of them as many times."""
    ranges = b"".join(cells(step * i, 0, 16 * i, 16) for i in range(SOME))
    reg = cells(*[step * (SOME - 1), 16] * SOME)
    bus: list[Part] = [b"bus", (b"#address-cells", cells(1)), (b"#size-cells", cells(1))]
    user = device(b"m", (b"reg", reg), (b"iommus", cells(1, 1)))
    return host([*bus, (b"ranges", ranges), *user, None])


def in_a_ring() -> bytes:
    """Interrupt parents, a nexus and an IOMMU that refer to themselves or to each other."""
    return host(
        device(b"a", (b"phandle", cells(5)), (b"interrupt-parent", cells(6))),
        device(b"b", (b"phandle", cells(6)), (b"interrupt-parent", cells(5))),
        device(b"m", (b"interrupt-parent", cells(5)), (b"interrupts", b""), (b"iommus", b"")),
        device(
            b"nexus",
            (b"phandle", cells(7)),
            (b"#address-cells", cells(0)),
            (b"#interrupt-cells", cells(1)),
            (b"interrupt-map", cells(1, 7, 1)),
        ),
        device(
            b"n",
            (b"interrupt-parent", cells(7)),
            (b"interrupts", cells(1)),
            (b"iommus", cells(1, 2)),
        ),
        device(b"s", (b"phandle", cells(8)), (b"#iommu-cells", cells(1)), (b"iommus", cells(8, 1))),
    )


def of_wide_cells() -> bytes:
    nexus = device(
        b"nexus",
        (b"phandle", cells(3)),
        (b"#address-cells", cells(0xFFFFFFFF)),
        (b"#interrupt-cells", cells(1)),
        (b"interrupt-map", cells(1, 2, 1)),
    )
    user = device(
        b"m", (b"interrupt-parent", cells(3)), (b"interrupts", cells(1)), (b"iommus", cells(1, 1))
    )
    return host(nexus, user)


def masked(count: int, mask: int) -> bytes:
    maps = (b"iommu-map", cells(0, 1, 0, 0xFFFF)), (b"iommu-map-mask", cells(mask))
    return host(*(device(b"m@%x" % i, *maps) for i in range(count)))


def nested_maps() -> bytes:
    return host(*(device(b"m@%x" % i, (b"iommu-map", cells(0, 1, 0, i + 1))) for i in range(MANY)))


def on_one_page() -> bytes:
    region = b"reg", cells(0, 0x10000000, 0, 0x1000)
    return host(*(device(b"m@%x" % i, region, (b"iommus", cells(1, i))) for i in range(SOME)))


def of_long_names() -> bytes:
    return host([b"x" * 500_000, *(part for i in range(2000) for part in (b"%x" % i, None)), None])


def of_a_long_path() -> bytes:
    names = [b"x" * MAX_NAME] * 5
    return host([*names, *[None] * len(names)])


def of_wrapping_addresses() -> bytes:
    reg = cells(0xFFFFFFFF, 0xFFFFF000, 0xFFFFFFFF, 0xFFFFFFFF)
    return host(device(b"m", (b"reg", reg), (b"iommus", cells(1, 0xFFFFFFFF))))


def twice(name: bytes) -> bytes:
    return host(
        device(b"m", (b"phandle", cells(9))),
        device(name, (b"phandle", cells(9))),
        device(b"u", (b"iommus", cells(9, 1))),
    )


def of_many_regions() -> bytes:
    reg = cells(*(cell for i in range(MANY) for cell in (0, 0x10000000 + 0x10000 * i, 0, 4096)))
    return host(*(device(b"m%x" % i, (b"reg", reg), (b"iommus", cells(1, i))) for i in range(2)))


def of_one_id_behind_each_smmu() -> bytes:
    smmus = (
        device(
            b"s%x" % i,
            (b"compatible", b"arm,smmu-v3\0"),
            (b"#iommu-cells", cells(1)),
            (b"phandle", cells(10 + i)),
        )
        for i in range(SOME)
    )
    masters = (device(b"m%x" % i, (b"iommus", cells(10 + i, 7))) for i in range(SOME))
    return host(*smmus, *masters)


# Name, host, what `list` says of it; "" where it lists it.
HOSTS = [
    ("regions of a device", of_many_regions, ""),
    ("SMMUs with one ID", of_one_id_behind_each_smmu, ""),
    ("IDs", on_one_id, ""),
    ("IOMMUs", behind_many, "more IOMMUs than there can be"),
    ("interrupt parents", chained, ""),
    ("interrupt-map", through_a_map, ""),
    ("ranges", lambda: through_ranges(16), ""),
    ("ranges that overlap", lambda: through_ranges(8), ""),
    ("a ring", in_a_ring, ""),
    ("cells of an address", of_wide_cells, ""),
    ("bits of a mask", lambda: masked(1, 0x5555), ""),
    ("masks", lambda: masked(1000, 0xFFFE), "iommu-map-mask cuts iommu-map into too many"),
    ("maps in maps", nested_maps, "overlap in more ways than can be listed"),
    ("one page", on_one_page, ""),
    ("a name", of_long_names, f"a name is longer than {MAX_NAME} bytes"),
    ("a path", of_a_long_path, f"a path is longer than {MAX_PATH} characters"),
    ("addresses that wrap", of_wrapping_addresses, ""),
    ("a phandle twice", lambda: twice(b"n"), ""),
    ("a name twice", lambda: twice(b"m"), "/ has two children 'm'"),
    ("depth", lambda: host([*[b"x"] * MAX_DEPTH, *[None] * MAX_DEPTH]), "nested deeper than"),
]


@pytest.mark.parametrize(("make", "says"), [pytest.param(*c, id=name) for name, *c in HOSTS])
def test_a_host_of_too_much(make: object, says: str, viommu: Run, tmp_path: Path) -> None:
    assert callable(make)
    (tmp_path / "host.dtb").write_bytes(make())
    outcome = viommu("list", "--host", "host.dtb")
    assert outcome.status == bool(says), outcome.err[:1000]
    assert says in outcome.err


def test_20000_masters_on_one_id_refuse_a_guest(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dtb").write_bytes(on_one_id())
    (tmp_path / "guest.dts").write_text(GUEST % DEVICE % "iommus = <0 7>;")
    outcome = viommu("bind", "--host", "host.dtb", "guest.dts")
    assert outcome.status == 1
    assert outcome.err.count("[shared-stream-id]") == MOST_ALIKE + 1
    assert f"error: [shared-stream-id] and {MANY - 1 - MOST_ALIKE:,} more like this" in outcome.err


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        ('m%d { xen,path = "/m%d"; };', "unknown-host-node"),
        ("m%d { iommus = <0 %d0000>; };", "unknown-stream-id"),
    ],
)
def test_thousands_of_mistyped_names(asks: str, says: str, viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dtb").write_bytes(on_one_id())
    (tmp_path / "guest.dts").write_text(GUEST % "".join(asks % (i, i) for i in range(1, SOME)))
    outcome = viommu("bind", "--host", "host.dtb", "guest.dts")
    assert (outcome.status, outcome.err.count(f"[{says}]")) == (1, MOST_ALIKE + 1)
    assert f"error: [{says}] and {SOME - 1 - MOST_ALIKE:,} more like this" in outcome.err
    assert "/m@" in outcome.err.splitlines()[1]


LONGEST = "a" * 255 + " {"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/dts-v1/; / { a = <(1 << 0xffffffff)>; };", "a shift by 0xffffffff bits"),
        ("/dts-v1/; / { a = <(1 >> 64)>; };", "a shift by 0x40 bits"),
        ('/dts-v1/; / { a = /incbin/ ("/dev/zero"); };', "this is a device"),
        ('/dts-v1/; / { a = /incbin/ ("big"); };', "more than 1048576 bytes"),
        ('/dts-v1/; / { a = /incbin/ ("guest.dts", 0, 0xffffffffff); };', "asks for no device"),
        ('#include "/dev/zero"\n', "the C preprocessor says"),
        ('#include "guest.dts"\n', "the C preprocessor says"),
        ("/*" * 100_000, "unterminated comment"),
        ('/dts-v1/; / { a = "' + "x" * 1_000_000 + '"; };', "asks for no device"),
        (
            "/dts-v1/; / {\n" + "a {\n" * 5000,
            "guest.dts:65: error: [malformed] nodes are nested de",
        ),
        ("/dts-v1/; / { a = <" + "(" * 5000 + ">; };", "nested too deeply"),
        ("/dts-v1/; / {\n" + "a" * 256 + ";};", "guest.dts:2: error: [malformed] a name is longer"),
        (
            f"/dts-v1/; / {{ a;\n{LONGEST * 5} {{ {'};' * 6}",
            "guest.dts:2: error: [malformed] a path is",
        ),
        (
            f"/dts-v1/; / {{ a;\n}}; &{{{'/a' * 64}}} {{ }};",
            "guest.dts:2: error: [malformed] nodes are",
        ),
        (
            "/dts-v1/; / { " + LONGEST * 3 + "\n" + "".join(map("n{}{{}};\n".format, range(99))),
            "guest.dts:93: error: [malformed] the paths of the nodes are much longer than",
        ),
        (
            f"/dts-v1/; / {{ {LONGEST * 3} l: n {{}}; {'};' * 4} / {{\n"
            f"b {{ a = {'&l, ' * 99} &l; }}; }};",
            "guest.dts:2: error: [malformed] /b: a: the paths that &l and others stand for are too",
        ),
        ("/dts-v1/; / { a = <" + "9" * 5000 + ">; };", "malformed"),
        (GUEST % DEVICE % 'xen,path = "/m\\x1b[31m";', "/m\\x1b[31m"),
    ],
)
def test_a_hostile_guest(text: str, says: str, viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "guest.dts").write_text(text)
    (tmp_path / "big").write_bytes(bytes(2 << 20))
    outcome = viommu("bind", "--host", DEMO / "host.dts", "guest.dts")
    assert outcome.status == 1
    assert says in outcome.err


def test_macros_that_stand_for_more_than_there_is(viommu: Run, tmp_path: Path) -> None:
    macros = "".join(f"#define A{i + 1} A{i} A{i}\n" for i in range(40))
    (tmp_path / "guest.dts").write_text(f"{macros}/dts-v1/; / {{ a = A40; }};\n")
    outcome = viommu("bind", "--host", DEMO / "host.dts", "guest.dts")
    assert outcome.status == 1
    # By memory, or on a busy machine by the clock.
    assert "the C preprocessor says" in outcome.err or "had not finished after" in outcome.err


def test_source_that_takes_dtlib_too_long(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtlib, "MOST_SECONDS", 0.2)
    (tmp_path / "guest.dts").write_text(f"/dts-v1/;\n/ {{ a = <{'1 ' * 500_000}>; }};\n")
    outcome = viommu("bind", "--host", DEMO / "host.dts", "guest.dts")
    assert (outcome.status, outcome.err) == (
        1,
        "guest.dts:2: error: [malformed] this was not read to its end within 0.2 s\n"
        "hint: correct the source\n",
    )


def test_a_message_is_cut_to_what_can_be_read(viommu: Run, tmp_path: Path) -> None:
    wanted = f'xen,path = "/{"y" * 100_000}";'
    (tmp_path / "guest.dts").write_text(GUEST % f"m {{ {wanted} }};")
    outcome = viommu("bind", "--host", DEMO / "host.dts", "guest.dts")
    assert "characters ... yyy" in outcome.err
    assert len(outcome.err) < 3000


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60))
MERGED = "a0: &a0 {x: y}\n" + "".join(
    f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}\n" for i in range(60)
)
YAML = [
    (LAUGHS, "anchors and aliases are not read here"),
    (MERGED, "anchors and aliases are not read here"),
    ("a: &a [*a]", "anchors and aliases are not read here"),
    ("? [x, x]\n: y", "key"),
    ("!!python/object/apply:os.system [x]", "tags are not read here"),
    ("a: !!float ''", "tags are not read here"),
    ("a: !!bool x", "tags are not read here"),
    ("a: 0001-01-01 00:00:00 +23:00", "unknown key"),
    ("{" * 3000, "nested too deeply"),
    ("a: " + "x" * 70_000, "more than 65536 bytes"),
    ('"\\e]0;x\\a": 1', "\\x1b]0;x\\x07"),
    ("x" * 900 + ": 1", "xxx"),
]


@pytest.mark.parametrize("option", ["--config", "--profile"])
@pytest.mark.parametrize(("text", "says"), YAML)
def test_hostile_yaml(text: str, says: str, option: str, viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    outcome = viommu("bind", "--host", DEMO / "host.dts", option, "./own.yaml", DEMO_GUEST)
    assert outcome.status == 1
    assert says in outcome.err
    assert_is_plain(outcome.err)


DEMO_GUEST = DEMO / "guest.overlay"
IMAGE = "default: a\ndomains: [{name: a, build_dir: %s}]\n"
NO_TEXT = "not valid YAML: this has a character that is not text"


@pytest.mark.parametrize(
    "command", [["system"], ["check"], ["check", "--system"], ["bind", "--host", DEMO / "host.dts"]]
)
@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (IMAGE.replace("name: a", "name: 0x_") % "x", ":2", "not valid YAML: this is not a number"),
        (IMAGE % '"x\\0y"', ":2", NO_TEXT),
        (IMAGE % '"\\uD800"', ":2", NO_TEXT),
        ("[" * 30_000, "", "it is nested too deeply"),
    ],
)
def test_a_hostile_sysbuild(
    text: str, line: str, says: str, command: Sequence[object], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "domains.yaml").write_text(text)
    outcome = viommu(*command, "-d", ".")
    assert (outcome.status, outcome.out) == (1, "")
    told = [x for x in outcome.err.splitlines() if " | " not in x]
    assert told == [
        f"domains.yaml{line}: error: [malformed] {says}",
        "hint: configure the build again",
    ]


@pytest.mark.parametrize("command", ["system", "check", "bind"])
def test_a_sysbuild_with_a_name_of_5000_characters(
    command: str, viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "domains.yaml").write_text(IMAGE % ("x" * 5000))
    outcome = viommu(command, "-d", ".")
    assert outcome.status == 1
    assert outcome.err.count("error: ") == outcome.err.count("\nhint: ") == 1
    assert len(outcome.err) < 3000


@pytest.mark.parametrize("name", ['"a\\0b"', '"\\uD800"'])
@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_no_text_in_the_place_of_a_message(
    name: str, form: str, viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    for line in (f"host: {name}\n", f'profile: "./{name[1:]}\n'):
        (tmp_path / "viommu.yml").write_text(line)
        outcome = viommu("bind", "--errors", form, DEMO_GUEST)
        assert outcome.status == 1
        assert NO_TEXT in outcome.err
        assert ":1:" in outcome.err or '"line": 1' in outcome.err or ",line=1::" in outcome.err
    (tmp_path / "guest.dts").write_bytes(b'/dts-v1/;\n# 1 "a\0b"\n/ { x = <08>; };\n')
    (tmp_path / "viommu.yml").unlink()
    outcome = viommu("bind", "--errors", form, "--host", DEMO / "host.dts", "guest.dts")
    assert (outcome.status, outcome.out) == (1, "")
    assert "this cannot be read" in outcome.err
    assert_is_plain(outcome.err)


def test_hostile_files_of_a_build(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = DEMO / "host.dts"
    cache = tmp_path / "CMakeCache.txt"
    cache.write_bytes(b"CMAKE_HOME_DIRECTORY:INTERNAL=/a\0b\nZEPHYR_BASE:PATH=x\n")
    assert viommu("bind", "-n", "-s", "..", "--host", host, DEMO_GUEST).status == 0
    assert "there is no build here" in viommu("check", "-s", "..", "--host", host).err
    cache.unlink()
    (tmp_path / ".west").mkdir()
    for form in ("{app:>99999999999}", "{app:{app}}", "{app}" * 2000, "\0"):
        (tmp_path / ".west/config").write_text(f"[build]\ndir-fmt = {form}\n")
        outcome = viommu("check", "--host", host)
        assert outcome.status == 1 or "there is no build here" in outcome.err
    (tmp_path / ".west/config").write_text("[viommu]\nhost-dtb = a\0b\n")
    assert "\\x00b: error: [unreadable] no file can have this name" in viommu("list").err
    (tmp_path / ".west/config").unlink()
    assert viommu("bind", "-q", "--host", host, DEMO_GUEST).status == 0
    for name in (b"\xff", b"a\0b"):
        (tmp_path / "viommu_host.txt").write_bytes(name)
        outcome = viommu("system", ".")
        assert (outcome.status, outcome.out) == (1, "")
        assert "error: [unreadable] " in outcome.err


def test_a_source_that_says_that_it_is_of_another_file(viommu: Run, tmp_path: Path) -> None:
    """The line of a message is not that of any file whatever."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text("token\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "near.dtsi").write_text("near\n")
    for named in ("/etc/passwd", ".git/config", "link", "near.dtsi", "../x/near.dtsi"):
        (tmp_path / "guest.dts").write_text(f'# 1 "{named}"\n/dts-v1/; / {{ x = <08>; }};\n')
        outcome = viommu("bind", "--host", DEMO / "host.dts", "guest.dts")
        assert outcome.err.startswith(f"{named}:1: error: [malformed] ")
        assert outcome.err.count("\n    1 | ") == (named == "near.dtsi")


@pytest.mark.parametrize(
    "number", ["0x" + "f" * 5000, "9" * 5000, "1" + ":1" * 5000, ".nan", "1.e+400"]
)
def test_a_number_beyond_measure_in_a_profile(number: str, viommu: Run, tmp_path: Path) -> None:
    text = viommu("profiles", "xen-rfc").out.replace('"name": "xen-rfc"', '"name": "mine"')
    (tmp_path / "own.yaml").write_text(text.replace('"base": 0x04040000', f'"base": {number}'))
    outcome = viommu("bind", "--host", DEMO / "host.dts", "--profile", "./own.yaml", DEMO_GUEST)
    assert outcome.status == 1
    assert "own.yaml" in outcome.err


def assert_is_plain(text: str) -> None:
    """No character that a terminal obeys, but for the ends of lines and tabs."""
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) is None


@pytest.mark.parametrize(
    "command",
    [
        ("list", "--host", "host.dtb"),
        ("list", "--host", "host.dtb", "--format", "json"),
        ("list", "--host", "host.dtb", "--format", "dot"),
        ("list", "--host", "host.dtb", "nothing\x1b[31m"),
        ("extract", "--host", "host.dtb", f"/m{ESCAPES}"),
        ("extract", "--host", "host.dtb", "\x1b[31m"),
        ("bind", "--host", "host.dtb", "guest.dts"),
        ("bind", "--host", "host.dtb", "--config", "own.yaml", "guest.dts"),
        ("check", "--dts", "guest.dts", "--host", "host.dtb"),
        ("check", "--dts", "guest.dts", "--guest-dtb", "host.dtb"),
        ("explain", "\x1b[31m"),
    ],
)
def test_a_terminal_obeys_nothing(command: Sequence[str], viommu: Run, tmp_path: Path) -> None:
    raw = ESCAPES.encode()
    text = raw + b"\0"
    (tmp_path / "host.dtb").write_bytes(
        flat(
            [
                *(b"", (b"model", text), (b"#address-cells", cells(2)), (b"#size-cells", cells(2))),
                *(b"s" + raw, (b"compatible", b"arm,smmu-v3\0" + text), (b"phandle", cells(1))),
                *((b"#iommu-cells", cells(1)), (b"status", text), None),
                *(b"m" + raw, (b"compatible", text), (b"reg", cells(0, 0x10000000, 0, 4096))),
                *((b"iommus", cells(1, 7)), (raw, raw), (b"clocks", cells(1)), None),
                *(b"n" + raw, (b"status", text), (b"iommus", cells(1, 7)), None),
                None,
            ]
        )
    )
    (tmp_path / "guest.dts").write_text(GUEST % DEVICE % "iommus = <0 7>;")
    (tmp_path / "own.yaml").write_text(
        'allow: [{hazard: "\\e[31m", device: "\\e[31m", reason: "\\e[31m"}]'
    )
    outcome = viommu(*command)
    assert outcome.out or outcome.err
    assert_is_plain(outcome.out)
    assert_is_plain(outcome.err)


def test_a_directory_with_a_name_that_is_no_text(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "#address-cells").write_bytes(cells(2))
    (tmp_path / "tree" / "x\udcff").touch()
    outcome = viommu("list", "--host", "tree")
    assert outcome.status == 1
    assert "has a name that is not UTF-8" in outcome.err


# What we refuse though libfdt reads it. It hands on names as they are, finds the first of two
# properties or nodes, and knows no bounds but the blob's. The other way round there is nothing.
OURS_ALONE = (
    "has two properties",
    "has two children",
    "has a child with the name",
    "is not UTF-8",
    "longer than",
    "nested deeper than",
    "without a name",
    "phandle is not one cell",
)


def mutants(count: int) -> Iterable[bytes]:
    """Damaged copies of real hosts, or without a corpus of the tests' own."""
    seeds = [blob(file.read_text()) for file in sorted((CHECKOUT / "tests/hosts").glob("*.dts"))]
    if CORPUS:
        seeds += [file.read_bytes() for file in sorted(CORPUS.glob("*.dtb"))]
    pick = random.Random(6)
    for number in range(count):
        # Most of the small ones: libfdt's Python takes a second for a large one.
        data = bytearray(seeds[number % 2 if number % 50 else number // 50 % len(seeds)])
        (start,) = struct.unpack_from(">I", data, 8)
        for _ in range(pick.choice((1, 1, 2, 4))):
            at = pick.randrange(start, len(data) - 4)
            if pick.random() < 0.5:
                data[at] ^= 1 << pick.randrange(8)
            else:
                struct.pack_into(">I", data, at & ~3, pick.choice((0, 1, 2, 3, 4, 9, 0xFFFFFFFF)))
        yield bytes(data)


def test_damaged_blobs_read_as_libfdt_reads_them() -> None:
    both = ours_alone = neither = 0
    for data in mutants(800):
        try:
            ours = [(node.path, dict(node.properties)) for node in tree_from_dtb(data).nodes()]
        except (DtbError, TreeError) as error:
            is_valid = libfdt.fdt_check_full(bytearray(data), len(data)) == 0
            assert not is_valid or any(words in str(error) for words in OURS_ALONE), error
            ours_alone += is_valid
            neither += not is_valid
            continue
        assert libfdt.fdt_check_full(bytearray(data), len(data)) == 0
        assert ours == libfdt_nodes(data)
        both += 1
    assert both > 200 and neither > 200, (both, ours_alone, neither)


def test_a_key_that_a_profile_has_twice(viommu: Run, tmp_path: Path) -> None:
    text = viommu("profiles", "xen-rfc").out.replace('"name": "xen-rfc"', '"name": "mine"')
    (tmp_path / "own.yaml").write_text(
        text.replace('"toolstacks": ', '"toolstacks": [], "toolstacks": ')
    )
    outcome = viommu("bind", "--host", DEMO / "host.dts", "--profile", "./own.yaml", DEMO_GUEST)
    assert outcome.status == 1
    assert "toolstacks appears twice" in outcome.err


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../secret"])
def test_a_plan_that_names_a_file_elsewhere(name: str, viommu: Run, tmp_path: Path) -> None:
    assert viommu("bind", "--host", DEMO / "host.dts", DEMO_GUEST).status == 0
    plan = tmp_path / "viommu" / "viommu.json"
    document = json.loads(plan.read_text())
    document["files"][name] = "0" * 64
    plan.write_text(json.dumps(document))
    with pytest.raises(Refused) as caught:
        sealed_plan(plan.parent)
    assert "which is not in its folder" in caught.value.problems[0].what
