# SPDX-License-Identifier: Apache-2.0
"""The hazards: a table of ids and checks. docs/hazards.md has a section for each.

A check gets all assignments and the other owners of their resources, and yields its findings.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.hazards import device, interrupts, iommu, overlaps, pages, streams
from west_viommu.hazards.ownership import Check, Ownership


class Hazard(NamedTuple):
    """`id` as in docs/hazards.md, and the default `severity` of the findings of `check`. `needs`:
    the hazards that must not have refused an assignment before, as this one would only repeat them.
    `of_device`: a device alone may have it, regardless of the guest's node.
    """

    id: str
    check: Check | None
    severity: Severity = Severity.ERROR
    needs: tuple[str, ...] = ()
    of_device: bool = True

    def is_moot(self, path: str, refused: Collection[tuple[str, str]]) -> bool:
        """Return whether the hazard would only repeat for the node at `path` a reason for which it
        was `refused` (ids and paths): if two nodes have one device, every resource of both is there
        twice.
        """
        return any((hazard, path) in refused for hazard in (*self.needs, "duplicate-assignment"))

    def judged(self, finding: Diagnostic) -> Diagnostic:
        """Return `finding` with the severity of this hazard, unless the check set another."""
        if finding.severity is Severity.ERROR:
            return finding._replace(severity=self.severity)
        return finding

    @property
    def is_warning(self) -> bool:
        """True if it never refuses the input."""
        return self.severity is Severity.WARNING

    @property
    def allowable(self) -> bool:
        """True if viommu.yml can allow it."""
        return self.severity is Severity.ERROR


# The steps of a run that a finding counts.
_OF_A_FINDING = 4
_FATAL, _WARNING = Severity.FATAL, Severity.WARNING
# A device on no IOMMU of Xen's has no streams: Xen attaches none, and the guest sets none up.
_DRIVEN = ("unprotected", "unsupported-iommu")
_IN_RANGE = (*_DRIVEN, "stream-id-range")

# In the order in which they are reported for each request. Hazards without a check are found in the
# search for the host device (plan/match.py, plan/planning.py), or in the tree that Xen makes for
# the guest (plan/guest_tree.py).
HAZARDS = (
    Hazard("wrong-host", None, _FATAL),
    Hazard("unknown-host-node", None, _FATAL),
    Hazard("path-mismatch", None, _FATAL),
    Hazard("unknown-stream-id", None, _FATAL),
    Hazard("ambiguous-master", None, _FATAL),
    Hazard("stream-mismatch", streams.stray_streams, of_device=False),
    Hazard("hypervisor-owned", device.hypervisor_owned, _FATAL),
    Hazard("ambiguous-path", device.ambiguous_path),
    Hazard("duplicate-assignment", None, of_device=False),
    Hazard("unprotected", iommu.unprotected, needs=("hypervisor-owned",)),
    Hazard("unsupported-iommu", iommu.unsupported_iommu),
    Hazard("iommu-disabled", iommu.iommu_disabled),
    Hazard("stream-id-range", iommu.stream_id_range),
    Hazard("two-iommus", iommu.two_iommus),
    Hazard("iommu-unusable", iommu.iommu_unusable, needs=("unsupported-iommu", "two-iommus")),
    Hazard("map-only", iommu.map_only),
    Hazard("stream-list", streams.stream_list, needs=_DRIVEN),
    Hazard("colliding-stream-id", streams.colliding_stream_id, needs=_DRIVEN, of_device=False),
    Hazard("shared-stream-id", streams.shared_stream_id, needs=_IN_RANGE),
    Hazard("mask-overlap", iommu.mask_overlap),
    Hazard("mask-overlap", iommu.mask_overlap_of_two, of_device=False),
    Hazard("unassigned-child", device.unassigned_child),
    Hazard("malformed", streams.not_numbered, _FATAL, of_device=False),
    Hazard("vsid-clash", streams.vsid_clash, needs=_DRIVEN, of_device=False),
    Hazard("vsid-range", streams.vsid_range, needs=_IN_RANGE),
    Hazard("region-mismatch", pages.added_region, of_device=False),
    Hazard("untranslatable-region", pages.untranslatable_region),
    Hazard("host-memory", pages.host_memory, _FATAL, ("hypervisor-owned",)),
    # The same id, found by the device's pages.
    Hazard("hypervisor-owned", pages.owned_page, _FATAL, ("hypervisor-owned",)),
    Hazard("shared-page", pages.shared_page, needs=("hypervisor-owned",)),
    Hazard("guest-overlap", overlaps.guest_overlap, of_device=False),
    Hazard("guest-address-range", overlaps.guest_address_range, _FATAL, of_device=False),
    Hazard("interrupt-mismatch", None),
    # The same id, for lines that belong to the device.
    Hazard("interrupt-mismatch", interrupts.other_trigger, _WARNING, of_device=False),
    Hazard("interrupt-private", interrupts.interrupt_private),
    Hazard("not-given-to-dom0", device.not_given_to_dom0, needs=("hypervisor-owned",)),
    Hazard("interrupt-unroutable", interrupts.interrupt_unroutable),
    Hazard("interrupt-clash", interrupts.two_triggers),
    # The same id, for lines with one trigger.
    Hazard("interrupt-clash", interrupts.interrupt_clash),
    Hazard("tree-size", None, _FATAL),
    Hazard("bus-cells", None, _FATAL),
    Hazard("device-disabled", device.device_disabled, _WARNING),
    Hazard("page-shared-with-disabled", pages.page_shared_with_disabled, _WARNING),
    Hazard("stream-shared-with-disabled", streams.stream_shared_with_disabled, _WARNING, _DRIVEN),
    Hazard("interrupt-shared-with-disabled", interrupts.interrupt_shared_with_disabled, _WARNING),
    Hazard("marked-for-another", device.marked_for_another, _WARNING),
    Hazard("parts-omitted", None, _WARNING, of_device=False),
    Hazard("several-streams", streams.several_streams, _WARNING, _DRIVEN, of_device=False),
    Hazard("streams-omitted", streams.streams_omitted, _WARNING, _DRIVEN),
    Hazard("mask-dropped", iommu.mask_dropped, _WARNING),
    Hazard("maps-not-programmed", streams.maps_not_programmed, _WARNING),
    Hazard("device-without-region", pages.device_without_region, _WARNING, ("hypervisor-owned",)),
    Hazard("interrupt-not-routed", interrupts.interrupt_not_routed, _WARNING),
    Hazard("msi-only", interrupts.msi_only, _WARNING),
    Hazard("needs-memory", device.needs_memory, _WARNING),
    Hazard("dma-ranges", device.dma_ranges, _WARNING),
    Hazard("coherence", device.coherence, _WARNING),
    Hazard("provides-to-host", device.provides_to_host, _WARNING, ("hypervisor-owned",)),
    Hazard("xen-console", device.xen_console, _WARNING),
    # hazards/host.py finds it.
    Hazard("xen-stops", None, _WARNING),
)


def findings(
    ownership: Ownership, hazards: Iterable[Hazard] = HAZARDS
) -> Iterator[tuple[Hazard, str, Diagnostic]]:
    """Yield all findings of the checks of `hazards`, in their order, with the guest node of
    each.
    """
    count = ownership.devices.steps.count
    for hazard in hazards:
        for node, finding in hazard.check(ownership) if hazard.check else ():
            count(steps=_OF_A_FINDING)
            yield hazard, node, hazard.judged(finding)
