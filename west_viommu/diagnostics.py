# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: the record of a problem in an input, the limit on their number, and their text."""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

# Characters of one text of a message. A longer one was made on purpose; a line to paste, with 100
# stream IDs, fits.
_LONGEST = 2000
# How many diagnostics of one id and severity are shown, and the characters of all: a few inputs
# could make gigabytes of them.
MOST_ALIKE = 50
_MOST_TEXT = 1 << 20
# The cost that a run may spend on comparing mistyped names: a second or two. A character of a name
# costs 4; for two similar names, each pair of characters costs 1.
_MOST_COMPARED = 1 << 25
# difflib's threshold: less similar names are no typing mistake.
_ALIKE = 0.6


class Where(NamedTuple):
    """A place in an input file. `line` counts from 1; None if the input has no lines."""

    file: str
    line: int | None = None


class Severity(Enum):
    """A warning does not refuse the input; an error does, unless viommu.yml allows it; FATAL
    refuses the input in any case, and is printed as an error.
    """

    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


class Diagnostic(NamedTuple):
    """A mistake in the input, or a danger of it. Construct it by keyword.

    `id` is "malformed" or a hazard id of docs/hazards.md; `node` the path of the devicetree node
    and `prop` the property with the mistake; `hint` a sentence on what to do. `other`: a host path
    by which viommu.yml may also allow the hazard. `cause`: the host node whose mistake makes all
    devices with this hazard fail. If `more` is set, the diagnostic replaces that many further ones
    of its id and severity. `acknowledged`: viommu.yml allows it, with a reason.
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
    acknowledged: bool = False

    @property
    def warning(self) -> bool:
        """True if the diagnostic does not refuse the input."""
        return self.severity is Severity.WARNING


class Refused(Exception):
    """The input is refused. Carries the diagnostics of the run in input order, cut by `bounded`."""

    def __init__(self, problems: Iterable[Diagnostic]):
        self._problems = bounded(problems)
        super().__init__(self._problems)

    @property
    def problems(self) -> tuple[Diagnostic, ...]:
        """The diagnostics, in input order."""
        return self._problems

    def __str__(self) -> str:
        return "\n".join(map(rendered, self.problems))


class FirstOnes:
    """Counts things by kind, and selects the first few of each kind."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, int] = {}

    def take(self, kind: Hashable) -> bool:
        """Count one more thing of a kind; return whether it is among the first."""
        count = self._seen.get(kind, 0)
        self._seen[kind] = count + 1
        return count < MOST_ALIKE


