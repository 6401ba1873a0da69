# SPDX-License-Identifier: Apache-2.0
"""How much memory and output an input can make of itself: a constant for each of its bytes, which
docs/reliability.md names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flat import GUEST, Part, cells, device, flat, host
from tests.many import SOME, all_of_them, on_one_id_each, on_one_page_each
from tests.support import CHECKOUT, PACKAGE, Run, unmeasured
from west_viommu.diagnostics import (
    MOST_ALIKE,
    Diagnostic,
    Refused,
    Severity,
    Where,
    bounded,
    rendered,
)

# Bytes of memory for each byte of a blob, and of source; and what a run takes for an empty tree.
OF_BLOB, OF_SOURCE, EMPTY = 128, 256, 48 << 20
# Characters of output for each byte of a host.
OF_OUTPUT = 48
# The high-water mark of this program alone: ru_maxrss has that of its parent before exec() as well.
RUN = """
import sys
from west_viommu.__main__ import main
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    kilobytes = next(line.split()[1] for line in file if line.startswith("VmHWM"))
sys.exit(f"{status} {kilobytes}")
"""


def tiny_nodes() -> bytes:
    return host(*([b"%x" % i, None] for i in range(30_000)))


def tiny_properties() -> bytes:
    return flat([b"", *((b"%x" % i, b"") for i in range(30_000)), None])


def small_masters() -> bytes:
    return host(*(device(b"%x" % i, (b"iommus", cells(1, i))) for i in range(10_000)))


def streams() -> bytes:
    numbers = (cell for i in range(50_000) for cell in (1, i))
    return host(device(b"m", (b"iommus", cells(*numbers))))


def maps() -> bytes:
    numbers = (cell for i in range(25_000) for cell in (i, 1, i, 1))
    return host(device(b"m", (b"iommu-map", cells(*numbers))))


def regions() -> bytes:
    numbers = (cell for i in range(25_000) for cell in (0, i * 4096, 0, 4096))
    return host(device(b"m", (b"reg", cells(*numbers)), (b"iommus", cells(1, 1))))


LONG = [b"x" * 250] * 3
SMMU = (b"compatible", b"arm,smmu-v3\0"), (b"#iommu-cells", cells(1))


def behind_many_with_long_paths() -> bytes:
    """Each of 4 bytes of a phandle is a row of the table, with a path of 750 characters."""
    smmus = (device(b"s%x" % i, *SMMU, (b"phandle", cells(10 + i))) for i in range(250))
    numbers = [cell for i in range(250) for cell in (10 + i, 1)]
    masters = [device(b"m%x" % i, (b"iommus", cells(*numbers))) for i in range(120)]
    below: list[Part] = [part for master in masters for part in master]
    return host(*smmus, [*LONG, *below, None, None, None])


def an_iommu_with_a_long_path() -> bytes:
    """Each stream of the JSON has the path of its IOMMU."""
    smmu = [*LONG, *device(b"s", *SMMU, (b"phandle", cells(10))), None, None, None]
    numbers = (cell for i in range(30_000) for cell in (10, i))
    return host(smmu, device(b"m", (b"iommus", cells(*numbers))))


def small_nodes_with_long_paths() -> bytes:
    nodes = (part for i in range(10_000) for part in (b"%x" % i, None))
    return host([*LONG, *nodes, None, None, None])


GICLESS = (b"interrupt-controller", b""), (b"#interrupt-cells", cells(1)), (b"phandle", cells(9))
FAR: list[Part] = [*LONG, *device(b"c", *GICLESS), None, None, None]
BEHIND = (b"iommus", cells(1, 1)), (b"interrupt-parent", cells(9))


def interrupts_of_a_far_controller() -> bytes:
    """Each of 4 bytes goes to the same node, which has a path of 750 characters."""
    return host(FAR, device(b"m", *BEHIND, (b"interrupts", cells(*range(20_000)))))


def interrupts_without_a_row() -> bytes:
    nexus: list[Part] = [*LONG, b"n", *GICLESS[1:], (b"interrupt-map", b""), None, None, None, None]
    return host(nexus, device(b"m", *BEHIND, (b"interrupts", cells(*range(20_000)))))


def children_of_a_far_controller() -> bytes:
    below = [part for i in range(5000) for part in device(b"%x" % i, (b"interrupts", cells(i)))]
    return host(FAR, [b"m", *BEHIND, *below, None])


def properties_that_refer_far() -> bytes:
    return host(FAR, device(b"m", BEHIND[0], *((b"p%x" % i, cells(9)) for i in range(5000))))


def cells_of_a_long_name() -> bytes:
    """Each of 4 bytes is a reference to a node whose label is made of its name."""
    clock = device(b"y" * 250, (b"phandle", cells(9)), (b"#clock-cells", cells(0)))
    return host([b"m", BEHIND[0], (b"clocks", cells(*[9] * 20_000)), *clock, None])


def masters_without_a_row() -> bytes:
    nexus: list[Part] = [*LONG, b"n", *GICLESS[1:], (b"interrupt-map", b""), None, None, None, None]
    masters = (device(b"m%x" % i, *BEHIND, (b"interrupts", cells(1, 2, 3))) for i in range(3000))
    return host(nexus, *masters)


BLOBS = [
    interrupts_of_a_far_controller,
    interrupts_without_a_row,
    children_of_a_far_controller,
    properties_that_refer_far,
    cells_of_a_long_name,
    masters_without_a_row,
    tiny_nodes,
    tiny_properties,
    small_masters,
    streams,
    maps,
    regions,
    behind_many_with_long_paths,
    an_iommu_with_a_long_path,
    small_nodes_with_long_paths,
]
ENDLESS = {
    behind_many_with_long_paths: "a list of this host would be many times as long as the host",
    an_iommu_with_a_long_path: "a list of this host would be many times as long as the host",
    small_nodes_with_long_paths: "the paths of the nodes are much longer than the blob",
}


def memory(folder: Path, *arguments: str) -> tuple[int, int, int, str]:
    """The exit status of a command, its memory, how much it printed, and its messages."""
    run = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=folder,
        env=unmeasured(),
        capture_output=True,
        text=True,
    )
    found = re.search(r"^(\d) (\d+)\n\Z", run.stderr, re.MULTILINE)
    assert found, run.stderr
    messages = run.stderr[: found.start()]
    return int(found[1]), int(found[2]) << 10, len(run.stdout) + len(messages), messages


@pytest.mark.parametrize("make", BLOBS, ids=lambda make: make.__name__.replace("_", " "))
@pytest.mark.parametrize(
    "command", [["list"], ["list", "--format", "json"], ["extract", "/m"]], ids=" ".join
)
def test_a_blob_takes_its_size_times_a_constant(
    command: list[str], make: Callable[[], bytes], tmp_path: Path
) -> None:
    blob = make()
    (tmp_path / "host.dtb").write_bytes(blob)
    status, taken, printed, messages = memory(
        tmp_path, command[0], "--host", "host.dtb", *command[1:]
    )
    assert taken < EMPTY + OF_BLOB * len(blob)
    assert printed < OF_OUTPUT * len(blob)
    if command[0] == "list" and make in ENDLESS:
        assert (status, ENDLESS[make] in messages) == (1, True)


def test_source_takes_its_size_times_a_constant(tmp_path: Path) -> None:
    text = "/dts-v1/; / { " + "".join(f"a{i:x}{{}};" for i in range(20_000)) + " };"
    (tmp_path / "host.dts").write_text(text)
    status, taken, _, _ = memory(tmp_path, "list", "--host", "host.dts")
    assert (status, taken < EMPTY + OF_SOURCE * len(text)) == (0, True)


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param("a{" * 20_000, id="levels"),
        pytest.param("n" * 50_000 + "{" + "a{};" * 3000, id="a long name"),
        pytest.param(
            f"{'x' * 250}{{" * 3 + "".join(map("n{}{{}};".format, range(9999))), id="paths"
        ),
    ],
)
def test_source_of_long_paths_takes_its_size_times_a_constant(inside: str, tmp_path: Path) -> None:
    text = f"/dts-v1/; / {{ {inside}"
    (tmp_path / "host.dts").write_text(text)
    status, taken, _, _ = memory(tmp_path, "list", "--host", "host.dts")
    assert (status, taken < EMPTY + OF_SOURCE * len(text)) == (1, True)


FAR_NODES = f"{'x' * 240} {{ " * 4 + "l: n { }; " + "}; " * 4


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(f"foo = <{'&l ' * 20_000}>;", id="cells"),
        pytest.param("".join(f"a{i} = <&l>;" for i in range(1500)), id="properties"),
        pytest.param("".join(f"a{i} {{ a = <&l>; }};" for i in range(5000)), id="nodes"),
        pytest.param(f"foo = {'&l, ' * 9999} &l;", id="paths"),
    ],
)
def test_references_to_a_far_node_take_their_size_times_a_constant(
    inside: str, tmp_path: Path
) -> None:
    (tmp_path / "host.dtb").write_bytes(host(device(b"m0", (b"iommus", cells(1, 1)))))
    text = f"/dts-v1/; / {{ {FAR_NODES} }}; "
    text += (GUEST % f'm0 {{ xen,path = "/m0"; }}; z {{ {inside} }};').removeprefix("/dts-v1/;")
    (tmp_path / "guest.dts").write_text(text)
    _, taken, printed, messages = memory(tmp_path, "bind", "--host", "host.dtb", "guest.dts")
    assert taken < EMPTY + OF_SOURCE * len(text)
    # A partial tree has a comment of what a note tells.
    written = sum(file.stat().st_size for file in tmp_path.glob("viommu/passthrough-*.dts"))
    assert printed < 100_000
    assert written < 100_000 + 40 * len(text)


def of_one_line(i: int) -> list[Part]:
    reg = b"reg", cells(0, 0x10000000 + 0x1000 * i, 0, 0x1000)
    line = b"interrupts", cells(0, 7, 4)
    return device(b"m%d" % i, reg, (b"iommus", cells(1, i)), (b"interrupt-parent", cells(3)), line)


def on_one_line_each() -> bytes:
    gic = device(
        b"gic@2000",
        (b"compatible", b"arm,gic-v3\0"),
        (b"interrupt-controller", b""),
        (b"#interrupt-cells", cells(3)),
        (b"phandle", cells(3)),
    )
    return host(gic, *map(of_one_line, range(2 * SOME)))


def on_one_id_behind_many() -> bytes:
    smmus = (device(b"s%x" % i, *SMMU, (b"phandle", cells(10 + i))) for i in range(100))
    masters = (device(b"m%d" % i, (b"iommus", cells(10 + i % 100, 7))) for i in range(SOME))
    return host(*smmus, *masters)


ON_A_PAGE = "reg = <0 0x10000000 0 0x1000>;"
OVER_EACH_OTHER = "reg = <0 0 0 0x1000>; xen,reg = <0 # 0 0x1000 0 0>;"
RAW = GUEST % "".join(
    f"r{i} {{ xen,reg = <0 0x10000000 0 0x1000 0 0>; xen,force-assign-without-iommu; }};"
    for i in range(SOME)
)
TWICE = GUEST % "".join(f'n{i} {{ xen,path = "/m0"; }};' for i in range(SOME))
# Requests of a guest that each meet each of so many others: a host, the guest, and how many of
# what are not told. Of two that are asked for, one is; and of what is no request, all.
PAIRS = SOME * (SOME - 1) // 2
MEETINGS = [
    (on_one_id_each, all_of_them(), "shared-stream-id", PAIRS),
    (on_one_page_each, all_of_them(ON_A_PAGE), "shared-page", SOME * SOME),
    (on_one_line_each, all_of_them(), "interrupt-clash", SOME * SOME),
    (on_one_id_behind_many, all_of_them(), "colliding-stream-id", PAIRS - 20),
    (on_one_line_each, all_of_them(OVER_EACH_OTHER), "guest-overlap", PAIRS),
    (on_one_page_each, RAW, "shared-page", SOME * 2 * SOME),
    (on_one_id_each, TWICE, "duplicate-assignment", SOME - 1),
]


@pytest.mark.parametrize(
    ("make", "guest", "hazard", "count"),
    [pytest.param(*each, id=f"{each[0].__name__} {each[2]}") for each in MEETINGS],
)
def test_bind_takes_its_size_times_a_constant(
    make: Callable[[], bytes], guest: str, hazard: str, count: int, tmp_path: Path
) -> None:
    blob = make()
    (tmp_path / "host.dtb").write_bytes(blob)
    (tmp_path / "guest.dts").write_text(guest)
    status, taken, _, messages = memory(tmp_path, "bind", "--host", "host.dtb", "guest.dts")
    assert status == 1
    assert f"error: [{hazard}] and {count - MOST_ALIKE:,} more like this" in messages
    assert taken < EMPTY + OF_BLOB * len(blob) + OF_SOURCE * len(guest)


def test_a_profile_takes_its_size_times_a_constant(tmp_path: Path) -> None:
    shipped = (PACKAGE / "profiles" / "xen-rfc.yaml").read_text()
    rows = "{name: v, first: 32, last: 1019, if: always},\n" * 1000
    text = shipped.replace('{"name": "vpl011", "first"', f'{rows}{{"name": "vpl011", "first"')
    (tmp_path / "own.yml").write_text(text.replace('"name": "xen-rfc"', '"name": "own"'))
    (tmp_path / "host.dtb").write_bytes(on_one_line_each())
    (tmp_path / "guest.dts").write_text(GUEST % 'm0 { xen,path = "/m0"; interrupts = <0 7 4>; };')
    command = ("bind", "--host", "host.dtb", "--profile", "own.yml", "guest.dts")
    _, taken, _, messages = memory(tmp_path, *command)
    assert "INTID 39 also belongs to v" in messages
    assert taken < EMPTY + OF_SOURCE * len(text) + OF_BLOB * len(on_one_line_each())


def test_check_takes_its_size_times_a_constant(tmp_path: Path) -> None:
    numbers = cells(*(cell for i in range(12_000) for cell in (7, i)))
    smmu = [*LONG, *device(b"s", *SMMU, (b"phandle", cells(8))), None, None, None]
    bus = [b"passthrough", *device(b"m", (b"iommus", numbers)), None]
    blob = flat([b"", *smmu, *bus, None])
    (tmp_path / "given.dtb").write_bytes(blob)
    (tmp_path / "built.dts").write_text(GUEST % "")
    command = ("check", "--dts", "built.dts", "--guest-dtb", "given.dtb")
    status, taken, printed, _ = memory(tmp_path, *command)
    assert (status, printed < 2 << 20) == (1, True)
    assert taken < EMPTY + OF_BLOB * len(blob)
    status, _, printed, messages = memory(tmp_path, *command, "--format", "json")
    assert (status, printed) == (1, len(messages))
    assert "there are more differences than --format json can list" in messages


def test_the_constants_are_those_of_the_documentation() -> None:
    text = (CHECKOUT / "docs" / "reliability.md").read_text()
    assert f"{EMPTY >> 20} MiB and {OF_BLOB} bytes for each byte of blobs" in text
    assert f"{OF_SOURCE} of source" in text
    assert f"{OF_OUTPUT} characters for each byte of the host" in text
    assert f"the first {MOST_ALIKE} of each" in text


def of(
    count: int, id: str = "a", severity: Severity = Severity.ERROR, more: int = 0
) -> list[Diagnostic]:
    return [
        Diagnostic(id=id, what=f"w{i}", hint="h", severity=severity, more=more)
        for i in range(count)
    ]


def test_the_first_problems_of_each_kind_are_kept() -> None:
    problems = [*of(5360), *of(2, "b"), *of(60, severity=Severity.WARNING)]
    kept = bounded(problems)
    assert kept[:-2] == (*of(50), *of(2, "b"), *of(50, severity=Severity.WARNING))
    assert [rendered(each) for each in kept[-2:]] == [
        "error: [a] and 5,310 more like this",
        "warning: [a] and 10 more like this",
    ]
    # What is bounded already counts as all that it stands for.
    assert bounded((*kept, Diagnostic(id="a", what="another"))) == (
        *kept[:-2],
        kept[-2]._replace(what="and 5,311 more like this", more=5311),
        kept[-1],
    )
    assert bounded([*of(2), *of(3)]) == (*of(3),)


def test_problems_of_much_text_are_fewer() -> None:
    ids = ("a", "a", "a", "a", "b", "b")
    large = [Diagnostic(id=id, what="x" * (400_000 + i)) for i, id in enumerate(ids)]
    assert [(each.id, each.more) for each in bounded(large)] == [
        *[("a", 0), ("a", 0), ("a", 0), ("b", 0)],
        *[("a", 1), ("b", 1)],
    ]


def test_a_refusal_has_them_and_as_text_as_well() -> None:
    refused = Refused(of(51))
    assert len(refused.problems) == 51
    assert str(refused).endswith("hint: h\nerror: [a] and 1 more like this")


def test_a_place_of_any_length_is_cut() -> None:
    problem = Diagnostic(id="a", what="w", where=Where("x" * 100_000, 1))
    assert len(rendered(problem)) < 2100


ON_ONE_ID = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
s: s { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };
%s };
"""


