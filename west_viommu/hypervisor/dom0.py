# SPDX-License-Identifier: Apache-2.0
"""The nodes of a host as Xen reads them when it starts: the triggers of their interrupt lines, and
the nodes for which dom0 does not start, regardless of guests.

Read in Xen 4.17 to 4.22: handle_node(), handle_device() and map_device_children() (domain_build.c,
device.c), iommu_add_dt_device(), irq_set_spi_type().
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from west_viommu.host.inventory import Iommu, Stream, first_null_entry
from west_viommu.hypervisor.drivers import (
    IPMMU,
    SMMUV2,
    Entry,
    entries,
    kind,
    most_ids,
    refused_entry,
    v2m_frames,
)
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.lines import first_lost
from west_viommu.tree.interrupts import FIRST_PPI, FIRST_SPI, Intid
from west_viommu.tree.node import Node

# IRQ_TYPE_EDGE_RISING.
_EDGE = 1
# create_dom0(): min(gic_number_lines(), 992).
_LINES_OF_DOM0 = 992
# NR_IRQS.
_LINES_OF_XEN = 1024


class TriggerClash(NamedTuple):
    """The node at `path` has `trigger` for `intid`, and the one at `first_path`, which Xen reads
    before it, has `first_trigger`: Xen keeps that trigger, and fails for the node.
    """

    intid: Intid
    path: str
    trigger: int
    first_path: str
    first_trigger: int


def trigger_clashes(
    holdings: Holdings, assigned: Iterable[str], *, is_each_alone: bool = False
) -> tuple[TriggerClash, ...]:
    """Return the lines for which Xen fails for a node, if guests get the `assigned` host nodes, or,
    with `is_each_alone`, any one of them.

    irq_set_spi_type() is -EBUSY for a second trigger (booted on 4.17, AMD's 2023.2, master). Xen
    reads its own devices first, then, for dom0, all nodes, marked and disabled ones too, then the
    nodes that guests get.
    """
    triggers = _Triggers()
    if not holdings.profile.toolstacks:
        return ()
    for path, intid, trigger in holdings.lines_of_xen:
        triggers.clash(path, intid, trigger)
    if holdings.has_dom0:
        for frame in v2m_frames(holdings.devices):
            triggers.read(frame.path, ((Intid(intid), _EDGE) for intid in frame.intids))
        for node, is_left_out in holdings.nodes_of_dom0():
            lines = holdings.typed_lines(node)
            # handle_node() leaves out a node with a PPI before it needs any of its lines.
            if not (is_left_out and triggers.has_private(node.path, lines)):
                triggers.read(node.path, [*lines, *holdings.typed_targets(node)])
    tree = holdings.devices.tree
    for path in assigned:
        if is_each_alone:
            triggers.forget()
        device = tree.node(path)
        triggers.read(path, holdings.typed_lines(device) if device else ())
    return tuple(triggers.clashes)


class _Triggers:
    """The triggers that Xen has set so far."""

    def __init__(self) -> None:
        self._of_all: dict[Intid, tuple[int, str]] = {}
        self._of_one: dict[Intid, tuple[int, str]] | None = None
        self.clashes: dict[TriggerClash, None] = {}

    def clash(self, path: str, intid: Intid, trigger: int) -> TriggerClash | None:
        """Set the trigger of a line; return the clash if the line has another one."""
        known = self._of_all if self._of_one is None else self._of_one
        first = self._of_all.get(intid) or known.setdefault(intid, (trigger, path))
        return (
            None if first[0] == trigger else TriggerClash(intid, path, trigger, first[1], first[0])
        )

    def read(self, path: str, lines: Iterable[tuple[Intid, int]]) -> None:
        """Set the triggers of the lines of a node, and record each clash, as Xen then fails for the
        node.
        """
        for intid, trigger in lines:
            clash = self.clash(path, intid, trigger)
            if clash:
                self.clashes[clash] = None

    def has_private(self, path: str, lines: Iterable[tuple[Intid, int]]) -> bool:
        """Set the triggers of a node up to its first PPI, and return whether it has one."""
        return any(
            self.clash(path, intid, trigger) is None and FIRST_PPI <= intid < FIRST_SPI
            for intid, trigger in lines
        )

    def forget(self) -> None:
        """Forget the triggers set since the last call; the first call keeps all before it."""
        self._of_one = {}


class Step(Enum):
    """A step of Xen on the way to dom0: the function that fails."""

    FRAMES = "gicv2_map_hwdom_extra_mappings()"
    STREAMS = "iommu_add_dt_device()"
    LINES = "handle_device_interrupts()"
    ROUTES = "map_irq_to_domain()"
    REGISTERS = "handle_device()"


class Stop(NamedTuple):
    """Xen fails at `step` for `node`, because of `found` in it; `other`: another node involved in
    the fault.
    """

    step: Step
    node: str
    found: str
    other: str = ""


def stops(
    holdings: Holdings, marks: Collection[str], clashes: Iterable[TriggerClash]
) -> Iterator[Stop]:
    """Yield the nodes for which dom0 does not start, with the `marks` of host.overlay, in Xen's
    order, each with its first reason. `clashes`: the clashes of triggers.
    """
    if not holdings.has_dom0:
        return
    by_path: dict[str, TriggerClash] = {}
    for clash in clashes:
        by_path.setdefault(clash.path, clash)
    streams = _Streams(holdings)
    of_xen = {intid: path for path, intid, _ in holdings.lines_of_xen}
    yield from _of_frames(holdings, of_xen)
    for node, is_left_out in holdings.nodes_of_dom0():
        if is_left_out and node.path not in by_path:
            if beyond := _unknown_line(holdings, node):
                yield beyond
            continue
        is_marked = node.path in marks or "xen,passthrough" in node.properties
        stop = (
            (None if is_marked else streams.stop(node))
            or _of_lines(holdings, node, by_path.get(node.path), None if is_marked else of_xen)
            or _of_registers(holdings, node)
        )
        if stop:
            yield stop


def _of_frames(holdings: Holdings, of_xen: Mapping[Intid, str]) -> Iterator[Stop]:
    """Yield the GICv2m frames with a line that Xen cannot give dom0."""
    given: dict[Intid, str] = {}
    for frame in v2m_frames(holdings.devices):
        for intid in map(Intid, frame.intids):
            other = of_xen.get(intid) or given.setdefault(intid, frame.path)
            if other != frame.path:
                found = f"INTID {intid}, which is also of {other}"
                yield Stop(Step.FRAMES, frame.path, found, other)
                break
            if intid >= _LINES_OF_DOM0:
                yield Stop(Step.FRAMES, frame.path, f"INTID {intid}, beyond those of dom0")
                break


def _unknown_line(holdings: Holdings, node: Node) -> Stop | None:
    """Return the fault of a line for which Xen has no descriptor (irq_desc[]): it sets the trigger
    all the same, of marked nodes too, up to a PPI, because of which it leaves a node out.
    """
    for intid in holdings.lines(node):
        if FIRST_PPI <= intid < FIRST_SPI:
            return None
        if intid >= _LINES_OF_XEN:
            return Stop(Step.LINES, node.path, f"INTID {intid}, beyond the lines that Xen knows")
    return None


def _of_lines(
    holdings: Holdings, node: Node, clash: TriggerClash | None, of_xen: dict[Intid, str] | None
) -> Stop | None:
    """Return the fault of a line. `of_xen`: the lines of Xen itself; None for a marked node, of
    which Xen routes no line.
    """
    lost = first_lost(holdings.devices.tree, node)
    if lost is not None:
        return Stop(Step.LINES, node.path, f"interrupt {lost}, which leads to no controller")
    if clash:
        found = f"INTID {clash.intid}, with another trigger than {clash.first_path}"
        return Stop(Step.LINES, node.path, found, clash.first_path)
    if beyond := _unknown_line(holdings, node):
        return beyond
    for intid in holdings.lines(node) if of_xen is not None else ():
        if intid >= _LINES_OF_DOM0:
            return Stop(Step.ROUTES, node.path, f"INTID {intid}, beyond those of dom0")
        if of_xen and intid in of_xen:
            found = f"INTID {intid}, which Xen uses for {of_xen[intid]}"
            return Stop(Step.ROUTES, node.path, found, of_xen[intid])
    return None


def _of_registers(holdings: Holdings, node: Node) -> Stop | None:
    index = holdings.devices.index
    lost = index.lost_address(node)
    if lost is not None:
        return Stop(Step.REGISTERS, node.path, f"region {lost}, which has no absolute address")
    if holdings.is_bridge(node.path):
        if "ranges" not in node.properties:
            return Stop(Step.REGISTERS, node.path, "no `ranges`, as a PCI bridge")
        if None in index.windows(node):
            return Stop(Step.REGISTERS, node.path, "a window that has no absolute address")
        if any(intid < FIRST_SPI for intid, _ in holdings.typed_targets(node)):
            return Stop(Step.REGISTERS, node.path, "an interrupt-map to a PPI")
    end = 1 << holdings.iommus.address_bits
    for region in index.regions(node):
        if region and region.end > end:
            return Stop(Step.REGISTERS, node.path, f"the region {region}, beyond what Xen can map")
    return None


class _Streams:
    """The streams that dom0 has so far."""

    def __init__(self, holdings: Holdings):
        self._holdings = holdings
        self._devices = holdings.devices
        self._owners: dict[tuple[str, int], str] = {}
        self._entries: dict[str, list[Entry]] = {}

    def stop(self, node: Node) -> Stop | None:
        """Add `node` to its IOMMU and attach it to dom0, or return the reason why Xen fails."""
        streams = self._read(node) if self._holdings.iommus.kind else ()
        if not streams:
            return None
        paths = list(dict.fromkeys(stream.iommu for stream in streams))
        if len(paths) > 1:
            return Stop(Step.STREAMS, node.path, f"streams on {' and '.join(paths)}")
        iommu = self._devices.iommus[paths[0]]
        if not self._holdings.iommus.uses(iommu.path):
            found = f"streams on {iommu.path}, an IOMMU that Xen does not use"
            return Stop(Step.STREAMS, node.path, found, iommu.path)
        refused = self._of_smmuv2 if kind(iommu.compatible) == SMMUV2 else self._of_others
        found, other = refused(node.path, iommu, streams)
        return Stop(Step.STREAMS, node.path, found, other) if found else None

    def _read(self, node: Node) -> Sequence[Stream]:
        """Return the streams that Xen reads: up to a phandle of 0 or an IOMMU that is not enabled;
        mmu-masters of an SMMU count unchanged.
        """
        master = self._devices.master(node.path)
        streams: Sequence[Stream] = master.streams if master else ()
        before = first_null_entry(self._devices.tree, node)
        off = (
            place
            for place, stream in enumerate(streams)
            if not self._holdings.is_available(stream.iommu)
        )
        return streams[: min(len(streams) if before is None else before, next(off, len(streams)))]

    def _of_others(self, path: str, iommu: Iommu, streams: Sequence[Stream]) -> tuple[str, str]:
        """Return the stream that an SMMUv3 or an IPMMU rejects, and the other node in it; "" if it
        accepts all.
        """
        driver = self._holdings.driver(iommu.path)
        last = driver.last_id if driver else None
        ids = [stream.id for stream in streams if stream.id is not None]
        wide = [number for number in ids if last is not None and number > last]
        if wide:
            return f"the stream ID {wide[0]:#x}, too wide for {iommu.path}", iommu.path
        if kind(iommu.compatible) == IPMMU:
            return "", ""
        own: dict[tuple[str, int], str] = {}
        for number in ids:
            key = iommu.path, number
            # An SMMU with a tree of streams accepts each once (arm_smmu_insert_master()).
            twice = None if self._holdings.profile.repeats_ids else own.get(key)
            other = self._owners.get(key, twice)
            if other is not None:
                whose = "which it has twice" if other == path else f"as {other} has"
                return f"the stream ID {number:#x} on {iommu.path}, {whose}", other
            own[key] = path
        self._owners |= own
        return "", ""

    def _of_smmuv2(self, path: str, iommu: Iommu, streams: Sequence[Stream]) -> tuple[str, str]:
        """Return the stream that an SMMUv2 rejects, as `_of_others`."""
        most = most_ids(iommu, self._holdings.profile)
        if most and len(streams) > most:
            return f"{len(streams)} stream IDs, more than Xen has room for", iommu.path
        there = self._entries.setdefault(iommu.path, [])
        new = entries(streams)
        clash = refused_entry(new, there)
        if clash:
            mine, older = clash
            return f"the stream ID {mine}, which lies across {older} (for Xen from 4.20 on)", ""
        there += new
        return "", ""
