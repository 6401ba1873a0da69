# SPDX-License-Identifier: Apache-2.0
"""A system: the guests of one host, by their sealed plans."""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.hypervisor.assignment import Permission
from west_viommu.hypervisor.marks import Mark
from west_viommu.hypervisor.profile import Profile
from west_viommu.plan.sealed import SealedPermission, SealedPlan


class Load(NamedTuple):
    """Where the boot loader puts what a domain is made of."""

    kernel: int
    passthrough: int


class Domain(NamedTuple):
    """A guest: its plan, and what it is given besides. `memory` in MiB; `load` is None where
    nobody says it; `where`: what names it.
    """

    name: str
    plan: SealedPlan
    where: Where
    cpus: int = 1
    memory: int = 64
    has_vpl011: bool = False
    load: Load | None = None


class DomainFile(NamedTuple):
    """A file that a domain is made of: its path from the system's folder on, its size in bytes, and
    its sum.
    """

    file: str
    size: int
    sha256: str


class DomainFiles(NamedTuple):
    """What a domain is made of: its viommu.json, its kernel, where there is one, and a partial tree
    for each toolstack that can create it.
    """

    plan: DomainFile
    kernel: DomainFile | None
    trees: dict[str, DomainFile]


class SystemTerms(NamedTuple):
    """On what a system is judged: `permissions` are the `allow:` entries of system.yml."""

    profile: Profile
    has_dom0: bool = True
    permissions: tuple[Permission, ...] = ()


class Stays(NamedTuple):
    """A master that dom0 has: its path, and its stream IDs from `first` to `last`, by IOMMU."""

    host: str
    streams: tuple[tuple[str, int, int], ...]


class Unneeded(NamedTuple):
    """A permission of a domain's own plan that nothing needs where this system is whole."""

    domain: str
    permission: SealedPermission


class Judged(NamedTuple):
    """A system that was judged. With an error among the `problems`, nothing of it must be written.

    `marks`: what host.overlay says, for all domains; `owners`: by the path of each mark's device,
    the domain; `stays`: the masters that dom0 has; `used`: the permissions of system.yml that were
    needed.
    """

    domains: tuple[Domain, ...]
    terms: SystemTerms
    problems: tuple[Diagnostic, ...]
    marks: tuple[Mark, ...]
    owners: dict[str, str]
    stays: tuple[Stays, ...]
    used: tuple[Permission, ...]
    unneeded: tuple[Unneeded, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The problems that refuse it."""
        return tuple(problem for problem in self.problems if not problem.warning)
