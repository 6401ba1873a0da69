# SPDX-License-Identifier: Apache-2.0
"""What a run says: results on stdout, and by one printer everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TextIO

from west_viommu.diagnostics import Diagnostic, Where, bounded, legible, printable
from west_viommu.names import MESSAGE_FORMS, VARIABLES

if TYPE_CHECKING:
    from west_viommu.write.messages import Page

NO_FORM = f"VIOMMU_ERRORS must be one of {', '.join(MESSAGE_FORMS)}"
# A source that is larger is not shown, and of few files at once is kept what they have.
_MOST_OF_SOURCE = 1 << 22
_MOST_SOURCES = 4
# Nobody wrote a longer one to be read.
_LONGEST_LINE = 1 << 16


class Console:
    """Where a run prints. `program` is what the user typed to get here, `form` one of
    names.MESSAGE_FORMS; `wants_colour` tells whether west is to have colours, and is asked on a
    terminal only. One that `is_quiet` prints no notes. Of a source that is neither here nor in the
    folder of what is `named` it shows no line: text of an input can say that it is of any file.
    """

    def __init__(
        self,
        program: str,
        form: str,
        wants_colour: Callable[[], bool] | None = None,
        *,
        is_quiet: bool = False,
        named: Iterable[str] = (),
    ) -> None:
        self._program = program
        self.form = form
        self._wants_colour = wants_colour
        self._is_quiet = is_quiet
        self._named = named
        # Of several messages on a terminal, an empty line shows where each begins.
        self._has_told = False
        self._sources: dict[str, list[bytes]] = {}
        self._hidden: set[str] = set()

    def report(self, problems: Iterable[Diagnostic]) -> None:
        """Print what is wrong with the input, or to be warned of."""
        for problem in bounded(problems):
            typed = problem._replace(what=self._typed(problem.what), hint=self._typed(problem.hint))
            self._print(problem.severity.value, typed)

    def note(self, text: str) -> None:
        """Print what is good to know, unless the run is to be quiet."""
        if not self._is_quiet:
            self._print("note", Diagnostic(id="note", what=self._typed(text)))

    def fail(self, id: str, text: str = "") -> None:
        """Print why this run ends, which is not its input's fault."""
        self._print("", Diagnostic(id=id, what=self._typed(text) or id))

    def result(self, pieces: Iterable[str]) -> None:
        """Print results for people: as `tell`, with each command named as the user types it."""
        tell(map(self._typed, pieces))

    def do_not_show(self, files: Iterable[str]) -> None:
        """Print no lines of these: they are not what was read."""
        self._hidden.update(files)

    def has_colour(self, stream: TextIO | None) -> bool:
        """Whether `stream` has colours: a terminal that its user wants them on
        (https://no-color.org, https://force-color.org).
        """
        environment = os.environ.get
        if not stream or environment("NO_COLOR"):
            return False
        if environment("FORCE_COLOR"):
            return True
        if environment("TERM") == "dumb" or not stream.isatty():
            return False
        return self._wants_colour is None or self._wants_colour()

    def _typed(self, text: str) -> str:
        """`text` with each command that it tells to run as the user types it: where there is west,
        there need not be a `viommu`.
        """
        is_west = self._program.startswith("west ")
        return text.replace("`viommu ", "`west viommu-") if is_west else text

    def _print(self, severity: str, problem: Diagnostic) -> None:
        # Whoever closed stderr wants none of it; print() would take stdout.
        if sys.stderr:
            if self._has_told and self.form == MESSAGE_FORMS[0] and sys.stderr.isatty():
                print(file=sys.stderr)
            for line in self._lines(severity, legible(problem)):
                print(line, file=sys.stderr)
            self._has_told = True

    def _lines(self, severity: str, problem: Diagnostic) -> Iterable[str]:
        """The lines of a message. With no `severity` it is about the run."""
        # Late: most runs have nothing to say.
        from west_viommu.write.messages import annotation, json_line, labelled, text_lines

        if self.form == "json":
            return [json_line(severity or "error", problem)]
        if self.form == "github":
            return [annotation(severity or "error", problem, _in_repository(problem.where))]
        page = self._page()
        if severity == "note":
            return labelled("", "note", printable(problem.what), page)
        if severity:
            return text_lines(problem, self._source(problem.where), page)
        if problem.what == problem.id:
            return [f"{self._program}: {problem.id}"]
        return labelled(f"{self._program}: ", "error", printable(problem.what), page)

    def _page(self) -> Page:
        from west_viommu.write.messages import Page

        width = columns(2) if sys.stderr and sys.stderr.isatty() else None
        return Page(width, self.has_colour(sys.stderr))

    def _source(self, where: Where | None) -> str | None:
        """The line at `where`; None where it cannot be read any more."""
        if not where or where.line is None or where.file in self._hidden:
            return None
        if where.file not in self._sources:
            if len(self._sources) == _MOST_SOURCES:
                self._sources.clear()
            is_near = any(_is_below(where.file, each) for each in (os.curdir, *self._named))
            self._sources[where.file] = _source_lines(where.file) if is_near else []
        lines = self._sources[where.file]
        if not 0 < where.line <= len(lines) or len(lines[where.line - 1]) > _LONGEST_LINE:
            return None
        return lines[where.line - 1].decode("utf-8", "replace")


def tell(pieces: Iterable[str] = ()) -> None:
    """Print the last of the results, in `pieces`, so that it is known whether stdout took them.

    A reader that has left (head, less) had enough. Raises OSError where stdout fails otherwise, and
    does nothing where it is closed.
    """
    if sys.stdout:
        try:
            sys.stdout.writelines(pieces)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
        except OSError as error:
            error.filename = "stdout"
            raise


def silence_stdout() -> None:
    """Python would complain of what it could not write once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def columns(descriptor: int) -> int | None:
    """The columns of the terminal at `descriptor`, or what COLUMNS says; None where neither is."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and len(wanted) < 6:
        return int(wanted)
    try:
        return os.get_terminal_size(descriptor).columns
    except OSError:
        return None


def named_by(arguments: Iterable[object]) -> list[str]:
    """Return the texts of the command line and the environment, whether or not they are paths."""
    values = (each for value in arguments for each in _texts(value))
    return [*values, *filter(None, map(os.environ.get, (*VARIABLES, "ZEPHYR_BASE")))]


def _texts(value: object) -> Iterable[str]:
    found = value if isinstance(value, list) else [value]
    return [each for each in found if isinstance(each, str)]


def _is_below(file: str, named: str) -> bool:
    """Whether `file` is what is `named`, or in its folder or below it; links are resolved, and what
    is hidden (.git) does not count.
    """
    try:
        path, top = os.path.realpath(file), os.path.realpath(named)
        folder = top if os.path.isdir(top) else os.path.dirname(top)
        inside = os.path.relpath(path, folder).split(os.sep)
    except (OSError, ValueError):
        return False
    is_inside = os.path.exists(top) and not any(part.startswith(".") for part in inside)
    return path == top or is_inside


def _source_lines(file: str) -> list[bytes]:
    from west_viommu.read.plain_file import content

    try:
        return content(file, _MOST_OF_SOURCE).split(b"\n")
    except OSError:
        return []


def _in_repository(where: Where | None) -> str | None:
    """The file of `where` as an annotation names it: from the top of the checkout."""
    top = os.environ.get("GITHUB_WORKSPACE")
    if not where or not top:
        return where.file if where else None
    try:
        inside = os.path.relpath(os.path.realpath(where.file), os.path.realpath(top))
    except ValueError:
        # A zero byte, or another drive.
        return where.file
    return where.file if inside.startswith(os.pardir) else inside
