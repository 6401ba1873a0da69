# SPDX-License-Identifier: Apache-2.0
"""The passthrough requests of a guest tree: which host device each node below /passthrough wants.

A request is a node with `iommus = <0x0 SID ...>`, `xen,path`, or both; or with `iommu-map`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from west_viommu.guest.gic import (
    NO_GIC,
    Gic,
    GuestInterrupt,
    guest_gic,
    guest_interrupts,
    own_lines,
)
from west_viommu.guest.regions import Mapped, RegionPair, region_pairs, xen_reg
from west_viommu.guest.source import BASE, PASSTHROUGH, GuestTree
from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.host.streams import StreamId
from west_viommu.problems import Problem
from west_viommu.tree.addresses import AddressMap, Region, bus_cells
from west_viommu.tree.cells import TreeError, cells, counted
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node, Phandle

T = TypeVar("T")

# "Not bound yet": 0x0 by the xen-devel thread of 2022, 0xfdea (GUEST_PHANDLE_VSMMUV3) by its
# first proposal.
VSMMU_PHANDLE = Phandle(0xFDEA)
PLACEHOLDERS = frozenset({Phandle(0), VSMMU_PHANDLE})
COPY_HINT = "copy the stream IDs of the host node, and write 0x0 in place of its SMMU"
_REQUESTING = ("iommus", "xen,path", "iommu-map")


class Entry(NamedTuple):
    """One pair of a guest's `iommus`. `phandle` is the number that was written, None where the
    entry refers to the guest's vSMMU by label and so is bound already.
    """

    phandle: Phandle | None
    id: StreamId


class Request(NamedTuple):
    """What one node asks for. `entries` is () where the stream IDs are left to the host tree.

    `malformed_ids` says why `iommus` is no list of pairs. It is kept and not reported at once:
    the copy of a node behind an IOMMU with two cells looks like that, and then there is more to
    say, once the host node is known. `is_coherent`: it, or a node above it, has dma-coherent.
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

    @property
    def intids(self) -> tuple[Intid, ...]:
        """The INTIDs of its interrupts, in order."""
        return tuple(interrupt.intid for interrupt in self.interrupts)


class Asked(NamedTuple):
    """The well-formed requests of a guest in document order, and what is malformed.

    `unasked` and `unrouted`: nodes below /passthrough with registers, or interrupts, that nobody
    asks for. What else of the guest the outcome has to fit: `gic`, #address-cells and #size-cells
    of the root, the compatible of /passthrough, what is `occupied`: the nodes with memory or
    registers, and their regions; and the SPIs of nodes that ask for nothing.
    """

    requests: tuple[Request, ...]
    problems: tuple[Problem, ...]
    gic: Gic
    root_cells: tuple[int, int]
    bus_compatible: tuple[str, ...]
    occupied: tuple[tuple[str, Region], ...]
    unasked: tuple[str, ...]
    unrouted: tuple[str, ...]
    lines: tuple[tuple[str, Intid], ...] = ()


class _Reader:
    """Collects what is malformed, so that one problem does not hide the next."""

    def __init__(self, guest: GuestTree):
        self.guest = guest
        self.problems: list[Problem] = []

    def tried(self, node: Node, read: Callable[[], T], otherwise: T) -> T:
        """What `read` returns; `otherwise`, and a problem of `node`, where it is malformed."""
        try:
            return read()
        except TreeError as error:
            self.problems.append(_malformed(self.guest, error, node))
            return otherwise


