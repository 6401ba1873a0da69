# SPDX-License-Identifier: Apache-2.0
"""A message in each of its forms: text for people, JSON, or an annotation of GitHub's."""

from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.diagnostics import (
    Diagnostic,
    Where,
    place_of,
    printable,
    shortened,
    summary,
    wrapped,
)
from west_viommu.tree.node import name_of

# On a narrower terminal, let the terminal wrap.
_NARROWEST = 40
# The most characters of a source line if no terminal limits it.
_LONGEST_SOURCE = 160
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLOURS = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "note": "\x1b[1;36m",
    "hint": "\x1b[1;32m",
}
_ANNOTATIONS = {"error": "error", "warning": "warning", "note": "notice"}


class Page(NamedTuple):
    """The page for text: the columns of the terminal, None without a terminal, and whether it has
    colours.
    """

    width: int | None = None
    has_colour: bool = False


def text_lines(problem: Diagnostic, source: str | None, page: Page) -> Iterator[str]:
    """Yield the lines of the diagnostic on `page`: the problem, its line of the `source`, the
    hint.
    """
    severity = problem.severity.value
    yield from labelled(place_of(problem), severity, summary(problem), page)
    if problem.where and problem.where.line is not None and source is not None:
        yield _excerpt(problem.where.line, source, name_of(problem.node), page)
    if problem.hint:
        yield from labelled("", "hint", printable(problem.hint), page)


def labelled(head: str, label: str, text: str, page: Page) -> Iterator[str]:
    """Yield `HEADLABEL: TEXT`, in as many lines as the page needs, with the label in its colour."""
    start = f"{head}{label}: "
    width = page.width or 0
    whole = start + text
    first, *rest = wrapped(whole, width, "    ") if width >= _NARROWEST else [whole]
    if page.has_colour and first.startswith(start):
        first = (
            f"{_painted(head, _BOLD)}{_painted(label + ':', _COLOURS[label])} "
            + (first[len(start) :])
        )
    yield first
    yield from rest


def _excerpt(number: int, source: str, name: str, page: Page) -> str:
    """Return `NUMBER | SOURCE`; if it is too wide for the page, the part with the node `name`."""
    gutter = f"{number:>5} | "
    most = _LONGEST_SOURCE
    if page.width and page.width >= _NARROWEST:
        most = page.width - len(gutter)
    text = source.expandtabs(4).strip()
    if len(text) > most:
        # A mistake is more often after the name than before it.
        start = max(text.find(name) - most // 4, 0) if name else 0
        before = "..." if start else ""
        text = f"{before}{text[start : start + most - 6]}..."
    return (_painted(gutter, _DIM) if page.has_colour else gutter) + printable(text)


def _painted(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if text else ""


def json_line(severity: str, problem: Diagnostic) -> str:
    """Return the object of schemas/message.json."""
    import json

    place = problem.where or Where("")
    return json.dumps(
        {
            "file": place.file or None,
            "line": place.line,
            "severity": severity,
            "id": problem.id,
            "node": problem.node,
            "what": problem.what,
            "expected": problem.expected,
            "found": problem.found,
            "hint": problem.hint,
        }
    )


def annotation(severity: str, problem: Diagnostic, file: str | None) -> str:
    """Return the command by which a step of a GitHub workflow annotates a line of `file`."""
    properties = {"title": problem.id}
    if file:
        properties["file"] = printable(shortened(file))
        if problem.where and problem.where.line is not None:
            properties["line"] = str(problem.where.line)
    hint = f"\nhint: {printable(problem.hint)}" if problem.hint else ""
    named = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    return f"::{_ANNOTATIONS[severity]} {named}::{_escaped(summary(problem) + hint)}"


def _escaped(text: str, also: str = "") -> str:
    """Return `text` escaped for the runner (actions/toolkit, core/src/command.ts)."""
    for character in f"%\r\n{also}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
