# SPDX-License-Identifier: Apache-2.0
"""Checks of streams: whether the IDs that Xen attaches with a device are its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from west_viommu.hazards.findings import Finding, Severity, listed
from west_viommu.hazards.situation import Found, Situation, of_each
from west_viommu.host.intervals import meetings
from west_viommu.host.streams import first_null_entry
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.contests import Contest
from west_viommu.hypervisor.holdings import Standing
from west_viommu.tree.cells import counted

# More IDs than these are not shown one by one.
_MOST_SHOWN = 16


@of_each
def stray_streams(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """Stream IDs for a device that is behind no IOMMU, and is to be assigned all the same."""
    if (
        this.request.entries
        and not this.device.master
        and situation.terms.permission("unprotected", this)
    ):
        yield Finding(
            f"{this.device.path} is behind no IOMMU, so no stream ID is its own",
            "leave iommus out",
            expected="no iommus",
            found=listed(this.ids),
        )


@of_each
def stream_list(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """A list of stream IDs that Xen reads to its end only where it is whole: a phandle of 0 ends it
    (dt_parse_phandle_with_args(), 4.17 to 4.21; booted: "Failed to assign device").
    """
    node = situation.devices.tree.node(this.device.path)
    master = this.device.master
    if node is None or master is None or not master.streams:
        return
    before = first_null_entry(situation.devices.tree, node)
    if before is not None and situation.profile.toolstacks:
        yield Finding(
            f"`iommus` of {this.device.path} has an entry without an IOMMU, and Xen reads no "
            "further",
            "correct the host tree: remove the entry whose phandle is 0"
            + ("" if before else "; as it is, Xen cannot assign the device"),
            expected="an IOMMU in each entry",
            found=f"{counted(before, 'entry') if before == 1 else f'{before} entries'} before it",
        )
    ids = Counter((stream.iommu, stream.id) for stream in master.streams)
    twice = [each for each, count in ids.items() if count > 1]
    if twice and not situation.profile.repeats_ids:
        yield Finding(
            f"`iommus` of {this.device.path} lists a stream ID twice",
            "correct the host tree: list each ID once. This Xen finds the stream in its tree "
            "already, and does not assign the device",
            expected="each ID once",
            found=listed(stream_id for _, stream_id in twice if stream_id is not None),
        )


def colliding_stream_id(situation: Situation) -> Found:
    """Two devices of one guest with one ID behind two SMMUs: the vSMMU looks a stream up by its ID
    among the devices of the domain (arm_smmu_get_domain_by_sid(), RFC to v3), and finds the wrong
    one of the two.
    """
    if situation.profile.viommu is None:
        return
    mine = [
        (first & 0xFFFFFFFF, last & 0xFFFFFFFF, (place, first >> 32))
        for place, this in enumerate(situation.assignments)
        if this.device.master
        for first, last, _ in situation.holdings.streams(
            this.device.master, maps=situation.profile.programs_maps
        )
    ]
    found: dict[tuple[int, int], list[int]] = {}
    for (place, iommu), (earlier, other_iommu), first, _ in meetings(mine, mine):
        if earlier < place and iommu != other_iommu:
            found.setdefault((place, earlier), []).append(first)
    for (place, earlier), ids in sorted(found.items()):
        this, other = situation.assignments[place], situation.assignments[earlier]
        behind = " and ".join(this.device.master.iommus) if this.device.master else ""
        other_behind = " and ".join(other.device.master.iommus) if other.device.master else ""
        yield (
            this,
            Finding(
                f"{this.device.path} behind {behind} and {other.device.path} behind {other_behind} "
                "have the same stream ID",
                "the vSMMU tells the streams of a guest apart by ID alone: give one of the two to "
                "another guest",
                expected="IDs that no other SMMU of this guest's devices has",
                found=listed(sorted(set(ids))[:_MOST_SHOWN]),
                other=other.device.path,
            ),
        )


def shared_stream_id(situation: Situation) -> Found:
    """Two devices with one ID on one SMMU are one to it: they share page tables. Xen stops with a
    BUG as the second is attached (4.17 smmu-v3.c:747, master 753), or does not assign it (RFC to
    v3).
    """
    for this, other, contest, ids in _by_device(situation):
        iommu, _ = situation.holdings.stream(contest.first)
        driver = situation.holdings.driver(iommu)
        if contest.standing is None:
            may_share = driver is not None and driver.may_share
            if not may_share and situation.is_first(other, this):
                yield this, _shared(this, other, iommu, ids, is_assigned=True)
        elif contest.standing in (Standing.STAYS, Standing.OWN):
            yield this, _shared(this, other, iommu, ids, is_assigned=False)


def _shared(
    this: Assignment, other: str, iommu: str, ids: list[int], *, is_assigned: bool
) -> Finding:
    return Finding(
        f"{this.device.path} and {other} share a stream ID on {iommu}",
        "Xen stops, or does not assign the second: leave one of them out"
        if is_assigned
        else "Xen attaches both, and stops; and the SMMU cannot tell them apart: disable "
        f'{other} in the host tree (status = "disabled";), so that host.overlay can keep it from '
        "dom0, or leave this device to the host",
        expected="IDs of this device alone",
        found=listed(ids),
        severity=Severity.FATAL if is_assigned else None,
    )


def stream_shared_with_disabled(situation: Situation) -> Found:
    """A node with the ID that is not enabled: Xen looks at no status, and attaches it to dom0, if
    host.overlay does not keep it (handle_device(); booted: BUG without the mark, works with it).
    """
    for this, other, contest, ids in _by_device(situation):
        if contest.standing is Standing.OFF:
            yield (
                this,
                Finding(
                    f"{other}, not enabled, shares a stream ID with {this.device.path}",
                    "Xen would attach it to dom0 all the same, and stop: host.overlay keeps it "
                    "from dom0, so apply that",
                    expected="IDs of this device alone",
                    found=f'{listed(ids)}, status "{situation.holdings.status(other)}"',
                ),
            )


def _by_device(situation: Situation) -> Iterator[tuple[Assignment, str, Contest, list[int]]]:
    """The contests for streams, those of two nodes together, and the IDs (the first few)."""
    together: dict[tuple[str, str, str], tuple[Contest, list[int]]] = {}
    for contest in situation.contests.streams:
        iommu, first = situation.holdings.stream(contest.first)
        key = (contest.this.request.path, contest.other, iommu)
        _, ids = together.setdefault(key, (contest, []))
        last = first + contest.last - contest.first
        ids += range(first, min(last + 1, first + _MOST_SHOWN - len(ids)))
    for contest, ids in together.values():
        yield contest.this, contest.other, contest, sorted(set(ids))


@of_each
def streams_omitted(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """The guest lists fewer stream IDs than the host; Xen attaches all."""
    master = this.device.master
    asked = frozenset(this.ids)
    omitted = [i for i in master.stream_ids if i not in asked] if master else []
    if omitted:
        entries = ", ".join(f"<0x0 {stream_id:#x}>" for stream_id in omitted)
        yield Finding(
            f"the host lists more stream IDs for {this.device.path}",
            f"the guest's driver would set up no stream for them: add {entries} unless the device "
            "never uses them",
            expected=listed(master.stream_ids) if master else "",
            found=listed(this.ids),
        )


@of_each
def maps_not_programmed(this: Assignment, situation: Situation) -> Iterator[Finding]:
    """An iommu-map beside iommus, on a hypervisor that programs none of its IDs."""
    master = this.device.master
    if master and master.streams and master.maps and not situation.profile.programs_maps:
        yield Finding(
            f"{this.device.path} has an iommu-map beside its `iommus`",
            "Xen programs only the IDs of `iommus` for this node: DMA under an ID of the map will "
            "fault",
            expected="`iommus` alone",
            found=f"iommu-map of {counted(len(master.maps), 'row')}",
        )
