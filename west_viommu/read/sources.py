# SPDX-License-Identifier: Apache-2.0
"""The files of a guest as one text: source through the preprocessor, blobs as source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from west_viommu.diagnostics import Refused
from west_viommu.read.decompiled import source_of
from west_viommu.read.dtb import DtbError, tree_from_dtb
from west_viommu.read.plain_file import content
from west_viommu.read.preprocess import line_marker, preprocessed, unfit
from west_viommu.read.tree import is_blob, not_valid


def combined(
    files: Sequence[str],
    include_dirs: Sequence[str],
    defines: Sequence[str],
    meanwhile: Callable[[], None],
) -> str:
    """`files` one after the other, as the devicetree compiler is to see them. Line markers say
    which line is whose. `meanwhile` is called while the preprocessor runs, each time that it does.
    Raises Refused.
    """
    problems = [problem for file in files if (problem := unfit(file))]
    if problems:
        raise Refused(problems)
    parts = []
    for of_blobs, group in groupby(files, is_blob):
        if of_blobs:
            parts += [_decompiled(file) for file in group]
        else:
            parts.append(preprocessed([*group], include_dirs, defines, meanwhile))
    return "\n".join(parts)


def _decompiled(file: str) -> str:
    try:
        text = source_of(tree_from_dtb(content(file)), file)
    except DtbError as error:
        raise not_valid(file, error) from None
    # One line, as a blob has none.
    return f"{line_marker(file, 1)}\n" + text.replace("\n", " ") + "\n"
