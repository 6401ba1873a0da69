# SPDX-License-Identifier: Apache-2.0
"""From requests to a plan: find each host device, number its streams, add the marks of
host.overlay, and judge the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.diagnostics import Diagnostic, first_few, meant
from west_viommu.guest.regions import Mapped, one_where_touching
from west_viommu.guest.requests import Asked, Guest, Request
from west_viommu.hazards.host import xen_stops
from west_viommu.hazards.odd import Examiner, assigned_twice
from west_viommu.hazards.overlaps import of_raw
from west_viommu.hazards.ownership import Ownership
from west_viommu.hazards.paste import Paper, parts_omitted
from west_viommu.hazards.permissions import Permissions, Told
from west_viommu.hazards.table import findings
from west_viommu.host.devices import Devices, Host
from west_viommu.host.needs import Needs
from west_viommu.hypervisor.assignment import (
    Assigned,
    AssignedStream,
    Assignment,
    Extra,
    RawMapping,
    Terms,
)
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.numbering import Numbers, agreeing_toolstacks, fixed_numbers, numbers
from west_viommu.hypervisor.pages import in_pages, mapped_pages, whole_pages
from west_viommu.hypervisor.profile import Profile, Viommu
from west_viommu.hypervisor.sweep import conflicts
from west_viommu.plan.match import Identity, Matcher
from west_viommu.plan.own_tree import clashes
from west_viommu.plan.plan import (
    Plan,
    PlanCompatible,
    PlanDevice,
    PlanExtra,
    PlanHost,
    PlanMap,
    PlanOmission,
    PlanPermission,
    PlanRaw,
    PlanRegion,
    PlanViommu,
)
from west_viommu.tree.cells import TreeError
from west_viommu.tree.digest import digest
from west_viommu.tree.node import Tree

if TYPE_CHECKING:
    from west_viommu.plan.partial import PartialTree

# For one device, if viommu.yml allows several. Each has all of its streams.
MOST_REQUESTS = 16
# Malformed nodes of the host; the rest is counted.
_MOST_FAULTS = 3


class Planned(NamedTuple):
    """A plan, its inputs, and the messages about it.

    If the `problems` have an error, nothing of it must be written. `hindered`: toolstack -> why it
    cannot make the domain. `refused`: the guest's nodes with an error. `trees`: Xen's partial
    trees.
    """

    plan: Plan
    profile: Profile
    host: Host
    guest: Guest
    problems: tuple[Diagnostic, ...]
    hindered: Mapping[str, str]
    refused: frozenset[str]
    trees: tuple[PartialTree, ...] = ()
    profile_was_chosen: bool = True

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The problems that do not refuse the plan."""
        return tuple(problem for problem in self.problems if problem.warning)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes for the user on the plan itself."""
        asked = self.guest.asked
        remarks = [
            f"{path} asks for no host device (no iommus, no xen,path): nothing is mapped for it"
            for path in asked.unasked
        ]
        remarks += [
            f"{path} has interrupts that its device node does not have: Xen routes none of them"
            for path in asked.unrouted
            if path not in asked.unasked
        ]
        streams = (stream for device in self.plan.devices for stream in device.streams)
        keeps_ids = self.profile.viommu and not self.profile.renumbers
        if keeps_ids and any(stream.pmaster != stream.vmaster for stream in streams):
            remarks.append(
                f"{self.profile.name} keeps stream IDs, and the policy {self.profile.policy} does "
                "not: the hypervisor must be given the map (iommu_devid_map in xl.cfg)"
            )
        return tuple(remarks)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user besides the warnings."""
        return (*self.remarks, *self._left_out())

    def _left_out(self) -> Iterator[str]:
        for toolstack in self.profile.toolstacks:
            if toolstack in self.hindered:
                yield f"nothing for {toolstack}: {self.hindered[toolstack]}"
        for path, what in self.trees[0].told() if self.trees else ():
            yield f"left out of {path} for Xen, whose guest has no such nodes: {what}"
        for raw in self.guest.asked.raw:
            memory = " ".join(str(host) for host, _ in raw.mapped)
            yield f"{raw.path} maps host memory without a host device: {memory}"
        faults = self.host.devices.faults
        for fault in first_few((str(fault) for fault in faults.values()), _MOST_FAULTS):
            yield f"Xen reads a malformed node of the host only up to the mistake: {fault}"
        for path in self.guest.asked.disabled:
            yield f"{path} is disabled: it asks for nothing, and Xen maps nothing for it"


