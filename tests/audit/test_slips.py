# SPDX-License-Identifier: Apache-2.0
"""A set that is right, and the slips of people who write sets by hand: what audit says of each.

slips_KIND.yml has the slips in the files of a board, tests/audit/BOARD/, and all messages, which
VIOMMU_REWRITE=1 writes. A slip that changes nothing is among them: it must not be called wrong.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audit.said import said
from tests.support import REWRITES, Run

HERE = Path(__file__).parent
KINDS = (
    *("xl", "tree", "marks", "imagebuilder", "chosen"),
    *("domains", "providers", "copied", "mistyped"),
)


@cache
def slips(kind: str) -> Any:
    return yaml.safe_load((HERE / f"slips_{kind}.yml").read_text())


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The trees of the boards as blobs, with labels: source would be parsed again for each
    case.
    """
    blobs = {}
    for board in ("board", "quay"):
        file = blobs[board] = tmp_path_factory.mktemp(board) / "host.dtb"
        subprocess.run(["dtc", "-@", "-q", "-o", file, HERE / board / "host.dts"], check=True)
    return blobs


def judged(document: Any, case: Any, hosts: dict[str, Path], viommu: Run) -> tuple[int, list[str]]:
    """Audit the set of the board with the slip of `case`."""
    board = document.get("board", "board")
    for file in (HERE / board).iterdir():
        if file.name not in case.get("without", ()):
            shutil.copy(file, file.name)
    edited = Path(case.get("edited", document["edited"]))
    if "old" in case:
        text = edited.read_text()
        assert case["old"] in text, case
        edited.write_text(text.replace(case["old"], case["new"], case.get("count", 1)))
    if "text" in case:
        edited.write_text(case["text"])
    for name, text in case.get("with", {}).items():
        Path(name).write_text(text)
    profile = case.get("profile", "xen")
    files = case.get("files", document["files"])
    outcome = viommu("audit", "--host", hosts[board], "--profile", profile, *files)
    return outcome.status, said(outcome.err)


@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, n) for kind in KINDS for n in range(len(slips(kind)["cases"]))],
    ids=lambda value: str(value),
)
def test_a_slip_is_named_with_what_is_right(
    kind: str, number: int, hosts: dict[str, Path], viommu: Run
) -> None:
    document = slips(kind)
    case = document["cases"][number]
    status, messages = judged(document, case, hosts, viommu)
    if REWRITES:
        case["says"] = messages
        path = HERE / f"slips_{kind}.yml"
        head = "".join(line for line in path.read_text().splitlines(True) if line[0] == "#")
        dumped = yaml.safe_dump(document, sort_keys=False, width=100, allow_unicode=True)
        path.write_text(head + dumped)
    assert messages == case["says"]
    assert status == any(": error: " in message for message in messages)
