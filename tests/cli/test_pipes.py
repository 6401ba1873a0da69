# SPDX-License-Identifier: Apache-2.0
"""HOST or GUEST from standard input: `-`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DEMO, Outcome, blob

HOST = DEMO / "host.dts"
MAC = "ethernet@100000"
BASE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough: passthrough {
#address-cells = <2>; #size-cells = <2>; ranges; }; };
"""


def viommu(*arguments: object, given: bytes = b"") -> Outcome:
    """What the command says to that standard input."""
    command = [sys.executable, "-m", "west_viommu", *map(str, arguments)]
    run = subprocess.run(command, input=given, capture_output=True)
    return Outcome(run.returncode, run.stdout.decode(), run.stderr.decode())


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_extract_prints_is_bound() -> None:
    extracted = viommu("extract", "--host", HOST, MAC).out
    Path("guest.overlay").write_text(extracted)
    of_file = viommu("bind", "--host", HOST, "-o", "file", "guest.overlay")
    of_pipe = viommu("bind", "--host", HOST, "-o", "pipe", "-", given=extracted.encode())
    assert (of_pipe.status, of_file.status) == (0, 0)
    for name in ("xl.cfg", "passthrough-dom0less.dtb", "host.overlay"):
        assert Path("pipe", name).read_bytes() == Path("file", name).read_bytes()
    overlay = Path("file/viommu.overlay").read_text().replace("guest.overlay", "<stdin>")
    assert Path("pipe/viommu.overlay").read_text() == overlay


def test_a_base_comes_before_the_pipe() -> None:
    Path("base.dts").write_text(BASE)
    node = b'&passthrough { mac { xen,path = "/soc@e0000000/ethernet@100000"; }; };'
    outcome = viommu("bind", "--host", HOST, "base.dts", "-", given=node)
    assert outcome.status == 0, outcome.err
    assert "/passthrough/mac\n" in outcome.out


@pytest.mark.parametrize("command", [["list"], ["extract", MAC]], ids=" ".join)
@pytest.mark.parametrize("is_blob", [False, True])
def test_a_host_from_a_pipe(command: list[str], is_blob: bool) -> None:
    text = HOST.read_bytes()
    given = blob(text.decode()) if is_blob else text
    Path("host.dtb").write_bytes(given)
    of_file = viommu(*command, "--host", "host.dtb")
    of_pipe = viommu(*command, "--host", "-", given=given)
    assert of_pipe == of_file._replace(out=of_file.out.replace("host.dtb", "<stdin>"))
    assert of_pipe.status == 0


def test_a_guest_that_is_a_blob() -> None:
    guest = BASE.replace("ranges;", 'ranges; mac { xen,path = "/soc@e0000000/ethernet@100000"; };')
    outcome = viommu("bind", "--host", HOST, "-", given=blob(guest))
    assert outcome.status == 0, outcome.err
    assert "/passthrough/mac\n" in outcome.out


def test_a_mistake_shows_its_line() -> None:
    outcome = viommu("bind", "--host", HOST, "-", given=b"\n/ { passthrough { a { reg = <x>;")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.splitlines()[:2] == [
        "<stdin>:2: error: [malformed] " + outcome.err.splitlines()[0].partition("[malformed] ")[2],
        "    2 | / { passthrough { a { reg = <x>;",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "-", "-"], "only one of HOST and GUEST can be -"),
        (["--host", HOST, "-", "more.overlay"], "write - behind the other files"),
        (["--host", HOST, "-", "-"], "write - behind the other files"),
    ],
)
def test_a_wrong_command_line(arguments: list[object], says: str) -> None:
    outcome = viommu("bind", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert says in outcome.err


def test_nothing_comes() -> None:
    outcome = viommu("list", "--host", "-")
    assert (outcome.status, outcome.out) == (1, "")
    assert "<stdin>: error: [malformed]" in outcome.err
    assert "found an empty file" in outcome.err
