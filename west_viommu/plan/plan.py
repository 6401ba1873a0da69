# SPDX-License-Identifier: Apache-2.0
"""From requests to a plan: find each host device, number its streams, settle what host.overlay can,
and judge the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from west_viommu.guest.requests import Asked, Raw, Request
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.allowed import Allowed
from west_viommu.hazards.findings import NoMatch, Severity
from west_viommu.hazards.matching import assigned_twice
from west_viommu.hazards.raw import of_raw
from west_viommu.hazards.situation import Situation
from west_viommu.hazards.table import findings
from west_viommu.hazards.told import Told
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.assignment import AssignedStream, Assignment, PlannedDevice, Terms
from west_viommu.hypervisor.contests import contests
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.numbering import Numbers, given, numbers
from west_viommu.hypervisor.pages import whole_pages
from west_viommu.plan.match import assignment
from west_viommu.plan.own_tree import clashes
from west_viommu.plan.records import Plan
from west_viommu.problems import Problem, Where
from west_viommu.tree.cells import TreeError

# For one device, where viommu.yml allows several. Each has all of its streams.
MOST_REQUESTS = 16


def plan(
    asked: Asked, guest: GuestTree, devices: Devices, terms: Terms
) -> tuple[Plan, tuple[Problem, ...]]:
    """The plan for what is `asked`, and its problems: errors and warnings, in the guest's order.

    A plan with errors must not be written.
    """
    allowed = Allowed(terms.permissions, guest)
    told = Told(allowed)
    assignments = list(_assignments(asked.requests, devices, told))
    situation = _situation(assignments, asked, devices, terms)
    _judge(situation, told)
    problems = [*asked.problems, *clashes(asked, guest, terms.profile)]
    for request in asked.requests:
        problems += told.of(request.path)
    for raw, hazard, finding in of_raw(asked.raw, situation):
        is_warning = finding.severity is Severity.WARNING
        told.add(hazard, finding, raw.path, (raw.path,), is_warning=is_warning)
    for raw in asked.raw:
        problems += told.of(raw.path)
    problems += told.rest()
    problems += allowed.stale()
    problems += _stale_vsids(terms, assignments)
    result = Plan(
        profile=terms.profile,
        gic=asked.gic,
        root_cells=asked.root_cells,
        bus_compatible=asked.bus_compatible,
        devices=tuple(_planned(each, situation) for each in assignments),
        allowed=allowed.used,
        marks=situation.contests.marks if situation.profile.toolstacks else (),
        memory_limit=_memory_limit(situation, asked.raw),
        hindered=_hindered(situation, asked.raw),
        raw=asked.raw,
        unasked=asked.unasked,
        unrouted=asked.unrouted,
        refused=told.refused,
    )
    return result, tuple(problems)


def _assignments(requests: Iterable[Request], devices: Devices, told: Told) -> Iterator[Assignment]:
    """Those of the `requests`. Of a device that one has already, there is no more to say."""
    asking: dict[str, list[Request]] = {}
    for request in requests:
        found = _matched(request, devices, told)
        if found:
            before = asking.setdefault(found.device.path, [])
            if before:
                again = assigned_twice(
                    found.device, before[0], too_often=len(before) >= MOST_REQUESTS
                )
                if not told.add("duplicate-assignment", again, request.path, found.names):
                    continue
            before.append(request)
            yield found


def _matched(request: Request, devices: Devices, told: Told) -> Assignment | None:
    """The assignment of `request`; what there is to say of how it was found is `told`."""
    try:
        return assignment(request, devices)
    except NoMatch as no_match:
        found = no_match.otherwise
        names = found.names if found else ()
        is_warning = told.add(no_match.hazard, no_match.finding, request.path, names)
        return found if is_warning else None
    except TreeError as error:
        hint = f"correct the host tree, or remove {request.path}"
        where = Where(devices.host_name)
        wrong = error.problem(hint, where, about="the host node is malformed")
        told.add_problem(wrong, request.path)
        return None


def _situation(
    assignments: Sequence[Assignment], asked: Asked, devices: Devices, terms: Terms
) -> Situation:
    paths = [each.request.path for each in assignments]
    streams = (
        None if ids is None else _streams(each, ids, devices)
        for each, ids in zip(assignments, numbers(assignments, terms), strict=True)
    )
    nothing: Numbers = []
    holdings = Holdings(devices, terms.profile, has_dom0=terms.has_dom0)
    return Situation(
        terms,
        assignments,
        holdings,
        contests(assignments, holdings, (each.device for each in terms.permissions)),
        asked.occupied,
        asked.lines,
        dict(zip(paths, streams, strict=True)),
        dict(zip(paths, given(assignments, terms) or nothing, strict=False)),
    )


def _streams(this: Assignment, ids: Iterable[int], devices: Devices) -> tuple[AssignedStream, ...]:
    return tuple(
        AssignedStream(iommu, devices.iommus[iommu].base or 0, pmaster, type(pmaster)(vmaster))
        for (pmaster, iommu), vmaster in zip(this.streams, ids, strict=True)
    )


def _judge(situation: Situation, told: Told) -> None:
    """What the hazards say of each request is `told`."""
    refused: set[tuple[str, str]] = set()
    for hazard, this, finding in findings(situation):
        path = this.request.path
        if any((need, path) in refused for need in hazard.needs):
            continue
        is_warning = (finding.severity or hazard.severity) is Severity.WARNING
        if not told.add(hazard.id, finding, path, this.names, is_warning=is_warning, of=hazard):
            refused.add((hazard.id, path))


def _planned(this: Assignment, situation: Situation) -> PlannedDevice:
    master = this.device.master
    programs_maps = situation.profile.programs_maps
    return PlannedDevice(
        assignment=this,
        streams=situation.streams[this.request.path] or (),
        maps=master.maps if master and programs_maps else (),
        is_protected=bool(this.streams or (master and master.maps and programs_maps)),
        mapped=situation.pages[this.request.path],
    )


def _memory_limit(situation: Situation, raws: Iterable[Raw]) -> int | None:
    """How much memory the domain may have at most: up to the lowest device in the bank where Xen
    puts it (allocate_memory()). What it has more lies over the device, and Xen panics ("Unable to
    copy the DTB", booted), whatever the guest's own memory node says.
    """
    ram = situation.profile.ram
    if ram is None:
        return None
    of_devices = (each for pages in situation.pages.values() for each in pages)
    of_raws = (whole_pages(each) for raw in raws for each in raw.mapped)
    above = [
        mapped.guest.base - ram.base
        for mapped in (*of_devices, *of_raws)
        if ram.base <= mapped.guest.base < ram.base + ram.size
    ]
    return min(above, default=None)


def _hindered(situation: Situation, raws: Sequence[Raw]) -> dict[str, str]:
    """The toolstacks that could not make the domain, and why: xl runs in dom0, and hands on what
    that has a right to.
    """
    if not situation.terms.has_dom0:
        return {"libxl": "there is no dom0, where xl would run"}
    for this in situation.assignments:
        if situation.holdings.is_left_out(this.device.path):
            return {"libxl": f"Xen gives dom0 no right to {this.device.path}"}
    is_permitted = situation.holdings.is_permitted() if raws else None
    for raw in raws:
        for host, _ in map(whole_pages, raw.mapped):
            if is_permitted and not is_permitted(host.base, host.base + host.size - 1):
                return {"libxl": f"Xen gives dom0 no right to the memory that {raw.path} maps"}
    return {}


def _stale_vsids(terms: Terms, assignments: Sequence[Assignment]) -> Iterator[Problem]:
    """What viommu.yml numbers, and nobody asks for or would use."""
    named: set[str] = set()
    by_path = {
        path: each.device.path
        for each in assignments
        for path in (each.request.path, each.device.path)
    }
    for each in terms.explicit:
        device = by_path.get(each.device)
        if device in named:
            what, hint = f"vsids numbers {each.device} twice", "host or guest path: remove one"
            yield Problem("malformed", what, hint, where=each.where)
        if terms.profile.policy != "explicit":
            what, hint = "vsids counts only for the policy explicit", "write vsid: explicit"
            yield Problem("malformed", what, hint, found=terms.profile.policy, where=each.where)
            return
        if device is None:
            what = f"vsids numbers {each.device}, which no guest node asks for"
            hint = "correct the path, or remove the entry"
            yield Problem("malformed", what, hint, where=each.where)
        else:
            named.add(device)
