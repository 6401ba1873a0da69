# SPDX-License-Identifier: Apache-2.0
"""A configuration of ImageBuilder: a shell script of assignments, read as data and never run."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Refused, Severity, Where, close_matches
from west_viommu.read.plain_file import content, unreadable

# The largest public one has 5 KB.
MOST_BYTES = 1 << 16
_NAME = rb"[A-Za-z_][A-Za-z0-9_]*"
_ASSIGNMENT = re.compile(
    rb"(?:export[ \t]+)?(?P<name>" + _NAME + rb")(?:\[(?P<index>[0-9]{1,4})\])?(?P<adds>\+?)="
)
# Everything that belongs to a statement other than an assignment, to find its name: NAME = value.
_WITH_BLANKS = re.compile(rb"(?P<name>" + _NAME + rb")(?:\[[^]\n]*\])?[ \t]*\+?=")
_BLANK = re.compile(rb"(?:[ \t\r\n;]|\\\n|#[^\n]*)+")
_PLAIN = re.compile(rb"[^\s;|&<>()$`\"'\\]+")
_SINGLE = re.compile(rb"'([^']*)'")
_DOUBLE = re.compile(rb'"((?:[^"\\$`]|\\[\s\S])*)"')
_ESCAPE = re.compile(rb"\\([\s\S])")
_RUN = re.compile(rb"[$`]|\"[^\"$`]*[$`]")
_REST = re.compile(rb"[ \t\r]*([^ \t\r\n;#]?)")
# The variables that name devices or their trees: without them there is nothing to judge.
_NEEDED = ("_PATHS", "_DTB")
# The marks for all domains, before ImageBuilder had DOMU_PASSTHROUGH_PATHS.
OLD_MARKS = "XEN_PASSTHROUGH_PATHS"
_OF_DEVICES = ("DOMU_PASSTHROUGH_PATHS", "DOMU_PASSTHROUGH_DTB", "PASSTHROUGH_DTS_REPO")


class Variable(NamedTuple):
    """A variable of the script, and its value; `number` is the index in NAME[index], None
    without.
    """

    name: str
    number: int | None
    value: str
    line: int


class Script(NamedTuple):
    """The variables of a script in their order, and problems for the statements that cannot be
    read: an error if a statement names devices or trees, else a warning.
    """

    file: str
    variables: tuple[Variable, ...]
    problems: tuple[Diagnostic, ...]

    def value(self, name: str, number: int | None = None) -> Variable | None:
        """Return the variable's value at the end of the script; bash takes NAME for NAME[0]."""
        for variable in reversed(self.variables):
            if variable.name == name and (variable.number or 0) == (number or 0):
                return variable
        return None


def read_script(file: str) -> Script:
    """Return the variables of the script `file`. Raises Refused if it cannot be opened."""
    try:
        source = content(file, MOST_BYTES)
    except OSError as error:
        raise Refused([unreadable(file, error, "check its path")]) from None
    return script(source, file)


def script(source: bytes, file: str) -> Script:
    """Return the variables of the text `source` of `file`."""
    reader = _Reader(source, file)
    variables = tuple(reader.variables())
    return Script(file=file, variables=variables, problems=tuple(reader.problems))


def as_meant(script: Script) -> Script:
    """Return the script with each misspelt variable that names devices under its right name, and a
    report of the mistake.
    """
    variables, problems = [], list(script.problems)
    for variable in script.variables:
        name = variable.name.upper()
        close = close_matches(name, _OF_DEVICES, 1)
        if variable.name == OLD_MARKS:
            problems.append(
                Diagnostic(
                    id="wrong",
                    what=f"ImageBuilder has no variable {OLD_MARKS} any more, and ignores it",
                    hint="write DOMU_PASSTHROUGH_PATHS[number] for it; an older one marks these "
                    "nodes",
                    expected=_OF_DEVICES[0],
                    found=OLD_MARKS,
                    where=Where(script.file, variable.line),
                    severity=Severity.WARNING,
                )
            )
            variables.append(variable)
            continue
        if "PASSTHR" in name and variable.name not in _OF_DEVICES and close:
            problems.append(
                Diagnostic(
                    id="wrong",
                    what=f"ImageBuilder has no variable {variable.name}, and ignores it",
                    hint=f"did you mean {close[0]}?",
                    expected=close[0],
                    found=variable.name,
                    where=Where(script.file, variable.line),
                )
            )
            variable = variable._replace(name=close[0])
        variables.append(variable)
    return script._replace(variables=tuple(variables), problems=tuple(problems))