def bounded(problems: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the first of `problems` of each id and severity, and at the end one diagnostic for the
    rest of each. Two that would look the same become one.
    """
    kept: dict[object, Diagnostic] = {}
    counts: dict[tuple[str, Severity], int] = {}
    left_out: dict[tuple[str, Severity], int] = {}
    text = 0
    for problem in problems:
        # Without the fields that are not shown.
        shown = problem._replace(prop="", other="", cause="")
        if shown in kept:
            continue
        kind = problem.id, problem.severity
        count = counts.get(kind, 0)
        if problem.more or count >= MOST_ALIKE or (count and text >= _MOST_TEXT):
            left_out[kind] = left_out.get(kind, 0) + (problem.more or 1)
        else:
            counts[kind] = count + 1
            text += sum(map(len, (problem.what, problem.hint, problem.expected, problem.found)))
            kept[shown] = problem
    return (*kept.values(), *(rest(*kind, more) for kind, more in left_out.items()))


def rest(id: str, severity: Severity, more: int) -> Diagnostic:
    """Return the diagnostic that replaces `more` further ones of an id and severity."""
    return Diagnostic(id=id, what=f"and {more:,} more like this", severity=severity, more=more)


def refusal(
    id: str, what: str, hint: str = "", file: str = "", *, expected: str = "", found: str = ""
) -> Refused:
    """Return the exception for one mistake in the whole of a `file`, or in no file."""
    where = Where(file) if file else None
    return Refused(
        [Diagnostic(id=id, what=what, hint=hint, expected=expected, found=found, where=where)]
    )


def first_few(texts: Iterable[str], most: int = MOST_ALIKE) -> Iterator[str]:
    """Yield the first of `texts` without duplicates: at most `most`, and as many as fit half a
    message; then the number of the rest.
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


def printable(text: str) -> str:
    """Return `text` on one line, with each control or unprintable character as a \\x or \\u escape.

    Names and paths come from untrusted input; a terminal must not obey them.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in text
    )


def shortened(text: str) -> str:
    """Return `text`, or its beginning and its end if it is too long to be read."""
    if len(text) <= _LONGEST:
        return text
    left_out = f" ... {len(text) - _LONGEST} characters ... "
    return text[: _LONGEST // 2] + left_out + text[-_LONGEST // 2 :]


def legible(problem: Diagnostic) -> Diagnostic:
    """Return `problem` with each of its texts shortened; its place is unchanged."""
    return problem._replace(
        what=shortened(problem.what),
        hint=shortened(problem.hint),
        node=shortened(problem.node),
        expected=shortened(problem.expected),
        found=shortened(problem.found),
    )


def wrapped(line: str, width: int, indent: str) -> Iterator[str]:
    """Yield `line` broken into lines of `width` columns, if its words allow; every line after the
    first begins with `indent`.
    """
    while len(line) > width:
        at = line.rfind(" ", len(indent) + 1, width + 1)
        if at < 0 or not line[:at].strip():
            break
        yield line[:at].rstrip()
        line = indent + line[at:].lstrip()
    yield line


def rendered(problem: Diagnostic) -> str:
    """Return `FILE:LINE: error: [id] what is wrong (node, expected, found)` and a `hint:` line."""
    problem = legible(problem)
    message = f"{place_of(problem)}{problem.severity.value}: {summary(problem)}"
    return f"{message}\nhint: {printable(problem.hint)}" if problem.hint else message


def place_of(problem: Diagnostic) -> str:
    """Return `FILE:LINE: `, or as much of it as the diagnostic has."""
    if not problem.where:
        return ""
    file, line = printable(shortened(problem.where.file)), problem.where.line
    return f"{file}: " if line is None else f"{file}:{line}: "


def summary(problem: Diagnostic) -> str:
    """Return `[id] what is wrong (node, expected, found)`."""
    facts = [
        f"{label} {value}"
        for label, value in (
            ("node", problem.node),
            ("expected", problem.expected),
            ("found", problem.found),
        )
        if value
    ]
    detail = f" ({', '.join(facts)})" if facts else ""
    return printable(f"[{problem.id}] {problem.what}{detail}")


class Comparisons:
    """Compares mistyped names with others, until a run has spent its budget for that."""

    def __init__(self) -> None:
        self._room = _MOST_COMPARED

    def close_matches(self, name: str, known: Iterable[str], most: int = 3) -> list[str]:
        """Return the names of `known` that resemble `name`, the closest first; none once the run
        has spent its budget.
        """
        # Imported late: only errors need it, and the import takes time.
        from difflib import SequenceMatcher

        # As get_close_matches() of difflib, with a budget.
        matcher = SequenceMatcher[str]()
        matcher.set_seq2(name)
        matches = []
        for other in known:
            self._room -= 4 * len(other)
            if self._room < 0:
                return []
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
                self._room -= len(other) * len(name)
                ratio = matcher.ratio()
                if ratio >= _ALIKE:
                    matches.append((ratio, other))
        return [other for _, other in sorted(matches, reverse=True)[:most]]


def close_matches(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the names of `known` that resemble `name`, the closest first."""
    return Comparisons().close_matches(name, known, most)


def meant(name: str, known: Sequence[str], otherwise: str = "") -> str:
    """Return the hint "did you mean ...?" for `name`, which is not one of `known`, or `otherwise`
    if it resembles none. For a version of Xen, the hint names the profile of a released Xen.
    """
    version = re.fullmatch(r"(?:xen-?)?v?(4\.\d\d)(?:\.\d+)?", name)
    if version and "xen" in known:
        return f"did you mean xen, with the xen-version {version[1]}?"
    same = [each for each in known if each.lower() == name.lower()]
    close = same or close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else otherwise
