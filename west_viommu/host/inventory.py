# SPDX-License-Identifier: Apache-2.0
"""Every IOMMU and every master of a host tree, with `iommus` and `iommu-map` entry by entry."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple, NewType, TypeVar, cast

from west_viommu.host.intervals import Interval, TooManyIntervals, submask_intervals
from west_viommu.tree.addresses import AddressMap, Region, address_map
from west_viommu.tree.cells import TreeError, cells, whole_rows
from west_viommu.tree.node import NO_PHANDLES, Node, Tree

StreamId = NewType("StreamId", int)
RequesterId = NewType("RequesterId", int)
T = TypeVar("T")

SMMUV3_COMPATIBLE = "arm,smmu-v3"
# Xen's SMMUv3 driver requires exactly one cell, the stream ID (arm_smmu_dt_xlate).
SMMUV3_CELLS = 1
# The pieces into which the masks of all masters together cut their maps.
_MAX_PIECES = 1 << 16
# The IOMMUs that one master is behind. On real hosts, two.
_MAX_IOMMUS = 256
_ID_SPACE = 1 << 32
_MMU_MASTERS = "mmu-masters"
# MAX_PHANDLE_ARGS of Xen.
_MOST_ARGUMENTS = 16
_NULLS = tuple(phandle.to_bytes(4, "big") for phandle in NO_PHANDLES)


class Stream(NamedTuple):
    """One entry of `iommus`: `id` is its first specifier cell. `mask`: the bits of the ID that do
    not count, by a second cell or for the whole IOMMU; None if neither is there.
    """

    iommu: str
    id: StreamId | None
    mask: int | None


class IdMap(NamedTuple):
    """One entry of `iommu-map`: requester IDs [rid, rid + length) have IDs from `id` on."""

    iommu: str
    rid: RequesterId
    id: StreamId | None
    length: int


class Iommu(NamedTuple):
    """A node with #iommu-cells. `base` and `size` are of its first region, None without a
    region.
    """

    path: str
    compatible: tuple[str, ...]
    base: int | None
    size: int | None
    cells: int
    status: str
    supported: bool


class Master(NamedTuple):
    """A node with `iommus` or `iommu-map` (even if all entries are left out), or in `mmu-masters`.

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
        """True if the host uses the device."""
        return self.status == "okay"

    @property
    def iommus(self) -> tuple[str, ...]:
        """The paths of the IOMMUs that the master is behind, each once."""
        if len(self.streams) == 1 and not self.maps:
            return (self.streams[0].iommu,)
        behind = [stream.iommu for stream in self.streams]
        behind += [entry.iommu for entry in self.maps]
        return tuple(dict.fromkeys(behind))

    @property
    def stream_ids(self) -> tuple[StreamId, ...]:
        """The IDs of its `iommus`, in order."""
        return tuple(stream.id for stream in self.streams if stream.id is not None)

    def has_stream(self, stream_id: StreamId) -> bool:
        """Return whether its `iommus` have the ID."""
        return any(stream.id == stream_id for stream in self.streams)


class Inventory(NamedTuple):
    """A host tree as this tool sees it, in document order. `faults`: the error in each malformed
    node, by its path; such a node is read up to the error, as by Xen, which ignores the rest.
    """

    model: str | None
    iommus: tuple[Iommu, ...]
    masters: tuple[Master, ...]
    faults: Mapping[str, TreeError] = MappingProxyType({})


def streams(tree: Tree, master: Node) -> tuple[Stream, ...]:
    """Return the entries of `iommus`: each a phandle and as many cells as that IOMMU's
    #iommu-cells.

    (Linux, iommu.txt binding.) An entry with a null phandle is one cell, and left out.
    """
    return tuple(stream for stream in _streams(tree, master) if stream)


def mmu_masters(tree: Tree) -> dict[str, tuple[Stream, ...]]:
    """Return the streams in the `mmu-masters` of SMMUs, by the path of the master.

    Xen registers these masters when the SMMU probes, and does not read their `iommus` then
    (arm_smmu_device_dt_probe() in smmu.c and iommu_add_dt_device(), 4.17 to 4.22).
    """
    listed: dict[str, tuple[Stream, ...]] = {}
    for smmu in tree.nodes():
        for path, streams in listed_masters(tree, smmu):
            listed[path] = (*listed.get(path, ()), *streams)
    return listed


