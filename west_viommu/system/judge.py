# SPDX-License-Identifier: Apache-2.0
"""Whether the guests of one host leave each other alone, and what is dom0's and Xen's own.

Each plan was judged by itself, as if all but its own devices stayed with the host. Here it is known
who has the rest.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from west_viommu.diagnostics import Diagnostic, Severity, bounded
from west_viommu.guest.requests import Raw
from west_viommu.hazards.findings import as_allowed
from west_viommu.hazards.ownership import Ownership
from west_viommu.hazards.permissions import AllowList
from west_viommu.hazards.raw import on_the_host
from west_viommu.hazards.table import HAZARDS
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.contests import Contests, contests
from west_viommu.hypervisor.holdings import Holdings, Standing
from west_viommu.hypervisor.marks import Mark
from west_viommu.system.clashes import Clash, clashes
from west_viommu.system.given import given
from west_viommu.system.held import Holder, first_held, holders, mapped
from west_viommu.system.records import Domain, Judged, Stays, SystemTerms, Unneeded

# The hazards of one thing in two hands: what another guest has does not stay with the host.
_OF_HANDS = (
    "hypervisor-owned",
    "shared-stream-id",
    "unassigned-child",
    "host-memory",
    "shared-page",
    "interrupt-clash",
)
_LINE = "interrupt-clash"
# Of those, the ones that a clash between domains can be allowed for, in system.yml.
ALLOWABLE = ("shared-page", "unassigned-child")


def judge(domains: Sequence[Domain], devices: Devices, terms: SystemTerms) -> Judged:
    """The system of `domains`, whose plans are for the host of `devices`, and its problems."""
    holdings = Holdings(devices, terms.profile, has_dom0=terms.has_dom0)
    held = list(holders(domains, devices))
    once = list(first_held(held))
    assigned = [holder.assignment for holder in once if holder.assignment]
    contested = contests(assigned, holdings, every=True)
    between = [contest for contest in contested.streams if contest.standing is None]
    allowed = _Allowed(terms.permissions)
    problems = [
        *bounded(map(allowed.problem, clashes(held, between, holdings))),
        *given(domains, terms.profile),
    ]
    needed: set[tuple[str, str, str]] = set()
    for holder, hazard, finding in _with_the_host(once, contested, holdings, terms):
        taken = _taken(holder, hazard, finding)
        needed |= taken
        if not taken:
            problems.append(_problem(holder, hazard, finding))
    problems += allowed.stale()
    return Judged(
        domains=tuple(domains),
        terms=terms,
        problems=bounded(problems),
        marks=contested.marks if terms.profile.toolstacks else (),
        owners=_owners(held),
        stays=tuple(_stays(contested.marks, holdings)),
        used=allowed.used,
        unneeded=tuple(_unneeded(domains, contested, needed)),
    )


def _owners(held: Iterable[Holder]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for holder in held:
        if holder.assignment:
            owners.setdefault(holder.assignment.device.path, holder.domain.name)
    return owners


def _with_the_host(
    held: Sequence[Holder], contested: Contests, holdings: Holdings, terms: SystemTerms
) -> Iterator[tuple[Holder, str, Diagnostic]]:
    """What dom0 or the hypervisor has as well of what a domain holds: who holds it, the hazard and
    what was found. Errors alone: each domain's own run has warned of the rest.
    """
    by_node = {holder.qualified: holder for holder in held}
    assigned = [holder.assignment for holder in held if holder.assignment]
    apart = tuple(contest for contest in contested.streams if contest.standing is not None)
    # What else a domain has is between it and its own devices: its own run has judged that.
    agreed = Terms(terms.profile, has_dom0=terms.has_dom0)
    beside = contested._replace(streams=apart)
    ownership = Ownership(agreed, assigned, holdings, beside, (), (), {}, {})
    for hazard in HAZARDS:
        if hazard.id in _OF_HANDS and hazard.check:
            for assignment, finding in hazard.check(ownership):
                if not hazard.judged(finding).warning:
                    yield by_node[assignment.request.path], hazard.id, finding
    raws = [_raw(holder) for holder in held if not holder.assignment]
    marked = {mark.node for mark in contested.marks}
    for raw, hazard_id, finding in on_the_host(raws, ownership, marked) if raws else ():
        if hazard_id in _OF_HANDS and finding.severity is not Severity.WARNING:
            yield by_node[raw.path], hazard_id, finding


def _raw(holder: Holder) -> Raw:
    regions = (mapped(region) for region in holder.pages)
    return Raw(holder.qualified, tuple(regions))


def _taken(holder: Holder, hazard: str, finding: Diagnostic) -> set[tuple[str, str, str]]:
    """The permissions of the domain's own plan that excuse `finding`: domain, hazard, device."""
    names = {holder.node, finding.other}
    if holder.assignment:
        names.add(holder.assignment.device.path)
    return {
        (holder.domain.name, permission.hazard, permission.device)
        for permission in holder.domain.plan.allowed
        if permission.hazard == hazard and permission.device in names
    }


