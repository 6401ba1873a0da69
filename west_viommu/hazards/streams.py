# SPDX-License-Identifier: Apache-2.0
"""Checks of streams: whether the IDs that Xen attaches with a device are its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.hazards.findings import first_ones, listed
from west_viommu.hazards.ownership import Found, Ownership, of_each
from west_viommu.host.intervals import met
from west_viommu.host.inventory import first_null_entry
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.contest import MOST_IDS, Contest
from west_viommu.hypervisor.holdings import ID_BITS, ID_MASK, Standing
from west_viommu.tree.cells import counted


@of_each
def stray_streams(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """Stream IDs for a device that is behind no IOMMU, and is to be assigned all the same."""
    if (
        assignment.request.entries
        and not assignment.device.master
        and ownership.terms.permission("unprotected", assignment)
    ):
        yield Diagnostic(
            what=f"{assignment.device.path} is behind no IOMMU, so it has no stream IDs",
            hint="leave iommus out",
            prop="iommus",
            expected="no iommus",
            found=listed(assignment.ids),
        )


@of_each
def stream_list(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """A list of stream IDs that Xen reads to its end only where it is whole: a phandle of 0 ends it
    (dt_parse_phandle_with_args(), 4.17 to 4.21; booted: "Failed to assign device").
    """
    node = ownership.devices.tree.node(assignment.device.path)
    master = assignment.device.master
    if node is None or master is None or not master.streams:
        return
    before = first_null_entry(ownership.devices.tree, node)
    if before is not None and ownership.profile.toolstacks:
        yield Diagnostic(
            what=f"`iommus` of {assignment.device.path} has an entry without an IOMMU, and Xen "
            "reads no further",
            hint="correct the host tree: remove the entry whose phandle is 0"
            + ("" if before else "; as it is, Xen cannot assign the device"),
            prop="iommus",
            expected="an IOMMU in each entry",
            found=f"{counted(before, 'entry', 'entries')} before it",
        )
    ids = Counter((stream.iommu, stream.id) for stream in master.streams)
    twice = [stream_id for stream_id, count in ids.items() if count > 1]
    if twice and not ownership.profile.repeats_ids:
        yield Diagnostic(
            what=f"`iommus` of {assignment.device.path} lists a stream ID twice",
            hint="correct the host tree: list each ID once. This Xen finds the stream in its tree "
            "already, and does not assign the device",
            prop="iommus",
            expected="each ID once",
            found=listed(stream_id for _, stream_id in twice if stream_id is not None),
        )


def colliding_stream_id(ownership: Ownership) -> Found:
    """Two devices of one guest with one ID behind two SMMUs: the vSMMU looks a stream up by its ID
    among the devices of the domain (arm_smmu_get_domain_by_sid(), RFC to v3), and finds the wrong
    one of the two.
    """
    if ownership.profile.viommu is None:
        return
    # viommu.yml may allow what one of the two has.
    named = {permission.device for permission in ownership.terms.permissions}
    for place, ids_of in _collisions(ownership):
        assignment = ownership.assignments[place]
        others = [(ownership.assignments[earlier], ids) for earlier, ids in sorted(ids_of.items())]
        for is_named in (True, False):
            alike = [other for other in others if (other[0].device.path in named) is is_named]
            for finding in first_ones(alike, partial(_colliding, assignment)):
                yield assignment, finding


def _collisions(ownership: Ownership) -> Iterator[tuple[int, dict[int, list[int]]]]:
    """The place of each assignment that may collide, and by the place of each before it, behind
    another SMMU, where their common IDs begin.
    """
    mine = [
        (first & ID_MASK, last & ID_MASK, (place, first >> ID_BITS))
        for place, assignment in enumerate(ownership.assignments)
        if assignment.device.master and ownership.first_of[assignment.device.path] is assignment
        for first, last, _ in ownership.holdings.streams(
            assignment.device.master, maps=ownership.profile.programs_maps
        )
    ]
    count = partial(ownership.devices.steps.count, "the same stream ID")
    there = met(((first, last) for first, last, _ in mine), mine, count)
    # Most IDs are behind one SMMU alone.
    collide = {
        interval for interval, met_by in there.items() if len({mine[at][2][1] for at in met_by}) > 1
    }
    by_place: dict[int, list[tuple[int, int, int]]] = {}
    for first, last, (place, iommu) in mine:
        if (first, last) in collide:
            by_place.setdefault(place, []).append((first, last, iommu))
    for place, intervals in by_place.items():
        ids_of: dict[int, list[int]] = {}
        for first, last, iommu in intervals:
            for at in there[first, last]:
                count()
                other_first, _, (earlier, other_iommu) = mine[at]
                if earlier < place and iommu != other_iommu:
                    ids_of.setdefault(earlier, []).append(max(first, other_first))
        yield place, ids_of


def _colliding(assignment: Assignment, found: tuple[Assignment, Sequence[int]]) -> Diagnostic:
    other, ids = found
    behind = " and ".join(assignment.device.master.iommus) if assignment.device.master else ""
    other_behind = " and ".join(other.device.master.iommus) if other.device.master else ""
    return Diagnostic(
        what=f"{assignment.device.path} behind {behind} and {other.device.path} behind "
        f"{other_behind} have the same stream ID",
        hint="the vSMMU tells the streams of a guest apart by ID alone: give one of the two to "
        "another guest",
        prop="iommus",
        expected="IDs that no other SMMU of this guest's devices has",
        found=listed(sorted(set(ids))[:MOST_IDS]),
        other=other.device.path,
    )


def shared_stream_id(ownership: Ownership) -> Found:
    """Two devices with one ID on one SMMU are one to it: they share page tables. Xen stops with a
    BUG as the second is attached (4.17 smmu-v3.c:747, master 753), or does not assign it (RFC to
    v3).
    """
    for contest in ownership.contests.streams:
        assignment = contest.assignment
        iommu, _ = ownership.holdings.stream(contest.first)
        driver = ownership.holdings.driver(iommu)
        if contest.standing is None:
            may_share = driver is not None and driver.may_share
            if not may_share and ownership.is_first(contest.other, assignment):
                yield assignment, _shared(contest, iommu, is_assigned=True)
        elif contest.standing in (Standing.STAYS, Standing.OWN):
            yield assignment, _shared(contest, iommu, is_assigned=False)


def _shared(contest: Contest, iommu: str, *, is_assigned: bool) -> Diagnostic:
    other = contest.other
    return Diagnostic(
        what=f"{contest.assignment.device.path} and {other} share a stream ID on {iommu}",
        hint="Xen stops, or does not assign the second: leave one of them out"
        if is_assigned
        else "Xen attaches both, and stops; and the SMMU cannot tell them apart: disable "
        f'{other} in the host tree (status = "disabled";), so that host.overlay can keep it from '
        "dom0, or leave this device to the host",
        prop="iommus",
        expected="IDs of this device alone",
        found=listed(sorted(contest.ids)),
        severity=Severity.FATAL if is_assigned else Severity.ERROR,
        more=contest.more,
    )


def stream_shared_with_disabled(ownership: Ownership) -> Found:
    """A node with the ID that is not enabled: Xen looks at no status, and attaches it to dom0, if
    host.overlay does not keep it (handle_device(); booted: BUG without the mark, works with it).
    """
    for contest in ownership.contests.streams:
        if contest.standing is Standing.OFF:
            other, assignment = contest.other, contest.assignment
            yield (
                assignment,
                Diagnostic(
                    what=f"{other}, not enabled, shares a stream ID with {assignment.device.path}",
                    hint="Xen would attach it to dom0 all the same, and stop: host.overlay keeps "
                    "it from dom0, so apply that",
                    prop="iommus",
                    expected="IDs of this device alone",
                    found=f"{listed(sorted(contest.ids))}, status "
                    f'"{ownership.holdings.status(other)}"',
                    more=contest.more,
                ),
            )


@of_each
def streams_omitted(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """The guest lists fewer stream IDs than the host; Xen attaches all."""
    master = assignment.device.master
    asked = frozenset(assignment.ids)
    omitted = [i for i in master.stream_ids if i not in asked] if master else []
    if omitted:
        entries = ", ".join(f"<0x0 {stream_id:#x}>" for stream_id in omitted)
        yield Diagnostic(
            what=f"the host lists more stream IDs for {assignment.device.path}",
            hint=f"the guest's driver would set up no stream for them: add {entries} unless the "
            "device never uses them",
            prop="iommus",
            expected=listed(master.stream_ids) if master else "",
            found=listed(assignment.ids),
        )


@of_each
def maps_not_programmed(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """An iommu-map beside iommus, on a hypervisor that programs none of its IDs."""
    master = assignment.device.master
    if master and master.streams and master.maps and not ownership.profile.programs_maps:
        yield Diagnostic(
            what=f"{assignment.device.path} has an iommu-map beside its `iommus`",
            hint="Xen programs only the IDs of `iommus` for this node: DMA under an ID of the map "
            "will fault",
            prop="iommus",
            expected="`iommus` alone",
            found=f"iommu-map of {counted(len(master.maps), 'row')}",
        )
