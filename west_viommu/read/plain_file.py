# SPDX-License-Identifier: Apache-2.0
"""Opens every input: only plain files of a bounded size, so that no read waits.

A pipe waits for its writer, a device may have no end, and a sparse file takes no room on the disk
and all of it in memory. The only pipe that is read is standard input, if the user asks for it: as a
file by the name STDIN.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from functools import cache

from west_viommu.diagnostics import Diagnostic, Where, close_matches

# Xen itself takes no host tree of more than 2 MiB (MAX_FDT_SIZE, asm/setup.h).
MOST_OF_A_TREE = 1 << 24
_CHUNK = 1 << 20
# The C preprocessor's name for it.
STDIN = "<stdin>"
# Neither waits for a writer nor takes over a terminal. Windows has neither flag, nor needs them.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The beginnings of other files that users give in place of a devicetree -> the kind of file, and
# the remedy, with {} for the file's name.
_FOREIGN = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gzip -dk {}, and give what comes out"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it: xz -dk {}, and give what comes out"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: zstd -d {}, and give what comes out"),
    (b"BZh", "compressed by bzip2", "unpack it: bzip2 -dk {}, and give what comes out"),
    (b"PK\x03\x04", "a zip archive", "unpack it: unzip {}, and give the tree that was in it"),
    (b"\x27\x05\x19\x56", "a U-Boot image", "take its header of 64 bytes off: tail -c +65 {}"),
    (b"\x7fELF", "a program (ELF)", "give the devicetree: a blob, or its source"),
    (b"version https://git-lfs", "a pointer of Git LFS", "get the file itself: git lfs pull"),
)
# This many bytes are enough to recognize a file.
LONGEST = max(len(magic) for magic, _, _ in _FOREIGN)


class NotPlain(OSError):
    """A file that is not read, as it is no plain file or is too large. `hint` has the remedy."""

    def __init__(self, file: str, what: str, hint: str):
        super().__init__(errno.EINVAL, what, file)
        self.hint = hint


def plain_descriptor(file: str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of the plain file `file`, as an opener of open(). Raises OSError, and
    NotPlain if it is no plain file.
    """
    # Opening some devices has side effects, so check first; and again afterwards, as the file may
    # have been replaced in between.
    try:
        _check_kind(file, os.stat(file))
    except ValueError:
        # The name has a zero byte, or half of a surrogate pair.
        raise NotPlain(file, "no file can have this name", "correct the name") from None
    descriptor = os.open(file, flags | _AT_ONCE)
    try:
        _check_kind(file, os.fstat(descriptor))
    except NotPlain:
        os.close(descriptor)
        raise
    return descriptor


def content(file: str, most: int = MOST_OF_A_TREE) -> bytes:
    """Return the bytes of the plain file `file`. Raises OSError, and NotPlain for more than `most`
    bytes.
    """
    return b"".join(pieces(file, most))


def pieces(file: str, most: int) -> Iterator[bytes]:
    """Yield the `content` in pieces, none of which takes much memory."""
    if file == STDIN:
        if len(standard_input()) > most:
            raise _too_large(file, most)
        yield standard_input()
        return
    descriptor = plain_descriptor(file)
    try:
        if os.fstat(descriptor).st_size > most:
            raise _too_large(file, most)
        # If the kernel generates the file, its size may be 0.
        size = 0
        while piece := os.read(descriptor, min(_CHUNK, most + 1 - size)):
            size += len(piece)
            if size > most:
                raise _too_large(file, most)
            yield piece
    finally:
        os.close(descriptor)


def beginning(file: str, size: int) -> bytes:
    """Return the first `size` bytes of the plain file `file`, or as many as there are. Raises
    OSError.
    """
    if file == STDIN:
        return standard_input()[:size]
    descriptor = plain_descriptor(file)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def check_plain(file: str, most: int = MOST_OF_A_TREE) -> None:
    """Raise OSError if `file`, which another program will read, cannot be read, is no plain file,
    or has more than `most` bytes.
    """
    if file == STDIN:
        b"".join(pieces(file, most))
        return
    descriptor = plain_descriptor(file)
    try:
        if os.fstat(descriptor).st_size > most:
            raise _too_large(file, most)
    finally:
        os.close(descriptor)


@cache
def standard_input() -> bytes:
    """Return the content of standard input, up to one byte more than a tree may have."""
    # None if standard input is closed.
    return sys.stdin.buffer.read(MOST_OF_A_TREE + 1) if sys.stdin else b""


def unreadable(file: str, error: OSError, hint: str) -> Diagnostic:
    """Return the problem that `file` cannot be read; `hint` is for errors without a better hint."""
    if isinstance(error, NotPlain):
        hint = error.hint
    elif isinstance(error, FileNotFoundError):
        hint = f"{near(file)}{hint}"
    place = Where(os.fsdecode(error.filename or file))
    return Diagnostic(
        id="unreadable", what=error.strerror or "cannot be read", hint=hint, where=place
    )


def is_missing(file: str) -> bool:
    """Return whether there is no file of that name. Any other problem is for its reader to
    report.
    """
    try:
        os.stat(file)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return False


def near(file: str) -> str:
    """Return the beginning of a hint if there is no `file`: a file with nearly the same name."""
    folder, name = os.path.split(file)
    try:
        there = os.listdir(folder or os.curdir)
    except OSError:
        return ""
    close = close_matches(name, there, 1)
    return f"did you mean {os.path.join(folder, close[0])}? If not, " if close else ""


def _check_kind(file: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for is_so, kind in _KINDS if is_so(status.st_mode)), "something else")
        what = f"this is {kind}, and only plain files are read"
        raise NotPlain(file, what, "name a file, or write into one what comes out of this")


def _too_large(file: str, most: int) -> NotPlain:
    hint = "name the right file: none of these is as large"
    return NotPlain(file, f"more than {most} bytes", hint)


def foreign(file: str, beginning: bytes) -> Diagnostic | None:
    """Return why the file `file`, which starts with `beginning`, is no devicetree; None if it may
    be one.
    """
    for magic, what, remedy in _FOREIGN:
        if beginning.startswith(magic):
            return Diagnostic(
                id="malformed",
                what=f"this is {what}, not a devicetree",
                hint=remedy.format(file),
                where=Where(file),
            )
    return None


def shipped(name: str, in_checkout: str) -> str:
    """Return the path of a file or folder that a wheel installs as `name` beside the modules
    (pyproject.toml), and that a checkout has at `in_checkout`. There is no link between the two, as
    git on Windows turns links into text files.
    """
    installed = os.path.join(PACKAGE, name)
    if os.path.exists(installed):
        return installed
    return os.path.join(os.path.dirname(PACKAGE), *in_checkout.split("/"))
