# SPDX-License-Identifier: Apache-2.0
"""Overlays with /plugin/, as source that goes behind a base tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from west_viommu.read.outline import TOKEN
from west_viommu.read.tree import OVERLAY_CONTENT

_VERSION, _PLUGIN = "/dts-v1/", "/plugin/"


class _Directive(NamedTuple):
    """A /dts-v1/ or /plugin/ from `start` to `end`. `is_next`: nothing is between it and the one
    before.
    """

    word: str
    start: int
    end: int
    is_next: bool


def as_plain(text: str) -> tuple[str, bool]:
    """Preprocessed `text` with each /plugin/ blank, and the /dts-v1/ that belongs to it; and
    whether there was one. Lines stay where they are.

    dtc makes source of an overlay blob without /plugin/: behind a base, its /dts-v1/ goes as well.
    """
    if _PLUGIN not in text and OVERLAY_CONTENT not in text:
        return text, False
    found = list(_directives(text))
    gone = []
    for i, each in enumerate(found):
        if each.word == _PLUGIN:
            gone.append(each)
            if each.is_next and i and found[i - 1].word == _VERSION:
                gone.append(found[i - 1])
        elif i and OVERLAY_CONTENT in text:
            gone.append(each)
    return _blank(text, gone), any(each.word == _PLUGIN for each in found)


def as_overlay(text: str) -> str:
    """`text` with each /dts-v1/ blank."""
    return _blank(text, (each for each in _directives(text) if each.word == _VERSION))


def _directives(text: str) -> Iterator[_Directive]:
    statement: tuple[int, str] | None = None
    is_next = False
    for token in TOKEN.finditer(text):
        kind, value = token.lastgroup, token.group()
        if kind == "name" and value in (_VERSION, _PLUGIN):
            statement = token.start(), value
        elif value == ";" and statement:
            yield _Directive(statement[1], statement[0], token.end(), is_next)
            statement, is_next = None, True
        elif kind in ("name", "ref", "mark", "label") and value != "\n":
            statement, is_next = None, False


def _blank(text: str, spans: Iterable[_Directive]) -> str:
    for each in spans:
        blank = "".join(c if c == "\n" else " " for c in text[each.start : each.end])
        text = text[: each.start] + blank + text[each.end :]
    return text