def asked(guest: GuestTree) -> Asked:
    """What `guest` asks for."""
    reader = _Reader(guest)
    root = guest.tree.root
    bus = guest.tree.node(PASSTHROUGH)
    gic = reader.tried(root, lambda: guest_gic(guest), NO_GIC)
    root_cells = reader.tried(root, lambda: bus_cells(root), (0, 0))
    no_compatible: tuple[str, ...] = ()
    bus_compatible = reader.tried(root, lambda: bus.compatible if bus else (), no_compatible)
    addresses = AddressMap(guest.tree)
    found: list[Request] = []
    for node in guest.tree.nodes():
        if any(name in node.properties for name in _REQUESTING):
            if node.path.startswith(PASSTHROUGH + "/"):
                before = len(reader.problems)
                request = _request(reader, addresses, gic, node)
                if len(reader.problems) == before:
                    found.append(request)
            else:
                reader.problems += _misplaced(guest, node)
    return Asked(
        tuple(found),
        tuple(reader.problems),
        gic,
        root_cells,
        bus_compatible,
        tuple(_occupied(reader, addresses)),
        tuple(_unasked(guest, addresses, found)),
        tuple(_unrouted(guest, gic, found)),
        tuple(own_lines(guest, gic, {request.path for request in found})),
    )


def _unrouted(guest: GuestTree, gic: Gic, requests: Sequence[Request]) -> Iterator[str]:
    """Nodes below /passthrough with interrupts on the GIC that no request at or above them has."""
    asking = {request.path: request.intids for request in requests}
    for node in guest.tree.nodes():
        if node.path.startswith(f"{PASSTHROUGH}/") and node.path not in asking:
            try:
                own = {each.intid for each in guest_interrupts(guest, gic, node)}
            except TreeError:
                # What is malformed counts where somebody asks for it.
                continue
            above = (asking.get(each.path, ()) for each in guest.tree.lineage(node))
            if not own <= {intid for intids in above for intid in intids}:
                yield node.path


def _occupied(reader: _Reader, addresses: AddressMap) -> Iterator[tuple[str, Region]]:
    """Every enabled node with registers or memory at an address of the guest."""
    tree = reader.guest.tree
    for node in tree.nodes():
        if "reg" in node.properties:
            none: tuple[Region | None, ...] = ()
            is_memory = node.properties.get("device_type") == b"memory\0"
            try:
                regions = addresses.regions(node) if tree.status(node) == "okay" else ()
            except TreeError as error:
                # That of a device counts where it is asked for.
                regions = none
                if is_memory:
                    reader.problems.append(_malformed(reader.guest, error, node))
            yield from ((node.path, region) for region in regions if region and region.size)


def _unasked(guest: GuestTree, addresses: AddressMap, requests: Sequence[Request]) -> Iterator[str]:
    """Nodes with registers at an address of the guest that no request at or above them has."""
    asking = {request.path: [pair.guest for pair in request.regions] for request in requests}
    for node in guest.tree.nodes():
        if node.path.startswith(f"{PASSTHROUGH}/") and "reg" in node.properties:
            try:
                regions = [region for region in addresses.regions(node) if region]
            except TreeError:
                # A malformed reg counts where somebody asks for the node.
                continue
            above = [each.path for each in guest.tree.lineage(node)]
            mapped = [region for path in above for region in asking.get(path, ())]
            if not all(any(_is_within(region, each) for each in mapped) for region in regions):
                yield node.path


def _is_within(region: Region, other: Region) -> bool:
    return other.base <= region.base and region.base + region.size <= other.base + other.size


def _request(reader: _Reader, addresses: AddressMap, gic: Gic, node: Node) -> Request:
    guest = reader.guest
    entries: tuple[Entry, ...] = ()
    malformed_ids = None
    try:
        entries = tuple(_entries(guest, node))
    except TreeError as error:
        malformed_ids = error
    no_triples: tuple[Mapped, ...] = ()
    mapped = reader.tried(node, lambda: xen_reg(guest, node), no_triples)
    return Request(
        node.path,
        node.name,
        reader.tried(node, lambda: _xen_path(node), None),
        entries,
        reader.tried(node, lambda: region_pairs(guest, addresses, node, mapped), ()),
        mapped,
        reader.tried(node, lambda: guest_interrupts(guest, gic, node), ()),
        "iommu-map" in node.properties,
        malformed_ids,
        any("dma-coherent" in each.properties for each in guest.tree.lineage(node)),
    )


