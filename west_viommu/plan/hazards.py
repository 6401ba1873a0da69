# SPDX-License-Identifier: Apache-2.0
"""The hazards of an assignment: a table of ids and checks. docs/hazards.md has a line for each.

A check sees one assignment, the whole host and the other assignments, and yields what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from west_viommu.plan import hardware, streams
from west_viommu.plan.findings import Finding
from west_viommu.plan.records import Assignment, Situation

Check = Callable[[Assignment, Situation], Iterator[Finding]]


class Hazard(NamedTuple):
    """`id` as in docs/hazards.md. A warning does not refuse the input."""

    id: str
    check: Check
    is_warning: bool = False


# In the order in which they are reported for each request.
HAZARDS = (
    Hazard("duplicate-assignment", hardware.duplicate_assignment),
    Hazard("unprotected", streams.unprotected),
    Hazard("unsupported-iommu", streams.unsupported_iommu),
    Hazard("iommu-disabled", streams.iommu_disabled),
    Hazard("two-iommus", streams.two_iommus),
    Hazard("map-only", streams.map_only),
    Hazard("colliding-stream-id", streams.colliding_stream_id),
    Hazard("shared-stream-id", streams.shared_stream_id),
    Hazard("region-mismatch", hardware.region_mismatch),
    Hazard("untranslatable-region", hardware.untranslatable_region),
    Hazard("interrupt-mismatch", hardware.interrupt_mismatch),
    Hazard("interrupt-private", hardware.interrupt_private),
    Hazard("device-disabled", hardware.device_disabled, is_warning=True),
    Hazard("streams-omitted", streams.streams_omitted, is_warning=True),
    Hazard("maps-not-programmed", streams.maps_not_programmed, is_warning=True),
    Hazard("device-without-region", hardware.device_without_region, is_warning=True),
)
