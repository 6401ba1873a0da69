# SPDX-License-Identifier: Apache-2.0
"""The one printer: what goes to stderr, as text, on a terminal, for programs, and under west."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.refused_cases import CASES
from tests.support import CHECKOUT, DEMO, Run, environment
from west_viommu.cli.console import Console
from west_viommu.diagnostics import Diagnostic, Severity, Where

HOST = DEMO / "host.dts"
WRONG = (DEMO / "guest.overlay").read_text().replace("<0x0 0x40>", "<0x0 0x41>")
WHAT = "the node has the reg and interrupts of /soc@e0000000/ethernet@100000, but other stream IDs"
NODE = "/passthrough/ethernet@e0100000"
EXPECTED, FOUND = "0x40 behind /soc@e0000000/iommu@800000", "0x41 of /pcie@d0000000"
HINT = "write iommus = <0x0 0x40>;"
SAID = f"[stream-mismatch] {WHAT} (node {NODE}, expected {EXPECTED}, found {FOUND})"
TEXT = f"""\
guest.overlay:18: error: {SAID}
   18 | iommus = <0x0 0x41>;
hint: {HINT}
"""
OBJECT = {
    "file": "guest.overlay",
    "line": 18,
    "severity": "error",
    "id": "stream-mismatch",
    "node": NODE,
    "what": WHAT,
    "expected": EXPECTED,
    "found": FOUND,
    "hint": HINT,
}
ANNOTATION = f"::error title=stream-mismatch,file=guest.overlay,line=18::{SAID}%0Ahint: {HINT}\n"
BIND = ("bind", "--host", HOST, "guest.overlay")


@pytest.fixture
def wrong(viommu: Run, tmp_path: Path) -> Run:
    """`viommu`, with a guest beside it that has a wrong ID."""
    (tmp_path / "guest.overlay").write_text(WRONG)
    return viommu


@pytest.mark.parametrize(
    ("form", "expected"),
    [("text", TEXT), ("json", f"{json.dumps(OBJECT)}\n"), ("github", ANNOTATION)],
)
def test_a_message_in_each_form(
    form: str, expected: str, wrong: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wrong(*BIND, "--errors", form).err == expected
    monkeypatch.setenv("VIOMMU_ERRORS", form)
    assert wrong(*BIND).err == expected
    monkeypatch.setenv("VIOMMU_ERRORS", "github")
    assert wrong(*BIND, "--errors", form).err == expected


def test_warnings_notes_and_failures_are_objects_too(wrong: Run) -> None:
    guest = (DEMO / "guest.overlay").read_text().replace("iommus", "iommu = <1>; iommus", 1)
    Path("guest.overlay").write_text(guest)
    told = [json.loads(line) for line in wrong(*BIND, "--errors=json").err.splitlines()]
    assert [(each["severity"], each["id"]) for each in told] == [
        ("warning", "malformed"),
        ("note", "note"),
    ]
    (failure,) = wrong("bind", "--errors=json", "guest.overlay").err.splitlines()
    failed = json.loads(failure)
    assert (failed["severity"], failed["id"], failed["file"]) == ("error", "usage", None)
    assert failed["what"].startswith("no host tree: give --host HOST")
    annotated = wrong(*BIND, "--errors=github").err.splitlines()
    assert [line.split(" ")[0] for line in annotated] == ["::warning", "::notice"]


def test_an_unknown_form(wrong: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIOMMU_ERRORS", "xml")
    outcome = wrong(*BIND)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == ("viommu bind: error: VIOMMU_ERRORS must be one of text, json, github\n")


def test_an_annotation_names_a_file_from_the_top_of_the_checkout(
    wrong: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a,b").mkdir()
    Path("guest.overlay").rename("a,b/guest.overlay")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path / "a,b")
    assert ",file=a%2Cb/guest.overlay,line=18::" in wrong(*BIND, "--errors=github").err


def on_a_terminal(command: list[str], columns: int, **variables: str) -> str:
    """What `command` prints on a terminal."""
    host, guest = pty.openpty()
    sized = ["sh", "-c", f'stty cols {columns} rows 50; exec "$@"', "sh", *command]
    own = environment(**{"TERM": "xterm", **variables})
    run = subprocess.Popen(sized, stdin=guest, stdout=guest, stderr=guest, env=own)
    os.close(guest)
    found = b""
    try:
        while piece := os.read(host, 1 << 16):
            found += piece
    except OSError:
        # Nobody has the other end any more.
        pass
    run.wait()
    os.close(host)
    return found.decode().replace("\r\n", "\n")


COMMAND = [sys.executable, "-m", "west_viommu", *map(str, BIND)]


def test_on_a_terminal_it_is_wrapped_and_has_colours(wrong: Run) -> None:
    assert on_a_terminal(COMMAND, 70) == (
        "\x1b[1mguest.overlay:18: \x1b[0m\x1b[1;31merror:\x1b[0m [stream-mismatch] the node has "
        "the reg and\n"
        "    interrupts of /soc@e0000000/ethernet@100000, but other stream IDs\n"
        "    (node /passthrough/ethernet@e0100000, expected 0x40 behind\n"
        "    /soc@e0000000/iommu@800000, found 0x41 of /pcie@d0000000)\n"
        "\x1b[2m   18 | \x1b[0miommus = <0x0 0x41>;\n"
        f"\x1b[1;32mhint:\x1b[0m {HINT}\n"
    )
    plain = on_a_terminal(COMMAND, 70, NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 70
    assert on_a_terminal(COMMAND, 70, TERM="dumb") == plain
    # Whoever matches lines of a terminal, as editors do, says that it is wide.
    assert on_a_terminal(COMMAND, 70, NO_COLOR="1", COLUMNS="9999") == TEXT
    # Where nothing can be done.
    assert on_a_terminal(COMMAND, 20, NO_COLOR="1") == TEXT


def test_colours_without_a_terminal(wrong: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the logs of a workflow. Lines are whole there."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert wrong(*BIND).err.startswith(
        f"\x1b[1mguest.overlay:18: \x1b[0m\x1b[1;31merror:\x1b[0m {SAID}\n"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert wrong(*BIND).err == TEXT


@pytest.mark.parametrize(("value", "has"), [("false", False), ("true", True), (None, True)])
def test_colours_of_west(
    value: str | None,
    has: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def wants_colour() -> bool:
        asked.append(value)
        return value != "false"

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    console = Console("west viommu-bind", "text", wants_colour)
    console.note("plain")
    assert asked == []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    console.note("maybe not")
    label = "\x1b[1;36mnote:\x1b[0m" if has else "note:"
    assert capsys.readouterr().err == f"note: plain\n\n{label} maybe not\n"


def test_the_matcher_of_the_docs_finds_every_message() -> None:
    """That of docs/zephyr.md, which VS Code takes."""
    page = (CHECKOUT / "docs/zephyr.md").read_text()
    (shown,) = re.findall(r'"pattern": (\{.*?\n +\})', page, re.DOTALL)
    matcher = json.loads(shown)
    pattern = re.compile(matcher.pop("regexp"))
    assert pattern.match(TEXT.splitlines()[0])
    for case in CASES:
        for line in yaml.safe_load(case.read_text())["stderr"].splitlines():
            found = pattern.match(line)
            assert bool(found) == bool(re.match(r"\S+:\d+: (error|warning)", line)), line
            if found:
                parts = {name: found[group] for name, group in matcher.items()}
                assert "{file}:{line}: {severity}: [{code}] {message}".format(**parts) == line


def test_commands_are_named_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Diagnostic(id="unreadable", what="see `viommu list`", hint="see `viommu explain ID`")
    for program, listing in (("viommu bind", "viommu list"), ("west viommu-bind", "west viommu-l")):
        for form in ("text", "json", "github"):
            console = Console(program, form)
            console.report([problem, problem._replace(severity=Severity.WARNING)])
            console.note("see `viommu list`")
            console.fail("usage", "see `viommu list`")
            console.result(["see `viommu list`\n"])
            out, err = capsys.readouterr()
            assert (out.count(f"`{listing}"), err.count(f"`{listing}")) == (1, 4)
            assert err.count("viommu explain ID") == (0 if program.startswith("west") else 2)


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        ("\t\tone\x1b[2Jtwo\xff\n", 1, "    1 | one\\x1b[2Jtwo\ufffd\n"),
        ("one\n", 3, ""),
        ("one\n", 0, ""),
        (f"{'x' * 200} node@1 {'y' * 200}\n", 1, f"    1 | ...{'x' * 39} node@1 {'y' * 107}...\n"),
        ("x" * 70_000, 1, ""),
        (None, 1, ""),
    ],
)
def test_the_line_of_the_source(
    text: str | None, line: int, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "source"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    problem = Diagnostic(
        id="malformed", what="wrong", node="/a/node@1", where=Where(str(file), line)
    )
    Console("viommu bind", "text", named=[str(tmp_path)]).report([problem])
    first, after = capsys.readouterr().err.split("\n", 1)
    assert first == f"{file}:{line}: error: [malformed] wrong (node /a/node@1)"
    assert after == shown


def test_who_closed_stderr_gets_nothing_on_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "west_viommu", "list", "--host", "none.dtb"]
    run = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (run.returncode, run.stdout) == (1, "")
