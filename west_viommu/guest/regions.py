# SPDX-License-Identifier: Apache-2.0
"""`reg` and `xen,reg` of a request: which host memory the guest is to see, and where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.tree.addresses import AddressMap, Range, Region, Windows, bus_cells
from west_viommu.tree.cells import TreeError, joined, rows
from west_viommu.tree.node import Node


class RegionPair(NamedTuple):
    """A guest region, and the host region that is to appear there; None if xen,reg maps none."""

    guest: Region
    host: Region | None


class Mapped(NamedTuple):
    """A triple of `xen,reg`: host memory, and where the guest is to see it."""

    host: Region
    guest: Region


def one_where_touching(mapped: Iterable[Mapped]) -> tuple[Mapped, ...]:
    """What is `mapped`, in the order of the host; what touches on both sides is one."""
    one: list[Mapped] = []
    for this in sorted(mapped, key=lambda pair: (pair.host.base - pair.guest.base, pair)):
        host, guest = this
        if one:
            last = one[-1]
            is_along = host.base - last.host.base == guest.base - last.guest.base
            if is_along and host.base <= last.host.end:
                size = max(last.host.end, host.end) - last.host.base
                one[-1] = Mapped(Region(last.host.base, size), Region(last.guest.base, size))
                continue
        one.append(this)
    return tuple(sorted(one))


def region_pairs(
    guest: GuestTree, addresses: AddressMap, node: Node, mapped: tuple[Mapped, ...]
) -> tuple[RegionPair, ...]:
    """Each `reg` entry of `node` and the host region it stands for: the same address, unless
    xen,reg says otherwise.
    """
    bus = guest.tree.parent(node)
    if "reg" in node.properties and bus and bus_cells(bus)[1] == 0:
        raise TreeError(
            "reg has no size", node.path, "reg", "a bus with #size-cells", f"{bus.path} with 0"
        )
    windows = Windows(
        Range(child=there.base, parent=host.base, size=host.size)
        for host, there in one_where_touching(mapped)
    )
    pairs = []
    for region in addresses.regions(node):
        if region is None:
            raise TreeError(
                "reg has no address in the guest",
                node.path,
                "reg",
                f"`ranges;` in {PASSTHROUGH} and in every bus below it",
                "a region that does not translate",
            )
        pairs.append(RegionPair(region, _host_region(region, windows) if mapped else region))
    return tuple(pairs)


def _host_region(region: Region, windows: Windows) -> Region | None:
    """What xen,reg maps to the guest's `region`; None where it maps nothing or not all of it."""
    window = windows.around(region.base, region.size)
    return Region(window.parent + region.base - window.child, region.size) if window else None


def xen_reg(guest: GuestTree, node: Node) -> tuple[Mapped, ...]:
    """`xen,reg`: <host-address size guest-address> triples, in the cells of the parent (Xen,
    docs/misc/arm/passthrough.txt).
    """
    address, size = bus_cells(guest.tree.parent(node) or guest.tree.root)
    triples = rows(
        node.properties.get("xen,reg", b""),
        2 * address + size,
        node.path,
        "xen,reg",
        "xen,reg is not a list of triples",
        f"<host size guest> in {address} + {size} + {address} cells",
    )
    mapped = tuple(
        Mapped(
            host=Region(joined(triple[:address]), joined(triple[address : address + size])),
            guest=Region(
                joined(triple[address + size :]), joined(triple[address : address + size])
            ),
        )
        for triple in triples
    )
    if any(host.size == 0 for host, _ in mapped):
        raise TreeError("xen,reg maps nothing", node.path, "xen,reg", "a size", "0")
    return mapped
