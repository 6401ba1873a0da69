# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support import DEMO, PACKAGE, Run, blob
from west_viommu.cli.console import Console
from west_viommu.read.settings import config_of

SCHEMAS = PACKAGE / "schemas"


def test_with_a_host_and_what_comes_next(viommu: Run, tmp_path: Path) -> None:
    shutil.copy(DEMO / "host.dts", tmp_path / "host.dts")
    (tmp_path / "app").mkdir()
    outcome = viommu("init", "-s", "app", "--host", "host.dts", "--profile", "xen-v3-libxl")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("wrote app/viommu.yml\nnext: `viommu list --passable` shows")
    found = config_of("app/viommu.yml")
    assert (found.host, found.profile) == ("../host.dts", "xen-v3-libxl")
    assert viommu("bind", DEMO / "guest.overlay", "-s", "app").status == 0


def test_every_key_is_there_to_uncomment(viommu: Run, tmp_path: Path) -> None:
    assert viommu("init").out == "wrote viommu.yml\nnext: write into it where the host tree is\n"
    lines = (tmp_path / "viommu.yml").read_text().splitlines()
    # A comment that looks like YAML is YAML; what is prose has no colon behind its first word.
    keys = ("host", "profile", "vsid", "vsids", "domain", "dom0", "regions", "allow")
    wanted = [line.removeprefix("# ") for line in lines]
    kept = [x for x in wanted if x.startswith((*(f"{key}:" for key in keys), "  -", '  "'))]
    (tmp_path / "all.yml").write_text("\n".join(kept))
    assert set(yaml.safe_load((tmp_path / "all.yml").read_text())) == set(keys)
    assert config_of("all.yml").domain == {"vpl011"}


def test_the_environment_is_heard(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(DEMO / "host.dts", tmp_path / "host.dts")
    monkeypatch.setenv("VIOMMU_HOST_DTB", "host.dts")
    monkeypatch.setenv("VIOMMU_PROFILE", "xen-amd")
    assert viommu("init").status == 0
    found = config_of("viommu.yml")
    assert (found.host, found.profile) == ("./host.dts", "xen-amd")
    (tmp_path / "app").mkdir()
    assert viommu("init", "-s", "app", "--profile", "xen").status == 0
    assert config_of("app/viommu.yml").profile == "xen"
    monkeypatch.setenv("VIOMMU_PROFILE", "xen-admin")
    (tmp_path / "other").mkdir()
    assert "did you mean xen-amd?" in viommu("init", "-s", "other").err


def test_what_is_refused_writes_nothing(viommu: Run, tmp_path: Path) -> None:
    assert viommu("init", "--host", "no.dtb").status == 1
    assert viommu("init", "--profile", "./no.yaml").status == 1
    assert viommu("init", "-s", "no-folder").err == (
        "no-folder/viommu.yml: error: [unwritable] No such file or directory\n"
        "hint: name the folder of the application with -s\n"
    )
    assert not list(tmp_path.iterdir())
    (tmp_path / "viommu.yml").write_text("mine")
    assert "it exists already" in viommu("init").err
    assert (tmp_path / "viommu.yml").read_text() == "mine"


def test_what_cannot_be_told_or_written_leaves_nothing(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Console, "result", full)
        assert viommu("init").status == 1
    assert not list(tmp_path.iterdir())
    host = os.fsdecode(b"\xff.dtb")
    Path(host).write_bytes(blob("/dts-v1/; / { };"))
    assert viommu("init", "--host", host).err == (
        "viommu.yml: error: [unwritable] a name in it is not UTF-8 text\n"
        "hint: rename the file, or its folder\n"
    )
    assert not (tmp_path / "viommu.yml").exists()


def test_names_that_yaml_would_misread(viommu: Run, tmp_path: Path) -> None:
    name = "a: b # \u00e9.dts"
    shutil.copy(DEMO / "host.dts", tmp_path / name)
    assert viommu("init", "--host", name).status == 0
    assert config_of("viommu.yml").host == f"./{name}"


def schema_line(file: Path) -> str:
    """What an editor reads."""
    return file.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("place", "is_checkout", "expected"),
    [
        ("modules/west-viommu", True, "../modules/west-viommu/west_viommu/schemas/config.json"),
        # Of an environment of Python's.
        ("modules/west-viommu", False, None),
        ("modules/west viommu", True, None),
        ("../elsewhere", True, None),
    ],
)
def test_where_an_editor_finds_the_schema(
    place: str,
    is_checkout: bool,
    expected: str | None,
    viommu: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top = tmp_path / "workspace"
    (top / ".west").mkdir(parents=True)
    (top / "app").mkdir()
    checkout = (top / place).resolve()
    shutil.copytree(SCHEMAS, checkout / "west_viommu/schemas")
    if is_checkout:
        (checkout / "west-commands.yml").touch()
    monkeypatch.setattr("west_viommu.cli.init._CHECKOUT", checkout)
    assert viommu("init", "-s", top / "app").status == 0
    file = top / "app/viommu.yml"
    found = expected or "https://example.org/west-viommu/schemas/config.json"
    assert schema_line(file) == f"# yaml-language-server: $schema={found}"
    if expected:
        assert (file.parent / expected).is_file()


def test_without_a_workspace_an_editor_finds_it_on_the_network(viommu: Run) -> None:
    viommu("init")
    named = json.loads((SCHEMAS / "config.json").read_text())["$id"]
    assert schema_line(Path("viommu.yml")) == f"# yaml-language-server: $schema={named}"
