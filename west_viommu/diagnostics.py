# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an input, and how it is shown: the one error format of every command."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

# A message says where to look; what is longer than this was made so on purpose. A line to be
# pasted, of 100 stream IDs, fits.
_LONGEST = 2000
# What a run may take to compare mistyped names with others, of which a character counts 4 and, of
# two names that have much in common, each pair of characters 1: a second or two.
_MOST_COMPARED = 1 << 25
# difflib's: what is less like each other is no slip.
_ALIKE = 0.6
# Of one kind, nobody reads more; and few inputs could make gigabytes of them.
MOST_ALIKE = 50
_MOST_TEXT = 1 << 20


class Where(NamedTuple):
    """A place in an input file. `line` counts from 1; None where the input has no lines."""

    file: str
    line: int | None = None


class Severity(Enum):
    """A warning does not refuse the input; an error does, unless viommu.yml allows it; what is
    fatal refuses it whatever that says, and is told as an error.
    """

    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


class Diagnostic(NamedTuple):
    """One thing that is wrong with the input, built by keyword.

    `id` is "malformed" or a hazard id of docs/hazards.md; `node` the path of the devicetree node
    it is about, and `prop` the property that shows it; `hint` a sentence that tells what to do;
    `severity` that of the hazard, if a check does not set another. `other`: a host path by which
    viommu.yml may also allow it. `cause`: the host node that is wrong for all devices with this
    hazard. If `more` is set, it replaces that many further diagnostics of this id and severity.
    """

    id: str = ""
    what: str = ""
    hint: str = ""
    node: str = ""
    prop: str = ""
    expected: str = ""
    found: str = ""
    where: Where | None = None
    severity: Severity = Severity.ERROR
    other: str = ""
    cause: str = ""
    more: int = 0

    @property
    def warning(self) -> bool:
        """Whether it refuses nothing."""
        return self.severity is Severity.WARNING


class Refused(Exception):
    """The input is refused. Carries the problems that the run found, in input order: `bounded`."""

    def __init__(self, problems: Iterable[Diagnostic]):
        self._problems = bounded(problems)
        super().__init__(self._problems)

    @property
    def problems(self) -> tuple[Diagnostic, ...]:
        """The problems, in input order."""
        return self._problems

    def __str__(self) -> str:
        return "\n".join(map(rendered, self.problems))


class FirstOnes:
    """Which of many things are among the first of their kind."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, int] = {}

    def take(self, kind: Hashable) -> bool:
        """Whether one more of that kind still is."""
        count = self._seen.get(kind, 0)
        self._seen[kind] = count + 1
        return count < MOST_ALIKE


def first_few(texts: Iterable[str], most: int = MOST_ALIKE) -> Iterator[str]:
    """The first of `texts`, each once: no more than `most`, nor than half a message has room for;
    at the end how many more there are.
    """
    left_out, room = 0, _LONGEST // 2
    for number, text in enumerate(dict.fromkeys(texts)):
        room -= len(text)
        if left_out or number and (number >= most or room < 0):
            left_out += 1
        else:
            yield text
    if left_out:
        yield f"{left_out:,} more"


def refusal(
    id: str, what: str, hint: str = "", file: str = "", *, expected: str = "", found: str = ""
) -> Refused:
    """What to raise over one problem, of a whole `file` or of none."""
    where = Where(file) if file else None
    return Refused(
        [Diagnostic(id=id, what=what, hint=hint, expected=expected, found=found, where=where)]
    )


def rest(id: str, severity: Severity, more: int) -> Diagnostic:
    """What stands for `more` problems of that id and severity."""
    return Diagnostic(id=id, what=f"and {more:,} more like this", severity=severity, more=more)


def bounded(problems: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The first of `problems` of each id and severity, and at the end one for the rest of each. One
    mistake that was met twice is told once.
    """
    kept: dict[Diagnostic, None] = {}
    told: dict[tuple[str, Severity], int] = {}
    left_out: dict[tuple[str, Severity], int] = {}
    text = 0
    for problem in problems:
        if problem in kept:
            continue
        kind = problem.id, problem.severity
        count = told.get(kind, 0)
        if problem.more or count >= MOST_ALIKE or (count and text >= _MOST_TEXT):
            left_out[kind] = left_out.get(kind, 0) + (problem.more or 1)
        else:
            told[kind] = count + 1
            text += sum(map(len, (problem.what, problem.hint, problem.expected, problem.found)))
            kept[problem] = None
    return (*kept, *(rest(*kind, more) for kind, more in left_out.items()))


def printable(text: str) -> str:
    """`text` on one line, with every control or unprintable character as a \\x or \\u escape.

    Names and paths come from untrusted input; a terminal must not obey them.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in text
    )


def shortened(text: str) -> str:
    """`text`, or its beginning and its end where it is too long to be read."""
    if len(text) <= _LONGEST:
        return text
    left_out = f" ... {len(text) - _LONGEST} characters ... "
    return text[: _LONGEST // 2] + left_out + text[-_LONGEST // 2 :]


def wrapped(line: str, width: int, indent: str) -> Iterator[str]:
    """`line` in `width` columns, as far as its words allow; from the second on after `indent`."""
    while len(line) > width:
        at = line.rfind(" ", len(indent) + 1, width + 1)
        if at < 0 or not line[:at].strip():
            break
        yield line[:at].rstrip()
        line = indent + line[at:].lstrip()
    yield line


def rendered(problem: Diagnostic) -> str:
    """`FILE:LINE: error: [id] what is wrong (node, expected, found)` and a `hint:` line."""
    message = place_of(problem) + f"{problem.severity.value}: " + said(problem)
    return f"{message}\nhint: {printable(shortened(problem.hint))}" if problem.hint else message


def place_of(problem: Diagnostic) -> str:
    """`FILE:LINE: `, as far as it is known."""
    if not problem.where:
        return ""
    file, line = printable(shortened(problem.where.file)), problem.where.line
    return f"{file}: " if line is None else f"{file}:{line}: "


def said(problem: Diagnostic) -> str:
    """`[id] what is wrong (node, expected, found)`."""
    facts = [
        f"{label} {shortened(value)}"
        for label, value in (
            ("node", problem.node),
            ("expected", problem.expected),
            ("found", problem.found),
        )
        if value
    ]
    detail = f" ({', '.join(facts)})" if facts else ""
    return printable(f"[{problem.id}] {shortened(problem.what)}{detail}")


class Comparisons:
    """Compares mistyped names with others, until a run has compared too much."""

    def __init__(self) -> None:
        self._room = _MOST_COMPARED

    def close_matches(self, name: str, known: Iterable[str], most: int = 3) -> list[str]:
        """Those of `known` that `name` may be a slip of, the closest first; none once more would
        take too long.
        """
        # Only an error needs it, and it takes time to import.
        from difflib import SequenceMatcher

        # As get_close_matches() does it, but for the bound.
        matcher = SequenceMatcher[str]()
        matcher.set_seq2(name)
        found = []
        for other in known:
            self._room -= 4 * len(other)
            if self._room < 0:
                return []
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
                self._room -= len(other) * len(name)
                ratio = matcher.ratio()
                if ratio >= _ALIKE:
                    found.append((ratio, other))
        return [other for _, other in sorted(found, reverse=True)[:most]]


def close_matches(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Those of `known` that `name` may be a slip of, the closest first."""
    return Comparisons().close_matches(name, known, most)
