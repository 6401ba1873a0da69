# SPDX-License-Identifier: Apache-2.0
"""Every IOMMU and every master of a host tree, and where their stream IDs meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from west_viommu.host.intervals import Interval, TooManyIntervals, overlaps
from west_viommu.host.streams import IdMap, Stream, StreamId, id_maps, map_intervals, streams
from west_viommu.tree.addresses import AddressMap, Region, address_map
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree

SMMUV3_COMPATIBLE = "arm,smmu-v3"
# Xen's SMMUv3 driver takes one cell, the stream ID, and nothing else (arm_smmu_dt_xlate).
SMMUV3_CELLS = 1
# Pieces into which the masks of all masters together cut their maps.
_MAX_PIECES = 1 << 16
# IOMMUs that one master is behind. On real hosts, two.
_MAX_IOMMUS = 256


class Iommu(NamedTuple):
    """A node with #iommu-cells. `base` and `size` are its first region's, None without one."""

    path: str
    compatible: tuple[str, ...]
    base: int | None
    size: int | None
    cells: int
    status: str
    supported: bool


class Master(NamedTuple):
    """A node with `iommus` or `iommu-map`, even if no entry of it remains.

    `regions` are absolute; `status` is the effective one; `map_mask` is iommu-map-mask or None.
    """

    path: str
    compatible: tuple[str, ...]
    status: str
    regions: tuple[Region, ...]
    streams: tuple[Stream, ...]
    maps: tuple[IdMap, ...]
    map_mask: int | None

    @property
    def enabled(self) -> bool:
        """Whether the host uses the device."""
        return self.status == "okay"

    @property
    def iommus(self) -> tuple[str, ...]:
        """The paths of the IOMMUs that it is behind, each once."""
        behind = [stream.iommu for stream in self.streams]
        behind += [entry.iommu for entry in self.maps]
        return tuple(dict.fromkeys(behind))

    @property
    def stream_ids(self) -> tuple[StreamId, ...]:
        """The IDs of its `iommus`, in order."""
        return tuple(stream.id for stream in self.streams if stream.id is not None)

    def has_stream(self, stream_id: StreamId) -> bool:
        """Whether its `iommus` have the ID."""
        return any(stream.id == stream_id for stream in self.streams)


class Meeting(NamedTuple):
    """IDs that several have: SMMUs (a collision) or the masters of one SMMU (a shared ID)."""

    first: int
    last: int
    paths: tuple[str, ...]


class Inventory(NamedTuple):
    """A host tree as this tool sees it, everything in document order."""

    model: str | None
    iommus: tuple[Iommu, ...]
    masters: tuple[Master, ...]


def inventory(tree: Tree) -> tuple[Inventory, tuple[TreeError, ...]]:
    """The inventory of `tree`, and what could not be read of it.

    An inventory with errors is incomplete: whether IDs are shared cannot be told from it.
    """
    addresses = address_map(tree)
    iommus: list[Iommu] = []
    masters: list[Master] = []
    errors: list[TreeError] = []
    pieces_left = _MAX_PIECES
    for node in tree.nodes():
        properties = node.properties
        try:
            if "#iommu-cells" in properties:
                iommus.append(_iommu(tree, addresses, node))
            if "iommus" in properties or "iommu-map" in properties:
                master = _master(tree, addresses, node)
                if len(master.iommus) > _MAX_IOMMUS:
                    raise _behind_too_many(master)
                masters.append(master)
                pieces_left -= _pieces(master, pieces_left)
        except TreeError as error:
            errors.append(error)
        except TooManyIntervals:
            errors.append(_cut_up(masters[-1]))
            # No further mask is tried: each may take as long as this one.
            pieces_left = 0
    model = None
    try:
        model = next(iter(tree.root.string_list("model")), None)
    except TreeError as error:
        errors.append(error)
    return Inventory(model, tuple(iommus), tuple(masters)), tuple(errors)


def is_smmuv3(node: Node) -> bool:
    """Whether `node` says that it is an SMMUv3: a host's, or a guest's vSMMU. Whether the rest of
    its compatible is well-formed is the business of whoever reads that.
    """
    return SMMUV3_COMPATIBLE.encode() in node.properties.get("compatible", b"").split(b"\0")


def masters_behind(inventory: Inventory) -> dict[str, list[Master]]:
    """The masters behind each IOMMU, by its path."""
    behind: dict[str, list[Master]] = {iommu.path: [] for iommu in inventory.iommus}
    for master in inventory.masters:
        for path in master.iommus:
            behind.setdefault(path, []).append(master)
    return behind


