# SPDX-License-Identifier: Apache-2.0
"""The passthrough requests of a guest tree: which host device each node below /passthrough wants.

A request is a node with `iommus = <0x0 SID ...>`, `xen,path`, or both; or with `iommu-map`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.guest.gic import Gic, guest_gic, guest_intids
from west_viommu.guest.source import BASE, GuestTree
from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.host.streams import StreamId
from west_viommu.problems import Problem
from west_viommu.tree.addresses import AddressMap, Region, bus_cells
from west_viommu.tree.cells import TreeError, cells, counted, joined
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node, Phandle

PASSTHROUGH = "/passthrough"
# "Not bound yet": 0x0 by the xen-devel thread of 2022, 0xfdea (GUEST_PHANDLE_VSMMUV3) by its
# first proposal.
PLACEHOLDERS = frozenset({Phandle(0), Phandle(0xFDEA)})
_REQUESTING = ("iommus", "xen,path", "iommu-map")


class Entry(NamedTuple):
    """One pair of a guest's `iommus`. `phandle` is the number that was written, None where the
    entry refers to the guest's vSMMU by label and so is bound already.
    """

    phandle: Phandle | None
    id: StreamId


class RegionPair(NamedTuple):
    """A guest region, and the host region that is to appear there."""

    guest: Region
    host: Region


class Request(NamedTuple):
    """What one node asks for. `entries` is () where the stream IDs are left to the host tree.

    `malformed_ids` says why `iommus` is no list of pairs. It is kept and not reported at once:
    the copy of a node behind an IOMMU with two cells looks like that, and then there is more to
    say, once the host node is known.
    """

    path: str
    name: str
    xen_path: str | None
    entries: tuple[Entry, ...]
    regions: tuple[RegionPair, ...]
    intids: tuple[Intid, ...]
    malformed_ids: TreeError | None

    @property
    def ids(self) -> tuple[StreamId, ...]:
        """The stream IDs that the guest names, in its order."""
        return tuple(entry.id for entry in self.entries)


def requests(guest: GuestTree) -> tuple[tuple[Request, ...], tuple[Problem, ...]]:
    """The requests of `guest` in document order, and what is malformed about them."""
    found: list[Request] = []
    problems: list[Problem] = []
    addresses = AddressMap(guest.tree)
    gic = guest_gic(guest)
    for node in guest.tree.nodes():
        if not any(name in node.properties for name in _REQUESTING):
            continue
        if not node.path.startswith(PASSTHROUGH + "/"):
            problems.extend(_misplaced(guest, node))
            continue
        try:
            found.append(_request(guest, addresses, gic, node))
        except TreeError as error:
            problems.append(malformed(guest, error))
    return tuple(found), tuple(problems)


def malformed(guest: GuestTree, error: TreeError) -> Problem:
    """`error` of a request as a problem, at its place in the guest's source."""
    hints = {
        "iommus": "copy the stream IDs of the host node and write 0x0 in place of its SMMU",
        "xen,path": "write the path of the host node, as `viommu list` shows it",
        "reg": f"give {PASSTHROUGH} #address-cells, #size-cells and an empty `ranges;`",
        "xen,reg": "write <host-address size guest-address> for each region",
        "interrupts": "write <type number flags>; or give the .dts of the guest's GIC as well",
    }
    return Problem(
        "malformed",
        error.what,
        hints.get(error.prop, ""),
        error.path,
        error.expected,
        error.found,
        guest.locate(error.path, error.prop),
    )


def _request(guest: GuestTree, addresses: AddressMap, gic: Gic, node: Node) -> Request:
    entries: tuple[Entry, ...] = ()
    malformed_ids = None
    try:
        entries = tuple(_entries(guest, node))
    except TreeError as error:
        malformed_ids = error
    return Request(
        node.path,
        node.name,
        _xen_path(node),
        entries,
        _region_pairs(guest, addresses, node),
        guest_intids(guest, gic, node),
        malformed_ids,
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


def _region_pairs(guest: GuestTree, addresses: AddressMap, node: Node) -> tuple[RegionPair, ...]:
    """Each `reg` entry of `node` and the host region it stands for, as xen,reg pairs them."""
    pairs = _xen_reg(guest, node)
    result = []
    for region in addresses.regions(node):
        if region is None:
            raise TreeError(
                "reg has no address in the guest",
                node.path,
                "reg",
                f"`ranges;` in {PASSTHROUGH} and in every bus below it",
                "a region that does not translate",
            )
        host = region
        for pair in pairs:
            offset = region.base - pair.guest.base
            if offset >= 0 and offset + region.size <= pair.guest.size:
                host = Region(pair.host.base + offset, region.size)
                break
        result.append(RegionPair(region, host))
    return tuple(result)


def _xen_reg(guest: GuestTree, node: Node) -> tuple[RegionPair, ...]:
    """`xen,reg`: <host-address size guest-address> triples, in the cells of the parent (Xen,
    docs/misc/arm/passthrough.txt).
    """
    numbers = cells(node.properties.get("xen,reg", b""), node.path, "xen,reg")
    bus = guest.tree.parent(node) or guest.tree.root
    address, size = bus_cells(bus)
    width = 2 * address + size
    if not numbers:
        return ()
    if not width or len(numbers) % width:
        raise TreeError(
            "xen,reg is no list of triples",
            node.path,
            "xen,reg",
            f"<host size guest> in {address} + {size} + {address} cells",
            counted(len(numbers), "cell"),
        )
    triples = (numbers[i : i + width] for i in range(0, len(numbers), width))
    return tuple(
        RegionPair(
            guest=Region(
                joined(triple[address + size :]), joined(triple[address : address + size])
            ),
            host=Region(joined(triple[:address]), joined(triple[address : address + size])),
        )
        for triple in triples
    )


def _misplaced(guest: GuestTree, node: Node) -> Iterator[Problem]:
    """A request that Xen would not see, as it is not below /passthrough."""
    first = node.properties.get("iommus", b"")[:4]
    is_placeholder = (
        Phandle(int.from_bytes(first, "big")) in PLACEHOLDERS
        and len(first) == 4
        and not guest.links.get(node.path)
    )
    if "xen,path" in node.properties or is_placeholder:
        prop = "xen,path" if "xen,path" in node.properties else "iommus"
        yield Problem(
            "malformed",
            f"a passthrough request outside of {PASSTHROUGH}",
            f"move the node below {PASSTHROUGH}"
            + (
                f"; in an overlay, write &{{{PASSTHROUGH}}} {{ ... }} or the full path"
                if node.path.startswith(BASE)
                else ""
            ),
            node.path.removeprefix(BASE),
            where=guest.locate(node.path, prop),
        )
