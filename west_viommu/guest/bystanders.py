# SPDX-License-Identifier: Apache-2.0
"""What of the guest's tree is not asked for, and what a request has to fit beside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from west_viommu.guest.gic import Gic, guest_interrupts
from west_viommu.guest.source import GuestTree, is_below_passthrough
from west_viommu.host.intervals import Spans
from west_viommu.tree.addresses import AddressMap, Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node


def unrouted(guest: GuestTree, gic: Gic, asking: Mapping[str, Sequence[Intid]]) -> Iterator[str]:
    """Nodes below /passthrough with interrupts on the GIC that no request at or above them has.
    `asking`: the INTIDs of each request, by its path.
    """
    intids_of = {path: frozenset(intids) for path, intids in asking.items()}
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path) and node.path not in asking:
            try:
                own = {interrupt.intid for interrupt in guest_interrupts(guest, gic, node)}
            except TreeError:
                # What is malformed counts where somebody asks for it.
                continue
            for ancestor in guest.tree.lineage(node):
                # Not in place: that may go through all of the other.
                own = own - intids_of.get(ancestor.path, frozenset())
            if own:
                yield node.path


def unasked(
    guest: GuestTree,
    addresses: AddressMap,
    asking: Mapping[str, Sequence[Region]],
    disabled: Collection[str],
) -> Iterator[str]:
    """Nodes with registers at an address of the guest that no request at or above them has, and
    that nobody `disabled`. `asking`: the regions of each request, by its path.
    """
    spans_of = {
        path: Spans((*region.ends, None) for region in regions) for path, regions in asking.items()
    }
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path) and "reg" in node.properties:
            try:
                regions = [region for region in addresses.regions(node) if region]
            except TreeError:
                # A malformed reg counts where somebody asks for the node.
                continue
            above = [ancestor.path for ancestor in guest.tree.lineage(node)]
            mapped = [spans_of[path] for path in above if path in spans_of]
            is_mapped = all(
                any(spans.has_around(*region.ends) for spans in mapped) for region in regions
            )
            if not is_mapped and not any(path in disabled for path in above):
                yield node.path


def occupied(guest: GuestTree, addresses: AddressMap) -> Iterator[tuple[Node, Region | TreeError]]:
    """Every enabled node with registers or memory at an address of the guest, and each of its
    regions; for memory whose reg is malformed, why. That of a device counts where it is asked for.
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
