# SPDX-License-Identifier: Apache-2.0
"""The label of the vSMMU in the guest's own source: `&vsmmu { ... };`.

The generated overlay defines it, and comes last. A value may refer to what comes later; a node can
be extended only after it is there. So an empty node with the label goes before the first place that
extends it.
"""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic
from west_viommu.names import OVERLAY_FIRST_LINE, VSMMU_LABEL
from west_viommu.read.outline import Outline
from west_viommu.read.preprocess import line_marker


def with_vsmmu_node(text: str, path: str, outline: Outline, file: str) -> str:
    """`text`, of that `outline`, with an empty node at `path` that has the label, where the text
    extends it and nowhere defines it. Markers say that it is of `file`, our overlay, and keep the
    lines of the rest.
    """
    found = outline.extended.get(VSMMU_LABEL)
    if VSMMU_LABEL in outline.labels or not found:
        return text
    at, where = found
    *parents, name = path.strip("/").split("/")
    opened = "".join(f"{parent} {{ " for parent in parents)
    node = f"/ {{ {opened}{VSMMU_LABEL}: {name} {{ }}; {'}; ' * len(parents)}}};"
    stub = f"{line_marker(file, 1)}\n{OVERLAY_FIRST_LINE} */\n{node}\n"
    return f"{text[:at]}\n{stub}{line_marker(where.file, where.line or 1)}\n{text[at:]}"


def without_vsmmu(outline: Outline) -> Iterator[Diagnostic]:
    """What refers to the vSMMU of a guest that gets none."""
    if VSMMU_LABEL not in outline.labels:
        for use in outline.uses:
            if use.label == VSMMU_LABEL:
                what = f"&{VSMMU_LABEL} is used, and this guest gets no vSMMU"
                hint = "none of its devices is behind an SMMU of the host: leave it out"
                yield Diagnostic(id="malformed", what=what, hint=hint, where=use.where)
