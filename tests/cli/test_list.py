# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, DEMO, Run, blob, corpus_params
from tests.oracle import listing

TWO_SMMUS = CHECKOUT / "tests" / "hosts" / "two-smmus.dts"
PAGES = CHECKOUT / "tests" / "hosts" / "pages.dts"


@pytest.mark.parametrize("file", corpus_params())
def test_json_of_a_real_host_is_what_libfdt_says(file: Path, viommu: Run) -> None:
    outcome = viommu("list", "--host", file, "--format", "json")
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads(outcome.out) == listing(file.read_bytes())


@pytest.mark.parametrize("file", [TWO_SMMUS, DEMO / "host.dts"], ids=lambda file: file.stem)
def test_json_of_a_written_host_is_what_libfdt_says(
    file: Path, viommu: Run, tmp_path: Path
) -> None:
    compiled = tmp_path / "host.dtb"
    compiled.write_bytes(blob(file.read_text()))
    outcome = viommu("list", "--host", compiled, "--format", "json")
    assert outcome.status == 0
    assert json.loads(outcome.out) == listing(compiled.read_bytes())


def test_table(viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == (CHECKOUT / "tests/golden/two-smmus.txt").read_text()
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize("file", corpus_params())
def test_table_of_a_real_host_names_every_master_and_iommu(file: Path, viommu: Run) -> None:
    found = listing(file.read_bytes())
    words = viommu("list", "--host", file).out.split()
    for entry in found["iommus"] + found["masters"]:
        assert entry["path"] in words


def test_a_host_without_iommu(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(blob("/dts-v1/; / { m { iommus = <0>; }; };"))
    assert viommu("list", "--host", host).out == (
        "host without a model name\n\n"
        "no IOMMU: the devices of this host are unprotected\n"
        "/m  behind no IOMMU: no entry remains\n\n"
        "1 of 1 master cannot go to a guest of Xen as is:\n"
        "`viommu explain HAZARD` says why, and what to do.\n"
    )


def test_every_malformed_master_is_reported(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(blob("/dts-v1/; / { a { iommus = <9 1>; }; b { iommu-map = <1>; }; };"))
    outcome = viommu("list", "--host", host)
    assert (outcome.status, outcome.out) == (1, "")
    hint = "correct the host tree: as it is, whose stream IDs are whose cannot be told"
    assert outcome.err == (
        f"{host}: error: [malformed] a phandle that no node has (node /a, expected a node's "
        f"phandle, found 0x9)\nhint: {hint}\n"
        f"{host}: error: [malformed] the last entry of iommu-map is cut off (node /b, expected 2 "
        f"more cells, found the end)\nhint: {hint}\n"
    )


def test_a_mask_that_makes_too_many_ranges(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(
        blob(
            "/dts-v1/; / { s: s { #iommu-cells = <1>; };"
            " m { iommu-map = <0 &s 0 0xffffffff>; iommu-map-mask = <0xaaaaaaaa>; }; };"
        )
    )
    outcome = viommu("list", "--host", host)
    assert outcome.status == 1
    assert "[malformed] iommu-map-mask cuts iommu-map into too many ranges" in outcome.err


def test_a_model_that_is_no_text(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(blob("/dts-v1/; / { model = <1 2 3>; };"))
    assert "[malformed] model is no string list" in viommu("list", "--host", host).err


def test_a_host_with_includes_and_macros(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc/model.h").write_text("")
    (tmp_path / "host.dts").write_text("#include <model.h>\n/dts-v1/; / { model = MODEL; };")
    command = ("list", "--host", "host.dts", "-I", "inc", "-D", 'MODEL="by macro"')
    assert viommu(*command).out.startswith("by macro\n")


def test_names_cannot_reach_the_terminal(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(blob('/dts-v1/; / { model = "a\\x1b[2Jb"; };'))
    assert viommu("list", "--host", host).out.startswith("a\\x1b[2Jb\n")


def listed(viommu: Run, *arguments: str, host: Path = TWO_SMMUS) -> list[str]:
    """The masters that a filter leaves."""
    found = json.loads(viommu("list", "--host", host, "--format", "json", *arguments).out)
    return [master["path"] for master in found["masters"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/ethernet@20000000"], ["/ethernet@20000000"]),
        (["/usb@*", "*/hidden@*"], ["/usb@20030000", "/usb@21030000", "/bus@30000000/hidden@100"]),
        (["--compatible", "test,dma"], ["/dma@20040000", "/dma@20050000"]),
        (["--iommu", "*@11000000", "/usb@*"], ["/usb@21030000"]),
        (["--iommu", "*@11000000", "--compatible", "test,dma"], []),
        (["nothing"], []),
    ],
)
def test_filters(arguments: list[str], expected: list[str], viommu: Run) -> None:
    assert listed(viommu, *arguments) == expected


def test_a_filter_leaves_what_concerns_its_masters(viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, "--format", "json", "/usb@2003*")
    found = json.loads(outcome.out)
    assert [iommu["path"] for iommu in found["iommus"]] == ["/iommu@10000000"]
    assert [each["first"] for each in found["collisions"]] == [0x30]
    assert found["shared"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "no master of this host fits: `viommu list` shows all"),
        (
            ["--passable", "/dma@*"],
            "0 of 2 masters could go to a guest of Xen as is, because of shared-stream-id (2): "
            "`viommu explain HAZARD` says why, and what to do",
        ),
        (
            ["--passable", "/can@*"],
            "0 of 1 master could go to a guest of Xen as is, because of unsupported-iommu (1): "
            "`viommu explain HAZARD` says why, and what to do",
        ),
    ],
)
def test_what_is_not_there_is_told_with_its_reason(
    arguments: list[str], says: str, viommu: Run
) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, *arguments)
    assert (outcome.status, outcome.out, outcome.err) == (1, "", f"note: {says}\n")


def test_the_profile_says_what_can_be_passed_through(viommu: Run, tmp_path: Path) -> None:
    """Behind an SMMUv2, a released Xen takes the device; a Xen with a vSMMU does not."""
    command = ("list", "--host", TWO_SMMUS, "--passable", "--format", "json", "/can@*")
    by_option = viommu(*command, "--profile", "xen")
    assert json.loads(by_option.out)["iommus"][0]["supported"] is True
    assert (by_option.status, viommu(*command).status) == (0, 1)
    (tmp_path / "viommu.yml").write_text("profile: xen\n")
    assert viommu(*command).out == by_option.out
    (tmp_path / "viommu.yml").unlink()
    (tmp_path / "elsewhere.yml").write_text("profile: xen\n")
    assert viommu(*command, "--config", "elsewhere.yml").out == by_option.out


@pytest.mark.parametrize("profile", ["xen-rfc", "xen-v3-dom0less", "xen-v3-libxl", "xen"])
@pytest.mark.parametrize("host", [TWO_SMMUS, PAGES, DEMO / "host.dts"], ids=lambda file: file.stem)
def test_passable_is_what_bind_takes(host: Path, profile: str, viommu: Run, tmp_path: Path) -> None:
    """Each master of the host, alone and whole: `list` and `bind` must agree on it."""
    passable = listed(viommu, "--passable", "--profile", profile, host=host)
    for path in listed(viommu, host=host):
        (tmp_path / "guest.overlay").write_text(viommu("extract", "--host", host, path).out)
        bound = viommu("bind", "--host", host, "guest.overlay", "--profile", profile)
        assert (bound.status == 0) == (path in passable), bound.err


def test_passable_by_path_alone(viommu: Run, tmp_path: Path) -> None:
    passable = listed(viommu, "--passable")
    for path in listed(viommu):
        (tmp_path / "guest.dts").write_text(
            "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough { #address-cells ="
            f' <2>; #size-cells = <2>; ranges; device {{ xen,path = "{path}"; }}; }}; }};'
        )
        assert (viommu("bind", "--host", TWO_SMMUS, "guest.dts").status == 0) == (path in passable)


@pytest.mark.parametrize(("columns", "lines"), [("200", 1), ("80", 2)])
def test_a_wide_terminal_takes_a_line_for_each(
    columns: str, lines: int, viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table = viommu("list", "--host", TWO_SMMUS).out.splitlines()
    at = table.index(next(line for line in table if "/ethernet@20000000" in line))
    words = " ".join(table[at : at + lines]).split()
    assert words == ["/ethernet@20000000", "0x10", "INTID", "52", "0x20000000/0x1000"]
    assert "/mmc@" in table[at + lines]


def test_colour_only_on_a_terminal(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in viommu("list", "--host", TWO_SMMUS).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for name, value, has in (("X", "1", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)):
        with monkeypatch.context() as terminal:
            terminal.setenv(name, value)
            if has:
                terminal.setenv("TERM", "xterm")
                terminal.delenv("NO_COLOR", raising=False)
            assert ("\x1b[31mnot for a guest: " in viommu("list", "--host", TWO_SMMUS).out) == has


def test_a_master_whose_interrupts_are_malformed_is_still_listed(
    viommu: Run, tmp_path: Path
) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(
        blob(
            '/dts-v1/; / { s: s { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };'
            " m { iommus = <&s 1>; interrupt-parent = <99>; interrupts = <1>; }; };"
        )
    )
    assert "not for a guest: malformed" in viommu("list", "--host", host).out


def test_a_picture(viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dot = viommu("list", "--host", TWO_SMMUS, "--format", "dot").out
    assert dot == (CHECKOUT / "tests/golden/two-smmus.dot").read_text()
    (tmp_path / "host.dtb").write_bytes(blob(TWO_SMMUS.read_text()))
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = viommu("list", "--host", "host.dtb", "--format", "svg")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "error: [unreadable] a picture needs Graphviz's dot\n"
        "hint: install graphviz, or take --format dot to where it is\n"
    )


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
@pytest.mark.parametrize("file", corpus_params())
def test_graphviz_takes_every_picture(file: Path, viommu: Run) -> None:
    outcome = viommu("list", "--host", file, "--format", "svg")
    assert (outcome.status, outcome.err) == (0, "")
    assert "</svg>" in outcome.out


def test_a_name_cannot_break_out_of_a_picture(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    source = "/dts-v1/; / { s: s { #iommu-cells = <1>; }; m@1234567 { iommus = <&s 1>; }; };"
    host.write_bytes(blob(source).replace(b"m@1234567", b'm"];\\\n\xc2\xa0}'))
    dot = viommu("list", "--host", host, "--format", "dot").out
    # The name's newline is one of the label, and its quote and backslash are characters.
    assert r'[label="/m\"];\\\n\\xa0}\n0x1"];' in dot
