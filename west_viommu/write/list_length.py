# SPDX-License-Identifier: Apache-2.0
"""How long the list of a host gets: a few bytes of `iommus` can stand for a path of any length."""

from __future__ import annotations

from west_viommu.host.collisions import Meeting, Selection
from west_viommu.host.inventory import Master
from west_viommu.tree.node import Node, Tree

# Of hosts with 20,000 devices, what is counted here is less.
_SHORT = 1 << 20
_TIMES = 16
# What a node or a property of a blob takes beside its name and value.
_HEAD = 12


def is_endless(selected: Selection, tree: Tree) -> bool:
    """Whether what is listed more than once comes to many times the size of the host `tree`."""
    length = sum(_of_master(master, tree) for master in selected.inventory.masters)
    length += sum(map(_of_meeting, selected.collisions))
    length += sum(_of_meeting(meeting) for _, meeting in selected.shared)
    return length > _SHORT and length > _TIMES * sum(map(_size, tree.nodes()))


def _of_master(master: Master, tree: Tree) -> int:
    """The characters of paths, and of what each IOMMU's row repeats."""
    length = len(master.path)
    if len(master.iommus) > 1:
        node = tree.node(master.path)
        length = (length + (_size(node) if node else 0)) * len(master.iommus)
    length += sum(len(stream.iommu) for stream in master.streams)
    return length + sum(len(entry.iommu) for entry in master.maps)


def _of_meeting(meeting: Meeting) -> int:
    return sum(map(len, meeting.paths))


def _size(node: Node) -> int:
    """What `node` takes in a blob, without its children."""
    of_properties = sum(_HEAD + len(value) for value in node.properties.values())
    return _HEAD + len(node.name) + of_properties
