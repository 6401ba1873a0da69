# SPDX-License-Identifier: Apache-2.0
"""The conflicts between the guests of one host, and with dom0 and Xen.

Each plan was judged alone, as if all other devices stayed with the host. Here the owners of the
others are known.
"""

from collections.abc import Container, Iterable, Iterator, Sequence

from west_viommu.diagnostics import Diagnostic, Severity, Where, bounded
from west_viommu.guest.regions import Mapped
from west_viommu.hazards.host import xen_stops
from west_viommu.hazards.overlaps import on_the_host
from west_viommu.hazards.ownership import Ownership
from west_viommu.hazards.parts import as_allowed
from west_viommu.hazards.permissions import AllowList
from west_viommu.hazards.table import HAZARDS, findings
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import meetings
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import Assigned, AssignedStream, RawMapping
from west_viommu.hypervisor.holdings import Holdings, Standing
from west_viommu.hypervisor.pages import in_pages, whole_pages
from west_viommu.hypervisor.profile import Profile
from west_viommu.hypervisor.sweep import Conflicts, Mark, conflicts, routed
from west_viommu.plan.plan import PlanRegion
from west_viommu.system.between import Holder, between, once
from west_viommu.system.records import Domain, Judged, Stays, SystemTerms, Unneeded
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

# The hazards of one resource with two owners: a resource of another guest does not stay with the
# host.
_HAND_IDS = (
    "hypervisor-owned",
    "shared-stream-id",
    "unassigned-child",
    "host-memory",
    "shared-page",
    "interrupt-clash",
)
_OF_HANDS = tuple(hazard for hazard in HAZARDS if hazard.id in _HAND_IDS)
_LINE = "interrupt-clash"
# The hazards among them that system.yml can allow for a conflict between domains.
ALLOWABLE = ("shared-page", "unassigned-child")
_VPL011 = "vpl011"
_BIND = "write domain: [vpl011] into its viommu.yml and bind it again"


def judge(domains: Sequence[Domain], devices: Devices, terms: SystemTerms) -> Judged:
    """Return the system of `domains`, whose plans are for the host of `devices`, and its
    problems.
    """
    holdings = Holdings(devices, terms.profile, has_dom0=terms.of_domain().gives_rest)
    by_name = {domain.name: domain for domain in domains}
    places = {name: place for place, name in enumerate(by_name)}
    holders = [holder for domain in domains for holder in _holders(domain, devices)]
    first = once(holders)
    assigned = [holder for holder in first if isinstance(holder, Assigned)]
    mappings = [holder for holder in first if isinstance(holder, RawMapping)]
    swept = conflicts(assigned, holdings, mappings)
    allowed = _Allowed(terms.permissions)
    problems = [
        *bounded(
            allowed.problem(later, earlier, diagnostic, by_name[later.guest].where)
            for later, earlier, diagnostic in between(holders, swept, places, holdings)
        ),
        *_beside_devices(domains, terms.profile),
    ]
    needed: set[tuple[str, str, str]] = set()
    by_node = {holder.node: holder for holder in first}
    for node, finding in _with_the_host(assigned, swept, holdings, terms):
        domain = by_name[by_node[node].guest]
        excuses = _excuses(by_node[node], domain, finding)
        needed |= excuses
        if not excuses:
            problems.append(
                finding._replace(node=node, where=domain.where, severity=Severity.ERROR)
            )
    problems += allowed.stale()
    if all(problem.warning for problem in problems):
        marks = {mark.node for mark in swept.marks}
        problems += xen_stops(holdings, marks, swept.triggers, {each.host for each in assigned})
    return Judged(
        domains=tuple(domains),
        terms=terms,
        problems=bounded(problems),
        marks=swept.marks if terms.profile.toolstacks else (),
        owners=_owners(holders),
        stays=tuple(_stays(swept.marks, holdings)),
        used=allowed.used,
        unneeded=tuple(_unneeded(domains, _with_another(assigned, holdings), needed)),
    )


def _holders(domain: Domain, devices: Devices) -> Iterator[Holder]:
    """Yield the holder of each node in the plan of a domain, which is for the host of `devices`."""
    for device in domain.plan.devices:
        host_device = devices.device(device.host)
        if host_device:
            yield Assigned(
                guest=domain.name,
                node=f"{domain.name}:{device.node}",
                device=host_device,
                pages=_in_pages(device.pages),
                intids=tuple(map(Intid, device.intids)),
                ids=tuple(StreamId(stream.pmaster) for stream in device.streams),
                streams=tuple(
                    AssignedStream(
                        iommu=stream.iommu,
                        iommu_base=stream.iommu_base,
                        pmaster=StreamId(stream.pmaster),
                        vmaster=StreamId(stream.vmaster),
                    )
                    for stream in device.streams
                ),
            )
    for raw in domain.plan.raw:
        yield RawMapping(domain.name, f"{domain.name}:{raw.node}", _in_pages(raw.regions))


def _in_pages(regions: Iterable[PlanRegion]) -> tuple[Mapped, ...]:
    return tuple(whole_pages(Mapped(region.on_host, region.in_guest)) for region in regions)