def planned(host: Host, guest: Guest, terms: Terms) -> Planned:
    """Return the plan for the requests of `guest`, without partial trees; its problems are in the
    guest's order.
    """
    asked, devices = guest.asked, host.devices
    permissions = Permissions(terms.permissions, guest.tree)
    told = Told(permissions)
    holdings = Holdings(devices, terms.profile, has_dom0=terms.gives_rest)
    paper = Paper(guest.tree, asked.gic)
    examiner = Examiner(holdings, terms, paper)
    identities = Matcher(holdings, permissions, examiner).identities(asked.requests)
    matched = dict(_each_once(identities, told))
    # A node that appears twice does not conflict with itself.
    again = {
        r.path for r, identity in identities.items() if identity.assignment != matched[r].assignment
    }
    ownership = _ownership(matched, again, asked, terms, holdings, paper)
    by_node = {assigned.node: assigned for assigned in ownership.assigned}
    assignments = [identity.assignment for identity in matched.values() if identity.assignment]
    extra = _extra(terms, assignments)
    # After a refusal, it is not known which permissions the rest needs.
    is_known = not ownership.refused and not asked.errors
    problems = (
        *asked.problems,
        *clashes(asked, guest.tree, terms.profile),
        *_judged(matched, ownership, told, paper),
        *permissions.stale([n for each in assignments for n in each.names], is_known=is_known),
        *_stale_vsids(terms, assignments, is_known=is_known),
        *_stale_extra(terms, extra, is_known=is_known),
    )
    if all(problem.warning for problem in problems):
        # Only if the host fits the guest, and nothing else makes the user change it.
        swept = ownership.conflicts
        marks = {mark.node for mark in swept.marks}
        problems += tuple(xen_stops(holdings, marks, swept.triggers, ownership.first_of))
    paths = [each.device.path for each in assignments]
    needs = Needs(devices.tree, paths)
    made = [
        _device(each.request, by_node[each.request.path], ownership, guest.tree.tree)._replace(
            needs=needs.of(each.device.path, paths)
        )
        for each in assignments
    ]
    needs_viommu = any(device.is_protected for device in made)
    plan = Plan(
        profile=terms.profile.name,
        vsid=terms.profile.policy,
        host=PlanHost(host.model, digest(devices.tree)),
        domain=tuple(sorted(terms.domain)),
        viommu=_viommu(terms.profile.viommu) if terms.profile.viommu and needs_viommu else None,
        devices=tuple(made),
        raw=tuple(PlanRaw(raw.path, tuple(map(_region, raw.mapped))) for raw in asked.raw),
        extra=tuple(
            PlanExtra(each.device, each.region.base, each.region.size, each.reason)
            for each in extra
        ),
        unasked=asked.unasked,
        allowed=tuple(PlanPermission(e.hazard, e.device, e.reason) for e in permissions.used),
        marks=ownership.conflicts.marks if ownership.profile.toolstacks else (),
        memory_limit=ownership.lowest_in_memory.limit if ownership.lowest_in_memory else None,
        cpu_limit=ownership.cpu_limit,
        files={},
    )
    return Planned(
        plan=plan,
        profile=terms.profile,
        host=host,
        guest=guest,
        problems=problems,
        hindered=_hindered(ownership, assignments, made, extra),
        refused=told.refused,
    )


def _each_once(
    identities: Mapping[Request, Identity], told: Told
) -> Iterator[tuple[Request, Identity]]:
    """Yield each request with its result, and add its problems to `told`. A further request for the
    same device gets only that problem.
    """
    asking: dict[str, list[Request]] = {}
    for request, identity in identities.items():
        for wrong in identity.problems:
            told.add_problem(wrong, request.path)
        assignment = identity.stand_in or identity.assignment
        before = asking.setdefault(assignment.device.path, []) if assignment else []
        if assignment and before and not identity.is_refused:
            too_often = len(before) >= MOST_REQUESTS
            again = assigned_twice(assignment.device, before[0], too_often=too_often)
            if told.add("duplicate-assignment", again, request.path, assignment.names):
                identity = identity._replace(assignment=None, stand_in=None)
        before.append(request)
        yield request, identity


def _ownership(
    matched: Mapping[Request, Identity],
    again: Collection[str],
    asked: Asked,
    terms: Terms,
    holdings: Holdings,
    paper: Paper,
) -> Ownership:
    """Return the requested resources and the requests that get them; the nodes at `again` repeat
    the request of another node.
    """
    refused = frozenset(
        request.path for request, identity in matched.items() if identity.is_refused
    )
    candidates = (identity.stand_in or identity.assignment for identity in matched.values())
    assigned = list(_assigned([each for each in candidates if each], terms, holdings))
    mappings = [
        RawMapping(guest="", node=raw.path, pages=tuple(map(whole_pages, raw.mapped)))
        for raw in asked.raw
    ]
    return Ownership(
        terms,
        assigned,
        holdings,
        conflicts(assigned, holdings, mappings),
        occupied=tuple(node for node in asked.occupied if node[0] not in refused.union(again)),
        lines=asked.lines,
        refused=refused,
        raws=asked.raw,
        shared=asked.shared,
        paper=paper,
    )


