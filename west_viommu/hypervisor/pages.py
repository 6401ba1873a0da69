# SPDX-License-Identifier: Apache-2.0
"""What Xen maps for a device: whole pages, and who else is on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from west_viommu.guest.regions import Mapped
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Device, Devices
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.slots import Slots

# What Xen maps at least (docs/misc/arm/passthrough.txt: all addresses 4 KiB aligned).
PAGE = 4096


def in_pages(region: Region) -> Region:
    """The whole pages that `region` touches."""
    first = region.base // PAGE * PAGE
    return Region(first, -(-(region.base + region.size) // PAGE) * PAGE - first)


def overlap(one: Region, other: Region) -> bool:
    """Whether the two have an address in common."""
    return one.base < other.base + other.size and other.base < one.base + one.size


def is_related(path: str, other: str) -> bool:
    """Whether one of the two nodes is the other, or above it."""
    return f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")


def mapped_pages(request: Request) -> tuple[Mapped, ...]:
    """What `xen,reg` must say for `request`: each of its regions in whole pages, those that touch
    joined. Regions at different offsets into a page on both sides are left as they are: the
    hazards refuse them.
    """
    pairs = request.mapped or [
        Mapped(pair.host, pair.guest) for pair in request.regions if pair.host
    ]
    result: list[Mapped] = []
    for host, guest in sorted(Mapped(in_pages(host), in_pages(guest)) for host, guest in pairs):
        if result and host.base <= result[-1].host.base + result[-1].host.size:
            last_host, last_guest = result[-1]
            if host.base - last_host.base == guest.base - last_guest.base:
                end = max(last_host.base + last_host.size, host.base + host.size)
                size = end - last_host.base
                result[-1] = Mapped(Region(last_host.base, size), Region(last_guest.base, size))
                continue
        result.append(Mapped(host, guest))
    return tuple(result)


def neighbours(
    device: Device, mapped: Iterable[Mapped], devices: Devices
) -> Iterator[tuple[Node, Region]]:
    """The other nodes of the host that have a region on the pages of `device`, as far as those are
    `mapped`, each once: none above or below it, no memory.
    """
    own = Slots((in_pages(region), None) for region in device.regions if region)
    pages = [
        each.host
        for each in mapped
        if any(overlap(each.host, region) for region, _ in own.near(each.host))
    ]
    seen = set()
    for page in pages:
        for node, region in devices.overlapping(page):
            is_new = node.path not in seen
            if is_new and not is_related(node.path, device.path) and not _is_memory(node):
                seen.add(node.path)
                yield node, region


def status_of(tree: Tree, node: Node) -> str:
    """The status of a neighbour. A malformed one is taken for the worst: enabled."""
    try:
        return tree.status(node)
    except TreeError:
        return "okay"


def _is_memory(node: Node) -> bool:
    kind = node.properties.get("device_type", b"")
    return kind.startswith(b"memory") or node.path.startswith("/reserved-memory/")


def is_shared_block(node: Node) -> bool:
    """Whether `node` is a block of registers for several drivers by its nature (syscon, mfd)."""
    try:
        return not {"syscon", "simple-mfd"}.isdisjoint(node.compatible)
    except TreeError:
        return False
