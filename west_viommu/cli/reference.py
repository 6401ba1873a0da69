# SPDX-License-Identifier: Apache-2.0
"""`viommu explain` and `completion`: print files that are shipped with the code."""

import os
from typing import NamedTuple

from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import UsageError
from west_viommu.diagnostics import close_matches, refusal
from west_viommu.read.plain_file import PACKAGE, shipped

PAGE = shipped("hazards.md", "docs/hazards.md")
# hatch_build.py puts completions there, in a wheel.
COMPLETIONS = os.path.join(PACKAGE, "completions")
_SECTION = "### "


class Options(NamedTuple):
    """The one argument: a hazard or a shell."""

    topic: str | None


def completion(options: Options, console: Console) -> None:
    """Print the script for a shell as it was made with the package."""
    try:
        with open(os.path.join(COMPLETIONS, f"viommu.{options.topic}"), encoding="utf-8") as file:
            tell([file.read()])
    except FileNotFoundError:
        what = "completions are made when the package is built, and this is a checkout"
        hint = f"install the package, or run here: python tools/completion.py {options.topic}"
        raise refusal("unreadable", what, hint) from None


def explain(options: Options, console: Console) -> None:
    """Print the section of a hazard as it is written, or a line for each hazard."""
    page = _page()
    if not options.topic:
        lines = (f"{hazard}\n    {line}\n" for hazard, line in overview(page).items())
        console.result(lines)
        return
    known = sections(page)
    if options.topic not in known:
        close = close_matches(options.topic, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "`viommu explain` lists all"
        raise UsageError(f"no hazard has the id {options.topic!r}: {hint}")
    console.result([known[options.topic]])


def sections(page: str) -> dict[str, str]:
    """Return the section of each hazard by its id, from its heading to the next one of any rank."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in page.splitlines(keepends=True):
        if line.startswith(("# ", "## ", _SECTION)):
            lines = []
            if line.startswith(_SECTION):
                found[line.removeprefix(_SECTION).strip()] = lines
        lines.append(line)
    return {hazard: "".join(lines).rstrip() + "\n" for hazard, lines in found.items()}


def overview(page: str) -> dict[str, str]:
    """Return the line of each hazard in the tables at the top: rows of [`id`](#id) and its line."""
    rows = (line.strip("|").split("|", 1) for line in page.splitlines() if line.startswith("| [`"))
    return {hazard.split("`")[1]: line.strip().replace("`", "") for hazard, line in rows}


def _page() -> str:
    """Return docs/hazards.md. Raises Refused if it is not there."""
    try:
        with open(PAGE, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        what, hint = error.strerror or "cannot be read", "install west-viommu again"
        raise refusal("unreadable", what, hint, PAGE) from None
