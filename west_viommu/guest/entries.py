# SPDX-License-Identifier: Apache-2.0
"""The stream IDs of a request: in `iommus`, or as Lopper writes them."""

from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.guest.source import BASE, GuestTree
from west_viommu.host.inventory import StreamId, is_smmuv3
from west_viommu.tree.cells import TreeError, cells, counted
from west_viommu.tree.node import Node, Phandle

# "Not bound yet": 0x0 by the xen-devel thread of 2022, 0xfdea (GUEST_PHANDLE_VSMMUV3) by its
# first proposal.
VSMMU_PHANDLE = Phandle(0xFDEA)
PLACEHOLDERS = frozenset({Phandle(0), VSMMU_PHANDLE})
# Lopper's extract-xen writes the IDs of the host's `iommus` there; Xen reads no such property.
STREAM_IDS = "xen,smmu-stream-ids"


class Entry(NamedTuple):
    """One pair of a guest's `iommus`. `phandle`: the number in the source; None if the entry is
    bound already, as it refers to the guest's vSMMU by label. `prop`: the property that has the
    pair.
    """

    phandle: Phandle | None
    id: StreamId
    prop: str = "iommus"


def entries(guest: GuestTree, node: Node) -> tuple[tuple[Entry, ...], TreeError | None]:
    """Return the pairs of `iommus`, then the IDs of xen,smmu-stream-ids that are not among them;
    and the error if one of the two properties is malformed. A malformed property gives no pairs.
    """
    pairs: list[Entry] = []
    wrong = None
    try:
        pairs = list(_of_iommus(guest, node))
    except TreeError as error:
        wrong = error
    listed = {entry.id for entry in pairs}
    try:
        numbers = cells(node.properties.get(STREAM_IDS, b""), node.path, STREAM_IDS)
    except TreeError as error:
        return tuple(pairs), wrong or error
    others = [StreamId(number) for number in numbers if number not in listed]
    return (*pairs, *(Entry(Phandle(0), number, STREAM_IDS) for number in others)), wrong


def _of_iommus(guest: GuestTree, node: Node) -> Iterator[Entry]:
    """Yield the pairs of `iommus`: placeholder or reference, and stream ID. Raises TreeError."""
    if "iommus" not in node.properties:
        return
    numbers = cells(node.properties["iommus"], node.path, "iommus")
    if not numbers or len(numbers) % 2:
        raise TreeError(
            "iommus is not a list of pairs",
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
        elif (node_meant := guest.tree.node(target)) and is_smmuv3(node_meant):
            yield Entry(None, stream_id)
        else:
            label = target.removeprefix(f"{BASE}/")
            raise TreeError(
                f"iommus refers to &{label}, a label that the guest tree does not have"
                if target.startswith(BASE)
                else "iommus refers to a node that is not a vSMMU",
                node.path,
                "iommus",
                "0x0 in place of the host's SMMU",
                f"&{label}",
            )
