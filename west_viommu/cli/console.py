# SPDX-License-Identifier: Apache-2.0
"""The output of a run: results on stdout, and everything else by one printer on stderr."""

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
# Larger sources are not shown, and only a few are kept in memory at once.
_MOST_OF_SOURCE = 1 << 22
_MOST_SOURCES = 4
# Longer lines were not written to be read.
_LONGEST_LINE = 1 << 16


class Console:
    """The output of a run. `program` is the command as the user typed it, `form` one of
    names.MESSAGE_FORMS; `wants_colour` returns whether west should print colours, and is called
    only on a terminal. With `is_quiet`, no notes are printed. Lines of a source are shown only if
    it is here or in the folder of a file `named`: an input can claim that its text comes from any
    file.
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
        # On a terminal, an empty line separates several messages.
        self._has_told = False
        self._sources: dict[str, list[bytes]] = {}
        self._hidden: set[str] = set()

    def report(self, problems: Iterable[Diagnostic]) -> None:
        """Print the errors and warnings about the input."""
        for problem in bounded(problems):
            typed = problem._replace(what=self._typed(problem.what), hint=self._typed(problem.hint))
            self._print(problem.severity.value, typed)

    def note(self, text: str) -> None:
        """Print a note, unless the run is quiet."""
        if not self._is_quiet:
            self._print("note", Diagnostic(id="note", what=self._typed(text)))

    def fail(self, id: str, text: str = "") -> None:
        """Print the reason why this run ends, if its input is not at fault."""
        self._print("", Diagnostic(id=id, what=self._typed(text) or id))

    def result(self, pieces: Iterable[str]) -> None:
        """Print results for people: as `tell`, with each command as the user would type it."""
        tell(map(self._typed, pieces))

    def do_not_show(self, files: Iterable[str]) -> None:
        """Print no lines of these files: they differ from the text that was read."""
        self._hidden.update(files)

    def has_colour(self, stream: TextIO | None) -> bool:
        """Return whether `stream` has colours: a terminal whose user wants them
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
        """Return `text` with each recommended command as the user would type it: with west, there
        need not be a `viommu`.
        """
        is_west = self._program.startswith("west ")
        return text.replace("`viommu ", "`west viommu-") if is_west else text

    def _print(self, severity: str, problem: Diagnostic) -> None:
        # With stderr closed, print nothing; print() would use stdout.
        if sys.stderr:
            if self._has_told and self.form == MESSAGE_FORMS[0] and sys.stderr.isatty():
                print(file=sys.stderr)
            for line in self._lines(severity, legible(problem)):
                print(line, file=sys.stderr)
            self._has_told = True

    def _lines(self, severity: str, problem: Diagnostic) -> Iterable[str]:
        """Return the lines of a message. Without `severity` it is about the run."""
        # Imported late: most runs have no message.
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
        """Return the line at `where`; None if it can no longer be read."""
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
    """Print the last of the results, in `pieces`, and make sure that stdout takes them.

    If a reader (head, less) has left, it had enough. Raises OSError if stdout fails otherwise, and
    does nothing if it is closed.
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
    """Redirect stdout to the null device: at exit, Python would report its unwritten output
    again.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def columns(descriptor: int) -> int | None:
    """Return the columns by COLUMNS, else of the terminal at `descriptor`; None without either."""
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
    """Return whether `file` is `named`, or in its folder or below it; links are resolved, and
    hidden files (.git) do not count.
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
    """Return the file of `where` as annotations name it: from the top of the checkout."""
    top = os.environ.get("GITHUB_WORKSPACE")
    if not where or not top:
        return where.file if where else None
    try:
        inside = os.path.relpath(os.path.realpath(where.file), os.path.realpath(top))
    except ValueError:
        # The path has a zero byte, or is on another drive.
        return where.file
    return where.file if inside.startswith(os.pardir) else inside