def _malformed(guest: GuestTree, error: TreeError, node: Node) -> Problem:
    """`error` as a problem of `node`, at its place in the guest's source. Nodes that stand in for
    a base tree go by the label that the source has for them.
    """
    is_zephyr = "4 cells" in error.expected
    hints = {
        "iommus": COPY_HINT,
        "xen,path": "write the path of the host node, as `viommu list` shows it",
        "reg": f"give {PASSTHROUGH} #address-cells = <2>, #size-cells = <2> and `ranges;`, and "
        "write reg = <0x0 ADDRESS 0x0 SIZE>",
        "xen,reg": "write <host-address size guest-address> for each region",
        "interrupts": "write <GIC_SPI number IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>, as Zephyr has it"
        if is_zephyr
        else "write <0 number flags>; or give the .dts of the guest's GIC as well",
        "interrupt-parent": "refer to the guest's own controller: interrupt-parent = <&gic>",
        "interrupts-extended": "write `interrupts`, for the guest's GIC",
    }
    place = guest.locate(error.path, error.prop) or guest.locate(node.path, error.prop)
    return Problem(
        "malformed",
        error.what.replace(f"{BASE}/", "&"),
        hints.get(error.prop, "correct the property"),
        node.path if error.path.startswith(BASE) else error.path,
        error.expected.replace(f"{BASE}/", "&"),
        error.found.replace(f"{BASE}/", "&"),
        place,
    )


def _xen_path(node: Node) -> str | None:
    if "xen,path" not in node.properties:
        return None
    paths = node.string_list("xen,path")
    if len(paths) != 1 or not paths[0].startswith("/"):
        raise TreeError(
            "xen,path is no path",
            node.path,
            "xen,path",
            'one "/path/of/host/node"',
            ", ".join(f'"{path}"' for path in paths),
        )
    return paths[0]


def _entries(guest: GuestTree, node: Node) -> Iterator[Entry]:
    """The pairs of `iommus`: a placeholder or reference, and a stream ID."""
    if "iommus" not in node.properties:
        return
    numbers = cells(node.properties["iommus"], node.path, "iommus")
    if not numbers or len(numbers) % 2:
        raise TreeError(
            "iommus is no list of pairs",
            node.path,
            "iommus",
            "<0x0 STREAM-ID> for each stream",
            counted(len(numbers), "cell"),
        )
    links = guest.links.get(node.path, {})
    for i in range(0, len(numbers), 2):
        stream_id = StreamId(numbers[i + 1])
        target = links.get(i)
        if target is None:
            yield Entry(Phandle(numbers[i]), stream_id)
        elif _is_vsmmu(guest, target):
            yield Entry(None, stream_id)
        else:
            label = target.removeprefix(f"{BASE}/")
            raise TreeError(
                f"iommus refers to &{label}, a label that the guest tree does not have"
                if target.startswith(BASE)
                else "iommus refers to a node that is no vSMMU",
                node.path,
                "iommus",
                "0x0 in place of the host's SMMU",
                f"&{label}",
            )


def _is_vsmmu(guest: GuestTree, path: str) -> bool:
    target = guest.tree.node(path)
    return target is not None and SMMUV3_COMPATIBLE in target.compatible


def _misplaced(guest: GuestTree, node: Node) -> Iterator[Problem]:
    """A request that Xen would not see, as it is not below /passthrough. Another node's `iommus`
    refers to a node of this tree; a request's has a placeholder or a phandle of the host.
    """
    phandle = int.from_bytes(node.properties.get("iommus", b"\0")[:4], "big")
    is_request = (
        "iommus" in node.properties
        and 0 not in guest.links.get(node.path, {})
        and guest.tree.with_phandle(phandle) is None
    )
    if "xen,path" in node.properties or is_request:
        prop = "xen,path" if "xen,path" in node.properties else "iommus"
        by_label = node.path.startswith(BASE)
        yield Problem(
            "malformed",
            f"a passthrough request outside of {PASSTHROUGH}",
            f"move the node below {PASSTHROUGH}"
            + (
                f"; in an overlay, write &{{{PASSTHROUGH}}} {{ ... }} or the full path"
                if by_label
                else ""
            ),
            node.path.replace(f"{BASE}/", "&"),
            where=guest.locate(node.path, prop),
        )
