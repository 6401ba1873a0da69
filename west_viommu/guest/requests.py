# SPDX-License-Identifier: Apache-2.0
"""The passthrough requests of a guest tree: the host device that each node below /passthrough asks
for.

A request is a node with `iommus = <0x0 SID ...>`, xen,smmu-stream-ids, `xen,path`, or several of
them; or with `iommu-map`. A request that is disabled, by its own status or above, asks for nothing.
A bystander is a node of the guest that asks for nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.entries import PLACEHOLDERS as PLACEHOLDERS
from west_viommu.guest.entries import STREAM_IDS, entries
from west_viommu.guest.entries import Entry as Entry
from west_viommu.guest.faults import COPY_HINT as COPY_HINT
from west_viommu.guest.faults import halves, malformed, misplaced, misspelt, told_once
from west_viommu.guest.gic import (
    NO_GIC,
    Gic,
    GuestInterrupt,
    Specifier,
    guest_gic,
    guest_interrupts,
    names_xens_gic,
    own_lines,
    specifiers,
)
from west_viommu.guest.regions import Mapped, RegionPair, misread, region_pairs, xen_reg
from west_viommu.guest.source import PASSTHROUGH, GuestTree, is_below_passthrough
from west_viommu.host.intervals import Spans
from west_viommu.tree.addresses import AddressMap, Region, bus_cells
from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node


def unrouted(guest: GuestTree, gic: Gic, asking: Mapping[str, Sequence[Intid]]) -> Iterator[str]:
    """Yield the nodes below /passthrough with interrupts on the GIC that no request at or above
    them has. `asking`: the INTIDs of each request, by its path.
    """
    intids_of = {path: frozenset(intids) for path, intids in asking.items()}
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path) and node.path not in asking:
            try:
                own = {interrupt.intid for interrupt in guest_interrupts(guest, gic, node)}
            except TreeError:
                # A malformed node counts only if a request asks for it.
                continue
            for ancestor in guest.tree.lineage(node):
                # Not `-=`, which may iterate over all of the other set.
                own = own - intids_of.get(ancestor.path, frozenset())
            if own:
                yield node.path


def unasked(
    guest: GuestTree,
    addresses: AddressMap,
    asking: Mapping[str, Sequence[Region]],
    disabled: Collection[str],
) -> Iterator[str]:
    """Yield the nodes with registers at a guest address that no request at or above them has, and
    that are not `disabled`. `asking`: the regions of each request, by its path.
    """
    spans_of = {
        path: Spans((*region.ends, None) for region in regions) for path, regions in asking.items()
    }
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path) and "reg" in node.properties:
            try:
                regions = [region for region in addresses.regions(node) if region]
            except TreeError:
                # A malformed reg counts only if a request asks for the node.
                continue
            above = [ancestor.path for ancestor in guest.tree.lineage(node)]
            mapped = [spans_of[path] for path in above if path in spans_of]
            is_mapped = all(
                any(spans.has_around(*region.ends) for spans in mapped) for region in regions
            )
            if not is_mapped and not any(path in disabled for path in above):
                yield node.path


def occupied(guest: GuestTree, addresses: AddressMap) -> Iterator[tuple[Node, Region | TreeError]]:
    """Yield every enabled node with registers or memory at a guest address, once for each of its
    regions; for memory with a malformed reg, with the error. A device with a malformed reg counts
    only if a request asks for it.
    """
    tree = guest.tree
    for node in tree.nodes():
        if "reg" in node.properties:
            try:
                regions = addresses.regions(node) if tree.status(node) == "okay" else ()
                yield from ((node, region) for region in regions if region and region.size)
            except TreeError as error:
                if node.properties.get("device_type") == b"memory\0":
                    yield node, error


T = TypeVar("T")

# Memory that Xen gives to several domains (make_shm_memory_node() of Xen).
SHARED_MEMORY = "xen,shared-memory-v1"
FORCE = "xen,force-assign-without-iommu"
_REQUESTING = ("iommus", STREAM_IDS, "xen,path", "iommu-map")


class Request(NamedTuple):
    """The request of one node. `entries` is () if the host tree supplies the stream IDs.

    `malformed_ids`: why `iommus` is no list of pairs. It is not reported at once: the copy of a
    node behind an IOMMU with two cells looks like that, and the host node will explain more.
    `is_coherent`: the node, or a node above it, has dma-coherent. `xens_gic`: the node, or the node
    above it, that has Xen's number for its GIC as interrupt-parent. `extended`: the entries of
    interrupts-extended if one has that number, each with the path of its controller, None for Xen's
    GIC. `iommus`: the cells of that property, () if not all are numbers; None without it.
    """

    path: str
    name: str
    xen_path: str | None
    entries: tuple[Entry, ...]
    regions: tuple[RegionPair, ...]
    mapped: tuple[Mapped, ...]
    interrupts: tuple[GuestInterrupt, ...]
    has_map: bool
    malformed_ids: TreeError | None
    is_coherent: bool = False
    xens_gic: str | None = None
    extended: tuple[tuple[str | None, tuple[int, ...]], ...] = ()
    compatible: tuple[str, ...] = ()
    iommus: tuple[int, ...] | None = None

    @property
    def intids(self) -> tuple[Intid, ...]:
        """The INTIDs of the interrupts, in order."""
        return tuple(interrupt.intid for interrupt in self.interrupts)


class Raw(NamedTuple):
    """Host memory that a node maps without a host device: xen,reg with
    xen,force-assign-without-iommu and no xen,path (handle_passthrough_prop() of Xen maps the memory
    and looks no further). `mapped`: the host memory, and its address for the guest.
    """

    path: str
    mapped: tuple[Mapped, ...]


class Asked(NamedTuple):
    """The well-formed requests of a guest in document order, and the problems: errors and warnings.

    `unasked`, `unrouted`: nodes below /passthrough with registers, or interrupts, of no request.
    `raw`: memory that is mapped without a device. `disabled`: the nodes that would be requests, or
    raw, if neither they nor a node above were disabled.

    The result must also fit the rest of the guest: `gic`, #address-cells and #size-cells of the
    root, the compatible of /passthrough, `occupied` (nodes with memory or registers, and their
    regions), `lines` (the SPIs of nodes that ask for nothing), and `shared` (the regions of memory
    that the guest shares with other domains).
    """

    requests: tuple[Request, ...]
    problems: tuple[Diagnostic, ...]
    gic: Gic
    root_cells: tuple[int, int]
    bus_compatible: tuple[str, ...]
    occupied: tuple[tuple[str, Region], ...]
    unasked: tuple[str, ...]
    unrouted: tuple[str, ...]
    lines: tuple[tuple[str, Intid], ...] = ()
    raw: tuple[Raw, ...] = ()
    disabled: tuple[str, ...] = ()
    shared: tuple[Region, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The nodes for which the hypervisor maps something."""
        return (*(request.path for request in self.requests), *(raw.path for raw in self.raw))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The errors among the problems: with them, the guest is refused."""
        return tuple(problem for problem in self.problems if not problem.warning)


class Guest(NamedTuple):
    """A guest: its sources as the command line names them, its tree and its requests."""

    names: tuple[str, ...]
    tree: GuestTree
    asked: Asked

    @property
    def asks(self) -> bool:
        """Whether a node below /passthrough asks for a device, correctly or not, or would ask if it
        were not disabled.
        """
        wanted = self.asked
        return bool(wanted.requests or wanted.raw or wanted.disabled or wanted.errors)


class _Reader:
    """Reads requests and collects the errors, so that one problem does not hide the next."""

    def __init__(self, guest: GuestTree):
        self.guest = guest
        self.addresses = AddressMap(guest.tree)
        self._errors: list[Diagnostic] = []
        self._failures = 0
        self.gic = self.tried(guest.tree.root, lambda: guest_gic(guest), NO_GIC)

    def tried(self, node: Node, read: Callable[[], T], otherwise: T) -> T:
        """Return the result of `read`; if it raises TreeError, `otherwise`, with a problem for
        `node`.
        """
        try:
            return read()
        except TreeError as error:
            self._add(error, node)
            self._failures += 1
            return otherwise

    def _add(self, error: TreeError, node: Node) -> None:
        self._errors.append(malformed(self.guest, error, node))

    @property
    def problems(self) -> Iterator[Diagnostic]:
        """The malformed properties, each once."""
        return told_once(self._errors)

    def request(self, node: Node, *, is_spoilt: bool) -> Request | None:
        """Return the request of `node`; None if it is malformed, or if its bus `is_spoilt`, which
        leaves its registers unknown.
        """
        before = self._failures
        guest = self.guest
        ids, malformed_ids = entries(guest, node)
        no_triples: tuple[Mapped, ...] = ()
        no_pairs: tuple[RegionPair, ...] = ()
        no_interrupts: tuple[GuestInterrupt, ...] = ()
        mapped, pairs = no_triples, no_pairs
        if not is_spoilt:
            mapped = self.tried(node, lambda: xen_reg(guest, node), no_triples)
            pairs = self.tried(
                node, lambda: region_pairs(guest, self.addresses, node, mapped), no_pairs
            )
        request = Request(
            node.path,
            node.name,
            self.tried(node, lambda: _xen_path(node), None),
            ids,
            pairs,
            mapped,
            self.tried(node, lambda: guest_interrupts(guest, self.gic, node), no_interrupts),
            "iommu-map" in node.properties,
            malformed_ids,
            any("dma-coherent" in ancestor.properties for ancestor in guest.tree.lineage(node)),
            self.tried(node, lambda: names_xens_gic(guest, node), None),
            self.extended(node),
            node.known_compatible,
            _iommus(guest, node),
        )
        return request if self._failures == before and not is_spoilt else None

    def extended(self, node: Node) -> tuple[tuple[str | None, tuple[int, ...]], ...]:
        """Return the entries of interrupts-extended, if one has Xen's number for its GIC."""
        none: tuple[Specifier, ...] = ()
        if "interrupts-extended" not in node.properties:
            return ()
        written = self.tried(node, lambda: specifiers(self.guest, self.gic, node), none)
        if all(specifier.controller for specifier in written):
            return ()
        return tuple((s.controller and s.controller.path, s.numbers) for s in written)

    def raw(self, node: Node) -> Raw | None:
        """Return the mapping of `node`; None if it is malformed."""
        before = self._failures
        no_triples: tuple[Mapped, ...] = ()
        raw = Raw(node.path, self.tried(node, lambda: xen_reg(self.guest, node), no_triples))
        return raw if self._failures == before else None

    def occupied(self) -> list[tuple[str, Region]]:
        """Return the regions of all nodes."""
        regions = []
        for node, region in occupied(self.guest, self.addresses):
            if isinstance(region, TreeError):
                self._add(region, node)
            else:
                regions.append((node.path, region))
        return regions


