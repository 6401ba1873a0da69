# SPDX-License-Identifier: Apache-2.0
"""What Xen maps for a device: whole pages."""

from __future__ import annotations

from west_viommu.guest.regions import Mapped, one_where_touching
from west_viommu.guest.requests import Request
from west_viommu.tree.addresses import Region

# What Xen maps at least (docs/misc/arm/passthrough.txt: all addresses 4 KiB aligned).
PAGE = 4096


def in_pages(region: Region) -> Region:
    """The whole pages that `region` touches."""
    first = region.base // PAGE * PAGE
    return Region(first, -(-region.end // PAGE) * PAGE - first)


def whole_pages(mapped: Mapped) -> Mapped:
    """`mapped` in whole pages on both sides."""
    return Mapped(in_pages(mapped.host), in_pages(mapped.guest))


def widest(cells: tuple[int, int]) -> int:
    """How many bytes from address 0 on one entry of `ranges` can map to themselves, in whole pages,
    on a bus with so many cells of address and size.
    """
    return (1 << 32 * min(*cells, 2)) - PAGE


def mapped_pages(request: Request) -> tuple[Mapped, ...]:
    """What `xen,reg` must say for `request`: each of its regions in whole pages, those that touch
    joined. Regions at different offsets into a page on both sides are left as they are: the
    hazards refuse them. One without a size maps nothing: xl could not hand it on
    (XEN_DOMCTL_iomem_permission says EINVAL), and Xen would permit the page before.
    """
    pairs = request.mapped or [
        Mapped(pair.host, pair.guest) for pair in request.regions if pair.host and pair.host.size
    ]
    return one_where_touching(map(whole_pages, pairs))