def _assigned(
    assignments: Sequence[Assignment], terms: Terms, holdings: Holdings
) -> Iterator[Assigned]:
    """Yield the resources that the guest gets by each of `assignments`, with its stream IDs on both
    sides.
    """
    by_policy = numbers(assignments, terms)
    fixed = fixed_numbers(assignments, terms) or [None for _ in assignments]
    for assignment, ids, fixed_ids in zip(assignments, by_policy, fixed, strict=True):
        request = assignment.request
        yield Assigned(
            guest="",
            node=request.path,
            device=assignment.device,
            pages=_pages(assignment, holdings),
            intids=request.intids,
            ids=assignment.ids,
            streams=None if ids is None else _streams(assignment, ids, holdings.devices),
            fixed_ids=fixed_ids,
            request=request,
        )


def _pages(assignment: Assignment, holdings: Holdings) -> tuple[Mapped, ...]:
    """Return the mappings of the device: its regions, and the windows of a PCI bridge, at the
    host's addresses, unless xen,reg has them, whole or in part.
    """
    pages = mapped_pages(assignment.request)
    if not holdings.profile.toolstacks:
        return pages
    windows = [
        in_pages(window)
        for window in holdings.windows(assignment.device.path)
        if not any(in_pages(window).overlaps(page.host) for page in pages)
    ]
    return one_where_touching([*pages, *(Mapped(window, window) for window in windows)])


def _streams(
    assignment: Assignment, ids: Iterable[int], devices: Devices
) -> tuple[AssignedStream, ...]:
    return tuple(
        AssignedStream(iommu, devices.iommus[iommu].base or 0, pmaster, type(pmaster)(vmaster))
        for (pmaster, iommu), vmaster in zip(assignment.streams, ids, strict=True)
    )


def _judged(
    requests: Iterable[Request], ownership: Ownership, told: Told, paper: Paper
) -> Iterator[Diagnostic]:
    """Yield the hazards of each request, and then of the raw mappings. They are added to `told` in
    the order of the hazards, and come out by node.
    """
    _judge(ownership, told)
    refused = told.refused
    for assigned in ownership.assigned:
        # For a refused node, the error is enough.
        if assigned.node not in refused and (found := parts_omitted(assigned, paper)):
            told.add("parts-omitted", found, assigned.node, assigned.names)
    for request in requests:
        yield from told.of(request.path)
    for path, finding in of_raw(ownership):
        told.add(finding.id, finding, path, (path,))
    for raw in ownership.raws:
        yield from told.of(raw.path)
    yield from told.rest()


def _judge(ownership: Ownership, told: Told) -> None:
    """Add the hazards of each request to `told`, except for requests that were refused before."""
    refused: set[tuple[str, str]] = set()
    names = {assigned.node: assigned.names for assigned in ownership.assigned}
    for hazard, path, finding in findings(ownership):
        if path in ownership.refused or hazard.is_moot(path, refused):
            continue
        if told.add(hazard.id, finding, path, names[path], of=hazard):
            refused.add((hazard.id, path))


def _device(request: Request, assigned: Assigned, ownership: Ownership, guest: Tree) -> PlanDevice:
    device = assigned.device
    master = device.master
    used = set(assigned.ids)
    maps = master.maps if master and ownership.profile.programs_maps else ()
    return PlanDevice(
        node=request.path,
        host=device.path,
        compatible=PlanCompatible(
            _compatible(ownership.devices.tree, device.path), _compatible(guest, request.path)
        ),
        status=_status(guest, request.path),
        regions=tuple(
            PlanRegion(pair.host.base, pair.guest.base, pair.host.size)
            for pair in request.regions
            if pair.host
        ),
        pages=tuple(map(_region, assigned.pages)),
        intids=request.intids,
        streams=assigned.streams or (),
        omitted=tuple(
            PlanOmission(stream.iommu, stream.id)
            for stream in (master.streams if master else ())
            if stream.id is not None and stream.id not in used
        ),
        maps=tuple(
            PlanMap(entry.iommu, entry.rid, entry.id, entry.id, entry.length)
            for entry in maps
            if entry.id is not None
        ),
    )


def _region(mapped: Mapped) -> PlanRegion:
    return PlanRegion(mapped.host.base, mapped.guest.base, mapped.host.size)


