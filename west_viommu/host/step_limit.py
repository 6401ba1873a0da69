# SPDX-License-Identifier: Apache-2.0
"""A bound on what the look-ups of one run may take."""

from __future__ import annotations

from west_viommu.diagnostics import refusal

# About two seconds. 20,000 devices beside each other need less than a tenth of it; as many that
# share something, each with all others, would need the square of their number.
_MOST = 1 << 21
_ANYTHING = "the same stream ID, interrupt or page"


class StepLimit:
    """Counts the steps of all look-ups in the host that its user calls `host_name`."""

    def __init__(self, host_name: str):
        self._host_name = host_name
        self._steps = 0

    def count(self, shared: str = _ANYTHING, steps: int = 1) -> None:
        """So many `steps` more, of a search for what has `shared`. Raises Refused where it is too
        many.
        """
        self._steps += steps
        if self._steps > _MOST:
            what = f"too many devices of this host have {shared}"
            hint = "correct the host tree: on real hosts few devices share anything"
            raise refusal("malformed", what, hint, self._host_name)