@pytest.fixture
def many_clashes(tmp_path: Path) -> None:
    """A host of 60 devices that share an ID, and a guest that asks for one of them."""
    reg = "reg = <0 0x1%d000 0 0x1000>;"
    masters = (f"m{i} {{ {reg % i} iommus = <&s 7>; }};" for i in range(1000, 1060))
    (tmp_path / "host.dts").write_text(ON_ONE_ID % "".join(masters))
    (tmp_path / "guest.dts").write_text(GUEST % 'm { xen,path = "/m1000"; };')


@pytest.mark.usefixtures("many_clashes")
def test_bind_tells_the_first_ones(viommu: Run) -> None:
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    assert outcome.status == 1
    assert outcome.err.count("error: [shared-stream-id] ") == 51
    assert outcome.err.endswith("\nerror: [shared-stream-id] and 9 more like this\n")


@pytest.mark.usefixtures("many_clashes")
def test_check_tells_the_first_ones_as_a_table_and_refuses_json(viommu: Run) -> None:
    command = ("check", "--dts", "guest.dts", "--host", "host.dts", "--profile", "xen-rfc")
    outcome = viommu(*command)
    assert outcome.status == 1
    assert "[shared-stream-id] and 9 more like this" in outcome.out
    outcome = viommu(*command, "--format", "json")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "error: [malformed] there are more differences than --format json can list: it lists "
        "all or none\nhint: correct the first ones, or look at the table\n"
    )
