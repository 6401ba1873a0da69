# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.oracle import listing
from tests.support import CHECKOUT, DEMO, Run, blob, corpus_params, golden, needs_program

TWO_SMMUS = CHECKOUT / "tests" / "hosts" / "two-smmus.dts"
PAGES = CHECKOUT / "tests" / "hosts" / "pages.dts"


def without_verdict(out: str) -> object:
    """The JSON without what is judged: libfdt knows nothing of Xen."""
    found = json.loads(out)
    for master in found["masters"]:
        verdict = {key: master.pop(key) for key in ("intids", "hazards", "passable")}
        assert verdict["passable"] is not bool(verdict["hazards"])
    return found


@pytest.mark.parametrize("file", corpus_params())
def test_json_of_a_real_host_is_what_libfdt_says(file: Path, viommu: Run) -> None:
    outcome = viommu("list", "--host", file, "--format", "json")
    assert (outcome.status, outcome.err) == (0, "")
    assert without_verdict(outcome.out) == listing(file.read_bytes())


@pytest.mark.parametrize("file", [TWO_SMMUS, DEMO / "host.dts"], ids=lambda file: file.stem)
def test_json_of_a_written_host_is_what_libfdt_says(
    file: Path, viommu: Run, tmp_path: Path
) -> None:
    compiled = tmp_path / "host.dtb"
    compiled.write_bytes(blob(file.read_text()))
    outcome = viommu("list", "--host", compiled, "--format", "json")
    assert outcome.status == 0
    assert without_verdict(outcome.out) == listing(compiled.read_bytes())


def test_table(viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == golden("two-smmus.txt", outcome.out)
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
        "no IOMMU: the devices of this host are unprotected, unless this is the tree of a\n"
        "guest, or an overlay with its SMMUs is not applied\n"
        "/m  behind no IOMMU: no entry remains\n\n"
        "`viommu explain HAZARD` says why, and what to do.\n"
        "profile xen-rfc (default): 0 of 1 master can go\n"
    )


def test_malformed_masters_are_read_up_to_the_mistake(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(
        blob(
            """/dts-v1/; / {
            s: s { #iommu-cells = <1>; compatible = "arm,smmu-v3"; };
            a { iommus = <9 1>; }; b { iommu-map = <1>; }; c { iommus = <&s 0x10 &s>; };
            d { iommus = <&s 0x20>; }; e { iommu-map = <0 &s 0 0>; }; };"""
        )
    )
    outcome = viommu("list", "--host", host)
    assert (outcome.status, outcome.err) == (0, "")
    assert (
        outcome.out
        == """\
host without a model name

/s  arm,smmu-v3
  /c  0x10  not for a guest: malformed
  /d  0x20  not for a guest: iommu-unusable
/a  behind no IOMMU: malformed: a phandle that no node has
/b  behind no IOMMU: malformed: the last entry of iommu-map is cut off
/e  behind no IOMMU: the boot loader fills in its iommu-map: give the tree that
      it makes

`viommu explain HAZARD` says why, and what to do.
profile xen-rfc (default): 0 of 5 masters can go
"""
    )
    why = viommu("list", "--host", host, "--why", "c")
    assert "malformed: the last entry of iommus is cut off" in why.out


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
    assert viommu("list", "--host", host).out.startswith("host without a model name\n")


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


WHY = "`viommu explain HAZARD` says why, and what to do"
ALL = "hint: `viommu list` shows all masters\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--passable", "/dma@*"],
            "none of the 2 masters can go to a guest of Xen as is: shared-stream-id (2). " + WHY,
        ),
        (
            ["--passable", "can", "--profile", "xen-rfc"],
            "/can@20080000 cannot go to a guest of Xen as is: unsupported-iommu. " + WHY + ". A "
            "released Xen takes 1 of them: --profile xen",
        ),
        (
            ["--passable", "vpu", "--profile", "xen-rfc"],
            "/vpu@20070000 cannot go to a guest of Xen as is: iommu-disabled. " + WHY,
        ),
    ],
)
def test_why_none_can_be_passed_through(arguments: list[str], says: str, viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, *arguments)
    assert (outcome.status, outcome.out, outcome.err) == (1, "", f"note: {says}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["nothing"],
            "the host tree has no node of this path, name, alias or label (found nothing)\n"
            "hint: `viommu list` shows the host nodes with stream IDs\n",
        ),
        (
            ["ethernt"],
            "no master of this host has this name (found ethernt)\nhint: did you mean ethernet?\n",
        ),
        (
            ["/ethernet@2000000"],
            "no master of this host has this name (found /ethernet@2000000)\n"
            "hint: did you mean /ethernet@20000000 or /net@200c0000 or /can@20080000?\n",
        ),
        (
            ["*/etherent@*"],
            "no master of this host has this name (found */etherent@*)\n"
            "hint: did you mean ethernet?\n",
        ),
        (["zzz*"], "no master of this host has such a name (found zzz*)\n" + ALL),
        (
            ["iommu@11000000"],
            "this is an IOMMU, not a master (node /iommu@11000000, found iommu@11000000)\n"
            "hint: --iommu /iommu@11000000 lists the masters behind it\n",
        ),
        (
            ["bus@30000000"],
            "this node is not a master: it has neither `iommus` nor `iommu-map` (node "
            "/bus@30000000, found bus@30000000)\nhint: did you mean /bus@30000000/hidden@100?\n",
        ),
        (
            ["--compatible", "test,dmaa"],
            "no master of this host is compatible with this (found test,dmaa)\n"
            "hint: did you mean test,dma or test,pmu or test,mmc?\n",
        ),
        (
            ["--compatible", "arm,gic*"],
            "the node compatible with this is not a master: it has neither `iommus` nor "
            "`iommu-map` (node /interrupt-controller@f9000000, found arm,gic*)\n" + ALL,
        ),
        (
            ["--iommu", "iomu@11000000"],
            "no IOMMU of this host has this name (found iomu@11000000)\n"
            "hint: did you mean /iommu@11000000 or /iommu@14000000 or /iommu@13000000?\n",
        ),
        (
            ["--iommu", "*@11000000", "--compatible", "test,dma"],
            "each of these fits some master, but no master fits all of them (found test,dma "
            "*@11000000)\n" + ALL,
        ),
    ],
)
def test_what_was_near_a_word_that_means_no_master(
    arguments: list[str], says: str, viommu: Run
) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, *arguments)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"{TWO_SMMUS}: error: [unknown-host-node] {says}"


