# SPDX-License-Identifier: Apache-2.0
"""The holders of host resources other than the guest: dom0, the hypervisor itself, another domain.

Resources are streams, pages and interrupt lines, each as an interval of numbers. The rules follow
Xen's arch/arm/domain_build.c (4.17, the same in 4.21 unless noted): handle_node() gives dom0 every
node that it does not leave out, regardless of its status; handle_device() attaches the node's
streams, maps its registers and routes its interrupts, unless the node has xen,passthrough.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from west_viommu.host.devices import Devices
from west_viommu.host.intervals import Interval, covered_by, submask_intervals
from west_viommu.host.inventory import Master, Stream, map_intervals
from west_viommu.hypervisor.drivers import (
    IPMMU,
    MAIN,
    SMMUV3,
    SMR_BITS,
    Iommus,
    cut_id,
    probed,
    v2m_frames,
)
from west_viommu.hypervisor.lines import named_line, targets, typed_lines
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.profile import Driver, Profile
from west_viommu.hypervisor.roles import (
    CONSOLE,
    IOMMU,
    MEMORY,
    RESERVED,
    console,
    is_left_out,
    role,
)
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import cells, whole_rows
from west_viommu.tree.interrupts import FIRST_PPI, FIRST_SPI, Intid
from west_viommu.tree.node import Node

# An ID and the place of its IOMMU, packed into one number: both have 32 bits.
ID_BITS = 32
ID_MASK = (1 << ID_BITS) - 1
# A syscon or MFD, which several drivers share.
_FOR_ALL = frozenset({"syscon", "simple-mfd"})
_INTERRUPTS = frozenset({"interrupts", "interrupts-extended", "interrupt-map"})
# The lines of an SMMUv3 without a combined one (arm_smmu_device_dt_probe()).
_OF_SMMUV3 = ("eventq", "priq", "gerror")
# A mask that cuts an ID space into more pieces counts as the whole range that it spans.
_MOST_PIECES = 256


class Standing(Enum):
    """The owner of a host node if no guest gets it."""

    STAYS = "stays with the host"
    OFF = "stays with the host, which does not use it"
    MARKED = "is marked for another domain"
    OWN = "is the hypervisor's own"
    NOBODY = "is nobody's"


class Claim(NamedTuple):
    """The numbers from `first` to `last`, and the path of the node that has them."""

    first: int
    last: int
    path: str


class Holdings:
    """The resources of each node of a host, and their owner under the hypervisor of a profile.
    `has_dom0`: a domain, dom0 or a hardware domain, gets all devices that no guest requests.
    """

    def __init__(self, devices: Devices, profile: Profile, *, has_dom0: bool = True):
        self.devices = devices
        self.profile = profile
        self.has_dom0 = has_dom0 and bool(profile.toolstacks)
        self._tree = devices.tree
        self._iommus = list(devices.iommus)
        self._places = {path: place for place, path in enumerate(self._iommus)}
        self._drivers: dict[str, Driver | None] = {}
        self._standings: dict[str, Standing] = {}
        self._roles: dict[str, str] = {}
        self._lines: dict[str, tuple[tuple[Intid, int], ...]] = {}
        self._inherited: dict[str, tuple[str, str | None]] = {}

    @cached_property
    def iommus(self) -> Iommus:
        """The IOMMUs of the host as the hypervisor finds them."""
        return probed(self.devices, self.profile)

    @cached_property
    def console(self) -> str | None:
        """The path of the UART on which Xen writes. Besides dom0, Xen keeps its pages."""
        return console(self._tree) if self.profile.toolstacks else None

    def role(self, path: str) -> str:
        """Return the role of the node at `path` for the hypervisor; "" for a device."""
        known = self._roles.get(path)
        if known is None:
            node = self._tree.node(path)
            known = role(node) if node else ""
            if not self.has_dom0 and path == self.console:
                known = CONSOLE
            self._roles[path] = known
        return known

    def standing(self, path: str) -> Standing:
        """Return the owner of the node at `path`."""
        known = self._standings.get(path)
        if known is None:
            node = self._tree.node(path)
            known = self._standings[path] = self._found(node) if node else Standing.NOBODY
        return known

    def status(self, path: str) -> str:
        """Return the effective status of the node at `path`; a malformed status counts as the
        worst.
        """
        node = self._tree.node(path)
        return self._of_parents(node)[0] if node else "okay"

    def left_out_by(self, path: str) -> str | None:
        """Return the node at `path`, or the one above it, that handle_node() leaves out of dom0
        with all below it; None if dom0 may access the node. xl cannot pass on a node that dom0 may
        not access (booted).
        """
        node = self._tree.node(path)
        return None if node is None else self._of_parents(node)[1]

    def driver(self, iommu: str) -> Driver | None:
        """Return the driver of the hypervisor for the IOMMU at that path, if it supports its cells
        as well.
        """
        if iommu not in self._drivers:
            described = self.devices.iommus[iommu]
            driver = self.profile.driver(described.compatible)
            self._drivers[iommu] = driver if driver and described.cells in driver.cells else None
        return self._drivers[iommu]

    def is_marked(self, iommu: str) -> bool:
        """Return whether Xen ignores the IOMMU at that path because of its xen,passthrough
        (device_init() gives -ENODEV).
        """
        node = self._tree.node(iommu)
        return node is not None and "xen,passthrough" in node.properties

    def is_available(self, iommu: str) -> bool:
        """Return whether the status of the IOMMU at that path itself is "okay" for Xen."""
        node = self._tree.node(iommu)
        return node is None or node.is_available

    def is_bridge(self, path: str) -> bool:
        """Return whether the node at `path` is a PCI bridge."""
        node = self._tree.node(path)
        return node is not None and _is_bridge(node)

    def windows(self, path: str) -> list[Region]:
        """Return the windows of the node at `path` if it is a PCI bridge: through them, a domain
        with the bridge reaches the devices behind it.
        """
        node = self._tree.node(path)
        if node is None or not _is_bridge(node):
            return []
        return [each for each in self.devices.index.windows(node) if each and each.size]

    def is_for_all(self, path: str) -> bool:
        """Return whether the node at `path` is a syscon or MFD, which several drivers share."""
        node = self._tree.node(path)
        return node is not None and not _FOR_ALL.isdisjoint(node.known_compatible)

    def streams(self, master: Master, *, maps: bool) -> list[Claim]:
        """Return the stream IDs that `master` has: all that its `iommus` list
        (iommu_add_dt_device()), and with `maps` also all of its iommu-map, by number and place of
        the IOMMU.
        """
        claims = []
        for stream in master.streams:
            for first, last in _ids(stream, cut_id(stream, self.devices.iommus[stream.iommu])):
                claims.append(self._on(stream.iommu, first, last, master.path))
        for entry in master.maps if maps else ():
            for first, last in map_intervals(entry, master.map_mask):
                claims.append(self._on(entry.iommu, first, last, master.path))
        return claims

    def stream(self, number: int) -> tuple[str, int]:
        """Return the IOMMU and the ID of a number in a stream claim."""
        return self._iommus[number >> ID_BITS], number & ID_MASK

    def all_streams(self) -> list[Claim]:
        """Return the stream IDs of every master of the host. The IDs of an iommu-map are in use if
        the device is enabled, even if the hypervisor does not program them.
        """
        return [
            claim
            for master in self.devices.masters
            for claim in self.streams(master, maps=master.enabled)
        ]

    def all_pages(self) -> list[Claim]:
        """Return the registers of every node, and the windows of PCI bridges, which dom0 gets as
        well (map_device_children()).
        """
        claims = []
        for node in self._tree.nodes():
            if "reg" in node.properties:
                claims += [Claim(*region.ends, node.path) for region in self.regions(node)]
            if _is_bridge(node) and "ranges" in node.properties:
                windows = self.devices.index.windows(node)
                claims += [Claim(*r.ends, node.path) for r in windows if r and r.size]
        return claims

    def regions(self, node: Node) -> list[Region]:
        """Return the registers of `node`, or the memory that it describes."""
        index = self.devices.index
        regions = index.regions(node)
        if None in regions and self.role(node.path) in (MEMORY, RESERVED):
            # Xen reads these before it knows any bus (process_memory_node() and
            # process_reserved_memory_node() in bootfdt.c).
            regions = index.untranslated(node)
        return [region for region in regions if region and region.size]

    def reserved_for(self, path: str) -> dict[str, list[Region]]:
        """Return the memory reserved for the device at `path` (memory-region), by node."""
        node = self._tree.node(path)
        value = node.properties.get("memory-region", b"") if node else b""
        phandles = cells(whole_rows(value, 1), path, "memory-region")
        nodes = filter(None, map(self._tree.with_phandle, phandles))
        return {each.path: self.regions(each) for each in nodes if self.role(each.path) == RESERVED}

    def is_permitted(self) -> Callable[[int, int], bool]:
        """Return a test whether dom0 may pass on, by xl, the addresses from a first to a last one:
        the pages of all its nodes, mapped or marked, except reserved memory (iomem_permit_access()
        in map_range_to_domain(), 4.17 and master).
        """
        given = (Standing.STAYS, Standing.OFF, Standing.MARKED)
        regions = (
            in_pages(Region.between(claim.first, claim.last))
            for claim in self.all_pages()
            if self.standing(claim.path) in given
        )
        return covered_by(Interval(*region.ends) for region in regions)

    def lines(self, node: Node) -> tuple[Intid, ...]:
        """Return the INTIDs of `node`, as Xen reads them."""
        return tuple(intid for intid, _ in self.typed_lines(node))

    def typed_lines(self, node: Node) -> tuple[tuple[Intid, int], ...]:
        """Return the INTIDs of `node`, as Xen reads them, each with its trigger."""
        known = self._lines.get(node.path)
        if known is None:
            known = tuple(typed_lines(self._tree, node, self.devices.index.gic))
            self._lines[node.path] = known
        return known

    def typed_targets(self, node: Node) -> tuple[tuple[Intid, int], ...]:
        """Return the INTIDs of the interrupt-map of `node`, if it is a PCI bridge, with their
        triggers.
        """
        if "interrupt-map" not in node.properties or not _is_bridge(node):
            return ()
        return tuple(targets(self._tree, node, self.devices.index.gic))

    @cached_property
    def lines_of_xen(self) -> list[tuple[str, Intid, int]]:
        """The lines that Xen takes for its IOMMUs and its console before it creates a domain, each
        with the node and the trigger.
        """
        found: list[tuple[str, Intid, int]] = []
        for path, kind in self.iommus.probed.items():
            node = self._tree.node(path)
            if node is None:
                continue
            lines: Iterable[tuple[Intid, int]] = self.typed_lines(node)
            if kind == IPMMU:
                # ipmmu_probe() reads the first line of a main IPMMU.
                lines = [] if MAIN in node.properties else self.typed_lines(node)[:1]
            elif kind == SMMUV3:
                gic = self.devices.index.gic
                names = ("combined", *_OF_SMMUV3)
                named = {name: named_line(self._tree, node, gic, name) for name in names}
                combined = named.pop("combined")
                lines = [line for line in ([combined] if combined else named.values()) if line]
            found += ((path, intid, trigger) for intid, trigger in lines)
        console = self._tree.node(self.console) if self.console else None
        if console and "xen,passthrough" not in console.properties:
            found += ((console.path, *line) for line in self.typed_lines(console)[:1])
        return found

    def nodes_of_dom0(self) -> Iterator[tuple[Node, bool]]:
        """Yield the nodes that handle_node() reads, in Xen's order, each with whether it is left
        out of dom0 only because of a PPI. Xen's console is not among them.
        """
        below_console = f"{self.console}/"
        for node in self._tree.nodes():
            left_out_by = self._of_parents(node)[1]
            if left_out_by is None:
                if node.path != self.console and not node.path.startswith(below_console):
                    yield node, False
            elif left_out_by == node.path and not is_left_out(node):
                yield node, True

    @cached_property
    def all_lines(self) -> list[Claim]:
        """The SPIs that dom0 gets with every node, also with a PCI bridge's interrupt-map, and
        those that Xen takes for its SMMUs and its console: the lines of its other nodes are free.
        """
        claims = []
        for node in self._tree.nodes():
            if _has_interrupts(node) and self._has_handler(node):
                for intid, _ in (*self.typed_lines(node), *self.typed_targets(node)):
                    if intid >= FIRST_SPI:
                        claims.append(Claim(intid, intid, node.path))
        for frame in v2m_frames(self.devices) if self.has_dom0 else ():
            claims += [Claim(intid, intid, frame.path) for intid in frame.intids]
        return claims

    def _has_handler(self, node: Node) -> bool:
        """Return whether dom0 or Xen takes the lines of `node`. If Xen does not drive an IOMMU
        (iommu_hardware_setup() skips unavailable ones), neither does, as dom0 gets no IOMMU.
        """
        role = self.role(node.path)
        if role == IOMMU:
            return node.is_available and not self.is_marked(node.path)
        return role in ("", CONSOLE)

    def _on(self, iommu: str, first: int, last: int, path: str) -> Claim:
        base = self._places[iommu] << ID_BITS
        return Claim(base | first, base | last, path)

    def _found(self, node: Node) -> Standing:
        status, left_out_by = self._of_parents(node)
        if self.role(node.path):
            return Standing.OWN
        if "xen,passthrough" in node.properties:
            return Standing.MARKED
        if left_out_by or not self.has_dom0:
            return Standing.NOBODY
        return Standing.STAYS if status in ("okay", "reserved") else Standing.OFF

    def _of_parents(self, node: Node) -> tuple[str, str | None]:
        """Return the effective status of `node`, and the node because of which dom0 gets neither it
        nor the nodes below it.
        """
        known = self._inherited.get(node.path)
        if known is not None:
            return known
        parent = self._tree.parent(node)
        status, left_out_by = self._of_parents(parent) if parent else ("okay", None)
        if status == "okay":
            status = _own_status(node)
        if left_out_by is None and (is_left_out(node) or self._has_ppi(node)):
            left_out_by = node.path
        self._inherited[node.path] = status, left_out_by
        return status, left_out_by

    def _has_ppi(self, node: Node) -> bool:
        """Return whether an interrupt of `node` is a PPI: then handle_node() leaves it out."""
        lines = self.lines(node) if _has_interrupts(node) else ()
        return any(FIRST_PPI <= intid < FIRST_SPI for intid in lines)


def _own_status(node: Node) -> str:
    """Return the node's own status, "okay" for an absent or a malformed one."""
    value = node.properties.get("status", b"okay\0").split(b"\0")[0]
    return "okay" if value == b"ok" or not value.isascii() else value.decode() or "okay"


def _is_bridge(node: Node) -> bool:
    return node.properties.get("device_type", b"").lower() == b"pci\0"


def _has_interrupts(node: Node) -> bool:
    return not _INTERRUPTS.isdisjoint(node.properties)


def _ids(stream: Stream, stream_id: int | None) -> list[Interval]:
    """Return the stream IDs that the driver programs for an entry of `iommus` with the ID
    `stream_id`: a second cell is a mask of the bits that do not count (arm_smmu_dt_xlate_generic()
    in Xen's smmu.c).
    """
    if stream_id is None:
        return []
    mask = (stream.mask or 0) & SMR_BITS
    if not mask:
        return [Interval(stream_id, stream_id)]
    base = stream_id & ~mask
    pieces = submask_intervals(mask, Interval(0, mask))
    if len(pieces) > _MOST_PIECES:
        return [Interval(base, base | mask)]
    return [Interval(base + first, base + last) for first, last in pieces]
