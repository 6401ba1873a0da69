# SPDX-License-Identifier: Apache-2.0
"""west_viommu.api, as another build tool calls it."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT, DEMO, HOSTS, PARTIAL_TREE, Run, environment
from west_viommu import api, api_system
from west_viommu.api import Explicit, Extra, Permission, Refused, Region, Where
from west_viommu.plan.plan import PlanExtra, PlanPermission


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of samples/demo, and its host with another stream ID."""
    for name in ("host.dts", "guest.overlay"):
        shutil.copy(DEMO / name, tmp_path)
    host = (DEMO / "host.dts").read_text()
    assert host.count("&smmu0 0x40>") == 1
    (tmp_path / "host-of-tomorrow.dts").write_text(host.replace("&smmu0 0x40>", "&smmu0 0x50>"))
    for name in ("ZEPHYR_BASE", "CPP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example(folder: Path) -> None:
    """docs/api.md shows it."""
    found = doctest.testmod(api)
    assert (found.attempted > 8, found.failed) == (True, 0)
    assert len(os.listdir(folder / "out")) == 9


@pytest.mark.parametrize("profile", ["xen-rfc", "xen-v3-libxl"])
def test_the_files_are_those_of_the_command(profile: str, folder: Path, viommu: Run) -> None:
    made = api.plan(api.read_host("host.dts"), api.read_guest(["guest.overlay"]), profile=profile)
    api.write(api.render(made), folder / "by-api")
    command = ("bind", "--host", "host.dts", "--profile", profile, "guest.overlay")
    assert viommu(*command, "-o", "by-command").status == 0
    names = sorted(os.listdir("by-command"))
    assert sorted(os.listdir("by-api")) == names
    for name in names:
        assert Path("by-api", name).read_bytes() == Path("by-command", name).read_bytes()


def test_nothing_is_printed_and_nothing_but_the_folder_written(folder: Path, viommu: Run) -> None:
    before = sorted(os.listdir(folder))
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from west_viommu.api import *;"
            "made = plan(read_host('host.dts'), read_guest(['guest.overlay']));"
            "write(render(made), 'out');"
            "sys.exit(' '.join(sorted({'west', 'argparse', 'jsonschema'} & set(sys.modules))))",
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (1, "", "\n")
    assert sorted(os.listdir(folder)) == sorted([*before, "out"])


def test_choices(folder: Path) -> None:
    Path("guest.dts").write_text(PARTIAL_TREE % 'e { xen,path = "/serial@200a0000"; };')
    host, guest = api.read_host(HOSTS / "two-smmus.dts"), api.read_guest([Path("guest.dts")])
    place = Where("build.py", 7)
    allow = Permission("unprotected", "/serial@200a0000", "no DMA", place)
    made = api.plan(host, guest, allow=[allow])
    assert [warning.id for warning in made.warnings] == [
        "unprotected",
        "parts-omitted",
        "xen-stops",
        "xen-stops",
    ]
    assert made.plan.allowed == (PlanPermission(*allow[:3]),)
    with pytest.raises(Refused) as refused:
        api.plan(host, guest, vsids=[Explicit("/serial@200a0000", (), place)])
    problems = refused.value.problems
    assert [(each.id, each.where) for each in problems] == [
        ("unprotected", Where("guest.dts", 3)),
        ("malformed", place),
    ]


def test_a_domain_has_what_it_has(folder: Path) -> None:
    device = "e { iommus = <0 0x10>; reg = <0 0x20000000 0 0x1000>; };"
    Path("guest.dts").write_text(PARTIAL_TREE % device)
    host, guest = api.read_host(HOSTS / "two-smmus.dts"), api.read_guest(["guest.dts"])
    assert len(api.plan(host, guest).plan.devices) == 1
    with pytest.raises(Refused, match=r"\[guest-overlap\].* ACPI tables"):
        api.plan(host, guest, domain=["acpi"])


def test_registers_that_a_driver_needs_besides(folder: Path) -> None:
    regs = "<0 0x20010000 0 0x1000>, <0 0x2f000050 0 0x4>"
    Path("guest.dts").write_text(PARTIAL_TREE % f"e {{ iommus = <0 0x11 0 0x12>; reg = {regs}; }};")
    host, guest = api.read_host(HOSTS / "two-smmus.dts"), api.read_guest(["guest.dts"])
    place = Where("build.py", 7)
    clock = Extra("/mmc@20010000", Region(0x2F000050, 4), "its clock", place)
    with pytest.raises(Refused, match=r"\[region-mismatch\]"):
        api.plan(host, guest)
    made = api.plan(host, guest, regions=[clock])
    assert made.plan.extra == (PlanExtra("/mmc@20010000", 0x2F000050, 4, "its clock"),)
    assert "added by build.py:7, because: its clock" in made.warnings[0].hint


def test_a_system_without_dom0(folder: Path) -> None:
    """Nobody has what the guest does not ask for, and no xl gets a file."""
    host, guest = api.read_host("host.dts"), api.read_guest(["guest.overlay"])
    assert "xl.cfg" in api.render(api.plan(host, guest))
    assert "xl.cfg" not in api.render(api.plan(host, guest, has_dom0=False))


def test_what_is_public_is_there_and_documented() -> None:
    text = (CHECKOUT / "docs/functions.txt").read_text()
    named = {
        line.rpartition(".")[2].rpartition(" ")[2] for line in text.splitlines() if ":: " in line
    }
    for module in (api, api_system):
        assert all(hasattr(module, name) for name in module.__all__)
        assert set(module.__all__) <= named


def test_a_guest_that_asks_for_nothing(folder: Path) -> None:
    Path("guest.dts").write_text("/dts-v1/; / { };")
    guest = api.read_guest(["guest.dts"])
    assert not guest.asks
    with pytest.raises(Refused, match=r"guest.dts: error: \[malformed\] the guest tree asks for"):
        api.plan(api.read_host("host.dts"), guest)


@pytest.mark.parametrize(
    ("name", "id"), [("nowhere.dtb", "unreadable"), ("guest.overlay", "malformed")]
)
def test_a_host_that_is_none(name: str, id: str, folder: Path) -> None:
    with pytest.raises(Refused) as refused:
        api.read_host(name)
    assert [problem.id for problem in refused.value.problems] == [id]


def test_a_profile_that_is_none(folder: Path) -> None:
    host, guest = api.read_host("host.dts"), api.read_guest(["guest.overlay"])
    with pytest.raises(Refused, match="no profile has this name"):
        api.plan(host, guest, profile="xne")


def test_a_refused_build_leaves_nothing_where_all_of_it_is_within_output(folder: Path) -> None:
    def build(host: str) -> None:
        with api.Output(Path("out")) as output:
            made = api.plan(api.read_host(host), api.read_guest(["guest.overlay"]))
            output.write(api.render(made))

    build("host.dts")
    assert Path("out/viommu.json").is_file()
    with pytest.raises(Refused):
        build("host-of-tomorrow.dts")
    assert os.listdir("out") == []
