# SPDX-License-Identifier: Apache-2.0
"""A set that is right, and the slips of people who write sets by hand: what audit says of each.

slips_KIND.yml has the slips in one file of tests/audit/board/, and all messages, which
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

from tests.audit.said import BOARD, said
from tests.support import REWRITES, Run

HERE = Path(__file__).parent
KINDS = ("xl", "tree", "marks", "imagebuilder", "chosen")


@cache
def slips(kind: str) -> Any:
    return yaml.safe_load((HERE / f"slips_{kind}.yml").read_text())


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The board's tree as a blob, with its labels: source would be parsed again for each case."""
    file = tmp_path_factory.mktemp("host") / "host.dtb"
    subprocess.run(["dtc", "-@", "-q", "-o", file, BOARD / "host.dts"], check=True)
    return file


def judged(document: Any, case: Any, host: Path, viommu: Run) -> tuple[int, list[str]]:
    """Audit the set of the board with the slip of `case`."""
    for file in BOARD.iterdir():
        if file.name not in case.get("without", ()):
            shutil.copy(file, file.name)
    edited = Path(document["edited"])
    if "old" in case:
        text = edited.read_text()
        assert case["old"] in text, case
        edited.write_text(text.replace(case["old"], case["new"], case.get("count", 1)))
    if "text" in case:
        edited.write_text(case["text"])
    for name, text in case.get("with", {}).items():
        Path(name).write_text(text)
    profile = case.get("profile", "xen")
    outcome = viommu("audit", "--host", host, "--profile", profile, *document["files"])
    return outcome.status, said(outcome.err)


@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, n) for kind in KINDS for n in range(len(slips(kind)["cases"]))],
    ids=lambda value: str(value),
)
def test_a_slip_is_named_with_what_is_right(
    kind: str, number: int, host: Path, viommu: Run
) -> None:
    document = slips(kind)
    case = document["cases"][number]
    status, messages = judged(document, case, host, viommu)
    if REWRITES:
        case["says"] = messages
        path = HERE / f"slips_{kind}.yml"
        head = "".join(line for line in path.read_text().splitlines(True) if line[0] == "#")
        dumped = yaml.safe_dump(document, sort_keys=False, width=100, allow_unicode=True)
        path.write_text(head + dumped)
    assert messages == case["says"]
    assert status == any(": error: " in message for message in messages)
