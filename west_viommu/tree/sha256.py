# SPDX-License-Identifier: Apache-2.0
"""SHA-256, by Python's own module: hashlib loads OpenSSL for it, a thirtieth of a run of `bind`.

The modules have no public name, and are called otherwise from Python 3.12 on; where neither is
there, hashlib does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any


def sha256(data: bytes) -> str:
    """The SHA-256 of `data`, in hexadecimal."""
    return size_and_sum([data])[1]


def size_and_sum(pieces: Iterable[bytes]) -> tuple[int, str]:
    """The size of `pieces` one after the other, and the SHA-256 of them."""
    size, found = 0, _module().sha256()
    for piece in pieces:
        size += len(piece)
        found.update(piece)
    return size, found.hexdigest()


# To look for a module that is not there takes longer than to sum a file of ours.
@lru_cache
def _module() -> Any:
    for name in ("_sha2", "_sha256"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return import_module("hashlib")
