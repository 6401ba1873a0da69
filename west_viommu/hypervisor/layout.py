# SPDX-License-Identifier: Apache-2.0
"""The layout of a guest under one hypervisor: the addresses in use, and its memory."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from west_viommu.host.devices import Devices
from west_viommu.hypervisor.profile import GICS, Profile, Reserved
from west_viommu.hypervisor.roles import console
from west_viommu.names import DIRECT_MAP
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import GICV3

_VPL011 = "vpl011"
# The most virtual CPUs that Xen gives a guest (MAX_VIRT_CPUS).
_MOST_CPUS = 128


class Taken(NamedTuple):
    """A part of a guest's addresses that the hypervisor uses, and its name in messages. Without
    `is_used`, the guest's tree only announces it: a redistributor of a CPU that the guest does not
    have. `cpu_bytes`: the bytes of it for each virtual CPU; 0 if it does not depend on these.
    """

    name: str
    region: Region
    is_used: bool = True
    cpu_bytes: int = 0


def taken(
    profile: Profile, devices: Devices, domain: Collection[str], cpus: int = _MOST_CPUS
) -> Iterator[Taken]:
    """Yield the parts that the hypervisor of `profile` uses, except the vSMMU, for a guest with
    these features of the `domain` (names.DOMAIN) and `cpus` virtual CPUs.

    The GIC has the version of the host's (domain_vgic_init()); without a GIC on the host, any
    version. With direct-map, GIC and vpl011 are at the addresses of the host's own
    (domain_use_host_layout(), vgic_v3_domain_init(), domain_vpl011_init()), and no grant table is
    announced to a guest that does not request Xen's interfaces.
    """
    for reserved in profile.reserved:
        if not applies(reserved.when, devices, domain):
            continue
        name = f"the {reserved.name} of {profile.name}"
        if DIRECT_MAP in domain and reserved.when in ("always", *GICS, _VPL011):
            continue
        if not profile.redistributor_bytes or not _is_of_redistributors(reserved):
            yield Taken(name, reserved.region)
            continue
        base, size = reserved.region
        used = min(cpus * profile.redistributor_bytes, size)
        per_cpu = profile.redistributor_bytes
        yield Taken(name, Region(base, used), cpu_bytes=per_cpu)
        if used < size:
            yield Taken(name, Region(base + used, size - used), is_used=False, cpu_bytes=per_cpu)
    if DIRECT_MAP in domain:
        yield from _of_host(devices, domain)


def windows(
    profile: Profile, devices: Devices, domain: Collection[str]
) -> Iterator[tuple[Region, int]]:
    """Yield the windows of which the use depends on the virtual CPUs, and the bytes for each of
    these.
    """
    if DIRECT_MAP not in domain and profile.redistributor_bytes:
        for reserved in profile.reserved:
            if _is_of_redistributors(reserved) and applies(reserved.when, devices, domain):
                yield reserved.region, profile.redistributor_bytes


def applies(when: str, devices: Devices, domain: Collection[str]) -> bool:
    """Return whether the condition `when` of a profile is met."""
    if when in GICS:
        gic = devices.index.gic
        return gic is None or (GICV3 in gic.compatible_for_xen) is (when == "gicv3")
    return when == "always" or when in domain


def banks(profile: Profile, domain: Collection[str]) -> tuple[Region, ...]:
    """Return the banks of the guest's memory in the order in which they are filled; () if they are
    not known: with direct-map, they are at the host addresses in the domain's node.
    """
    return () if DIRECT_MAP in domain else profile.ram


def _is_of_redistributors(reserved: Reserved) -> bool:
    return reserved.when == "gicv3" and "redistributor" in reserved.name.lower()


def _of_host(devices: Devices, domain: Collection[str]) -> Iterator[Taken]:
    gic = devices.index.gic
    for region in devices.index.regions(gic) if gic else ():
        if region and region.size:
            yield Taken("the GIC, which has the host's addresses with direct-map", region)
    path = console(devices.tree) if _VPL011 in domain else None
    node = devices.tree.node(path) if path else None
    regions = devices.index.regions(node) if node else ()
    if regions and regions[0]:
        yield Taken("the vpl011, which has the console's address with direct-map", regions[0])
