# SPDX-License-Identifier: Apache-2.0
"""The addresses of a guest: those that its hypervisor uses, free ones for its devices, and the
whole pages that Xen maps.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Mapping, Sequence

from west_viommu.guest.regions import Mapped, one_where_touching
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.layout import taken
from west_viommu.hypervisor.profile import Profile
from west_viommu.tree.addresses import Region

# The unit of Xen's mappings (docs/misc/arm/passthrough.txt: all addresses 4 KiB aligned).
PAGE = 4096


def in_pages(region: Region) -> Region:
    """Return the whole pages that `region` touches."""
    first = region.base // PAGE * PAGE
    return Region(first, -(-region.end // PAGE) * PAGE - first)


def whole_pages(mapped: Mapped) -> Mapped:
    """Return `mapped` in whole pages on both sides."""
    return Mapped(in_pages(mapped.host), in_pages(mapped.guest))


def widest(cells: tuple[int, int]) -> int:
    """Return the number of bytes from address 0 on that one entry of `ranges` can map to
    themselves, in whole pages, on a bus with `cells` cells of address and size.
    """
    return (1 << 32 * min(*cells, 2)) - PAGE


def mapped_pages(request: Request) -> tuple[Mapped, ...]:
    """Return the mappings of `xen,reg` for `request`: each of its regions in whole pages, adjacent
    ones joined. Regions at different offsets into a page on the two sides are unchanged: the
    hazards refuse them. A region without a size maps nothing: xl could not pass it on (EINVAL of
    XEN_DOMCTL_iomem_permission), and Xen would permit the page before.
    """
    pairs = request.mapped or [
        Mapped(pair.host, pair.guest) for pair in request.regions if pair.host and pair.host.size
    ]
    return one_where_touching(map(whole_pages, pairs))


# Above the GIC and the vSMMU of every guest of Xen to date.
_FIRST = 0x5000000
# The end of an IPMMU's addresses (ipmmu_context_init() of Xen, 40 bits).
_END = 1 << 40
# Large regions begin at a multiple of this, so that Xen maps them by blocks of 2 MiB.
_BLOCK = 2 << 20


def in_force(profile: Profile, devices: Devices, domain: Collection[str]) -> list[Region]:
    """Return the regions that the hypervisor of `profile` uses, or announces, for a guest with
    these features of the `domain` (names.DOMAIN), with the vSMMU.
    """
    regions = [each.region for each in taken(profile, devices, domain)]
    return [*regions, profile.viommu.region] if profile.viommu else regions


def moved(
    regions: Sequence[Region], profile: Profile, used: Sequence[Region], memory: int
) -> dict[Region, Region]:
    """Return the guest's region for each of the host's `regions` that cannot have its own address:
    those that overlap a `used` region, or `memory` bytes of the guest's RAM.

    A free place has the same offset in its page, and lies outside all regions that the hypervisor
    may use for any guest. A region that fits nowhere is left out.
    """
    ram = list(_ram(profile, memory))
    wrong = {
        region: None
        for region in regions
        if any(in_pages(region).overlaps(other) for other in (*used, *ram)) or region.end > _END
    }
    own = [*used, *profile.ram, *(in_pages(region) for region in regions if region not in wrong)]
    # Prefer a place that no guest uses to one that only this guest does not use.
    free_of = (sorted([*own, *(reserved.region for reserved in profile.reserved)]), sorted(own))
    places: dict[Region, Region] = {}
    for region in wrong:
        chosen = next(filter(None, (_free(region, each) for each in free_of)), None)
        if chosen:
            places[region] = chosen
            for each in free_of:
                insort(each, in_pages(chosen))
    return places


def _ram(profile: Profile, memory: int) -> Iterable[Region]:
    """Yield the parts of the banks that `memory` bytes fill; of the first bank at least a page."""
    for bank in profile.ram:
        size = min(bank.size, max(memory, PAGE if bank is profile.ram[0] else 0))
        if size:
            yield Region(bank.base, size)
        memory -= size


def _free(region: Region, used: Sequence[Region]) -> Region | None:
    """Return the lowest region of that size that overlaps none of those `used`, in their order."""
    offset = region.base % PAGE
    pages = in_pages(Region(offset, region.size)).size
    step = min(_BLOCK, 1 << max(pages - 1, PAGE - 1).bit_length())
    at = _FIRST
    for other in used:
        if at + pages <= other.base:
            break
        at = max(at, -(-other.end // step) * step)
    return Region(at + offset, region.size) if at + pages <= _END else None


def guest_regions(
    regions: Iterable[Region], places: Mapping[Region, Region]
) -> list[tuple[Region, Region]]:
    """Return each of the host's `regions` with the guest's."""
    return [(region, places.get(region, region)) for region in regions]
