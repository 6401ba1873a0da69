# SPDX-License-Identifier: Apache-2.0
"""One thing on which two sides do not agree."""

from __future__ import annotations

from west_viommu.quick_typing import NamedTuple


class Difference(NamedTuple):
    """What of the node at `node` is not as `expected`: a property, or [hazard id] and its words;
    and what to do about it, where there is more to say than to build again.
    """

    node: str
    what: str
    expected: str
    found: str
    hint: str = ""
