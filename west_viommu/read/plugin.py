# SPDX-License-Identifier: Apache-2.0
"""Overlays with /plugin/, as source that goes behind a base tree."""

from __future__ import annotations

from west_viommu.read.outline import TOKEN

_VERSION, _PLUGIN = "/dts-v1/", "/plugin/"


def as_plain(text: str) -> tuple[str, bool]:
    """Preprocessed `text` with each /plugin/ blank, and the /dts-v1/ that belongs to it; and
    whether there was one. Lines stay where they are.
    """
    if _PLUGIN not in text:
        return text, False
    spans: list[tuple[int, int]] = []
    version: tuple[int, int] | None = None
    statement: tuple[int, str] | None = None
    for token in TOKEN.finditer(text):
        kind, value = token.lastgroup, token.group()
        if value in (_VERSION, _PLUGIN) and kind == "name":
            statement = token.start(), value
        elif value == ";" and statement:
            start, word = statement
            if word == _PLUGIN:
                spans += [version] if version else []
                spans.append((start, token.end()))
                version = None
            else:
                version = start, token.end()
            statement = None
        elif kind in ("name", "ref", "mark", "label") and value != "\n":
            version = statement = None
    for start, end in spans:
        blank = "".join(c if c == "\n" else " " for c in text[start:end])
        text = text[:start] + blank + text[end:]
    return text, bool(spans)