def test_the_rest_is_listed_where_one_word_means_no_master(viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, "ethernt", "dma")
    assert outcome.status == 1
    assert outcome.err.count("error: ") == 1
    assert "/dma@20040000" in outcome.out and "/dma@20050000" in outcome.out


def test_an_overlay_and_a_tree_without_masters_are_told_apart(viommu: Run, tmp_path: Path) -> None:
    overlay, bare = tmp_path / "o.dtbo", tmp_path / "bare.dtb"
    overlay.write_bytes(blob('/dts-v1/; /plugin/; &{/soc} { status = "okay"; };'))
    bare.write_bytes(blob("/dts-v1/; / { m { }; };"))
    outcome = viommu("list", "--host", "o.dtbo")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("o.dtbo: error: [malformed] this is an overlay, not a whole tree")
    assert viommu("list", "--host", "bare.dtb") == (
        0,
        "host without a model name\n\n"
        "no IOMMU: the devices of this host are unprotected, unless this is the tree of a\n"
        "guest, or an overlay with its SMMUs is not applied\n\n"
        "profile xen-rfc (default): 0 of 0 masters can go\n",
        "",
    )
    for words in (["m"], ["--passable"], ["--compatible", "x"]):
        assert viommu("list", "--host", "bare.dtb", *words) == (
            1,
            "",
            "note: this host has no master: no node has `iommus` or `iommu-map`, and none is an "
            "IOMMU\n",
        )


