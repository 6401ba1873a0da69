# SPDX-License-Identifier: Apache-2.0
"""A system: the guests of one host, by their sealed plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.hypervisor.assignment import Permission, Terms
from west_viommu.hypervisor.profile import Profile
from west_viommu.hypervisor.sweep import Mark
from west_viommu.plan.plan import Plan, PlanPermission
from west_viommu.tree.addresses import Region

if TYPE_CHECKING:
    from west_viommu.system.kernels import Kernel


class Load(NamedTuple):
    """The addresses at which the boot loader puts the files of a domain; None for a file without a
    chosen address.
    """

    kernel: int | None = None
    passthrough: int | None = None
    ramdisk: int | None = None


class Domain(NamedTuple):
    """A guest: its plan and further settings. `memory` in MiB; `bootargs`: the command line of its
    kernel; `where`: the place that names it; `places`: those of its settings, by their keys in
    system.yml.
    """

    name: str
    plan: Plan
    where: Where
    cpus: int = 1
    memory: int = 64
    has_vpl011: bool = False
    load: Load = Load()
    bootargs: str = ""
    places: Mapping[str, Where] = {}

    def place(self, key: str) -> Where:
        """Return the place of the setting `key`, or else of the domain."""
        return self.places.get(key, self.where)


class DomainFile(NamedTuple):
    """A file of a domain: its path from the system's folder, its size in bytes, and its sum."""

    file: str
    size: int
    sha256: str


class DomainFiles(NamedTuple):
    """The files of a domain: its viommu.json, its kernel and ramdisk, if there is one, a partial
    tree for each toolstack that can create it, and the kernel as Xen probes it (for a file that is
    no kernel, a description).
    """

    plan: DomainFile
    kernel: DomainFile | None
    trees: dict[str, DomainFile]
    ramdisk: DomainFile | None = None
    image: Kernel | str | None = None


class Dom0(NamedTuple):
    """The files of dom0, the command line of its kernel, and the place that names them."""

    kernel: DomainFile
    image: Kernel | str
    where: Where
    ramdisk: DomainFile | None = None
    bootargs: str = ""
    load: Load = Load()


class SystemTerms(NamedTuple):
    """The settings by which a system is judged: `permissions` are the `allow:` entries of
    system.yml; the others as in Terms.
    """

    profile: Profile
    has_dom0: bool = True
    permissions: tuple[Permission, ...] = ()
    xen_version: str | None = None
    has_hardware_domain: bool = False

    def of_domain(self, cpus: int = 1) -> Terms:
        """Return the terms of a domain with so many CPUs."""
        return Terms(
            self.profile,
            has_dom0=self.has_dom0,
            xen_version=self.xen_version,
            cpus=cpus,
            has_hardware_domain=self.has_hardware_domain,
        )


class Boot(NamedTuple):
    """The `domains` with the addresses of their files, dom0 with its own (None without a kernel of
    dom0), the regions of Xen and of xen.dtb (None if the RAM of the host is not known), and the
    problems.
    """

    domains: tuple[Domain, ...]
    dom0: Dom0 | None
    xen: Region | None
    tree: Region | None
    problems: tuple[Diagnostic, ...]


class Stays(NamedTuple):
    """A master that dom0 has: its path, and its stream IDs from `first` to `last`, by IOMMU."""

    host: str
    streams: tuple[tuple[str, int, int], ...]


class Unneeded(NamedTuple):
    """A permission of a domain's own plan that the whole system does not need."""

    domain: str
    permission: PlanPermission


class Judged(NamedTuple):
    """A system that was judged. If the `problems` have an error, nothing of it must be written.

    `marks`: the marks of host.overlay, for all domains; `owners`: by the path of each mark's
    device, the domain; `stays`: the masters that dom0 has; `used`: the permissions of system.yml
    that were needed.
    """

    domains: tuple[Domain, ...]
    terms: SystemTerms
    problems: tuple[Diagnostic, ...]
    marks: tuple[Mark, ...]
    owners: dict[str, str]
    stays: tuple[Stays, ...]
    used: tuple[Permission, ...]
    unneeded: tuple[Unneeded, ...]
    boot: Boot | None = None

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The problems that refuse the system."""
        return tuple(problem for problem in self.problems if not problem.warning)
