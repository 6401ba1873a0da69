# SPDX-License-Identifier: Apache-2.0
"""Guest trees that a real Xen gave, and what each was made of (-in), beside the corpus."""

from __future__ import annotations

import pytest

from tests.support import CORPUS, NO_CORPUS


def capture(name: str) -> bytes:
    """The captured blob; skips the test where there is none."""
    if CORPUS is None:
        pytest.skip(NO_CORPUS)
    folder = CORPUS.parent / "xen-v3"
    if not folder.is_dir():
        pytest.skip(f"there are no guest trees captured of a Xen: put them into {folder}")
    return (folder / f"{name}.dtb").read_bytes()