def listed_masters(tree: Tree, smmu: Node) -> Iterator[tuple[str, tuple[Stream, ...]]]:
    """Yield each entry of `mmu-masters`, as a path and its streams: the old binding, in which an
    SMMU lists its masters, each a phandle and as many IDs as its #stream-id-cells.

    Xen stops reading at an entry that is malformed or has no phandle, and reads at most 16 IDs of
    an entry (__dt_parse_phandle_with_args()).
    """
    value = smmu.properties.get(_MMU_MASTERS, b"")
    numbers = cells(whole_rows(value, 1), smmu.path, _MMU_MASTERS) if value else ()
    at = 0
    while at < len(numbers):
        master = tree.with_phandle(numbers[at])
        if master is None or numbers[at] == 0:
            return
        width = int.from_bytes(master.properties.get("#stream-id-cells", b"")[:4], "big")
        ids = numbers[at + 1 : at + 1 + width]
        if "#stream-id-cells" not in master.properties or len(ids) < width:
            return
        yield (
            master.path,
            tuple(Stream(smmu.path, StreamId(id), None) for id in ids[:_MOST_ARGUMENTS]),
        )
        at += 1 + width


def first_null_entry(tree: Tree, master: Node) -> int | None:
    """Return the number of entries of `iommus` before the first with a null phandle; None if there
    is no such entry, or a malformed one before it.
    """
    if not any(null in master.properties.get("iommus", b"") for null in _NULLS):
        return None
    entries = _before_fault(_streams(tree, master))
    return entries.index(None) if None in entries else None


def _streams(tree: Tree, master: Node) -> Iterator[Stream | None]:
    """Yield the entries of `iommus`; None for an entry with a null phandle."""
    value = master.properties.get("iommus", b"")
    numbers = cells(whole_rows(value, 1), master.path, "iommus")
    at = 0
    while at < len(numbers):
        phandle = numbers[at]
        at += 1
        if phandle in NO_PHANDLES:
            yield None
            continue
        iommu, width = _iommu(tree, master, phandle, "iommus")
        specifier = numbers[at : at + width]
        if len(specifier) < width:
            raise _cut(master, "iommus", width)
        at += width
        yield Stream(iommu.path, _stream_id(specifier), _mask(iommu, specifier))
    # Refuses a rest of less than a cell, which Xen does not read.
    cells(value[4 * at :], master.path, "iommus")


def id_maps(tree: Tree, master: Node) -> tuple[IdMap, ...]:
    """Return the entries of `iommu-map`, without entries of length 0 (filled in by a bootloader).

    An entry is rid-base, phandle, #iommu-cells cells of iommu-base, length (Linux, pci-iommu.txt
    binding).
    """
    return tuple(_id_maps(tree, master))


def _id_maps(tree: Tree, master: Node) -> Iterator[IdMap]:
    numbers = cells(master.properties.get("iommu-map", b""), master.path, "iommu-map")
    legacy = _is_legacy_map(numbers)
    at = 0
    while at < len(numbers):
        if at + 2 > len(numbers):
            raise _cut(master, "iommu-map", 2)
        rid, phandle = numbers[at : at + 2]
        at += 2
        if phandle in NO_PHANDLES:
            # The width of the rest depends on an IOMMU that does not exist; Linux and the binding's
            # examples assume one cell.
            at += 2
            continue
        iommu, width = _iommu(tree, master, phandle, "iommu-map")
        if width == 2 and legacy:
            width = 1
        if at + width >= len(numbers):
            raise _cut(master, "iommu-map", width + 1)
        *specifier, length = numbers[at : at + width + 1]
        at += width + 1
        if length == 0:
            continue
        first = _stream_id(tuple(specifier))
        if rid + length > _ID_SPACE or (first or 0) + length > _ID_SPACE:
            raise TreeError(
                "an entry of iommu-map runs past the last 32-bit ID",
                master.path,
                "iommu-map",
                "IDs below 2^32",
                f"rid {rid:#x}, ID {first or 0:#x}, length {length:#x}",
            )
        yield IdMap(iommu.path, RequesterId(rid), first, length)


