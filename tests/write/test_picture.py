# SPDX-License-Identifier: Apache-2.0
"""`viommu list --format dot`: its structure, and that Graphviz draws it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Run, needs_program
from west_viommu.diagnostics import Refused
from west_viommu.host.collisions import selection
from west_viommu.host.inventory import Inventory, Iommu, Master, Stream, StreamId
from west_viommu.plan.host_devices import DeviceReport
from west_viommu.write.graphviz import svg
from west_viommu.write.inventory_dot import inventory_dot

needs_dot = needs_program("dot", "graphviz")


def host(*rows: tuple[str, int, Sequence[int]], smmus: int, disabled: str = "") -> Inventory:
    """A host of so many SMMUs, and masters: name, which SMMU, IDs."""
    iommus = tuple(
        Iommu(f"/smmu@{i}", ("arm,smmu-v3",), i << 20, 1 << 16, 1, "okay", True)
        for i in range(smmus)
    )
    masters = tuple(
        Master(
            f"/{name}",
            (),
            "disabled" if name == disabled else "okay",
            (),
            tuple(Stream(iommus[at].path, StreamId(i), None) for i in ids),
            (),
            None,
        )
        for name, at, ids in rows
    )
    return Inventory("a host", iommus, masters)


def drawn(found: Inventory, *only: str, **refused: str) -> str:
    """The picture, in which each of `refused` cannot go, with its hazard."""
    known = {
        each.path: DeviceReport(
            (), (), (), (refused[each.path[1:]],) if each.path[1:] in refused else ()
        )
        for each in found.masters
    }
    tests = [lambda master: master.path in only] if only else []
    return inventory_dot(selection(found, tests), known)


class Picture(NamedTuple):
    """What a picture says: by title, the rows of each box; by label, whom each hub joins."""

    boxes: dict[str, list[tuple[str, ...]]]
    hubs: dict[str, list[str]]
    columns: list[int]


def picture(dot: str) -> Picture:
    boxes = {}
    at_port = {}
    for name, body in re.findall(r"^  (n\d+) \[label=<\n(.*?)  >\];$", dot, re.M | re.S):
        title, *rows = re.findall(r"<TR>(.*?)</TR>", body)
        boxes[words(title)[0]] = [words(row) for row in rows]
        for row in rows:
            for port in re.findall(r'PORT="(\w+)"', row):
                at_port[f"{name}:{port}"] = words(row)[0]
    labels = dict(re.findall(r'^  (h\d+) \[.*?label="(.*?)"', dot, re.M))
    hubs: dict[str, list[str]] = {label: [] for label in labels.values()}
    for end, other in re.findall(r"^  (\w+:\w+):[ew] -- (\w+(?::\w+)?):", dot, re.M):
        hubs[labels[other]].append(at_port[end])
    for hub, end in re.findall(r"^  (h\d+):e -- (\w+:\w+):w", dot, re.M):
        hubs[labels[hub]].append(at_port[end])
    columns = [line.count("n") for line in re.findall(r"\[style=invis\];(.*)\}", dot)]
    assert len(set(labels.values())) == len(labels)
    return Picture(boxes, hubs, columns)


def words(cells: str) -> tuple[str, ...]:
    return tuple(text for text in re.split(r"<[^>]*>", cells) if text.strip())


def test_a_hub_joins_those_that_have_its_id() -> None:
    three = [
        (f"{name}{i}", i, [number]) for i in range(3) for name, number in (("a", 64), ("b", 65))
    ]
    assert picture(drawn(host(*three, smmus=3))).hubs == {
        "0x40": ["/a0", "/a1", "/a2"],
        "0x41": ["/b0", "/b1", "/b2"],
    }


@pytest.mark.parametrize(
    ("rows", "hubs"),
    [
        ((("a", 0, [1, 2, 3]), ("b", 1, [1, 2, 3])), {"0x1-0x3": ["/a", "/b"]}),
        ((("a", 0, [1, 2, 9]), ("b", 1, [1, 2, 9])), {"0x1-0x2 0x9": ["/a", "/b"]}),
        (
            (("a", 0, [1, 2]), ("b", 1, [2, 3]), ("c", 1, [1])),
            {"0x1": ["/a", "/c"], "0x2": ["/a", "/b"]},
        ),
        # What one SMMU sees twice is no collision.
        ((("a", 0, [1]), ("b", 0, [1]), ("c", 1, [2])), {}),
        ((("a", 0, [1]), ("off", 1, [1])), {}),
    ],
    ids=["a range", "two ranges", "overlapping", "on one SMMU", "a disabled one"],
)
def test_hubs(rows: Sequence[tuple[str, int, Sequence[int]]], hubs: dict[str, list[str]]) -> None:
    assert picture(drawn(host(*rows, smmus=2, disabled="off"))).hubs == hubs


def test_a_part_of_a_host_says_where_else_an_id_is() -> None:
    found = host(("a", 0, [1]), ("b", 1, [1]), ("c", 2, [1]), smmus=3)
    assert picture(drawn(found, "/a", "/c")).hubs == {r"0x1\nalso behind /smmu@1": ["/a", "/c"]}


def test_who_cannot_go_is_grey_with_the_reason() -> None:
    found = host(("a", 0, [1]), ("b", 0, [2]), ("off", 0, [3]), smmus=1, disabled="off")
    dot = drawn(found, b="shared-page")
    assert picture(dot).boxes == {
        "/smmu@0": [
            ("/a", "0x1"),
            ("/b", "not for a guest: shared-page", "0x2"),
            ("/off", "disabled", "0x3"),
        ]
    }
    assert [words(row)[0] for row in dot.splitlines() if 'BGCOLOR="#dddddd"' in row] == ["/b"]
    assert "grey: cannot go to a guest of Xen as is" in dot


def test_who_is_one_device_to_the_smmu_stands_together() -> None:
    found = host(("a", 0, [1]), ("b", 0, [2]), ("c", 0, [1, 3]), ("d", 0, [3]), smmus=1)
    assert picture(drawn(found)).boxes == {
        "/smmu@0": [
            ("one device to the SMMU",),
            ("/a", "0x1"),
            ("/c", "0x1 0x3"),
            ("/d", "0x3"),
            ("/b", "0x2"),
        ]
    }


def test_who_is_behind_no_iommu() -> None:
    found = host(("a", 0, []), smmus=1)
    assert picture(drawn(found)).boxes == {"/smmu@0": [], "behind no IOMMU": [("/a", "no ID")]}


def crowd(shared: bool) -> Inventory:
    rows = ((f"m{i}-{j}", i, [j if shared else 4 * i + j]) for i in range(60) for j in range(4))
    return host(*rows, smmus=60)


def test_sixty_smmus_stand_in_columns() -> None:
    found = picture(drawn(crowd(shared=False)))
    assert sum(found.columns) == len(found.boxes) == 60
    assert 5 <= len(found.columns) <= 10
    assert max(found.columns) - min(found.columns) <= 1


def test_an_id_behind_sixty_smmus_is_a_row_of_a_list() -> None:
    dot = drawn(crowd(shared=True))
    assert picture(dot).hubs == {}
    listed = dot[dot.index("  listed [") :]
    assert [words(row) for row in re.findall("<TR>(.*?)</TR>", listed)] == [
        ("behind several SMMUs", "SMMUs", "masters"),
        *((f"{number:#x}", "60", "60") for number in range(4)),
    ]


def test_more_collisions_than_a_list_has() -> None:
    rows = ((f"m{i}-{j}", i, [2 * j]) for i in range(13) for j in range(99))
    assert '<TR><TD ALIGN="LEFT">and 39 more</TD>' in drawn(host(*rows, smmus=13))


def box(dot: str) -> tuple[float, float]:
    """Width and height of what is drawn, in points; everything that dot says is an error."""
    shown = subprocess.run(["dot", "-Tplain"], input=dot, capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    _, _, width, height = shown.stdout.split("\n")[0].split()
    return 72 * float(width), 72 * float(height)


@needs_dot
@pytest.mark.parametrize("shared", [False, True])
def test_sixty_smmus_fit_a_large_screen(shared: bool) -> None:
    width, height = box(drawn(crowd(shared=shared)))
    assert (width < 2000, height < 1600) == (True, True)


@needs_dot
@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 7), st.sets(st.integers(0, 9), max_size=3)), max_size=40),
)
def test_graphviz_draws_any_host(smmus: int, masters: list[tuple[int, set[int]]]) -> None:
    rows = ((f"m{i}", at % smmus, sorted(ids)) for i, (at, ids) in enumerate(masters))
    box(drawn(host(*rows, smmus=smmus)))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "echo 'Error: trouble' >&2; echo more >&2; exit 1",
            "Error: trouble",
        ),
        ("exit 7", "its status was 7"),
    ],
)
def test_a_dot_that_fails_is_told_with_a_remedy(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dot").write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(Refused) as refused:
        svg("graph host {}")
    (problem,) = refused.value.problems
    assert (problem.id, problem.what, problem.hint) == (
        "unreadable",
        f"Graphviz's dot cannot draw it: {why}",
        "name fewer devices, as in `viommu list --format svg '*/usb@*'`, or draw the text of "
        "--format dot elsewhere",
    )


def test_a_dot_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dot").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("west_viommu.write.graphviz._SECONDS", 0.1)
    with pytest.raises(Refused, match="it was not done after 0.1 seconds"):
        svg("graph host {}")


def test_a_dot_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dot").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="dot cannot draw it: Exec format error"):
        svg("graph host {}")


def test_svg_of_the_command(viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dot").write_text("#!/bin/sh\ncat >/dev/null\necho '<svg></svg>'\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    host_file = Path(__file__).parents[1] / "hosts" / "two-smmus.dts"
    assert viommu("list", "--host", host_file, "--format", "svg").out == "<svg></svg>\n"
