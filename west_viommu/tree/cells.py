# SPDX-License-Identifier: Apache-2.0
"""Property values as numbers and strings (devicetree specification, 2.2.4)."""

from functools import lru_cache
from struct import unpack

from west_viommu.diagnostics import Diagnostic, Refused


class TreeError(Refused):
    """A property that does not have the form which the devicetree specification demands.

    `diagnostic` is the record of the mistake, without a place in a file. Code that needs the
    property catches the error and replaces the fields that it knows better: place, hint, node. Code
    that only scans the tree skips the node. If nothing catches the error, it still ends as a
    message.
    """

    def __init__(self, what: str, path: str, prop: str, expected: str = "", found: str = ""):
        # Not Refused.__init__, which is for many diagnostics: most of these errors are caught.
        Exception.__init__(self, what, path, prop, expected, found)
        self.diagnostic = Diagnostic(
            id="malformed",
            what=what,
            hint=f"correct {prop} of {path}",
            node=path,
            prop=prop,
            expected=expected,
            found=found,
        )

    def __str__(self) -> str:
        return f"{self.diagnostic.node}: {self.diagnostic.prop}: {self.diagnostic.what}"

    @property
    def problems(self) -> tuple[Diagnostic, ...]:
        """The one diagnostic."""
        return (self.diagnostic,)


def cells(value: bytes, path: str, prop: str) -> tuple[int, ...]:
    """Return the 32-bit cells of `value`. Raises TreeError if its length is no multiple of 4."""
    if len(value) % 4:
        raise TreeError(
            f"the length of {prop} is not a multiple of 4 bytes",
            path,
            prop,
            "32-bit cells",
            counted(len(value), "byte"),
        )
    return unpack(f">{len(value) // 4}I", value)


def rows(
    value: bytes, width: int, path: str, prop: str, what: str, expected: str
) -> tuple[tuple[int, ...], ...]:
    """Return the cells of `value`, `width` at a time. Raises TreeError, with the message `what` and
    `expected`, if the last row is incomplete.
    """
    numbers = cells(value, path, prop)
    if numbers and (width < 1 or len(numbers) % width):
        raise TreeError(what, path, prop, expected, counted(len(numbers), "cell"))
    return tuple(numbers[i : i + width] for i in range(0, len(numbers), max(width, 1)))


def whole_rows(value: bytes, width: int) -> bytes:
    """Return `value` up to the end of its last whole row of `width` cells."""
    return value[: len(value) - len(value) % (4 * max(width, 1))]


def u32(value: bytes, path: str, prop: str) -> int:
    """Return the one 32-bit cell of `value`. Raises TreeError for any other length."""
    if len(value) != 4:
        raise TreeError(
            f"{prop} is not one cell", path, prop, "4 bytes", counted(len(value), "byte")
        )
    return int.from_bytes(value, "big")


def strings(value: bytes, path: str, prop: str) -> tuple[str, ...]:
    """Return the nul-terminated strings of `value`. Raises TreeError if it is no string list."""
    if not value.endswith(b"\0"):
        raise TreeError(
            f"{prop} is not a list of strings",
            path,
            prop,
            "nul-terminated strings",
            repr(value[:32]),
        )
    try:
        return _texts(value)
    except UnicodeDecodeError:
        raise TreeError(
            f"{prop} is not text", path, prop, "UTF-8 strings", repr(value[:32])
        ) from None


# A host has a few hundred compatibles, and each is asked for ten times by each of thousands.
@lru_cache(1024)
def _texts(value: bytes) -> tuple[str, ...]:
    return tuple(value[:-1].decode("utf-8").split("\0"))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 cell" or "2 cells"."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def joined(parts: tuple[int, ...]) -> int:
    """Return the number that `parts` make, the most significant cell first."""
    number = 0
    for part in parts:
        number = number << 32 | part
    return number