class _Reader:
    """Reads one statement after the other, and collects those that cannot be read."""

    def __init__(self, source: bytes, file: str):
        self._source = source
        self._file = file
        self._ends = [match.start() for match in re.finditer(b"\n", source)]
        self.problems: list[Diagnostic] = []

    def variables(self) -> Iterator[Variable]:
        """Yield each assignment of a literal value."""
        source, at = self._source, 0
        known: dict[tuple[str, int], str] = {}
        while True:
            blank = _BLANK.match(source, at)
            at = blank.end() if blank else at
            if at >= len(source):
                return
            match = _ASSIGNMENT.match(source, at)
            line = self._line(at)
            if match is None:
                at = self._skipped(at)
                continue
            name = match["name"].decode()
            index = int(match["index"]) if match["index"] else None
            values, end, why = self._values(match.end())
            if why:
                self._cannot(name, why, line)
                at = self._end_of_line(end)
                continue
            at = end
            for place, value in enumerate(values):
                number = place if len(values) > 1 else index
                key = name, number or 0
                known[key] = (known.get(key, "") if match["adds"] else "") + value
                yield Variable(name=name, number=number, value=known[key], line=line)

    def _values(self, at: int) -> tuple[list[str], int, str]:
        """Return the value from `at` on, or the values of NAME=(...); the offset after it; and the
        reason why it cannot be read, "" if it can.
        """
        source = self._source
        if not source.startswith(b"(", at):
            value, at, why = self._word(at)
            return [value], at, why or self._rest_of(at)
        values: list[str] = []
        at += 1
        while True:
            blank = _BLANK.match(source, at)
            at = blank.end() if blank else at
            if source.startswith(b")", at):
                return values, at + 1, self._rest_of(at + 1)
            value, end, why = self._word(at)
            if why or end == at:
                return [], end, why or "the list is not closed"
            values.append(value)
            at = end

    def _word(self, at: int) -> tuple[str, int, str]:
        """Return the shell word from `at` on, made of quoted and plain pieces without a blank; the
        offset after it; and the reason why it cannot be read, "" if it can.
        """
        source, pieces = self._source, []
        while at < len(source):
            single, double = _SINGLE.match(source, at), _DOUBLE.match(source, at)
            plain = _PLAIN.match(source, at)
            if single:
                pieces.append(single[1])
                at = single.end()
            elif double:
                pieces.append(_unescaped(double[1]))
                at = double.end()
            elif plain:
                pieces.append(plain[0])
                at = plain.end()
            elif source.startswith(b"\\\n", at):
                at += 2
            elif source.startswith(b"\\", at) and at + 1 < len(source):
                pieces.append(source[at + 1 : at + 2])
                at += 2
            else:
                break
        why = ""
        if _RUN.match(source, at):
            why = "a shell would have to run it"
        elif source[at : at + 1] in (b"'", b'"'):
            why = "its quote is not closed"
        text = b"".join(pieces)
        if b"\0" in text:
            why = "it has a zero byte"
        return text.decode("utf-8", "surrogateescape"), at, why

    def _rest_of(self, at: int) -> str:
        """Return why the text after a value makes this another statement than an assignment; "" if
        it does not.
        """
        rest = _REST.match(self._source, at)
        is_more = rest is not None and bool(rest[1])
        return "it is set for a command alone, or the value needs quotes" if is_more else ""

    def _skipped(self, at: int) -> int:
        """Report the statement at `at`, which is no assignment. Return the offset of the next
        line.
        """
        match = _WITH_BLANKS.match(self._source, at)
        end = self._end_of_line(at)
        line = self._line(at)
        if match:
            why = "a shell takes a name with blanks before = for a command"
            self._cannot(match["name"].decode(), why, line)
        else:
            text = self._source[at:end].decode("utf-8", "backslashreplace").strip()
            is_needed = any(part in text for part in _NEEDED)
            self._add(f"this is no assignment, and is not run: {text}", line, is_needed=is_needed)
        return end

    def _cannot(self, name: str, why: str, line: int) -> None:
        is_needed = name.endswith(_NEEDED)
        self._add(f"the value of {name} cannot be read: {why}", line, is_needed=is_needed)

    def _add(self, what: str, line: int, *, is_needed: bool) -> None:
        self.problems.append(
            Diagnostic(
                id="malformed",
                what=what,
                hint="write NAME=value or NAME[i]=value, without blanks around =, $ and backquotes",
                where=Where(self._file, line),
                severity=Severity.ERROR if is_needed else Severity.WARNING,
            )
        )

    def _end_of_line(self, at: int) -> int:
        end = self._source.find(b"\n", at)
        return len(self._source) if end < 0 else end

    def _line(self, at: int) -> int:
        return bisect_left(self._ends, at) + 1


def _unescaped(text: bytes) -> bytes:
    """Return the value of a double-quoted string: a backslash is special before a few
    characters.
    """

    def kept(match: re.Match[bytes]) -> bytes:
        if match[1] == b"\n":
            return b""
        return match[1] if match[1] in b'$`"\\' else match[0]

    return _ESCAPE.sub(kept, text)