def stream_intervals(master: Master, iommu: str) -> Iterator[Interval]:
    """The IDs that `master` has on `iommu` by its `iommus`."""
    for stream in master.streams:
        if stream.iommu == iommu and stream.id is not None:
            yield Interval(stream.id, stream.id)


def all_intervals(master: Master, iommu: str) -> Iterator[Interval]:
    """The IDs that `master` has on `iommu`, by its `iommus` and by its `iommu-map`."""
    return (interval for path, interval in claimed(master) if path == iommu)


def claimed(master: Master) -> Iterator[tuple[str, Interval]]:
    """The IDs that `master` has, by its `iommus` and by its `iommu-map`, and on which IOMMU."""
    for stream in master.streams:
        if stream.id is not None:
            yield stream.iommu, Interval(stream.id, stream.id)
    for entry in master.maps:
        for interval in map_intervals(entry, master.map_mask):
            yield entry.iommu, interval


def collisions(inventory: Inventory) -> tuple[Meeting, ...]:
    """IDs that enabled masters have behind two or more supported SMMUs, in ascending order."""
    supported = [iommu.path for iommu in inventory.iommus if iommu.supported]
    index = {path: i for i, path in enumerate(supported)}
    claims = (
        (interval, index[iommu])
        for master in inventory.masters
        if master.enabled
        for iommu, interval in claimed(master)
        if iommu in index
    )
    return tuple(
        Meeting(first, last, tuple(supported[i] for i in owners))
        for first, last, owners in overlaps(claims)
    )


def shared_ids(inventory: Inventory) -> tuple[tuple[str, Meeting], ...]:
    """(supported SMMU, IDs that two or more enabled masters have on it), in tree order."""
    claims: dict[str, list[tuple[Interval, int]]] = {
        iommu.path: [] for iommu in inventory.iommus if iommu.supported
    }
    for i, master in enumerate(inventory.masters):
        if master.enabled:
            for iommu, interval in claimed(master):
                if iommu in claims:
                    claims[iommu].append((interval, i))
    return tuple(
        (iommu, Meeting(first, last, tuple(inventory.masters[i].path for i in owners)))
        for iommu, of_iommu in claims.items()
        for first, last, owners in overlaps(of_iommu)
    )


def _iommu(tree: Tree, addresses: AddressMap, node: Node) -> Iommu:
    compatible = node.compatible
    cells = node.number("#iommu-cells", 0)
    regions = addresses.regions(node)
    first = regions[0] if regions else None
    return Iommu(
        node.path,
        compatible,
        first.base if first else None,
        first.size if first else None,
        cells,
        tree.status(node),
        SMMUV3_COMPATIBLE in compatible and cells == SMMUV3_CELLS,
    )


def _master(tree: Tree, addresses: AddressMap, node: Node) -> Master:
    mask = node.properties.get("iommu-map-mask")
    return Master(
        node.path,
        node.compatible,
        tree.status(node),
        _translated(addresses.regions(node)),
        streams(tree, node),
        id_maps(tree, node),
        None if mask is None else node.number("iommu-map-mask", 0),
    )


def _translated(regions: tuple[Region | None, ...]) -> tuple[Region, ...]:
    # The same tuple where it is the same: of thousands, they are a megabyte.
    absolute = tuple(region for region in regions if region)
    return absolute if len(absolute) < len(regions) else cast("tuple[Region, ...]", regions)


def _pieces(master: Master, most: int) -> int:
    """Into how many intervals its mask cuts the maps of `master`. Raises TooManyIntervals for more
    than `most`.
    """
    pieces = 0
    for entry in master.maps if master.map_mask is not None else ():
        if pieces >= most:
            raise TooManyIntervals
        pieces += len(map_intervals(entry, master.map_mask))
    return pieces


def _behind_too_many(master: Master) -> TreeError:
    count = str(len(master.iommus))
    what = "a device is behind more IOMMUs than there can be"
    return TreeError(what, master.path, "iommus", f"at most {_MAX_IOMMUS}", count)


def _cut_up(master: Master) -> TreeError:
    return TreeError(
        "iommu-map-mask cuts iommu-map into too many ranges",
        master.path,
        "iommu-map-mask",
        "a mask as a bus has it, such as 0x1ff",
        f"{master.map_mask:#x}",
    )
