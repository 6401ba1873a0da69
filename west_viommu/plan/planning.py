# SPDX-License-Identifier: Apache-2.0
"""From requests to a plan: find each host device, number its streams, settle what host.overlay can,
and judge the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.requests import Asked, Request
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.contradictions import Examiner
from west_viommu.hazards.matching import assigned_twice
from west_viommu.hazards.ownership import Ownership
from west_viommu.hazards.paste import Paper
from west_viommu.hazards.permissions import Permissions
from west_viommu.hazards.raw import of_raw
from west_viommu.hazards.table import findings
from west_viommu.hazards.told import Told
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.assignment import (
    AssignedStream,
    Assignment,
    Extra,
    PlannedDevice,
    Terms,
)
from west_viommu.hypervisor.contests import contests
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.numbering import Numbers, given, numbers
from west_viommu.hypervisor.pages import in_pages
from west_viommu.plan.copied import with_pairs
from west_viommu.plan.identity import Identity, Matcher
from west_viommu.plan.own_tree import clashes
from west_viommu.plan.records import Plan

# For one device, where viommu.yml allows several. Each has all of its streams.
MOST_REQUESTS = 16


def plan_for(
    asked: Asked, guest: GuestTree, devices: Devices, terms: Terms
) -> tuple[Plan, tuple[Diagnostic, ...]]:
    """The plan for what is `asked`, and its problems: errors and warnings, in the guest's order.

    A plan with errors must not be written.
    """
    permissions = Permissions(terms.permissions, guest)
    told = Told(permissions)
    holdings = Holdings(devices, terms.profile, has_dom0=terms.has_dom0)
    examiner = Examiner(holdings, terms, Paper(guest, asked.gic))
    requests = [with_pairs(request, devices) for request in asked.requests]
    identities = Matcher(holdings, permissions, examiner).identities(requests)
    matched = dict(_each_once(identities, told))
    # A node that appears twice is not in the way of the other.
    again = {
        r.path for r, identity in identities.items() if identity.assignment != matched[r].assignment
    }
    ownership = _ownership(matched, again, asked, terms, holdings)
    assignments = [identity.assignment for identity in matched.values() if identity.assignment]
    extra = _extra(terms, assignments)
    # Of what was refused for what it says, it is not known what it would need.
    is_known = not ownership.refused and not asked.errors
    problems = (
        *asked.problems,
        *clashes(asked, guest, terms.profile),
        *_judged(matched, ownership, told),
        *permissions.stale(is_known=is_known),
        *_stale_vsids(terms, assignments, is_known=is_known),
        *_stale_extra(terms, extra, is_known=is_known),
    )
    plan = Plan(
        profile=terms.profile,
        gic=asked.gic,
        root_cells=asked.root_cells,
        bus_compatible=asked.bus_compatible,
        devices=tuple(_planned(assignment, ownership) for assignment in assignments),
        allowed=permissions.used,
        marks=ownership.contests.marks if ownership.profile.toolstacks else (),
        memory_limit=_memory_limit(ownership),
        hindered=_hindered(ownership, extra),
        raw=asked.raw,
        extra=extra,
        unasked=asked.unasked,
        unrouted=asked.unrouted,
        refused=told.refused,
    )
    return plan, problems


def _each_once(
    identities: Mapping[Request, Identity], told: Told
) -> Iterator[tuple[Request, Identity]]:
    """What became of each request, which is `told`. Of a device that one has already, there is no
    more to say.
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
) -> Ownership:
    """What is `asked` for and by whom, where the nodes at `again` ask for what another has."""
    refused = frozenset(
        request.path for request, identity in matched.items() if identity.is_refused
    )
    candidates = (identity.stand_in or identity.assignment for identity in matched.values())
    assignments = [assignment for assignment in candidates if assignment]
    paths = [assignment.request.path for assignment in assignments]
    streams = (
        None if ids is None else _streams(assignment, ids, holdings.devices)
        for assignment, ids in zip(assignments, numbers(assignments, terms), strict=True)
    )
    nothing: Numbers = []
    return Ownership(
        terms,
        assignments,
        holdings,
        contests(assignments, holdings, (permission.device for permission in terms.permissions)),
        tuple(node for node in asked.occupied if node[0] not in refused.union(again)),
        asked.lines,
        dict(zip(paths, streams, strict=True)),
        dict(zip(paths, given(assignments, terms) or nothing, strict=False)),
        refused=refused,
        raws=asked.raw,
    )


