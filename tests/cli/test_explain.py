# SPDX-License-Identifier: Apache-2.0
"""docs/hazards.md, which `viommu explain` prints: every id, every message, every permission."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.refused_cases import CASES, prepared
from tests.support import CHECKOUT, DEMO, PACKAGE, REWRITES, Run, environment
from west_viommu.cli import reference
from west_viommu.cli.hook import _no_host
from west_viommu.hazards.table import HAZARDS
from west_viommu.read.source import guest_tree
from west_viommu.write.messages import Page, text_lines

PAGE_FILE = CHECKOUT / "docs" / "hazards.md"
PAGE = PAGE_FILE.read_text()
SECTIONS = reference.sections(PAGE)
# The ids of what is no hazard, but an input that cannot be used.
OF_A_SYSTEM = {"load-address", "domain-limits"}
# tests/audit has their messages.
OF_A_SET = {"missing", "extra", "wrong"}
OTHERS = {"unreadable", "unwritable", "no-host", "dom0-tree", *OF_A_SYSTEM, *OF_A_SET}
IDS = [*dict.fromkeys(hazard.id for hazard in HAZARDS), *sorted(OTHERS)]
ALLOWABLE = list(dict.fromkeys(each.id for each in HAZARDS if each.allowable))
MESSAGE = re.compile(r"^    .*(?:error|warning): \[(.*)\](?:.*\n)(?:    .+\n)*", re.MULTILINE)


def contents() -> dict[str, dict[str, Any]]:
    return {case.stem: yaml.safe_load(case.read_text()) for case in CASES}


def message(hazard: str) -> str:
    """The message that the section of `hazard` shows, unfolded."""
    (found,) = MESSAGE.finditer(SECTIONS[hazard])
    assert found[1] == hazard
    return " ".join(found[0].split())


def entries(hazard: str) -> list[str]:
    """The lines for viommu.yml in the section of `hazard`."""
    return re.findall(r"^    (- \{.*\})$", SECTIONS[hazard], re.MULTILINE)


def case_of(hazard: str) -> dict[str, Any]:
    """The case in tests/refused that prints the message of the section."""
    for content in contents().values():
        if message(hazard) in " ".join(content["stderr"].split()):
            return content
    raise AssertionError(f"no case prints {message(hazard)}")


def test_each_id_has_a_section_and_a_line_and_nothing_else_has() -> None:
    assert sorted(SECTIONS) == sorted(reference.overview(PAGE)) == sorted(IDS)
    # In the same order, so that the page can be read from top to end.
    assert list(SECTIONS) == list(reference.overview(PAGE))
    for hazard in IDS:
        assert f"| [`{hazard}`](#{hazard}) | " in PAGE


def test_each_id_of_the_code_is_known() -> None:
    calls = r"(?:NoMatch|refusal|_refused|_problem)\("
    pattern = re.compile(rf'{calls}\s*(?:\[\s*)?(?:\w+,\s*)?"([a-z0-9]+(?:-[a-z0-9]+)*)",')
    made = re.compile(r'Diagnostic\(\s*id="([a-z0-9-]+)"')
    used = set()
    for module in PACKAGE.rglob("*.py"):
        used |= set(made.findall(module.read_text()))
        used |= set(pattern.findall(module.read_text()))
    assert used >= OTHERS | {"malformed", "unknown-host-node", "stream-mismatch"}
    assert used - {"note"} <= set(IDS)


def folded(printed: str) -> str:
    """A message as the page shows it: indented, in 100 columns."""
    lines: list[str] = []
    for line in printed.splitlines():
        is_source = re.match(r" +\d+ \| ", line)
        lines += [line] if is_source else textwrap.wrap(line, 96, break_on_hyphens=False)
    return "".join(f"    {line}\n" for line in lines)


def _rewrite(hazard: str) -> None:
    """Put what is said now of the same node into the page."""
    (shown,) = MESSAGE.finditer(SECTIONS[hazard])
    place = " ".join(shown[0].split()).partition(f"[{hazard}]")[0]
    node = re.search(r"\(node ([^,)]+)", " ".join(shown[0].split()))
    said = [
        each
        for content in contents().values()
        for each in re.split(r"\n(?=\S+: (?:error|warning): )", content["stderr"].rstrip())
        if each.startswith(f"{place}[{hazard}]") and (not node or f"(node {node[1]}" in each)
    ]
    if message(hazard) not in {" ".join(each.split()) for each in said}:
        PAGE_FILE.write_text(PAGE_FILE.read_text().replace(shown[0], folded(said[0])))


@pytest.mark.parametrize(
    "hazard", [each for each in IDS if each not in ("no-host", *OF_A_SYSTEM, *OF_A_SET)]
)
def test_the_message_is_one_that_is_really_printed(hazard: str) -> None:
    if REWRITES:
        _rewrite(hazard)
    else:
        assert case_of(hazard)


def test_the_message_of_a_build_without_host_is_one_too() -> None:
    guest = guest_tree([str(DEMO / "guest.overlay")])
    problem = _no_host("/passthrough/ethernet@e0100000", guest)
    assert problem.where and problem.where.line
    source = (DEMO / "guest.overlay").read_text().splitlines()[problem.where.line - 1]
    printed = "\n".join(text_lines(problem, source, Page())).replace(f"{DEMO}{os.sep}", "")
    assert message("no-host") == " ".join(printed.split())


def test_what_can_be_allowed_has_an_entry_and_nothing_else_has() -> None:
    assert [hazard for hazard in IDS if entries(hazard)] == ALLOWABLE
    for hazard in set(IDS) - set(ALLOWABLE):
        last = SECTIONS[hazard].splitlines()[-1]
        warns = any(each.id == hazard and each.is_warning for each in HAZARDS)
        assert last.startswith("A warning: " if warns else "It cannot be allowed")


@pytest.mark.parametrize("hazard", ALLOWABLE)
def test_the_entry_allows_the_message_of_its_section(
    hazard: str, viommu: Run, tmp_path: Path
) -> None:
    (entry,) = entries(hazard)
    case = case_of(hazard)
    config = case.get("viommu.yml", "")
    assert "allow:" not in config
    case["viommu.yml"] = f"{config}allow:\n  {entry}\n"
    options = prepared(case, tmp_path)
    outcome = viommu("bind", "--host", "host.dts", *options, "guest.dts")
    # The case may have more of the same; of the device of the entry, all is allowed.
    refused, _, _ = message(hazard).partition(" hint:")
    allowed = f"{refused.replace('error: ', 'warning: ', 1)} hint: allowed by viommu.yml:"
    assert allowed in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


def test_explain_prints_the_section_as_it_is(viommu: Run) -> None:
    outcome = viommu("explain", "shared-page")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("### shared-page\n\nXen maps whole pages of 4 KiB.")
    assert outcome.out.endswith('reason: "the guest may reach both UARTs"}\n')
    assert outcome.out in PAGE


def test_a_section_ends_where_a_group_does(viommu: Run) -> None:
    assert "##" not in viommu("explain", "duplicate-assignment").out.removeprefix("###")


def test_explain_lists_the_ids(viommu: Run) -> None:
    outcome = viommu("explain")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines()[::2] == list(SECTIONS)
    assert outcome.out.startswith(
        "wrong-host\n    nothing that the guest asks for is in the host tree\n"
    )


@pytest.mark.parametrize(
    ("hazard", "says"),
    [
        ("shared-pge", "did you mean shared-page or shared-stream-id?"),
        ("zzz", "`viommu explain` lists all"),
        ("overview", "`viommu explain` lists all"),
    ],
)
def test_an_id_that_is_none(hazard: str, says: str, viommu: Run) -> None:
    outcome = viommu("explain", hazard)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == f"viommu explain: error: no hazard has the id {hazard!r}: {says}\n"


def test_a_page_that_is_missing(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hazards.md"
    monkeypatch.setattr(reference, "PAGE", str(file))
    outcome = viommu("explain")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        f"{file}: error: [unreadable] No such file or directory\nhint: install west-viommu again\n"
    )


def test_explain_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys; from west_viommu.__main__ import main;"
        "status = main(['explain', 'malformed']);"
        "print(status, [n for n in ('yaml', 'devicetree', 'west', 'pathlib') if n in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.stdout.endswith("\n0 []\n"), run.stderr
