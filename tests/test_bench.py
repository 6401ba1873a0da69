# SPDX-License-Identifier: Apache-2.0
"""The host that the bench generates; never how long anything takes."""

from __future__ import annotations

import json
from pathlib import Path

import libfdt

from bench.generate import generated_host
from bench.read_pylibfdt import tree
from tests.support import Run
from west_viommu.read.dtb import tree_from_dtb


def test_the_generated_host_is_valid() -> None:
    blob = bytearray(generated_host(100, smmus=7))
    assert libfdt.fdt_check_full(blob, len(blob)) == 0


def test_the_generated_host_has_what_was_asked_for(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(generated_host(100, smmus=7))
    outcome = viommu("list", "--host", host, "--format", "json")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert len(found["iommus"]) == 7
    assert all(iommu["supported"] for iommu in found["iommus"])
    masters = found["masters"]
    assert len(masters) == 100
    regions = [region["base"] for master in masters for region in master["regions"]]
    ids = [stream["id"] for master in masters for stream in master["streams"]]
    assert len(set(regions)) == len(set(ids)) == 100
    assert (found["collisions"], found["shared"]) == ([], [])
    behind = [master["streams"][0]["iommu"] for master in masters]
    assert {behind.count(iommu["path"]) for iommu in found["iommus"]} == {14, 15}


def test_every_device_of_it_could_go_to_a_guest(viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(generated_host(100, smmus=7))
    outcome = viommu("list", "--host", host, "--format", "json", "--passable")
    assert len(json.loads(outcome.out)["masters"]) == 100


def test_the_peer_reads_what_we_read() -> None:
    blob = generated_host(100, smmus=7)
    ours = {node.path: dict(node.properties) for node in tree_from_dtb(blob).nodes()}
    assert tree(blob) == ours