def _problem(holder: Holder, hazard: str, finding: Diagnostic) -> Diagnostic:
    return finding._replace(
        id=hazard, node=holder.qualified, where=holder.domain.where, severity=Severity.ERROR
    )


def _unneeded(
    domains: Iterable[Domain], contested: Contests, needed: Container[tuple[str, str, str]]
) -> Iterator[Unneeded]:
    """The permissions of plans that excused what does not stay with the host after all. Of an
    interrupt, the guest's own tree may be the reason, which is not known here: only one that
    another domain has tells.
    """
    with_another = {
        (domain, name)
        for contest in contested.lines
        if contest.standing is None
        for domain, _, node in [contest.assignment.request.path.partition(":")]
        for name in (contest.assignment.device.path, node)
    }
    for domain in domains:
        for permission in domain.plan.allowed:
            is_known = (
                permission.hazard != _LINE or (domain.name, permission.device) in with_another
            )
            is_needed = (domain.name, permission.hazard, permission.device) in needed
            if permission.hazard in _OF_HANDS and is_known and not is_needed:
                yield Unneeded(domain.name, permission)


def _stays(marks: Iterable[Mark], holdings: Holdings) -> Iterator[Stays]:
    """The masters that dom0 has once host.overlay is applied."""
    marked = {mark.node for mark in marks}
    for master in holdings.devices.masters:
        if holdings.standing(master.path) is Standing.STAYS and master.path not in marked:
            streams = []
            for first, last, _ in holdings.streams(master, maps=True):
                iommu, number = holdings.stream(first)
                streams.append((iommu, number, number + last - first))
            yield Stays(master.path, tuple(streams))


class _Allowed(AllowList):
    """The permissions of system.yml."""

    def problem(self, clash: Clash) -> Diagnostic:
        """`clash` as a problem: a warning where it is allowed."""
        reason = self.use(clash.hazard, clash.later.names | clash.earlier.names)
        if not clash.allowable:
            reason = None
        hint = reason or clash.hint
        if clash.allowable and not reason:
            line_of_yaml = as_allowed(clash.hazard, clash.later.allowed_as)
            hint += f"; or, if you trust both guests with it, in system.yml: {line_of_yaml}"
        return Diagnostic(
            id=clash.hazard,
            what=clash.what,
            hint=hint,
            node=clash.later.qualified,
            expected=clash.expected,
            found=clash.found,
            where=clash.later.domain.where,
            severity=Severity.WARNING if reason else Severity.ERROR,
        )

    def stale(self) -> Iterator[Diagnostic]:
        """What is wrong with the permissions themselves."""
        for entry in self._permissions:
            if entry.hazard not in ALLOWABLE:
                yield Diagnostic(
                    id="malformed",
                    what="no clash between domains of this hazard can be allowed",
                    hint=f"remove the entry: `viommu explain {entry.hazard}` says what to do",
                    expected=" or ".join(ALLOWABLE),
                    found=entry.hazard,
                    where=entry.where,
                )
            elif entry not in self._used:
                yield Diagnostic(
                    id="malformed",
                    what=f"nothing to allow: {entry.device} does not have the hazard "
                    f"{entry.hazard} with another domain",
                    hint="remove the entry, or correct its device: the path of the host node, or "
                    "DOMAIN:/path of the guest node",
                    where=entry.where,
                )
