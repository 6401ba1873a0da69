# SPDX-License-Identifier: Apache-2.0
"""NAME.cfg: the whole configuration of a domain of a system, for `xl create`."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.hypervisor.profile import PLACES, Profile
from west_viommu.names import SYSTEM_FIRST_LINE
from west_viommu.system.records import Domain, DomainFiles
from west_viommu.write.xl_cfg import listed, page_range, quoted


def xl_domain(domain: Domain, made_of: DomainFiles, profile: Profile) -> str:
    """The text (xl.cfg(5)). Its paths are those of system.json."""
    return "".join(f"{line}\n" for line in _lines(domain, made_of, profile))


def _lines(domain: Domain, made_of: DomainFiles, profile: Profile) -> Iterator[str]:
    devices = domain.plan.devices
    yield SYSTEM_FIRST_LINE
    yield "# Paths are relative: start xl where they lead to the files, or write others."
    yield f"name = {quoted(domain.name)}"
    if made_of.kernel:
        yield f"kernel = {quoted(made_of.kernel.file)}"
    yield f"memory = {domain.memory}"
    yield f"vcpus = {domain.cpus}"
    if domain.has_vpl011:
        yield 'vuart = "sbsa_uart"'
    yield f"device_tree = {quoted(made_of.trees['libxl'].file)}"
    yield listed("dtdev", [quoted(each.host) for each in devices if each.is_protected])
    yield listed("irqs", list(map(str, domain.plan.intids)))
    yield "# Pages of the host, their number, and where the guest sees them, in hexadecimal."
    yield listed("iomem", list(map(page_range, domain.plan.pages)))
    for switch in profile.switches_for("libxl") if domain.plan.viommu else ():
        if switch.place == "xl.cfg":
            yield switch.text
        else:
            yield f"# and {PLACES[switch.place]}: {switch.text}"
