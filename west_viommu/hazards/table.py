# SPDX-License-Identifier: Apache-2.0
"""The hazards: a table of ids and checks. docs/hazards.md has a section for each.

A check sees one assignment, the whole host and the other assignments, and yields what it finds.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from west_viommu.hazards import device, space, streams, vsids
from west_viommu.hazards.findings import Finding
from west_viommu.hazards.situation import Situation
from west_viommu.hypervisor.assignment import Assignment

Check = Callable[[Assignment, Situation], Iterator[Finding]]


class Hazard(NamedTuple):
    """`id` as in docs/hazards.md. A warning does not refuse the input; a hazard that is not
    `allowable` refuses it whatever viommu.yml says.
    """

    id: str
    check: Check | None
    is_warning: bool = False
    allowable: bool = True


# In the order in which they are reported for each request. Those without a check are found where
# the host device is looked for (match.py).
HAZARDS = (
    Hazard("unknown-host-node", None, allowable=False),
    Hazard("unknown-stream-id", None, allowable=False),
    Hazard("ambiguous-master", None, allowable=False),
    Hazard("stream-mismatch", streams.stray_streams),
    Hazard("duplicate-assignment", device.duplicate_assignment),
    Hazard("unprotected", streams.unprotected),
    Hazard("unsupported-iommu", streams.unsupported_iommu),
    Hazard("iommu-disabled", streams.iommu_disabled),
    Hazard("two-iommus", streams.two_iommus),
    Hazard("map-only", streams.map_only),
    Hazard("colliding-stream-id", streams.colliding_stream_id),
    Hazard("shared-stream-id", streams.shared_stream_id),
    Hazard("malformed", vsids.not_numbered, allowable=False),
    Hazard("vsid-clash", vsids.vsid_clash),
    Hazard("vsid-range", vsids.vsid_range),
    Hazard("region-mismatch", device.region_mismatch),
    Hazard("untranslatable-region", device.untranslatable_region),
    Hazard("shared-page", space.shared_page),
    Hazard("guest-overlap", space.guest_overlap),
    Hazard("interrupt-mismatch", device.interrupt_mismatch),
    Hazard("interrupt-private", device.interrupt_private),
    Hazard("interrupt-clash", space.interrupt_clash),
    Hazard("device-disabled", device.device_disabled, is_warning=True),
    Hazard("page-shared-with-disabled", space.page_shared_with_disabled, is_warning=True),
    Hazard("streams-omitted", streams.streams_omitted, is_warning=True),
    Hazard("maps-not-programmed", streams.maps_not_programmed, is_warning=True),
    Hazard("device-without-region", device.device_without_region, is_warning=True),
    Hazard("interrupt-not-routed", space.interrupt_not_routed, is_warning=True),
)