def _owners(holders: Iterable[Holder]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for holder in holders:
        if holder.host:
            owners.setdefault(holder.host, holder.guest)
    return owners


def _with_the_host(
    assigned: Sequence[Assigned], swept: Conflicts, holdings: Holdings, terms: SystemTerms
) -> Iterator[tuple[str, Diagnostic]]:
    """Yield the resources of a domain that dom0 or the hypervisor has as well, with the guest node.
    Only errors: each domain's own run has warned of the rest.
    """
    # Conflicts among the devices of one domain are left out: its own run has judged them.
    beside = swept._replace(streams=tuple(each for each in swept.streams if not each.rival))
    ownership = Ownership(terms.of_domain(), assigned, holdings, beside)
    for hazard, node, finding in findings(ownership, _OF_HANDS):
        if not finding.warning:
            yield node, finding._replace(id=hazard.id)
    for node, finding in on_the_host(ownership):
        if finding.id in _HAND_IDS and not finding.warning:
            yield node, finding


def _excuses(holder: Holder, domain: Domain, finding: Diagnostic) -> set[tuple[str, str, str]]:
    """Return the permissions of the domain's own plan that excuse `finding`: domain, hazard,
    device.
    """
    names = {holder.node.partition(":")[2], holder.host, finding.other}
    return {
        (domain.name, permission.hazard, permission.device)
        for permission in domain.plan.allowed
        if permission.hazard == finding.id and permission.device in names
    }


def _with_another(assigned: Sequence[Assigned], holdings: Holdings) -> set[tuple[str, str]]:
    """Return each domain and the names of its devices that have an interrupt line in common with
    the host device of another domain.
    """
    tree = holdings.devices.tree
    guests: dict[Intid, set[str]] = {}
    for each in assigned:
        node = tree.node(each.host)
        for intid in holdings.lines(node) if node else ():
            guests.setdefault(intid, set()).add(each.guest)
    return {
        (each.guest, name)
        for each in assigned
        if any(guests.get(intid, set()) - {each.guest} for intid in routed(each, holdings))
        for name in (each.host, each.node.partition(":")[2])
    }


def _unneeded(
    domains: Iterable[Domain],
    with_another: Container[tuple[str, str]],
    needed: Container[tuple[str, str, str]],
) -> Iterator[Unneeded]:
    """Yield the permissions of plans that excused a conflict with the host which this system does
    not have. For an interrupt, the guest's own tree may be the reason, which is not known here;
    only the devices `with_another` domain are certain.
    """
    for domain in domains:
        for permission in domain.plan.allowed:
            is_known = (
                permission.hazard != _LINE or (domain.name, permission.device) in with_another
            )
            is_needed = (domain.name, permission.hazard, permission.device) in needed
            if permission.hazard in _HAND_IDS and is_known and not is_needed:
                yield Unneeded(domain.name, permission)


def _stays(marks: Iterable[Mark], holdings: Holdings) -> Iterator[Stays]:
    """Yield the masters that dom0 has once host.overlay is applied."""
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

    def problem(
        self, later: Holder, earlier: Holder, diagnostic: Diagnostic, where: Where
    ) -> Diagnostic:
        """Return the `diagnostic` of two holders at the place of its domain: a warning if it is
        allowed.
        """
        names = {name for each in (later, earlier) for name in (each.node, each.host or each.node)}
        reason = self.use(diagnostic.id, names)
        hint = diagnostic.hint
        if diagnostic.id not in ALLOWABLE:
            reason = None
        elif not reason:
            line = as_allowed(diagnostic.id, later.host or later.node)
            hint += f"; or, if you trust both guests with it, in system.yml: {line}"
        return diagnostic._replace(
            hint=reason or hint,
            node=later.node,
            where=where,
            severity=Severity.WARNING if reason else Severity.ERROR,
        )

    def stale(self) -> Iterator[Diagnostic]:
        """Yield the problems of the permissions themselves."""
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


def _beside_devices(domains: Sequence[Domain], profile: Profile) -> Iterator[Diagnostic]:
    """Yield the problems of the memory and the console of each domain."""
    for domain in domains:
        limit = domain.plan.memory_limit
        yield from beyond_memory(domain.name, domain.memory, limit, domain.place("memory"))
        if domain.has_vpl011 and _VPL011 not in domain.plan.domain:
            yield from _vpl011(domain, profile)


def beyond_memory(name: str, memory: int, limit: int | None, where: Where) -> Iterator[Diagnostic]:
    """Yield the problem if the `memory` of the domain `name`, in MiB, exceeds the `limit` of its
    plan, in bytes: Xen panics over a device in the domain's memory ("Unable to copy the DTB",
    booted).
    """
    if limit is not None and memory << 20 > limit:
        yield Diagnostic(
            id="guest-overlap",
            what=f"a device of {name} is mapped where its memory would be",
            hint="give it less memory, or map the device elsewhere (xen,reg)",
            expected=f"at most {limit >> 20} MiB",
            found=f"{memory} MiB",
            where=where,
        )


def together(memory: Sequence[tuple[int, Where]], ram: Sequence[Region]) -> Iterator[Diagnostic]:
    """Yield an error if the domains together have more `memory`, in MiB each, than the host
    (allocate_memory() panics: "Failed to allocate requested domain memory").
    """
    total = sum(size for size, _ in memory)
    there = sum(bank.size for bank in ram) >> 20
    if ram and total > there:
        _, where = max(memory, key=lambda each: each[0])
        yield Diagnostic(
            id="domain-limits",
            what="the domains have more memory together than the host",
            hint="give them less: Xen itself and dom0 need some of it as well",
            expected=f"less than {there} MiB",
            found=f"{total} MiB",
            where=where,
        )


def _vpl011(domain: Domain, profile: Profile) -> Iterator[Diagnostic]:
    """Yield conflicts with the emulated UART, which the plan did not know of: its address and its
    interrupt must be free.
    """
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
