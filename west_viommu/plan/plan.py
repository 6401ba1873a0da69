# SPDX-License-Identifier: Apache-2.0
"""From requests to a plan: find each host device, number its streams, check its hazards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from west_viommu.guest.requests import Asked, Request
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.allowed import Allowed
from west_viommu.hazards.findings import NoMatch, problem
from west_viommu.hazards.situation import Situation
from west_viommu.hazards.table import HAZARDS
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.hypervisor.assignment import AssignedStream, Assignment, PlannedDevice, Terms
from west_viommu.hypervisor.numbering import Numbers, given, numbers
from west_viommu.hypervisor.pages import neighbours, status_of
from west_viommu.hypervisor.profile import VSMMU_LABEL, Profile
from west_viommu.plan.match import assignment
from west_viommu.plan.records import Plan
from west_viommu.problems import Problem, Where
from west_viommu.tree.cells import TreeError


def plan(
    asked: Asked, guest: GuestTree, devices: Devices, terms: Terms
) -> tuple[Plan, tuple[Problem, ...]]:
    """The plan for what is `asked`, and its problems: errors and warnings, in the guest's order.

    A plan with errors must not be written.
    """
    allowed = Allowed(terms.permissions, guest)
    matched = {request: _matched(request, devices, allowed) for request in asked.requests}
    assignments = [found for found, _ in matched.values() if found]
    situation = _situation(assignments, asked, devices, terms)
    problems = [*asked.problems, *_clashes(guest, terms.profile)]
    for found, of_matching in matched.values():
        problems += of_matching
        if found:
            try:
                problems += _hazards(found, situation, allowed)
            except TreeError as error:
                # Of another host node, which a hazard looked at.
                problems.append(_malformed_host(error, found.request, devices))
    problems += allowed.stale()
    problems += _stale_vsids(terms, assignments)
    result = Plan(
        profile=terms.profile,
        gic=asked.gic,
        root_cells=asked.root_cells,
        bus_compatible=asked.bus_compatible,
        devices=tuple(_planned(each, situation) for each in assignments),
        allowed=allowed.used,
        unasked=asked.unasked,
        unrouted=asked.unrouted,
    )
    return result, tuple(problems)


def _matched(
    request: Request, devices: Devices, allowed: Allowed
) -> tuple[Assignment | None, list[Problem]]:
    """The assignment of `request`, and what there is to say of how it was found."""
    try:
        return assignment(request, devices), []
    except NoMatch as no_match:
        found = no_match.otherwise
        wrong = allowed.problem(no_match.hazard, no_match.finding, request, found)
        return (found if wrong.warning else None), [wrong]
    except TreeError as error:
        return None, [_malformed_host(error, request, devices)]


def _situation(
    assignments: Sequence[Assignment], asked: Asked, devices: Devices, terms: Terms
) -> Situation:
    paths = [each.request.path for each in assignments]
    streams = (
        None if ids is None else _streams(each, ids, devices)
        for each, ids in zip(assignments, numbers(assignments, terms), strict=True)
    )
    nothing: Numbers = []
    return Situation(
        devices,
        terms,
        assignments,
        asked.occupied,
        dict(zip(paths, streams, strict=True)),
        dict(zip(paths, given(assignments, terms) or nothing, strict=False)),
    )


def _streams(this: Assignment, ids: Iterable[int], devices: Devices) -> tuple[AssignedStream, ...]:
    return tuple(
        AssignedStream(iommu, devices.iommus[iommu].base or 0, pmaster, type(pmaster)(vmaster))
        for (pmaster, iommu), vmaster in zip(this.streams, ids, strict=True)
    )


def _hazards(this: Assignment, situation: Situation, allowed: Allowed) -> Iterator[Problem]:
    for hazard in HAZARDS:
        for finding in hazard.check(this, situation) if hazard.check else ():
            if hazard.is_warning or finding.is_warning:
                yield problem(hazard.id, finding, this.request, allowed.guest, warning=True)
            else:
                yield allowed.problem(hazard.id, finding, this.request, this)


def _planned(this: Assignment, situation: Situation) -> PlannedDevice:
    master = this.device.master
    mapped = situation.pages(this)
    programs_maps = situation.profile.programs_maps
    tree = situation.devices.tree
    twins = (
        node.path
        for node, _ in neighbours(this.device, mapped, situation.devices)
        if status_of(tree, node) != "okay" or situation.devices.whole(node.path) == this.device.path
    )
    return PlannedDevice(
        assignment=this,
        streams=situation.streams[this.request.path] or (),
        maps=master.maps if master and programs_maps else (),
        is_protected=bool(this.streams or (master and master.maps and programs_maps)),
        mapped=mapped,
        twins=tuple(dict.fromkeys(twins)),
    )


def _clashes(guest: GuestTree, profile: Profile) -> Iterator[Problem]:
    """What of the guest's own tree the generated vSMMU node would clash with."""
    path = f"/{profile.node_name}"
    hint = "remove the hand-written node: the vSMMU is generated"
    label = guest.labels.get(VSMMU_LABEL, path)
    if label != path and VSMMU_LABEL not in guest.open_labels:
        yield _clash(
            guest, label, f"the label {VSMMU_LABEL} is taken", "rename the label", f"it at {path}"
        )
    for node in guest.tree.nodes():
        if node.path == path:
            continue
        if SMMUV3_COMPATIBLE.encode() in node.properties.get("compatible", b"").split(b"\0"):
            yield _clash(guest, node.path, "a second vSMMU", hint, f"one vSMMU, at {path}")
        if profile.phandle and node is guest.tree.with_phandle(profile.phandle):
            what = f"phandle {profile.phandle:#x} is the vSMMU's"
            yield _clash(guest, node.path, what, "give the node another phandle", "another")


def _clash(guest: GuestTree, path: str, what: str, hint: str, expected: str) -> Problem:
    where = guest.locate(path, "phandle") or guest.locate(path, "")
    return Problem("malformed", what, hint, path, expected, where=where)


def _stale_vsids(terms: Terms, assignments: Sequence[Assignment]) -> Iterator[Problem]:
    """What viommu.yml numbers, and nobody asks for or would use."""
    named: set[str] = set()
    for each in terms.explicit:
        paths = {this.device.path for this in assignments if this.means(each.device)}
        if paths & named:
            what, hint = f"vsids numbers {each.device} twice", "host or guest path: remove one"
            yield Problem("malformed", what, hint, where=each.where)
        named |= paths
        if terms.profile.policy != "explicit":
            what, hint = "vsids counts only for the policy explicit", "write vsid: explicit"
            yield Problem("malformed", what, hint, found=terms.profile.policy, where=each.where)
            return
        if not any(this.means(each.device) for this in assignments):
            what = f"vsids numbers {each.device}, which no guest node asks for"
            hint = "correct the path, or remove the entry"
            yield Problem("malformed", what, hint, where=each.where)


def _malformed_host(error: TreeError, request: Request, devices: Devices) -> Problem:
    return Problem(
        "malformed",
        f"the host node is malformed: {error.what}",
        f"correct the host tree, or remove {request.path}",
        error.path,
        error.expected,
        error.found,
        Where(devices.host_name),
    )
