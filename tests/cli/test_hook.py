# SPDX-License-Identifier: Apache-2.0
"""The preprocessor of a Zephyr build, with the real cpp and the command line that Zephyr gives it.

A real Zephyr runs it in tests/zephyr; here it is what needs none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from devicetree import dtlib

from tests.cli.test_bind import XENVM
from tests.conftest import CHECKOUT, DEMO, PACKAGE, Run
from west_viommu.cli.preprocessor import main

GIC_HEADER = "zephyr/dt-bindings/interrupt-controller/arm-gic.h"
BOARD = XENVM.replace("/dts-v1/;\n", f"/dts-v1/;\n#include <{GIC_HEADER}>\n", 1)
HEADER = """#define GIC_SPI 0x0
#define IRQ_TYPE_LEVEL 2
#define IRQ_DEFAULT_PRIORITY 0xa0
"""


# What editors find gcc's messages by (VS Code, $gcc): file, line, column, severity, message.
GCC_MATCHER = re.compile(r"^(.*?):(\d+):(\d*):?\s+(?:fatal\s+)?(warning|error|note):\s+(.*)$")


class Build:
    """An application, a folder that stands for Zephyr's bindings and headers, and a build."""

    def __init__(self, top: Path):
        self.app = top / "app"
        self.build = top / "build"
        self.zephyr = top / "zephyr"
        shutil.copytree(DEMO, self.app)
        (self.app / "board.dts").write_text(BOARD)
        (self.app / "viommu.yml").write_text("host: host.dts\n")
        header = self.zephyr / "include/zephyr/dt-bindings/interrupt-controller/arm-gic.h"
        header.parent.mkdir(parents=True)
        header.write_text(HEADER)
        (self.zephyr / "dts/bindings").mkdir(parents=True)
        (self.zephyr / "empty_file.c").write_text("")
        (self.build / "zephyr").mkdir(parents=True)
        self.source = self.build / "zephyr" / "zephyr.dts.pre"
        self.rule = self.build / "zephyr" / "zephyr.dts.d"
        self.output = self.build / "viommu"

    def run(
        self, *options: str, overlay: str = "guest.overlay", tail: str = "", cpp: str = "cpp"
    ) -> int:
        command = [
            *(cpp, "-x", "assembler-with-cpp", "-nostdinc"),
            *("-isystem", str(self.zephyr / "include")),
            *("-include", str(self.app / "board.dts"), "-include", str(self.app / overlay)),
            *("-undef", "-D__DTS__", "-E", "-MD", "-MF", str(self.rule), "-o", str(self.source)),
            str(self.zephyr / f"empty_file.c{tail}"),
        ]
        own = ["--zephyr-base", str(self.zephyr), "--app", str(self.app)]
        own += ["--output", str(self.output), "--dts-root", str(CHECKOUT / "zephyr")]
        return main([*own, "--dts-root", str(self.zephyr), *options, "--", *command])

    def left(self) -> list[str]:
        """The files in the output folder."""
        return [str(file) for file in self.output.rglob("*") if file.is_file()]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setenv("ZEPHYR_BASE", "")
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(tmp_path / "none"))
    return Build(tmp_path)


