# SPDX-License-Identifier: Apache-2.0
"""What a run would change in the output folder, as a unified diff."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import unified_diff

from west_viommu.diagnostics import printable

_NONE = "/dev/null"


def changes(folder: str, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """The lines of `diff -u` for the files of `folder`, by name: those that are there `before` a
    run, and those that it would leave. Of blobs that differ it says no more than that.
    """
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        path = printable(os.path.join(folder, name))
        names = (_NONE if old is None else path, _NONE if new is None else path)
        if b"\0" in (old or b"") or b"\0" in (new or b""):
            yield f"Binary files {names[0]} and {names[1]} differ\n"
            continue
        for line in unified_diff(_lines(old), _lines(new), *names):
            yield "\t".join(map(printable, line.rstrip("\n").split("\t"))) + "\n"


def _lines(text: bytes | None) -> list[str]:
    return (text or b"").decode("utf-8", "replace").splitlines(keepends=True)
