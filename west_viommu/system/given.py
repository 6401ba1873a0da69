# SPDX-License-Identifier: Apache-2.0
"""What a domain is given beside its devices, and whether those leave room for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from west_viommu.diagnostics import Diagnostic
from west_viommu.host.intervals import meetings
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.profile import Profile
from west_viommu.system.records import Domain

_VPL011 = "vpl011"
_BIND = "write domain: [vpl011] into its viommu.yml and bind it again"


def given(domains: Sequence[Domain], profile: Profile) -> Iterator[Diagnostic]:
    """What is wrong with memory and console of each domain."""
    for domain in domains:
        yield from _memory(domain)
        if domain.has_vpl011 and _VPL011 not in domain.plan.domain:
            yield from _vpl011(domain, profile)


def _memory(domain: Domain) -> Iterator[Diagnostic]:
    """Xen panics over a device in the domain's memory ("Unable to copy the DTB", booted)."""
    limit = domain.plan.memory_limit
    if limit is not None and domain.memory << 20 > limit:
        yield Diagnostic(
            id="guest-overlap",
            what=f"a device of {domain.name} is mapped where its memory would be",
            hint="give it less memory, or map the device elsewhere (xen,reg)",
            expected=f"at most {limit >> 20} MiB",
            found=f"{domain.memory} MiB",
            where=domain.where,
        )


def _vpl011(domain: Domain, profile: Profile) -> Iterator[Diagnostic]:
    """The plan did not know of the emulated UART: its place and its interrupt must be free."""
    places = [reserved for reserved in profile.reserved if reserved.when == _VPL011]
    pages = [
        (*in_pages(page.in_guest).ends, node)
        for node, own in [
            *((device.node, device.pages) for device in domain.plan.devices),
            *((raw.node, raw.regions) for raw in domain.plan.raw),
        ]
        for page in own
    ]
    taken = [(*place.region.ends, place.region) for place in places]
    for node, region, _, _ in meetings(pages, taken):
        yield Diagnostic(
            id="guest-overlap",
            what=f"the vpl011 of {domain.name} is where its device is",
            hint=f"leave one of the two out: {_BIND} to see all that is in its way",
            node=f"{domain.name}:{node}",
            expected="addresses of one thing alone",
            found=str(region),
            where=domain.where,
        )
    lines = [reserved for reserved in profile.reserved_interrupts if reserved.when == _VPL011]
    for device in domain.plan.devices:
        for intid in device.intids:
            if any(line.first <= intid <= line.last for line in lines):
                yield Diagnostic(
                    id="interrupt-clash",
                    what=f"the vpl011 of {domain.name} has the interrupt of its device",
                    hint=f"leave one of the two out: {_BIND} to see all that is in its way",
                    node=f"{domain.name}:{device.node}",
                    expected="an interrupt of this device alone",
                    found=f"INTID {intid}",
                    where=domain.where,
                )