NAMED = """/dts-v1/; / { compatible = "x";
aliases { eth0 = "/soc/mac@1"; };
soc { iommu: iommu@0 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };
mac: mac@1 { iommus = <&iommu 1>; }; dma_a: dma@2 { iommus = <&iommu 2>; };
dma@3 { iommus = <&iommu 3>; }; }; };"""


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/soc/mac@1", ["/soc/mac@1"]),
        ("mac@1", ["/soc/mac@1"]),
        ("mac", ["/soc/mac@1"]),
        ("eth0", ["/soc/mac@1"]),
        ("&dma_a", ["/soc/dma@2"]),
        ("dma_a", ["/soc/dma@2"]),
        # extract would have to guess.
        ("dma", ["/soc/dma@2", "/soc/dma@3"]),
        ("d*@3", ["/soc/dma@3"]),
    ],
)
def test_names_as_extract_understands_them(
    word: str, expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    host = tmp_path / "named.dts"
    host.write_text(NAMED)
    assert listed(viommu, word, host=host) == expected
    assert viommu("list", "--host", host, "--iommu", "iommu", "--json").status == 0
    if len(expected) == 1 and "*" not in word:
        assert f'xen,path = "{expected[0]}";' in viommu("extract", "--host", host, word).out


def test_the_profile_says_what_can_be_passed_through(viommu: Run, tmp_path: Path) -> None:
    """Behind an SMMUv2, a released Xen takes the device; a Xen with a vSMMU does not."""
    command = ("list", "--host", TWO_SMMUS, "--passable", "--format", "json", "/can@*")
    by_option = viommu(*command, "--profile", "xen")
    assert json.loads(by_option.out)["iommus"][0]["supported"] is True
    assert (viommu(*command, "--profile", "xen-rfc").status, viommu(*command)) == (1, by_option)
    (tmp_path / "viommu.yml").write_text("profile: xen\n")
    assert viommu(*command).out == by_option.out
    (tmp_path / "viommu.yml").unlink()
    (tmp_path / "elsewhere.yml").write_text("profile: xen\n")
    assert viommu(*command, "--config", "elsewhere.yml").out == by_option.out


@pytest.mark.parametrize("command", [["list"], ["extract", "ethernet@100000"]])
def test_a_viommu_yml_elsewhere_names_the_host(
    command: list[str], viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.yml").write_text(f"host: {DEMO / 'host.dts'}\n")
    by_option = viommu(*command, "--host", DEMO / "host.dts")
    assert by_option.status == 0
    assert viommu(*command, "--config", "elsewhere.yml") == by_option
    monkeypatch.setenv("VIOMMU_CONFIG", "elsewhere.yml")
    assert viommu(*command) == by_option


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
    passable = listed(viommu, "--passable", "--profile", "xen-rfc")
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
    assert dot == golden("two-smmus.dot", dot)
    (tmp_path / "host.dtb").write_bytes(blob(TWO_SMMUS.read_text()))
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = viommu("list", "--host", "host.dtb", "--format", "svg")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "error: [unreadable] a picture needs Graphviz's dot\n"
        "hint: install graphviz, or take --format dot to where it is\n"
    )


@needs_program("dot", "graphviz")
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
    # The name's quote, backslashes and newline are characters of a cell.
    assert r">/m&quot;];\\\\n\\xa0}<BR" in dot


def test_a_line_for_each_master(viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, "--format", "lines", "mmc", "gpu", "pmu", "can")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == (
        "ok\t/mmc@20010000\ttest,mmc\t0x11-0x12\t53\t\n"
        "no\t/gpu@20060000\ttest,gpu\t0x50  0x51\t\ttwo-iommus\n"
        "no\t/can@20080000\ttest,can\t0x70/0x0\t\tunsupported-iommu\n"
        "no\t/pmu@200d0000\ttest,pmu\t0xd0\t54 21\tinterrupt-private\n"
    )


def test_json_has_the_interrupts_and_the_hazards(viommu: Run) -> None:
    out = viommu("list", "--host", TWO_SMMUS, "--json", "mmc", "pmu").out
    mmc, pmu = json.loads(out)["masters"]
    assert (mmc["intids"], mmc["hazards"], mmc["passable"]) == ([53], [], True)
    assert pmu["intids"] == [54, 21]
    assert (pmu["hazards"], pmu["passable"]) == (["interrupt-private"], False)


@pytest.mark.parametrize(
    ("profile", "last"),
    [
        ([], "profile xen-rfc (default): 8 of 17 masters can go; --profile xen takes 1 more"),
        (["xen-amd"], "profile xen-amd: 8 of 17 masters can go; --profile xen takes 1 more"),
        (["xen"], "profile xen: 9 of 17 masters can go"),
    ],
)
def test_the_last_line_names_the_profile(profile: list[str], last: str, viommu: Run) -> None:
    out = viommu("list", "--host", TWO_SMMUS, *(f"--profile={name}" for name in profile)).out
    assert out.splitlines()[-1] == last
    taken = "not for a guest: unsupported-iommu; --profile xen takes it"
    assert (taken in out) == (profile != ["xen"])


NEEDING = """/dts-v1/; / { #address-cells = <1>; #size-cells = <1>;
smmu: iommu@1000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0x1000 0x20000>; };
cpg: cpg@30000 { compatible = "t,cpg"; reg = <0x30000 0x1000>; #clock-cells = <1>; };
net@100000 { compatible = "x"; reg = <0x100000 0x1000>; iommus = <&smmu 1>; clocks = <&cpg 5>;
  clock-names = "bus"; };
gone@110000 { compatible = "x"; reg = <0x110000 0x1000>; iommus = <0>; };
rtc@200000 { compatible = "y"; reg = <0x200000 0x1000>; clocks = <&cpg 5>; status = "disabled"; };
memory@80000000 { device_type = "memory"; reg = <0x80000000 0x1000>; compatible = "m"; };
part { compatible = "z"; reg = <0x80000000 0x1000>; status = <1 2>; }; };"""


def test_why_and_all(viommu: Run) -> None:
    Path("host.dtb").write_bytes(blob(NEEDING))
    out = viommu("list", "--host", "host.dtb", "--all", "--why").out
    assert out == (
        "host without a model name\n\n"
        "/iommu@1000  arm,smmu-v3  0x1000\n"
        "  /net@100000  0x1\n"
        "      0x100000/0x1000\n"
        "        needs clocks 'bus': /cpg@30000 <5> (registers); also of /rtc@200000,\n"
        "          which stays\n"
        "/gone@110000  behind no IOMMU: no entry remains\n"
        "        unprotected: /gone@110000 is behind no IOMMU in the host tree, so its\n"
        "          DMA would reach all memory\n"
        "        hint: take the host tree whose node has `iommus`, or another device of\n"
        "          `viommu list`; for one that does no DMA: allow: [{hazard: unprotected,\n"
        '          device: "/gone@110000", reason: "..."}]\n\n'
        "Behind no IOMMU:\n"
        "  /cpg@30000\n"
        "      0x30000/0x1000\n"
        "      not for a guest: unprotected\n"
        "        unprotected: /cpg@30000 is behind no IOMMU in the host tree, so its DMA\n"
        "          would reach all memory\n"
        "        hint: take the host tree whose node has `iommus`, or another device of\n"
        "          `viommu list`; for one that does no DMA: allow: [{hazard: unprotected,\n"
        '          device: "/cpg@30000", reason: "..."}]\n'
        "  /rtc@200000  disabled\n"
        "      0x200000/0x1000\n"
        "      not for a guest: unprotected\n"
        "        unprotected: /rtc@200000 is behind no IOMMU in the host tree, so its DMA\n"
        "          would reach all memory\n"
        "        hint: take the host tree whose node has `iommus`, or another device of\n"
        "          `viommu list`; for one that does no DMA: allow: [{hazard: unprotected,\n"
        '          device: "/rtc@200000", reason: "..."}]\n'
        "        needs clocks: /cpg@30000 <5> (registers); also of /net@100000, which\n"
        "          stays\n\n"
        "`viommu explain HAZARD` says why, and what to do.\n"
        "profile xen-rfc (default): 1 of 4 devices can go\n"
    )


def test_all_is_filtered_as_well(viommu: Run) -> None:
    Path("host.dtb").write_bytes(blob(NEEDING))
    arguments = ("list", "--host", "host.dtb", "--format", "lines", "--all")
    rtc = "no\t/rtc@200000\ty\t\t\tunprotected\n"
    assert viommu(*arguments, "rtc") == (0, rtc, "")
    assert viommu(*arguments, "--passable").out.startswith("ok\t/net@100000\tx\t0x1\t")
    assert viommu("list", "--host", "host.dtb", "rtc").status == 1


def test_why_is_of_the_table(viommu: Run) -> None:
    outcome = viommu("list", "--host", TWO_SMMUS, "--why", "--format", "lines")
    assert (outcome.status, outcome.out) == (2, "")
    assert "--why is for the table" in outcome.err
