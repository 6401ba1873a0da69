# SPDX-License-Identifier: Apache-2.0
"""python-devicetree's dtlib, with bounds on what a source can make it do."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

from west_viommu.problems import Problem, Refused
from west_viommu.read.plain_file import plain_descriptor

# What a property can have of a file, by /incbin/.
_MOST_INCLUDED = 1 << 20
_WORD_BITS = 64
# What it says where a cell is a word that the preprocessor left as it was.
_NO_NUMBER = "expected number"
_WORD = re.compile(r"[A-Za-z_]\w*")
# It needs a second for the largest sources of real boards, and the square of the size for a
# property of many cells.
MOST_SECONDS = 20.0


def dtlib() -> ModuleType:
    """Zephyr's own dtlib where ZEPHYR_BASE names a Zephyr, else PyPI's."""
    base = os.environ.get("ZEPHYR_BASE")
    own = Path(base, "scripts/dts/python-devicetree/src") if base else None
    if own and own.is_dir() and str(own) not in sys.path:
        sys.path.insert(0, str(own))
    try:
        from devicetree import dtlib as found
    except ImportError:
        raise Refused(
            [
                Problem(
                    "unreadable",
                    "devicetree source needs the Python package devicetree",
                    "pip install devicetree, or set ZEPHYR_BASE",
                )
            ]
        ) from None
    module: ModuleType = found
    return module


def bounded_dt(module: ModuleType) -> Any:
    """The class DT of dtlib `module`, which evaluates no shift beyond 64 bits (Python's numbers
    have no end, 1 << 0xffffffff takes half a gigabyte), reads no device or large files, and ends
    in time.
    """
    deadline = monotonic() + MOST_SECONDS

    class BoundedDT(module.DT):  # type: ignore[name-defined,misc]
        def _next_token(self) -> Any:
            if monotonic() > deadline:
                self._parse_error(f"this was not read to its end within {MOST_SECONDS:g} s")
            return super()._next_token()

        def _parse_error(self, s: object) -> None:
            word = _WORD.match(self._file_contents, self._tok_i)
            if str(s).startswith(_NO_NUMBER) and word:
                s = f"{word[0]} is no number, and no macro that is known here"
            super()._parse_error(s)

        def _eval_shift(self) -> int:
            value: int = self._eval_add()
            while True:
                is_left = self._check_token("<<")
                if not is_left and not self._check_token(">>"):
                    return value
                count = self._eval_add()
                if not 0 <= count < _WORD_BITS:
                    self._parse_error(f"a shift by {count:#x} bits, of a number of {_WORD_BITS}")
                value = value << count if is_left else value >> count

        def _open(self, filename: str, mode: str = "r", **kwargs: Any) -> Any:
            if filename == "-":
                raise OSError("stdin is not a file")
            file = super()._open(filename, mode, opener=plain_descriptor, **kwargs)
            if mode != "rb":
                return file
            with file:
                content = file.read(_MOST_INCLUDED + 1)
            if len(content) > _MOST_INCLUDED:
                raise OSError(f"more than {_MOST_INCLUDED} bytes")
            return io.BytesIO(content)

    return BoundedDT
