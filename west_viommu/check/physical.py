# SPDX-License-Identifier: Apache-2.0
"""The requests of a tree that is bound already, by the IDs of the host again."""

from __future__ import annotations

from collections.abc import Sequence

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.requests import Asked, Entry, Request
from west_viommu.guest.source import GuestTree
from west_viommu.host.inventory import StreamId
from west_viommu.plan.plan import PlanDevice


def physical(
    asked: Asked, guest: GuestTree, devices: Sequence[PlanDevice] | None, policy: str
) -> Asked:
    """`asked` with the host's stream IDs in place of the guest's: as the `devices` of viommu.json
    have them; where those are not known, the same by the policy identity, and by any other those
    of the host node that xen,path names.
    """
    planned = {device.node: device for device in devices or ()}
    requests, problems = [], list(asked.problems)
    for request in asked.requests:
        if request.path in planned:
            requests.append(_as_planned(request, planned[request.path]))
        elif policy == "identity" or devices is not None:
            requests.append(request)
        elif request.xen_path:
            requests.append(request._replace(entries=()))
        else:
            problems.append(_unknown(request, guest))
    return asked._replace(requests=tuple(requests), problems=tuple(problems))


def _as_planned(request: Request, device: PlanDevice) -> Request:
    entries = (Entry(None, StreamId(stream.pmaster)) for stream in device.streams)
    return request._replace(entries=tuple(entries), xen_path=request.xen_path or device.host)


def _unknown(request: Request, guest: GuestTree) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what="its stream IDs are the guest's, and nothing says which host device they stand for",
        hint="give the build directory with its viommu.json (-d), or add xen,path to the node",
        node=request.path,
        where=guest.locate(request.path, "iommus"),
    )