def _streams(
    assignment: Assignment, ids: Iterable[int], devices: Devices
) -> tuple[AssignedStream, ...]:
    return tuple(
        AssignedStream(iommu, devices.iommus[iommu].base or 0, pmaster, type(pmaster)(vmaster))
        for (pmaster, iommu), vmaster in zip(assignment.streams, ids, strict=True)
    )


def _judged(requests: Iterable[Request], ownership: Ownership, told: Told) -> Iterator[Diagnostic]:
    """What the hazards say of each request, and then of the raw mappings. It is `told` in the order
    of the hazards, and here by node.
    """
    _judge(ownership, told)
    for request in requests:
        yield from told.of(request.path)
    for path, hazard, finding in of_raw(ownership):
        told.add(hazard, finding, path, (path,))
    for raw in ownership.raws:
        yield from told.of(raw.path)
    yield from told.rest()


def _judge(ownership: Ownership, told: Told) -> None:
    """What the hazards say of each request is `told`; nothing of those that are refused before."""
    refused: set[tuple[str, str]] = set()
    for hazard, assignment, finding in findings(ownership):
        path = assignment.request.path
        if path in ownership.refused or hazard.is_moot(path, refused):
            continue
        if told.add(hazard.id, finding, path, assignment.names, of=hazard):
            refused.add((hazard.id, path))


def _planned(assignment: Assignment, ownership: Ownership) -> PlannedDevice:
    master = assignment.device.master
    maps = master.maps if master and ownership.profile.programs_maps else ()
    return PlannedDevice(
        assignment=assignment,
        streams=ownership.streams[assignment.request.path] or (),
        maps=maps,
        is_protected=bool(assignment.streams or maps),
        mapped=ownership.pages[assignment.request.path],
    )


def _memory_limit(ownership: Ownership) -> int | None:
    """How much memory the domain may have at most: up to the lowest device in the banks that Xen
    fills one after the other (allocate_memory(), and meminit() of libxenguest). What it has more
    lies over the device, and Xen panics ("Unable to copy the DTB", booted), whatever the guest's
    own memory node says.
    """
    before = 0
    for bank in ownership.profile.ram:
        below = [
            mapped.guest.base - bank.base
            for mapper in ownership.mappers
            for mapped in mapper.pages
            if bank.overlaps(mapped.guest)
        ]
        if below:
            return before + max(0, min(below))
        before += bank.size
    return None


def _hindered(ownership: Ownership, extra: Iterable[Extra]) -> dict[str, str]:
    """The toolstacks that could not make the domain, and why: xl runs in dom0, and can hand on
    only what dom0 has a right to.
    """
    if not ownership.terms.has_dom0:
        return {"libxl": "there is no dom0, where xl would run"}
    for assignment in ownership.assignments:
        if ownership.holdings.left_out_by(assignment.device.path):
            return {"libxl": f"Xen gives dom0 no right to {assignment.device.path}"}
    asked = [
        (f"the memory that {raw.path} maps", host)
        for raw in ownership.raws
        for host, _ in raw.mapped
    ]
    asked += [(str(added.region), added.region) for added in extra]
    is_permitted = ownership.holdings.is_permitted() if asked else None
    for what, region in asked:
        pages = in_pages(region)
        if is_permitted and not is_permitted(*pages.ends):
            return {"libxl": f"Xen gives dom0 no right to {what}"}
    return {}


def _extra(terms: Terms, assignments: Iterable[Assignment]) -> tuple[Extra, ...]:
    """What viommu.yml adds, and the guest lists as a region of the device."""
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
    """What viommu.yml numbers, and nobody asks for or would use. `is_known`: what is asked for."""
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
            hint = "correct the path, or remove the entry"
            yield Diagnostic(id="malformed", what=what, hint=hint, where=entry.where)
        else:
            named.add(device)
