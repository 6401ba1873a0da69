# SPDX-License-Identifier: Apache-2.0
"""`viommu explain`: what docs/hazards.md says of one hazard, or which hazards there are."""

from __future__ import annotations

from argparse import Namespace

from west_viommu.cli.run import UsageError
from west_viommu.diagnostics import close_matches, refusal
from west_viommu.read.shipped import shipped

PAGE = shipped("hazards.md", "docs/hazards.md")
_SECTION = "### "


def run(arguments: Namespace) -> None:
    """Print the section of a hazard as it is written, or a line for each hazard."""
    page = _page()
    if not arguments.hazard:
        lines = (f"{hazard}\n    {line}\n" for hazard, line in overview(page).items())
        arguments.console.result(lines)
        return
    known = sections(page)
    if arguments.hazard not in known:
        close = close_matches(arguments.hazard, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "`viommu explain` lists all"
        raise UsageError(f"no hazard has the id {arguments.hazard!r}: {hint}")
    arguments.console.result([known[arguments.hazard]])


def sections(page: str) -> dict[str, str]:
    """The section of each hazard by its id, from its heading to the next one of any rank."""
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
    """The line of each hazard in the tables at the top: rows of [`id`](#id) and its line."""
    rows = (line.strip("|").split("|", 1) for line in page.splitlines() if line.startswith("| [`"))
    return {hazard.split("`")[1]: line.strip().replace("`", "") for hazard, line in rows}


def _page() -> str:
    """docs/hazards.md. Raises Refused where it is not there."""
    try:
        with open(PAGE, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        what, hint = error.strerror or "cannot be read", "install west-viommu again"
        raise refusal("unreadable", what, hint, PAGE) from None
