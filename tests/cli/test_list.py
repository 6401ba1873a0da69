# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, DEMO, Run, blob, corpus_params
from tests.oracle import listing

TWO_SMMUS = CHECKOUT / "tests" / "hosts" / "two-smmus.dts"


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
        "/m  behind no IOMMU: no entry remains\n"
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
