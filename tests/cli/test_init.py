# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from tests.conftest import DEMO, Run
from west_viommu.read.config import config_of


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
    assert viommu("init").out == "wrote viommu.yml\nnext: say in it where the host tree is\n"
    lines = (tmp_path / "viommu.yml").read_text().splitlines()
    # A comment that looks like YAML is YAML; what is prose has no colon behind its first word.
    keys = ("host", "profile", "vsid", "vsids", "domain", "allow")
    wanted = [line.removeprefix("# ") for line in lines]
    kept = [x for x in wanted if x.startswith((*(f"{key}:" for key in keys), "  -", '  "'))]
    (tmp_path / "all.yml").write_text("\n".join(kept))
    assert set(yaml.safe_load((tmp_path / "all.yml").read_text())) == set(keys)
    assert config_of("all.yml").domain == {"vpl011"}


def test_what_is_refused_writes_nothing(viommu: Run, tmp_path: Path) -> None:
    assert viommu("init", "--host", "no.dtb").status == 1
    assert viommu("init", "--profile", "./no.yaml").status == 1
    assert viommu("init", "-s", "no-folder").err == (
        "no-folder/viommu.yml: error: [unwritable] No such file or directory\n"
        "hint: name the folder of the application with -s\n"
    )
    assert not list(tmp_path.iterdir())
    (tmp_path / "viommu.yml").write_text("mine")
    assert "it is there already" in viommu("init").err
    assert (tmp_path / "viommu.yml").read_text() == "mine"


def test_names_that_yaml_would_misread(viommu: Run, tmp_path: Path) -> None:
    name = "a: b # \u00e9.dts"
    shutil.copy(DEMO / "host.dts", tmp_path / name)
    assert viommu("init", "--host", name).status == 0
    assert config_of("viommu.yml").host == f"./{name}"