def asked(guest: GuestTree, planned: Collection[str] = ()) -> Asked:
    """Return the requests of `guest`. The nodes at the paths `planned` count as requests even if
    they are disabled, or no longer name a host device.
    """
    reader = _Reader(guest)
    root = guest.tree.root
    bus = guest.tree.node(PASSTHROUGH)
    root_cells = reader.tried(root, lambda: bus_cells(root), (0, 0))
    no_compatible: tuple[str, ...] = ()
    bus_compatible = reader.tried(root, lambda: bus.compatible if bus else (), no_compatible)
    disabled: list[str] = []
    asking: list[Node] = []
    misplaced_ones: list[Diagnostic] = []
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path):
            misplaced_ones += halves(guest, node) if not _asks(node, planned) else ()
        if not is_below_passthrough(node.path):
            misplaced_ones += misplaced(guest, node) if _is_request(node) else ()
        elif _asks(node, planned):
            if node.path not in planned and _is_disabled(reader, node):
                disabled.append(node.path)
            else:
                asking.append(node)
    spoilt = dict(misread(guest, asking))
    requests: list[Request] = []
    raw: list[Raw] = []
    for node in asking:
        is_spoilt = node.path.rpartition("/")[0] in spoilt
        if _is_request(node) or node.path in planned:
            requests += filter(None, [reader.request(node, is_spoilt=is_spoilt)])
        elif not is_spoilt:
            raw += filter(None, [reader.raw(node)])
    regions = reader.occupied()
    mapped = {request.path: [pair.guest for pair in request.regions] for request in requests}
    mapped |= {mapping.path: [guest for _, guest in mapping.mapped] for mapping in raw}
    slips = misspelt(guest, {node.path for node in asking})
    problems = (*reader.problems, *spoilt.values(), *misplaced_ones, *slips)
    return Asked(
        tuple(requests),
        tuple(dict.fromkeys(problems)),
        reader.gic,
        root_cells,
        bus_compatible,
        tuple(regions),
        tuple(unasked(guest, reader.addresses, mapped, frozenset(disabled))),
        tuple(unrouted(guest, reader.gic, {request.path: request.intids for request in requests})),
        tuple(own_lines(guest, reader.gic, {request.path for request in requests})),
        tuple(raw),
        tuple(disabled),
        tuple(region for path, region in regions if _is_shared(guest.tree.node(path))),
    )


