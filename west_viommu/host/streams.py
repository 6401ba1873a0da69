# SPDX-License-Identifier: Apache-2.0
"""`iommus` and `iommu-map` of a master, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NewType

from west_viommu.host.intervals import Interval, submask_intervals
from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.node import NO_PHANDLES, Node, Tree

StreamId = NewType("StreamId", int)
RequesterId = NewType("RequesterId", int)

_ID_SPACE = 1 << 32
_NULLS = tuple(phandle.to_bytes(4, "big") for phandle in NO_PHANDLES)


class Stream(NamedTuple):
    """One entry of `iommus`: `id` is its first specifier cell. `mask`: the bits of it that do not
    count, by a second cell or for all of the IOMMU; None where nobody says.
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


def streams(tree: Tree, master: Node) -> tuple[Stream, ...]:
    """The entries of `iommus`: each a phandle and as many cells as that IOMMU's #iommu-cells.

    (Linux, iommu.txt binding.) An entry whose phandle says "none" is one cell, and left out.
    """
    return tuple(stream for stream in _streams(tree, master) if stream)


def first_null_entry(tree: Tree, master: Node) -> int | None:
    """How many entries of `iommus` stand before the first whose phandle says "none"; None without
    one. Raises TreeError as `streams` does.
    """
    if not any(null in master.properties.get("iommus", b"") for null in _NULLS):
        return None
    entries = list(_streams(tree, master))
    return entries.index(None) if None in entries else None


def _streams(tree: Tree, master: Node) -> Iterator[Stream | None]:
    """The entries of `iommus`; None for one that says "none"."""
    numbers = cells(master.properties.get("iommus", b""), master.path, "iommus")
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


def id_maps(tree: Tree, master: Node) -> tuple[IdMap, ...]:
    """The entries of `iommu-map`, those of length 0 (filled in by a bootloader) left out.

    An entry is rid-base, phandle, #iommu-cells cells of iommu-base, length (Linux,
    pci-iommu.txt binding).
    """
    numbers = cells(master.properties.get("iommu-map", b""), master.path, "iommu-map")
    legacy = _is_legacy_map(numbers)
    entries = []
    at = 0
    while at < len(numbers):
        if at + 2 > len(numbers):
            raise _cut(master, "iommu-map", 2)
        rid, phandle = numbers[at : at + 2]
        at += 2
        if phandle in NO_PHANDLES:
            # What is to come has the width of an IOMMU that is not there; Linux and the
            # binding's examples know one cell.
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
        entries.append(IdMap(iommu.path, RequesterId(rid), first, length))
    return tuple(entries)


def map_intervals(entry: IdMap, mask: int | None) -> tuple[Interval, ...]:
    """The stream IDs that `entry` gives out, as ascending intervals.

    Any RID r with rid-base <= (r & iommu-map-mask) < rid-base + length has the stream ID
    (r & iommu-map-mask) - rid-base + iommu-base (Linux, pci-iommu.txt binding).
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
    """Whether a map to a 2-cell IOMMU was written with one cell of iommu-base all the same.

    Two boards have such maps. As in Linux (of_check_bad_map), they are told by their shape:
    entries of 4 cells, one phandle throughout, and every length 1.
    """
    return (
        len(numbers) % 4 == 0
        and len(set(numbers[1::4])) == 1
        and all(length == 1 for length in numbers[3::4])
    )


def _stream_id(specifier: tuple[int, ...]) -> StreamId | None:
    return StreamId(specifier[0]) if specifier else None


def _mask(iommu: Node, specifier: tuple[int, ...]) -> int | None:
    """The second cell; where there is none, `stream-match-mask` of the SMMU, which counts from 4
    bytes on (arm_smmu_dt_xlate_generic() and dt_property_read_u32(), Xen 4.17 to 4.21).
    """
    if len(specifier) != 1:
        return specifier[1] if specifier else None
    of_all = iommu.properties.get("stream-match-mask", b"")[:4]
    return int.from_bytes(of_all, "big") if len(of_all) == 4 else None


def _cut(master: Node, prop: str, width: int) -> TreeError:
    return TreeError(
        f"the last entry of {prop} is cut off", master.path, prop, f"{width} more cells", "the end"
    )
