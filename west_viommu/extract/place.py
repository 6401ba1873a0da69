# SPDX-License-Identifier: Apache-2.0
"""A copied node at other addresses than the host's: reg, xen,reg and ranges."""

from collections.abc import Collection, Mapping, Sequence
from struct import iter_unpack, pack

from west_viommu.extract.copy import Copied, Property
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.pages import in_force, in_pages, moved
from west_viommu.hypervisor.profile import Profile
from west_viommu.tree.addresses import Region


def placed(
    copies: Sequence[Copied],
    devices: Devices,
    profile: Profile,
    domain: Collection[str],
    memory: int = 0,
) -> list[Copied]:
    """Return `copies` of host nodes at free guest addresses, which neither the hypervisor of
    `profile` nor the guest's `domain` (names.DOMAIN) uses, nor `memory` bytes of RAM.
    """
    nodes = (devices.tree.node(copy.host) for copy in copies)
    regions = [
        region
        for node in nodes
        if node
        for region in devices.index.regions(node)
        if region and region.size
    ]
    places = moved(regions, profile, in_force(profile, devices, domain), memory)
    return [at_places(copy, places) for copy in copies]


def at_places(node: Copied, places: Mapping[Region, Region]) -> Copied:
    """Return `node` with the regions in `places` moved to their guest addresses, and with xen,reg
    for all of its regions; unchanged if no region moves.
    """
    reg = next((prop for prop in node.properties if prop.name == "reg"), None)
    hosts = [Region(*row) for row in iter_unpack(">QQ", reg.value)] if reg else []
    if not any(host in places for host in hosts):
        return node
    guests = [places.get(host, host) for host in hosts]
    # Two registers may share a page: Xen maps it once.
    pages = dict.fromkeys(
        (in_pages(host), in_pages(guest)) for host, guest in zip(hosts, guests, strict=True)
    )
    triples = b"".join(pack(">QQQ", *host, guest.base) for host, guest in pages)
    changed = {
        "reg": b"".join(pack(">QQ", *guest) for guest in guests),
        "ranges": _ranges(node, places),
    }
    properties = []
    for prop in node.properties:
        value = changed.get(prop.name)
        properties.append(prop if value is None else prop._replace(value=value))
        if prop.name == "reg":
            properties.append(Property("xen,reg", triples))
    moves = [
        f"{host} of the host is {guest} here: the guest has something else at its own address"
        for host, guest in zip(hosts, guests, strict=True)
        if host != guest
    ]
    stem = node.name.partition("@")[0]
    return node._replace(
        name=f"{stem}@{guests[0].base:x}",
        properties=tuple(properties),
        remarks=(*node.remarks, *moves),
    )


def _ranges(node: Copied, places: Mapping[Region, Region]) -> bytes | None:
    """Return `ranges` with the windows into moved regions moved as well; None without such."""
    named = {prop.name: prop.value for prop in node.properties}
    value = named.get("ranges")
    if not value:
        return None
    address = int.from_bytes(named.get("#address-cells", pack(">I", 2)), "big")
    size = int.from_bytes(named.get("#size-cells", pack(">I", 1)), "big")
    width = 4 * (address + 2 + size)
    rows = []
    for at in range(0, len(value), width):
        row = value[at : at + width]
        base = int.from_bytes(row[4 * address : 4 * address + 8], "big")
        for host, guest in places.items():
            if host.contains(base):
                base += guest.base - host.base
                break
        rows.append(row[: 4 * address] + pack(">Q", base) + row[4 * address + 8 :])
    return b"".join(rows)