def _viommu(viommu: Viommu) -> PlanViommu:
    return PlanViommu(
        node=f"/{viommu.node_name}",
        compatible=viommu.compatible,
        base=viommu.base,
        size=viommu.size,
        intids=tuple(interrupt.intid for interrupt in viommu.interrupts),
    )


def _compatible(tree: Tree, path: str) -> tuple[str, ...]:
    node = tree.node(path)
    return node.known_compatible if node else ()


def _status(tree: Tree, path: str) -> str:
    node = tree.node(path)
    try:
        return tree.status(node) if node else "okay"
    except TreeError:
        return "malformed"


def _hindered(
    ownership: Ownership,
    assignments: Sequence[Assignment],
    devices: Sequence[PlanDevice],
    extra: Iterable[Extra],
) -> dict[str, str]:
    """Return the toolstacks that cannot make the domain, and why."""
    ids: Numbers = [tuple(stream.vmaster for stream in device.streams) for device in devices]
    terms = ownership.terms
    agreeing = agreeing_toolstacks(assignments, ids, terms)
    why = "it would give the guest other stream IDs than these"
    hindered = {each: why for each in terms.profile.toolstacks if each not in agreeing}
    of_xl = _hinders_xl(ownership, extra)
    return {**hindered, "libxl": of_xl} if of_xl else hindered


def _hinders_xl(ownership: Ownership, extra: Iterable[Extra]) -> str:
    """Return the reason why xl cannot make the domain: it runs in dom0, and can only pass on
    resources that dom0 may access.
    """
    if not ownership.terms.has_dom0:
        return "there is no dom0, where xl would run"
    for assigned in ownership.assigned:
        if ownership.holdings.left_out_by(assigned.host):
            return f"Xen gives dom0 no right to {assigned.host}"
    asked = [
        (f"the memory that {raw.path} maps", host)
        for raw in ownership.raws
        for host, _ in raw.mapped
    ]
    asked += [(str(added.region), added.region) for added in extra]
    asked += [
        (f"the memory that is reserved for {assigned.host}", pages.host)
        for assigned in ownership.assigned
        for regions in ownership.holdings.reserved_for(assigned.host).values()
        for pages in assigned.pages
        if any(pages.host.overlaps(region) for region in regions)
    ]
    is_permitted = ownership.holdings.is_permitted() if asked else None
    for what, region in asked:
        if is_permitted and not is_permitted(*in_pages(region).ends):
            return f"Xen gives dom0 no right to {what}"
    return ""


def _extra(terms: Terms, assignments: Iterable[Assignment]) -> tuple[Extra, ...]:
    """Return the regions that viommu.yml adds, and that the guest lists as a region of
    the device.
    """
    used = {
        entry
        for assignment in assignments
        for region, entry in terms.extra_of(assignment).items()
        if any(host == region for _, host in assignment.request.regions)
    }
    return tuple(entry for entry in terms.extra if entry in used)


def _stale_extra(terms: Terms, used: Collection[Extra], *, is_known: bool) -> Iterator[Diagnostic]:
    for entry in terms.extra if is_known else ():
        if entry not in used:
            what = f"no guest node of {entry.device} lists the region {entry.region}"
            hint = "add it to the `reg` of the guest's node, or remove the entry"
            yield Diagnostic(id="malformed", what=what, hint=hint, where=entry.where)


def _stale_vsids(
    terms: Terms, assignments: Sequence[Assignment], *, is_known: bool
) -> Iterator[Diagnostic]:
    """Yield a problem for each number in viommu.yml that no request uses. `is_known`: all requests
    are known.
    """
    named: set[str] = set()
    by_path = {
        path: assignment.device.path
        for assignment in assignments
        for path in (assignment.request.path, assignment.device.path)
    }
    for entry in terms.explicit:
        device = by_path.get(entry.device)
        if device in named:
            what, hint = f"vsids numbers {entry.device} twice", "host or guest path: remove one"
            yield Diagnostic(id="malformed", what=what, hint=hint, where=entry.where)
        if terms.profile.policy != "explicit":
            what, hint = "vsids count only under the policy explicit", "write vsid: explicit"
            yield Diagnostic(
                id="malformed", what=what, hint=hint, found=terms.profile.policy, where=entry.where
            )
            return
        if device is None and not is_known:
            continue
        if device is None:
            what = f"vsids numbers {entry.device}, which no guest node asks for"
            hint = meant(entry.device, [*by_path], "correct the path, or remove the entry")
            yield Diagnostic(id="malformed", what=what, hint=hint, where=entry.where)
        else:
            named.add(device)
