# SPDX-License-Identifier: Apache-2.0
"""From requests to a plan: find each host device, check its hazards, number its streams."""

from __future__ import annotations

from collections.abc import Sequence

from west_viommu.guest.gic import guest_gic
from west_viommu.guest.requests import PASSTHROUGH, Request
from west_viommu.guest.source import GuestTree
from west_viommu.host.devices import Devices
from west_viommu.host.streams import StreamId
from west_viommu.plan.findings import NoMatch, problem
from west_viommu.plan.hazards import HAZARDS, Situation
from west_viommu.plan.match import assignment
from west_viommu.plan.records import (
    VSMMU_LABEL,
    AssignedStream,
    Assignment,
    Plan,
    PlannedDevice,
    Profile,
)
from west_viommu.problems import Problem, Where
from west_viommu.tree.addresses import bus_cells
from west_viommu.tree.cells import TreeError


def plan(
    requests: Sequence[Request], guest: GuestTree, devices: Devices, profile: Profile
) -> tuple[Plan, tuple[Problem, ...]]:
    """The plan for `requests`, and its problems: errors and warnings, in the guest's order.

    A plan with errors must not be written.
    """
    matched: dict[Request, Assignment | Problem] = {}
    for request in requests:
        try:
            matched[request] = assignment(request, devices)
        except NoMatch as no_match:
            matched[request] = problem(no_match.hazard, no_match.finding, request, guest)
        except TreeError as error:
            matched[request] = _malformed_host(error, request, devices)
    assignments = [each for each in matched.values() if isinstance(each, Assignment)]
    situation = Situation(devices, profile, assignments)
    problems = _label_clash(guest, profile)
    for each in matched.values():
        if isinstance(each, Assignment):
            problems.extend(_hazards(each, situation, guest))
        else:
            problems.append(each)
    result = Plan(
        profile=profile,
        gic=guest_gic(guest),
        root_cells=bus_cells(guest.tree.root),
        bus_compatible=_bus_compatible(guest),
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


def _bus_compatible(guest: GuestTree) -> tuple[str, ...]:
    bus = guest.tree.node(PASSTHROUGH)
    return bus.compatible if bus else ()


def _label_clash(guest: GuestTree, profile: Profile) -> list[Problem]:
    """The generated overlay defines a label; the guest must not have it elsewhere."""
    path = guest.labels.get(VSMMU_LABEL)
    if path is None or path == f"/{profile.node_name}":
        return []
    return [
        Problem(
            "malformed",
            f"the label {VSMMU_LABEL} is taken, and the generated vSMMU node needs it",
            "rename the label, or remove the hand-written vSMMU node",
            path,
            f"{VSMMU_LABEL} at /{profile.node_name} or nowhere",
            f"{VSMMU_LABEL} at {path}",
            guest.locate(path, ""),
        )
    ]


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
