# SPDX-License-Identifier: Apache-2.0
"""The warnings of a whole host: the nodes for which Xen, or dom0, does not start."""

from collections.abc import Collection, Iterator

from west_viommu.diagnostics import Diagnostic, Severity, Where, first_few
from west_viommu.hypervisor.dom0 import Step, Stop, TriggerClash, stops
from west_viommu.hypervisor.holdings import Holdings

# Further nodes are only counted.
_MOST_NAMED = 3
_TREE = "in the tree that Xen is booted with"
_NO_HELP = 'neither status = "disabled" nor xen,passthrough on it helps'
_HINTS = {
    Step.FRAMES: "correct arm,msi-base-spi and arm,msi-num-spis of the frame "
    f"{_TREE}, or remove the frame: {_NO_HELP}",
    Step.STREAMS: f"mark the node (xen,passthrough;) {_TREE}, or remove its `iommus`: its status "
    "does not count",
    Step.LINES: f"correct the interrupts of the node {_TREE}, or remove the node: {_NO_HELP}",
    Step.ROUTES: f"mark the node (xen,passthrough;) {_TREE}, or remove it: its status does not "
    "count",
    Step.REGISTERS: f"correct `ranges` above the node {_TREE}, or remove the node: {_NO_HELP}",
}


def xen_stops(
    holdings: Holdings,
    marks: Collection[str],
    clashes: Collection[TriggerClash],
    assigned: Collection[str],
) -> Iterator[Diagnostic]:
    """Yield one warning for each step of Xen's start that fails, with `marks` of host.overlay and
    `clashes` of triggers: the host works for no guest. Other hazards cover the `assigned` host
    nodes.
    """
    where = Where(holdings.devices.host_name)
    for path, fault in holdings.iommus.faults.items():
        if fault.severity is Severity.FATAL and not _is_told(holdings, path, assigned):
            yield fault._replace(
                id="xen-stops", node=path, where=where, severity=Severity.WARNING, cause=""
            )
    others = [
        clash
        for clash in clashes
        if clash.path not in assigned and clash.first_path not in assigned
    ]
    by_step: dict[Step, list[Stop]] = {}
    for stop in stops(holdings, marks, others):
        if stop.node not in assigned:
            by_step.setdefault(stop.step, []).append(stop)
    for step, found in by_step.items():
        first, *more = found
        likewise = ", ".join(first_few((stop.node for stop in more), _MOST_NAMED))
        yield Diagnostic(
            id="xen-stops",
            what=f"dom0 does not start on this host: {first.node} has {first.found} "
            f"({step.value} of Xen)" + (f"; likewise {likewise}" if more else ""),
            hint=f"{_HINTS[step]}. Without a dom0 (dom0: none), Xen does not read the node",
            node=first.node,
            where=where,
            severity=Severity.WARNING,
        )


def _is_told(holdings: Holdings, iommu: str, assigned: Collection[str]) -> bool:
    """Return whether an `assigned` device is behind the `iommu`, and refused for that."""
    masters = (holdings.devices.master(path) for path in assigned)
    return any(stream.iommu == iommu for master in masters if master for stream in master.streams)
