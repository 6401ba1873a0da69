# SPDX-License-Identifier: Apache-2.0
"""From requests to a plan: find each host device, check its hazards, number its streams."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.guest.requests import Asked, Request
from west_viommu.guest.source import GuestTree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.host.streams import StreamId
from west_viommu.plan.findings import NoMatch, problem
from west_viommu.plan.hazards import HAZARDS
from west_viommu.plan.match import assignment
from west_viommu.plan.records import (
    VSMMU_LABEL,
    AssignedStream,
    Assignment,
    Plan,
    PlannedDevice,
    Profile,
    Situation,
)
from west_viommu.problems import Problem, Where
from west_viommu.tree.cells import TreeError


def plan(
    asked: Asked, guest: GuestTree, devices: Devices, profile: Profile
) -> tuple[Plan, tuple[Problem, ...]]:
    """The plan for what is `asked`, and its problems: errors and warnings, in the guest's order.

    A plan with errors must not be written.
    """
    matched: dict[Request, Assignment | Problem] = {}
    for request in asked.requests:
        try:
            matched[request] = assignment(request, devices)
        except NoMatch as no_match:
            matched[request] = problem(no_match.hazard, no_match.finding, request, guest)
        except TreeError as error:
            matched[request] = _malformed_host(error, request, devices)
    assignments = [each for each in matched.values() if isinstance(each, Assignment)]
    situation = Situation(devices, profile, assignments)
    problems = [*asked.problems, *_clashes(guest, profile)]
    for each in matched.values():
        if isinstance(each, Assignment):
            problems.extend(_hazards(each, situation, guest))
        else:
            problems.append(each)
    result = Plan(
        profile=profile,
        gic=asked.gic,
        root_cells=asked.root_cells,
        bus_compatible=asked.bus_compatible,
        devices=tuple(_identity(each, devices) for each in assignments),
    )
    return result, tuple(problems)


def _hazards(this: Assignment, situation: Situation, guest: GuestTree) -> list[Problem]:
    return [
        problem(hazard.id, finding, this.request, guest, warning=hazard.is_warning)
        for hazard in HAZARDS
        for finding in hazard.check(this, situation)
    ]


def _identity(this: Assignment, devices: Devices) -> PlannedDevice:
    """The identity policy: vMasterID = pMasterID, as the RFC and v1 of Xen's series have it."""
    master = this.device.master
    behind = {stream.id: stream.iommu for stream in master.streams} if master else {}
    return PlannedDevice(
        assignment=this,
        streams=tuple(
            AssignedStream(
                iommu=behind[stream_id],
                iommu_base=devices.iommus[behind[stream_id]].base or 0,
                pmaster=stream_id,
                vmaster=StreamId(stream_id),
            )
            for stream_id in this.ids
            if stream_id in behind
        ),
        maps=master.maps if master else (),
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