def test_messages_in_the_form_that_the_environment_says(
    build: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = build.app / "guest.overlay"
    guest.write_text(guest.read_text().replace("<0x0 0x40>", "<0x0 0x41>"))
    monkeypatch.setenv("VIOMMU_ERRORS", "json")
    assert build.run() == 1
    told = json.loads(capsys.readouterr().err)
    assert (told["file"], told["line"], told["id"]) == (str(guest), 18, "stream-mismatch")
    monkeypatch.setenv("VIOMMU_ERRORS", "github")
    assert build.run() == 1
    assert capsys.readouterr().err.startswith("::error title=stream-mismatch,file=")
    monkeypatch.setenv("VIOMMU_ERRORS", "xml")
    assert build.run() == 1
    assert capsys.readouterr().err == (
        "cmake: error: VIOMMU_ERRORS must be one of text, json, github\n"
    )


@pytest.mark.parametrize(("value", "has"), [("false", False), ("true", True), ("", True)])
def test_in_a_west_workspace_messages_are_in_its_words_and_colours(
    value: str,
    has: bool,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    top = build.app.parent
    (top / ".west").mkdir()
    (top / ".west/config").write_text(f"[color]\nui = {value}\n" if value else "")
    (build.app / "viommu.yml").write_text(
        "host: host.dts\nallow: [{hazard: unknown-host-node, device: /x, reason: none}]\n"
    )
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert build.run("--workspace", str(top)) == 1
    err = capsys.readouterr().err
    assert "remove the entry: `west viommu-explain unknown-host-node` says" in " ".join(err.split())
    assert ("\x1b[1;31merror:" in err) == has


def test_the_overlay_is_appended_and_the_build_depends_on_the_inputs(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.run() == 0
    out, err = capsys.readouterr()
    host = build.app / "host.dts"
    assert out == (
        f"-- viommu: bound 2 devices of {host} to one vSMMU (xen-rfc, identity: nobody chose), see "
        f"{build.output}\n"
    )
    assert err == ""
    overlay = (build.output / "viommu.overlay").read_text()
    assert build.source.read_text().endswith(f'\n# 1 "{build.output}/viommu.overlay"\n{overlay}')
    assert "guest:   board.dts guest.overlay" in overlay
    rule = build.rule.read_text().replace("\\\n", "").split()
    wanted = [host, build.app / "viommu.yml"]
    if " " not in str(PACKAGE):
        # A module in such a path is nothing that Zephyr itself could build with.
        wanted.append(PACKAGE / "hazards/table.py")
    assert {str(file) for file in wanted} <= set(rule)
    assert all(os.path.isfile(file) for file in rule[1:])
    assert json.loads((build.output / "viommu.json").read_text())["devices"]


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ([], "xen-rfc, identity: nobody chose"),
        (["--profile", "xen-rfc"], "xen-rfc, identity"),
        (["--profile", "xen-v3-dom0less"], "xen-v3-dom0less, first-free"),
        (["--vsid", "first-free"], "xen-rfc: nobody chose, first-free"),
    ],
)
def test_the_line_says_on_what_assumption(
    options: list[str], terms: str, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.run(*options) == 0
    assert f" to one vSMMU ({terms}), see " in capsys.readouterr().out


OWN_WORDS_ON_THE_VSMMU = """/ {
	aliases { smmu = &vsmmu; };
	chosen { app,smmu = &vsmmu; };
};
one_more: &vsmmu {
	dma-coherent;
};
"""


def test_the_vsmmu_has_its_label_in_the_sources_of_the_application(
    build: Build, viommu: Run
) -> None:
    guest = build.app / "guest.overlay"
    guest.write_text(guest.read_text() + OWN_WORDS_ON_THE_VSMMU)
    assert build.run() == 0
    text = build.source.read_text()
    lines = guest.read_text().splitlines()
    last = len(lines)
    assert (
        "\n"
        f'# 1 "{build.output}/viommu.overlay"\n'
        "/* Generated by west-viommu. Do not edit: change its inputs and run it again. */\n"
        "/ { vsmmu: iommu@4040000 { }; };\n"
        f'# {last - 2} "{guest}"\n'
        "one_more: &vsmmu {\n"
    ) in text
    found = dtlib.DT(str(build.source))
    node = found.get_node("/iommu@4040000")
    assert node.labels == ["vsmmu", "one_more"]
    assert {"dma-coherent", "compatible", "reg"} <= set(node.props)
    assert found.get_node("/chosen").props["app,smmu"].to_path() is node
    # What was inserted is no part of the guest's own source: another profile, whose vSMMU is
    # elsewhere, finds no label that is taken.
    again = viommu("bind", "-d", build.build, "-s", build.app, "--profile", "qemu-virt")
    assert again.status == 0, again.err


def test_the_label_of_a_vsmmu_that_the_guest_does_not_get(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    host = build.app / "host.dts"
    host.write_text(re.sub(r"iommus = .*", "", host.read_text()))
    guest = build.app / "guest.overlay"
    text = guest.read_text().replace(
        "iommus = <0x0 0x40>;", 'xen,path = "/soc@e0000000/ethernet@100000";'
    )
    guest.write_text(text + OWN_WORDS_ON_THE_VSMMU)
    devices = ("ethernet@100000", "dma-controller@200000")
    (build.app / "viommu.yml").write_text(
        "host: host.dts\nallow:\n"
        + "".join(
            f"  - {{hazard: unprotected, device: /soc@e0000000/{each}, reason: test}}\n"
            for each in devices
        )
    )
    assert build.run() == 1
    lines = guest.read_text().splitlines()
    last = len(lines)
    hint = "hint: none of its devices is behind an SMMU of the host: leave it out\n"
    assert capsys.readouterr().err.endswith(
        "".join(
            f"{guest}:{line}: error: [malformed] &vsmmu is used, and this guest gets no vSMMU\n"
            f"   {line} | {lines[line - 1].strip()}\n{hint}"
            for line in (last - 5, last - 4, last - 2)
        )
    )


def test_nothing_asked_for_costs_and_leaves_nothing(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.run() == 0
    (build.app / "empty.overlay").write_text("/ { };\n")
    assert build.run(overlay="empty.overlay") == 0
    assert "viommu" not in build.source.read_text()
    assert "viommu.yml" not in build.rule.read_text()
    assert [file.name for file in build.output.rglob("*") if file.is_file()] == [
        "vendor-prefixes.txt"
    ]
    (build.app / "empty.overlay").write_text("/ { passthrough { }; };\n")
    assert build.run(overlay="empty.overlay") == 0
    assert not (build.output / "viommu.json").exists()


def test_a_second_configure_makes_the_same(build: Build) -> None:
    assert build.run() == 0
    once = {file: file.read_bytes() for file in build.output.rglob("*") if file.is_file()}
    assert build.run("--dts-root", str(build.output)) == 0
    again = {file: file.read_bytes() for file in build.output.rglob("*") if file.is_file()}
    assert again == once


def test_what_a_host_source_includes_is_watched(build: Build) -> None:
    host = build.app / "host.dts"
    host.rename(build.app / "real.dtsi")
    host.write_text('#include "real.dtsi"\n')
    assert build.run() == 0
    assert str(build.app / "real.dtsi") in build.rule.read_text()


def test_a_preprocessor_that_is_not_there(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.run() == 0
    assert build.run(cpp=str(build.app / "no-cc")) == 1
    assert "no-cc cannot be run: No such file" in capsys.readouterr().err
    assert build.left() == []


def test_a_refusal(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.run() == 0
    guest = build.app / "guest.overlay"
    guest.write_text(guest.read_text().replace("0x40>", "0x41>"))
    capsys.readouterr()
    assert build.run() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{guest}:18: error: [stream-mismatch]")
    found = GCC_MATCHER.match(err.splitlines()[0])
    assert found and found.group(1, 2, 4) == (str(guest), "18", "error")
    assert build.left() == []


def test_no_host(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    (build.app / "viommu.yml").unlink()
    assert build.run() == 1
    assert "guest.overlay:18: error: [no-host]" in capsys.readouterr().err


def test_what_the_real_preprocessor_refuses_leaves_nothing_stale(build: Build) -> None:
    assert build.run() == 0
    assert build.run(tail=".missing") == 1
    assert build.left() == []


def test_the_build_depends_on_what_it_wrote(build: Build) -> None:
    assert build.run() == 0
    rule = build.rule.read_text().replace("\\\n", "").split()
    assert set(build.left()) <= set(rule)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "xen-rcf"], "no profile has this name (expected xen-rfc or xen-amd"),
        (["--vsid", "first"], "no vsid has this name (expected identity or first"),
        (["--config", "other.yml"], "other.yml: error: [unreadable] No such file"),
        (
            ["--host_dtb", "other.dtb"],
            "app/other.dtb: error: [unreadable] No such file or directory\n"
            "hint: check VIOMMU_HOST_DTB: from -D, the environment or CMakeLists.txt, a path is "
            "relative to the application\n",
        ),
    ],
)
def test_options_that_are_refused(
    options: list[str], message: str, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.run(*options) == 1
    assert message in capsys.readouterr().err


def test_a_path_that_cmake_could_not_read_back_is_left_out(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    (build.app / "host.dts").rename(build.app / "my host.dts")
    assert build.run("--host_dtb", "my host.dts") == 0
    assert "my host.dts" not in build.rule.read_text()
    assert "go unnoticed" in capsys.readouterr().err


def test_what_the_binding_of_zephyr_requires(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    bindings = build.zephyr / "dts/bindings"
    (bindings / "mac.yaml").write_text(
        "properties:\n"
        "  reg: {type: array}\n"
        "  clock-frequency: {type: int, required: true}\n"
        "  left-out: {type: int, required: true}\n"
    )
    binding = bindings / "cdns,gem.yaml"
    binding.write_text(
        'description: a MAC\ncompatible: "cdns,gem"\n'
        "include: [{name: mac.yaml, property-blocklist: [left-out]}]\n"
        "properties: {mdc-divider: {type: int, required: true}}\n"
    )
    assert build.run() == 1
    assert capsys.readouterr().err == (
        f"{build.app}/guest.overlay:13: error: [malformed] Zephyr's binding of the device requires "
        "clock-frequency and mdc-divider (node /passthrough/ethernet@e0100000)\n"
        "   13 | ethernet@e0100000 {\n"
        f"hint: see {binding}: copy what is of the host, choose the rest; or leave out the "
        "compatible of that binding\n"
    )
    assert build.left() == []
    guest = build.app / "guest.overlay"
    given = "clock-frequency = <1>; mdc-divider = <1>; iommus = <0x0 0x40>;"
    guest.write_text(guest.read_text().replace("iommus = <0x0 0x40>;", given))
    assert build.run() == 0


def test_warnings_are_printed(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    host = build.app / "host.dts"
    host.write_text(host.read_text().replace('phy-mode = "rgmii-id";', 'status = "disabled";', 1))
    assert build.run() == 0
    assert "warning: [device-disabled]" in capsys.readouterr().err


def test_bind_takes_the_devicetree_of_a_build(build: Build, viommu: Run) -> None:
    assert build.run() == 0
    (build.build / "viommu_dts_roots.txt").write_text(f"{CHECKOUT / 'zephyr'};{build.zephyr}")
    (build.build / "CMakeCache.txt").write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={build.app}\n")
    sums = json.loads((build.output / "viommu.json").read_text())["files"]
    outcome = viommu("bind", "-d", build.build)
    assert outcome.status == 0, outcome.err
    assert f"wrote {build.output}/viommu.overlay\n" in outcome.out
    again = json.loads((build.output / "viommu.json").read_text())["files"]
    # The header of the overlay names the build in place of the files; the bindings are the same.
    assert set(again) == set(sums)
    assert {k: v for k, v in again.items() if k != "viommu.overlay"} == {
        k: v for k, v in sums.items() if k != "viommu.overlay"
    }


def test_bind_and_check_take_the_build_that_west_build_would_find(
    build: Build, viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (build.app / "build").symlink_to(build.build)
    assert build.run() == 0
    (build.build / "CMakeCache.txt").write_text(
        f"CMAKE_HOME_DIRECTORY:INTERNAL={build.app}\nZEPHYR_BASE:PATH={build.zephyr}\n"
    )
    shutil.copy(build.source, build.build / "zephyr/zephyr.dts")
    monkeypatch.chdir(build.app)
    for command, ends in (("bind", "explain HAZARD"), ("check", "")):
        outcome = viommu(command, "--host", build.app / "host.dts")
        assert outcome.status == 0, outcome.err
        assert outcome.err.startswith("note: this takes the build in build\n")
        assert "wrote build/viommu/viommu.overlay\n" in outcome.out or not ends
    (build.app / "viommu.yml").write_text("host: host.dts\nprofile: xen-rfc\n")
    guest = build.app / "guest.overlay"
    os.utime(guest, (guest.stat().st_atime, build.source.stat().st_mtime + 5))
    assert viommu("bind").err == (
        "note: this takes the build in build\n"
        f"note: {guest} has changed since build was configured, and this takes its devicetree as "
        "it was: run `west build --cmake-only` first\n"
    )
    # Nor is a line shown that is not the one that was read.
    wrong = (build.app / "viommu.yml").read_text() + "allow: [{hazard: x, device: y, reason: z}]\n"
    (build.app / "viommu.yml").write_text(wrong)
    host = build.app / "host.dts"
    told = host.read_text()
    host.write_text(told.replace("<&smmu0 0x40>", "<&smmu0 0x4f>"))
    err = viommu("bind").err
    assert f"{guest}:" in err and "iommus = <0x0 0x40>;\nhint" not in err
    assert "    3 | allow: [{hazard: x," in err
    host.write_text(told)
    # list has the host of the application that is built here.
    (build.app / "viommu.yml").write_text("host: host.dts\nprofile: xen-rfc\n")
    (build.app / "below").mkdir()
    monkeypatch.chdir(build.app / "below")
    (build.app / "below/build").symlink_to(build.build)
    listed = viommu("list", "--passable")
    assert listed.status == 0
    assert listed.err == (f"note: this takes the host of {build.app}, which is built in build\n")
    # Elsewhere by west's configuration; another application's is not taken for one that is named.
    monkeypatch.chdir(build.app.parent)
    (build.app / "build").unlink()
    build.build.rename(build.app.parent / "out-app")
    (build.app.parent / ".west").mkdir()
    config = build.app.parent / ".west/config"
    config.write_text("[build]\ndir-fmt = {west_topdir}/out-{app}\n")
    assert viommu("bind", "-s", "app").status == 0
    config.write_text("[build]\ndir-fmt = out-app\n")
    (build.app.parent / "other").mkdir()
    monkeypatch.delenv("ZEPHYR_BASE")
    outcome = viommu("bind", "-s", "other", "--host", build.app / "host.dts")
    assert outcome.status == 2
    assert outcome.err == (
        "viommu bind: error: there is no build here, and no board is known: name the guest's "
        "devicetree source (GUEST.overlay or GUEST.dts), a board with -b (or `west config "
        "build.board`), or a build directory with -d; to build for a board, ZEPHYR_BASE must be "
        "set\n"
    )


def test_bind_takes_the_default_image_of_a_sysbuild(
    build: Build, viommu: Run, tmp_path: Path
) -> None:
    assert build.run() == 0
    (tmp_path / "sysbuild").mkdir()
    (tmp_path / "sysbuild/domains.yaml").write_text(
        f"default: app\ndomains:\n  - {{name: app, build_dir: {build.build}}}\n"
    )
    outcome = viommu("bind", "-d", "sysbuild", "-s", build.app)
    assert outcome.status == 0, outcome.err
    assert f"wrote {build.output}/viommu.overlay\n" in outcome.out


def test_bind_in_a_build_that_was_not_configured(viommu: Run) -> None:
    outcome = viommu("bind", "--host", DEMO / "host.dts", "-d", "nowhere")
    assert outcome.status == 1
    assert outcome.err == (
        "nowhere: error: [unreadable] this is not a configured build of Zephyr: there is no "
        "zephyr/zephyr.dts.pre\n"
        "hint: name the build directory, and configure it first: west build --cmake-only\n"
    )


def test_bind_for_a_board_without_cmake(
    build: Build, viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEPHYR_BASE", str(build.zephyr))
    monkeypatch.setenv("PATH", "")
    outcome = viommu("bind", "-s", build.app, "-b", "xenvm")
    assert outcome.status == 1
    assert "[unreadable] cmake cannot be run" in outcome.err


def test_a_broken_sysbuild(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "domains.yaml").write_text("default: app\n")
    outcome = viommu("bind", "--host", DEMO / "host.dts", "-d", ".")
    assert outcome.status == 1
    assert "domains.yaml: error: [malformed] this is not the domains.yaml" in outcome.err


@pytest.mark.parametrize(("overlay", "status"), [("guest.overlay", 1), ("empty.overlay", 0)])
def test_dtlib_that_cannot_be_imported(
    overlay: str,
    status: int,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who asks for nothing, though a source has a word of a request, does without it."""
    (build.app / "empty.overlay").write_text("/* no passthrough */\n/ { };\n")
    monkeypatch.setitem(sys.modules, "devicetree", None)
    assert build.run(overlay=overlay) == status
    message = (
        "error: [unreadable] devicetree source needs the Python package devicetree\n"
        "hint: pip install devicetree, or set ZEPHYR_BASE\n"
    )
    assert capsys.readouterr().err == (message if status else "")