def is_unfilled(tree: Tree, master: Node) -> bool:
    """Return whether the only entries of `iommu-map` have the length 0: the boot loader is to fill
    them in.
    """
    return bool(master.properties.get("iommu-map")) and _or(
        lambda: not id_maps(tree, master), False
    )


def map_intervals(entry: IdMap, mask: int | None) -> tuple[Interval, ...]:
    """Return the stream IDs that `entry` yields, as ascending intervals.

    Any RID r with rid-base <= (r & iommu-map-mask) < rid-base + length has the stream ID (r &
    iommu-map-mask) - rid-base + iommu-base (Linux, pci-iommu.txt binding).
    """
    if entry.id is None:
        return ()
    offset = entry.id - entry.rid
    rids = Interval(entry.rid, entry.rid + entry.length - 1)
    reachable = [rids] if mask is None else submask_intervals(mask, rids)
    return tuple(Interval(first + offset, last + offset) for first, last in reachable)


def _iommu(tree: Tree, master: Node, phandle: int, prop: str) -> tuple[Node, int]:
    iommu = tree.phandle_target(phandle, master, prop)
    if "#iommu-cells" not in iommu.properties:
        raise TreeError(
            f"{prop} refers to a node that is not an IOMMU",
            master.path,
            prop,
            "a node with #iommu-cells",
            iommu.path,
        )
    return iommu, iommu.number("#iommu-cells", 0)


def _is_legacy_map(numbers: tuple[int, ...]) -> bool:
    """Return whether a map to a 2-cell IOMMU was written with only one cell of iommu-base.

    Two boards have such maps. As in Linux (of_check_bad_map), their shape shows it: entries of 4
    cells, one phandle throughout, and every length 1.
    """
    return (
        len(numbers) % 4 == 0
        and len(set(numbers[1::4])) == 1
        and all(length == 1 for length in numbers[3::4])
    )


def _stream_id(specifier: tuple[int, ...]) -> StreamId | None:
    return StreamId(specifier[0]) if specifier else None


def _mask(iommu: Node, specifier: tuple[int, ...]) -> int | None:
    """Return the second cell; without one, `stream-match-mask` of the SMMU, which counts if it has
    at least 4 bytes (arm_smmu_dt_xlate_generic() and dt_property_read_u32(), Xen 4.17 to 4.21).
    """
    if len(specifier) != 1:
        return specifier[1] if specifier else None
    of_all = iommu.properties.get("stream-match-mask", b"")[:4]
    return int.from_bytes(of_all, "big") if len(of_all) == 4 else None


def _cut(master: Node, prop: str, width: int) -> TreeError:
    return TreeError(
        f"the last entry of {prop} is cut off", master.path, prop, f"{width} more cells", "the end"
    )


def inventory(tree: Tree) -> tuple[Inventory, tuple[TreeError, ...]]:
    """Return the inventory of `tree`, and the errors for which it is incomplete: it does not show
    whether IDs are shared.
    """
    addresses = address_map(tree)
    iommus: list[Iommu] = []
    masters: list[Master] = []
    faults: dict[str, TreeError] = {}
    errors: list[TreeError] = []
    pieces_left = _MAX_PIECES
    listed = mmu_masters(tree)
    for node in tree.nodes():
        properties = node.properties
        try:
            if "#iommu-cells" in properties or _MMU_MASTERS in properties:
                iommus.append(_iommu_at(tree, addresses, node, faults))
            is_listed = bool(listed) and node.path in listed
            if "iommus" in properties or "iommu-map" in properties or is_listed:
                master = _master(tree, addresses, node, listed.get(node.path), faults)
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
    names: tuple[str, ...] = _or(lambda: tree.root.string_list("model"), ())
    model = next(iter(names), None)
    return Inventory(model, tuple(iommus), tuple(masters), faults), tuple(errors)


def is_smmuv3(node: Node) -> bool:
    """Return whether the compatible of `node` has the SMMUv3: a host's, or a guest's vSMMU. The
    rest of its compatible is not checked.
    """
    return SMMUV3_COMPATIBLE.encode() in node.properties.get("compatible", b"").split(b"\0")


