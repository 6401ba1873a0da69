# SPDX-License-Identifier: Apache-2.0
"""What `viommu check` found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from west_viommu.check.difference import Difference, first_ones
from west_viommu.diagnostics import printable, shortened
from west_viommu.tree.cells import counted

SCHEMA = 1
# One cell that is longer must not make all of its column as long.
_WIDEST = 200
# Against what -> what "expected" and "found" are then.
_SIDES = {
    "build": ("the build itself", "planned", "built"),
    "host": ("the host", "host", "built"),
    "guest-dtb": ("the guest's tree", "built", "given"),
}
Found = Sequence[tuple[str, Difference]]


def differences_json(found: Found) -> str:
    """The text of `viommu check --format json`."""
    rows = [{"with": against, **each._asdict()} for against, each in found]
    return json.dumps({"schema": SCHEMA, "differences": rows}, indent=2) + "\n"


def differences_table(found: Found, names: Mapping[str, str], devices: int) -> str:
    """The text of `viommu check`: a table for each side that differs, or that they agree. `names`:
    that of each side; `devices`: how many were bound.
    """
    lines = []
    told = found[: first_ones(found)]
    for against, (title, expected, actual) in _SIDES.items():
        rows = [
            tuple(map(shortened, (each.node, each.what, each.expected or "-", each.found or "-")))
            for side, each in told
            if side == against
        ]
        total = sum(side == against for side, _ in found)
        if total:
            lines += [f"{title}, {names[against]}: {counted(total, 'difference')}"]
            lines += _table([("NODE", "WHAT", expected.upper(), actual.upper()), *rows])
            lines += [f"  and {total - len(rows):,} more"] if total > len(rows) else []
            hints = [each.hint for side, each in told if side == against and each.hint]
            lines += [*(f"hint: {hint}" for hint in dict.fromkeys(hints)), ""]
    if not found:
        others = [names[side] for side in ("host", "guest-dtb") if names[side]]
        count = counted(devices, "device")
        lines = [f"{names['build']} agrees with {' and '.join(others)} ({count})"]
    return "\n".join(map(printable, lines)).rstrip("\n") + "\n"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
