# SPDX-License-Identifier: Apache-2.0
"""Devicetree source through the C preprocessor, with the options that Zephyr gives it."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from west_viommu.diagnostics import Diagnostic, Refused, Where, refusal
from west_viommu.names import OVERLAY, OVERLAY_FIRST_LINE
from west_viommu.read.plain_file import (
    LONGEST,
    STDIN,
    beginning,
    check_plain,
    foreign,
    standard_input,
    unreadable,
)
from west_viommu.read.programs import end, scratch

# As in Zephyr's zephyr_dt_preprocess() (cmake/modules/extensions.cmake).
_OPTIONS = ("-x", "assembler-with-cpp", "-nostdinc", "-undef", "-D__DTS__", "-E")
_PREPROCESSORS = (("cpp",), ("gcc", "-E"), ("clang", "-E"), ("cc", "-E"))
# The largest sources of real boards come to 2 MB, in a tenth of a second.
_LIMITS = {"RLIMIT_FSIZE": 1 << 24, "RLIMIT_AS": 1 << 30, "RLIMIT_CPU": 10}
# A program that waits for a pipe uses no processor time.
MOST_SECONDS = 20.0
_MOST_ERRORS = 1 << 16
# At the beginning of a line: the line of the source follows, which may be of any length. Compiled
# only if there is an error.
_ERROR = (
    r"(?m)^(?P<file>(?:[A-Za-z]:)?[^:\n]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.+)"
)
# Words of gcc's preprocessor, or of clang's -> the remedy.
_HINTS = {
    "No such file": "give the folder of an included file with -I; or set ZEPHYR_BASE",
    "file not found": "give the folder of an included file with -I; or set ZEPHYR_BASE",
    '"FILENAME"': 'write #include "FILE", or #include <FILE> for a file in a folder of -I',
    "comment": "write */ where the comment ends",
    "unterminated": "write #endif where it ends",
    "without #if": "remove it, or write the #if before it",
}
_OTHER_HINT = "correct the line, or give a macro that it needs with -D"
# Zephyr's DTS_ROOT_SYSTEM_INCLUDE_DIRS for an arm64 board (cmake/modules/pre_dt.cmake).
_ZEPHYR_INCLUDE_DIRS = (
    "include",
    "include/zephyr",
    "dts/common",
    "dts/vendor",
    "dts/arm64",
    "dts",
)

# gcc's and clang's name for it in a line marker.
_COMMAND_LINE = ("<command-line>", "<command line>")
MARKER = re.compile(r'^#(?:line)?[ \t]+(\d+)[ \t]+"((?:[^\\"\n]|\\.)*)"[^\n]*', re.MULTILINE)
# The preprocessor puts "./" before the name of a file that -include gave it. And a line marker in
# the source itself may have no file name: it has no meaning.
_ODD_MARKER = re.compile(r'^(?:(# \d+ ")\./|# \d+ ""[^\n]*)', re.MULTILINE)


class Preprocessing:
    """A running preprocessor."""

    def __init__(
        self,
        program: str,
        files: Sequence[str],
        process: subprocess.Popen[bytes],
        output: BinaryIO,
        errors: BinaryIO,
        include_dirs: Sequence[str],
    ):
        self._program = program
        self._files = files
        self._include_dirs = include_dirs
        self._process = process
        self._output = output
        self._errors = errors

    def text(self) -> str:
        """Return the files one after the other, as the devicetree compiler will see them. Line
        markers show the file and line of each part. Text that an earlier run of ours generated is
        left out. Raises Refused.
        """
        try:
            status = self._process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            raise Refused([_too_slow(self._files[0])]) from None
        self._output.seek(0)
        self._errors.seek(0)
        errors = self._errors.read(_MOST_ERRORS).decode("utf-8", "replace")
        if status > 0 and not errors.strip():
            raise _no_preprocessor(f"the preprocessor {self._program} fails, and says nothing")
        if status:
            raise Refused(_errors(errors, self._files, self._include_dirs))
        return decoded(self._output.read(), self._files[-1])


@contextmanager
def preprocessing(
    files: Sequence[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Iterator[Preprocessing]:
    """Run the preprocessor over `files` while the context lasts. Raises Refused.

    A few macros can expand to more text than fits into memory, and a device or a pipe can be
    included. So the outputs go to files with a size limit of the system, and the time is limited as
    well.
    """
    problems = [problem for file in files if (problem := unfit(file))]
    if problems:
        raise Refused(problems)
    command = [*_preprocessor(), *_OPTIONS]
    command += [f"-I{folder}" for folder in (*include_dirs, *_zephyr_include_dirs())]
    command += [f"-D{define}" for define in defines]
    for file in files:
        command += ["-include", file] if file != STDIN else []
    with scratch() as output, scratch() as errors, _standard_input(files) as given:
        # An interrupt before the process is known would leave it running.
        _hold_interrupts(True)
        try:
            process = _started([*command, "-"], given, output, errors)
            try:
                _hold_interrupts(False)
                yield Preprocessing(command[0], files, process, output, errors, include_dirs)
            finally:
                # Ctrl-C does not reach a session of its own.
                end(process, is_session=True)
        finally:
            _hold_interrupts(False)


def preprocessed(
    files: Sequence[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> str:
    """Return the text of `files`, as Preprocessing.text() does. Raises Refused."""
    with preprocessing(files, include_dirs, defines) as running:
        return running.text()


@contextmanager
def _standard_input(files: Sequence[str]) -> Iterator[BinaryIO | int]:
    """Yield the standard input of the preprocessor: ours, if it is the last of `files`."""
    if STDIN not in files:
        yield subprocess.DEVNULL
        return
    with scratch() as copy:
        copy.write(standard_input())
        copy.seek(0)
        yield copy


def _started(
    command: Sequence[str], given: BinaryIO | int, output: BinaryIO, errors: BinaryIO
) -> subprocess.Popen[bytes]:
    """Return the process of `command`. Raises Refused."""
    try:
        # gcc starts other processes, which would outlive it: as one session, they end together.
        return subprocess.Popen(
            command,
            stdin=given,
            stdout=output,
            stderr=errors,
            env={**os.environ, "LC_ALL": "C"},
            preexec_fn=_limiting(),
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", None) or error
        raise _no_preprocessor(f"the preprocessor {command[0]} cannot be run: {why}") from None


def _hold_interrupts(is_held: bool) -> None:
    """Hold interrupts (Ctrl-C) back from this thread, or deliver them again."""
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if is_held else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGINT})


def _limiting() -> Callable[[], None] | None:
    """Return a function that limits the process that calls it, and its children; None on Windows,
    which has no such limits.
    """
    try:
        import resource
    except ImportError:
        return None

    def limit() -> None:
        _hold_interrupts(False)
        for name, most in _LIMITS.items():
            what = getattr(resource, name)
            soft, hard = resource.getrlimit(what)
            if hard == resource.RLIM_INFINITY or hard > most:
                # macOS has the names of all three limits, but does not accept each.
                with suppress(OSError, ValueError):
                    resource.setrlimit(what, (most, hard))

    return limit


def unfit(file: str) -> Diagnostic | None:
    """Return why `file` cannot be read; None if it can."""
    try:
        check_plain(file)
        start = beginning(file, LONGEST)
    except OSError as error:
        return unreadable(file, error, "check its path")
    return foreign(file, start)


def source_files(file: str) -> list[str]:
    """Return `file` and every file that it includes."""
    return named_files(preprocessed([file]))


def named_files(text: str) -> list[str]:
    """Return the files that make up `text`, which is preprocessed."""
    named = dict.fromkeys(unescaped(found[2]) for found in MARKER.finditer(text))
    return [name for name in named if os.path.isfile(name)]


def first_files(text: str) -> list[str]:
    """Return the files on the command line of the preprocessor that made `text`."""
    found = []
    is_on_command_line = False
    for marker in MARKER.finditer(text):
        name = unescaped(marker[2])
        # 1: a file begins here; 2: a file goes on.
        if is_on_command_line and marker[0].endswith('" 1'):
            found.append(name)
        is_on_command_line = name in _COMMAND_LINE
    return found


def decoded(output: bytes, file: str) -> str:
    """Return the preprocessor's output as text, without the text that an earlier run of ours
    generated. Raises Refused if it is not UTF-8; the message names `file` if no place is known.
    """
    try:
        return without_generated(_ODD_MARKER.sub(r"\1", output.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise Refused([_no_text(output, error.start, file)]) from None


def _no_text(output: bytes, at: int, file: str) -> Diagnostic:
    """Return the diagnostic of `output`, which is no text at offset `at`."""
    until = output.find(b"\n", at) + 1 or len(output)
    before = output[:at].decode("utf-8", "surrogateescape")
    line = before + output[at:until].decode("utf-8", "surrogateescape")
    marker = next(reversed([*MARKER.finditer(line)]), None)
    what, hint, number = "the source is not UTF-8 text", "write it in UTF-8", None
    if marker:
        file = unescaped(marker[2]).removeprefix("./")
        if marker.end() > len(before):
            what = "the path of this file is not UTF-8 text"
            hint = "rename the file, or the folder that it is in"
        else:
            number = int(marker[1]) + before.count("\n", marker.end()) - 1
    return Diagnostic(id="malformed", what=what, hint=hint, where=Where(file, number))


def _preprocessor() -> Sequence[str]:
    if os.environ.get("CPP"):
        import shlex

        try:
            return shlex.split(os.environ["CPP"], posix=os.name == "posix")
        except ValueError as error:
            raise _no_preprocessor(f"the variable CPP cannot be read: {error}") from None
    for command in _PREPROCESSORS:
        if _is_there(command[0]):
            return command
    raise _no_preprocessor("no C preprocessor, which devicetree source needs")


def _is_there(program: str) -> bool:
    """Return whether the system would find `program`."""
    if os.name != "posix":
        # Its name may have a suffix. Late, as shutil imports all compression modules.
        import shutil

        return bool(shutil.which(program))
    return any(os.access(os.path.join(path, program), os.X_OK) for path in os.get_exec_path())


def _no_preprocessor(what: str) -> Refused:
    hint = "install gcc or clang, or name the preprocessor in the variable CPP"
    return refusal("unreadable", what, hint)


def _too_slow(file: str) -> Diagnostic:
    what = f"the C preprocessor had not finished after {MOST_SECONDS:g} s"
    hint = "does it include a pipe, or a macro that stands for too much?"
    return Diagnostic(id="malformed", what=what, hint=hint, where=Where(file))


def _zephyr_include_dirs() -> list[str]:
    base = os.environ.get("ZEPHYR_BASE")
    return [str(Path(base, folder)) for folder in _ZEPHYR_INCLUDE_DIRS] if base else []


def _errors(stderr: str, files: Sequence[str], include_dirs: Sequence[str]) -> list[Diagnostic]:
    """Return the complaints of the preprocessor, each at its place."""
    found = [
        Diagnostic(
            id="malformed",
            what=f"the C preprocessor says: {match['what']}",
            hint=_hint(match["what"], include_dirs),
            where=Where(match["file"].removeprefix("./"), int(match["line"])),
        )
        for match in re.finditer(_ERROR, stderr)
    ]
    said = f"says: {stderr.strip()}" if stderr.strip() else "was ended by the system"
    what = f"the C preprocessor {said}"
    hint = "check the variable CPP and the -D options"
    return found or [Diagnostic(id="malformed", what=what, hint=hint, where=Where(files[0]))]


def _hint(what: str, include_dirs: Sequence[str]) -> str:
    """Return the remedy for a complaint of the preprocessor, by its words."""
    missing = next((folder for folder in include_dirs if not os.path.isdir(folder)), None)
    if "No such file" in what and missing:
        return f"correct -I {missing}, which is no folder"
    return next((hint for words, hint in _HINTS.items() if words in what), _OTHER_HINT)


def without_generated(text: str) -> str:
    """Return `text` without the parts that line markers attribute to our generated overlay."""
    kept = []
    at, generated = 0, False
    for marker in MARKER.finditer(text):
        if not generated:
            kept.append(text[at : marker.start()])
        # In a build's source, the overlay has its first line; after the preprocessor, only the
        # file name in the marker identifies it.
        ours = text.startswith(OVERLAY_FIRST_LINE, marker.end() + 1)
        at, generated = marker.start(), ours or _is_generated(unescaped(marker[2]))
    if not generated:
        kept.append(text[at:])
    return "".join(kept)


def line_marker(file: str, line: int) -> str:
    """Return the line marker that makes the next line `line` of `file`."""
    quoted = re.sub(r'([\\"])', r"\\\1", file)
    return f'# {line} "{quoted}"'


def unescaped(quoted: str) -> str:
    """Return the file name between the quotes of a line marker."""
    return re.sub(r"\\(.)", r"\1", quoted)


def _is_generated(file: str) -> bool:
    path = Path(file)
    if path.name != OVERLAY or not os.path.isfile(path):
        return False
    return beginning(str(path), len(OVERLAY_FIRST_LINE)) == OVERLAY_FIRST_LINE.encode()