def _asks(node: Node, planned: Collection[str]) -> bool:
    """Return whether the hypervisor maps something for `node`, or did when it was `planned`."""
    return _is_request(node) or is_raw(node) or node.path in planned


def _is_shared(node: Node | None) -> bool:
    return node is not None and SHARED_MEMORY in node.known_compatible


def _is_request(node: Node) -> bool:
    return any(name in node.properties for name in _REQUESTING)


def is_raw(node: Node) -> bool:
    """Return whether `node`, below /passthrough, maps host memory without a host device."""
    is_mapping = "xen,reg" in node.properties and FORCE in node.properties
    return is_mapping and not _is_request(node)


def _is_disabled(reader: _Reader, node: Node) -> bool:
    status = reader.tried(node, lambda: reader.guest.tree.status(node), "okay")
    return status != "okay"


def _iommus(guest: GuestTree, node: Node) -> tuple[int, ...] | None:
    if "iommus" not in node.properties:
        return None
    if guest.links.get(node.path):
        return ()
    try:
        return cells(node.properties["iommus"], node.path, "iommus")
    except TreeError:
        return ()


def _xen_path(node: Node) -> str | None:
    if "xen,path" not in node.properties:
        return None
    paths = node.string_list("xen,path")
    if len(paths) != 1 or not paths[0]:
        raise TreeError(
            "xen,path is not one path",
            node.path,
            "xen,path",
            '"/path/of/host/node"',
            ", ".join(f'"{path}"' for path in paths),
        )
    return paths[0]
