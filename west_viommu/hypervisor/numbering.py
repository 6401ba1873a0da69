# SPDX-License-Identifier: Apache-2.0
"""Policies: the guest's stream IDs (vMasterIDs) for the host's stream IDs (pMasterIDs)."""

from collections.abc import Callable, Sequence

from west_viommu.guest.source import PASSTHROUGH
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import Assignment, Terms

# The IDs that libxl reserves for the PCI devices of a guest (Xen v3, libxl_arm.c).
_VPCI_IDS = 0x1000
# The IDs of each assignment, in the order of its streams; None if it gets none.
Numbers = list[tuple[StreamId, ...] | None]


def numbers(assignments: Sequence[Assignment], terms: Terms) -> Numbers:
    """Return the IDs by the policy of the profile, for `assignments` in the guest's order."""
    return _POLICIES[terms.profile.policy](assignments, terms)


def fixed_numbers(assignments: Sequence[Assignment], terms: Terms) -> Numbers | None:
    """Return the IDs that the hypervisor gives under any policy; None if xl can give others."""
    if terms.profile.renumbers:
        return _first_free(assignments, terms)
    return None if "libxl" in terms.profile.toolstacks else _identity(assignments, terms)


def order_of(toolstack: str, assignments: Sequence[Assignment], terms: Terms) -> Numbers:
    """Return the first free ID for each stream, as `toolstack` gives them.

    dom0less counts from 0 for every entry of every `iommus` below /passthrough, a node before its
    children: a repeated ID gets another number. libxl sees only the direct children of
    /passthrough, and first takes 0x1000 for a guest with PCI devices.
    """
    is_libxl = toolstack == "libxl"
    next_id = _VPCI_IDS if is_libxl and "vpci" in terms.domain else 0
    numbered: Numbers = []
    for assignment in assignments:
        if is_libxl and assignment.request.path.count("/") > PASSTHROUGH.count("/") + 1:
            numbered.append(None)
            continue
        count = len(assignment.streams)
        numbered.append(tuple(StreamId(next_id + i) for i in range(count)))
        next_id += count
    return numbered


def agreeing_toolstacks(
    assignments: Sequence[Assignment], planned: Numbers, terms: Terms
) -> list[str]:
    """Return the toolstacks that give each stream of `assignments` the ID that is `planned` for it.

    If the hypervisor renumbers them, one toolstack may do so in another order than the profile's.
    If it keeps them, only xl can be given another map (iommu_devid_map).
    """
    if terms.profile.renumbers:
        return [t for t in terms.profile.toolstacks if order_of(t, assignments, terms) == planned]
    keeps = _identity(assignments, terms) == planned
    return [t for t in terms.profile.toolstacks if keeps or t == "libxl"]


def _identity(assignments: Sequence[Assignment], terms: Terms) -> Numbers:
    return [tuple(stream_id for stream_id, _ in assignment.streams) for assignment in assignments]


def _first_free(assignments: Sequence[Assignment], terms: Terms) -> Numbers:
    return order_of(terms.profile.renumbers or "dom0less", assignments, terms)


def _explicit(assignments: Sequence[Assignment], terms: Terms) -> Numbers:
    said = {entry.device: entry.ids for entry in terms.explicit}
    chosen = (
        said.get(assignment.device.path, said.get(assignment.request.path))
        if assignment.streams
        else ()
        for assignment in assignments
    )
    return [
        ids if ids is not None and len(ids) == len(assignment.streams) else None
        for assignment, ids in zip(assignments, chosen, strict=True)
    ]


_POLICIES: dict[str, Callable[[Sequence[Assignment], Terms], Numbers]] = {
    "identity": _identity,
    "first-free": _first_free,
    "explicit": _explicit,
}