def masters_behind(inventory: Inventory) -> dict[str, list[Master]]:
    """Return the masters behind each IOMMU, by its path."""
    behind: dict[str, list[Master]] = {iommu.path: [] for iommu in inventory.iommus}
    for master in inventory.masters:
        for path in master.iommus:
            behind.setdefault(path, []).append(master)
    return behind


def stream_intervals(master: Master, iommu: str) -> Iterator[Interval]:
    """Yield the IDs that `master` has on `iommu` by its `iommus`."""
    for stream in master.streams:
        if stream.iommu == iommu and stream.id is not None:
            yield Interval(stream.id, stream.id)


def all_intervals(master: Master, iommu: str) -> Iterator[Interval]:
    """Yield the IDs that `master` has on `iommu`, by its `iommus` and by its `iommu-map`."""
    return (interval for path, interval in claimed(master) if path == iommu)


def claimed(master: Master) -> Iterator[tuple[str, Interval]]:
    """Yield each IOMMU and the IDs that `master` has on it, by its `iommus` and by its
    `iommu-map`.
    """
    for stream in master.streams:
        if stream.id is not None:
            yield stream.iommu, Interval(stream.id, stream.id)
    for entry in master.maps:
        for interval in map_intervals(entry, master.map_mask):
            yield entry.iommu, interval


def _iommu_at(tree: Tree, addresses: AddressMap, node: Node, faults: dict[str, TreeError]) -> Iommu:
    compatible = node.known_compatible
    # An SMMU with mmu-masters need not have the property, which then does not describe them.
    default = 1 if _MMU_MASTERS in node.properties else 0
    cells = 0
    regions: tuple[Region | None, ...] = ()
    try:
        cells = node.number("#iommu-cells", default)
        regions = addresses.regions(node)
    except TreeError as error:
        faults[node.path] = error
    first = regions[0] if regions else None
    return Iommu(
        path=node.path,
        compatible=compatible,
        base=first.base if first else None,
        size=first.size if first else None,
        cells=cells,
        status=_or(lambda: tree.status(node), "malformed"),
        supported=SMMUV3_COMPATIBLE in node.compatible_for_xen and cells == SMMUV3_CELLS,
    )


def _master(
    tree: Tree,
    addresses: AddressMap,
    node: Node,
    listed: tuple[Stream, ...] | None,
    faults: dict[str, TreeError],
) -> Master:
    mask = node.properties.get("iommu-map-mask")
    try:
        return Master(
            path=node.path,
            compatible=node.compatible,
            status=tree.status(node),
            regions=_translated(addresses.regions(node)),
            streams=streams(tree, node) if listed is None else listed,
            maps=id_maps(tree, node) if "iommu-map" in node.properties else (),
            map_mask=None if mask is None else node.number("iommu-map-mask", 0),
        )
    except TreeError as error:
        faults[node.path] = error
    entries = _before_fault(_streams(tree, node)) if listed is None else listed
    return Master(
        path=node.path,
        compatible=node.known_compatible,
        status=_or(lambda: tree.status(node), "okay"),
        regions=_translated(_or(lambda: addresses.regions(node), ())),
        streams=tuple(stream for stream in entries if stream),
        maps=tuple(_before_fault(_id_maps(tree, node))),
        # Without the mask, no ID of the map is left out.
        map_mask=int.from_bytes(mask, "big") if mask and len(mask) == 4 else None,
    )


def _or(read: Callable[[], T], default: T) -> T:
    """Return what `read` returns; for a malformed property, `default`."""
    try:
        return read()
    except TreeError:
        return default


def _before_fault(entries: Iterator[T]) -> list[T]:
    """Return the `entries` before the first malformed one."""
    found: list[T] = []
    with suppress(TreeError):
        # An error leaves the entries before it in the list.
        found.extend(entries)
    return found


def _translated(regions: tuple[Region | None, ...]) -> tuple[Region, ...]:
    # The same tuple if every region has an address: for thousands of regions, a copy takes a
    # megabyte.
    absolute = tuple(region for region in regions if region)
    return absolute if len(absolute) < len(regions) else cast("tuple[Region, ...]", regions)


def _pieces(master: Master, most: int) -> int:
    """Return the number of intervals into which its mask cuts the maps of `master`. Raises
    TooManyIntervals if there are more than `most`.
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
