# SPDX-License-Identifier: Apache-2.0
"""Checks of streams: whether the IDs that Xen attaches with a device are its own, and whether the
guest can use its own stream IDs (vMasterIDs).
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.ownership import Found, Ownership, of_each
from west_viommu.hazards.parts import listed
from west_viommu.hazards.paste import as_entries
from west_viommu.host.intervals import meetings
from west_viommu.host.inventory import first_null_entry
from west_viommu.hypervisor.assignment import Assigned, AssignedStream
from west_viommu.hypervisor.drivers import IPMMU, SMMUV2, kind, most_ids
from west_viommu.hypervisor.holdings import ID_BITS, ID_MASK, Standing
from west_viommu.hypervisor.sweep import MOST_IDS, OF_A_CONFLICT, Conflict
from west_viommu.names import RELEASED
from west_viommu.tree.cells import counted
from west_viommu.tree.node import name_of


@of_each
def not_numbered(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device to which the policy, or the hypervisor, gives no stream IDs."""
    streams, renumbers = assigned.streams, ownership.profile.renumbers
    if streams is not None and (not renumbers or assigned.fixed_ids is not None):
        return
    if streams is None and ownership.profile.policy == "explicit":
        count = len(assigned.ids)
        entry = next((e for e in ownership.terms.explicit if e.device in assigned.names), None)
        # One mapping for all devices: a second key would appear twice.
        numbers = ", ".join(
            f'"{each.host}": [{", ".join(f"{stream_id:#x}" for stream_id in each.ids)}]'
            for each in (ownership.assigned if entry is None else [assigned])
            if each.ids
        )
        yield Diagnostic(
            what=f"the policy explicit needs {counted(count, 'stream ID')} for {assigned.host}",
            hint=f"write into viommu.yml: vsids: {{{numbers}}}",
            prop="iommus",
            expected=counted(count, "ID"),
            found=counted(len(entry.ids), "ID") if entry else "none",
            where=entry.where if entry else None,
        )
    else:
        yield Diagnostic(
            what=f"{renumbers} numbers the streams of direct children of {PASSTHROUGH} only",
            hint=f"move the node up, to {PASSTHROUGH}/{name_of(assigned.node)}",
            expected=f"a child of {PASSTHROUGH}",
            found=assigned.node,
        )


@of_each
def vsid_clash(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find two streams with one vMasterID, or a stream with another vMasterID than the
    hypervisor's.
    """
    if ownership.profile.viommu is None:
        return
    for mine, theirs, other in _clashes(assigned, ownership):
        yield Diagnostic(
            what=f"two streams get the guest's stream ID {mine.vmaster:#x}: {mine.pmaster:#x} "
            f"behind {mine.iommu}, and {theirs.pmaster:#x} of {other} behind {theirs.iommu}",
            hint="one vSMMU needs an ID for each stream: "
            + (
                "write other numbers into vsids of viommu.yml"
                if ownership.profile.policy == "explicit"
                else "leave one of the devices out, or number them in viommu.yml (vsid: explicit)"
            ),
            prop="iommus",
            expected="an ID for each stream",
            found=f"{mine.vmaster:#x} twice",
        )
    fixed = assigned.fixed_ids
    wrong = [mine.vmaster for mine in assigned.streams or ()]
    if fixed is not None and list(fixed) != wrong:
        yield Diagnostic(
            what=f"this hypervisor gives a guest other stream IDs than the policy "
            f"{ownership.profile.policy}",
            hint="leave the policy to the profile (no --vsid, no vsid: in viommu.yml), or choose "
            "the profile of the Xen that you have",
            prop="iommus",
            expected=listed(fixed),
            found=listed(wrong),
        )


@of_each
def vsid_range(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a vMasterID that is too wide for the vSMMU (SMMU_IDR1.SIDSIZE)."""
    viommu = ownership.profile.viommu
    if viommu is None:
        return
    bits = viommu.id_bits
    wide = [s.vmaster for s in assigned.streams or () if s.vmaster >> bits]
    if wide:
        yield Diagnostic(
            what=f"the vSMMU has stream IDs of {bits} bits",
            hint="write smaller numbers into vsids of viommu.yml"
            if ownership.profile.policy == "explicit"
            else "its guest could not use such an ID: pass through another device, or, if yours is "
            f"a released Xen, take --profile {RELEASED}",
            prop="iommus",
            expected=f"at most {(1 << bits) - 1:#x}",
            found=listed(wide),
        )


def _clashes(
    assigned: Assigned, ownership: Ownership
) -> Iterator[tuple[AssignedStream, AssignedStream, str]]:
    """Yield a stream, an earlier one with the same vMasterID, and the path of the earlier one's
    host node. Under the policy identity, this is a collision of pMasterIDs, which has its own
    hazard, unless that is allowed.
    """
    is_said = not ownership.terms.permission("colliding-stream-id", assigned)
    if ownership.profile.policy == "identity" and is_said:
        return
    for stream in assigned.streams or ():
        theirs, path = ownership.first_with[stream.vmaster]
        if (theirs.iommu, theirs.pmaster) != (stream.iommu, stream.pmaster):
            yield stream, theirs, path


@of_each
def stray_streams(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find stream IDs for a device that is behind no IOMMU, and is to be assigned nevertheless."""
    if (
        assigned.request
        and assigned.request.entries
        and not assigned.device.master
        and ownership.terms.permission("unprotected", assigned)
    ):
        yield Diagnostic(
            what=f"{assigned.host} is behind no IOMMU, so it has no stream IDs",
            hint="leave iommus out",
            prop="iommus",
            expected="no iommus",
            found=listed(assigned.ids),
        )


@of_each
def stream_list(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a list of stream IDs that Xen does not read to its end: a phandle of 0 ends it
    (dt_parse_phandle_with_args(), 4.17 to 4.21; booted: "Failed to assign device").
    """
    node = ownership.devices.tree.node(assigned.host)
    master = assigned.device.master
    if node is None or master is None or not master.streams:
        return
    before = first_null_entry(ownership.devices.tree, node)
    if before is not None and ownership.profile.toolstacks:
        yield Diagnostic(
            what=f"`iommus` of {assigned.host} has an entry without an IOMMU, and Xen "
            "reads no further",
            hint="correct the host tree: remove the entry whose phandle is 0"
            + ("" if before else "; as it is, Xen cannot assign the device"),
            prop="iommus",
            expected="an IOMMU in each entry",
            found=f"{counted(before, 'entry', 'entries')} before it",
        )
    for path in dict.fromkeys(stream.iommu for stream in master.streams):
        most = most_ids(ownership.devices.iommus[path], ownership.profile)
        count = sum(stream.iommu == path for stream in master.streams)
        if most and count > most and ownership.profile.toolstacks:
            yield Diagnostic(
                what=f"{assigned.host} has more stream IDs than Xen's driver of {path} "
                "has room for: it would write over other memory of Xen",
                hint="leave this device to the host, or list in the host tree only the IDs that "
                "the device uses",
                prop="iommus",
                expected=f"at most {most}",
                found=str(count),
                severity=Severity.FATAL,
            )
    ids = Counter((stream.iommu, stream.id) for stream in master.streams)
    twice = [stream_id for stream_id, count in ids.items() if count > 1]
    if twice and not ownership.profile.repeats_ids:
        yield Diagnostic(
            what=f"`iommus` of {assigned.host} lists a stream ID twice",
            hint="correct the host tree: list each ID once. This Xen finds the stream in its tree "
            "already, and does not assign the device",
            prop="iommus",
            expected="each ID once",
            found=listed(stream_id for _, stream_id in twice if stream_id is not None),
        )
        return
    if assigned.request is None:
        return
    asked = Counter(entry.id for entry in assigned.request.entries)
    of_host = Counter(stream.id for stream in master.streams)
    again = [stream_id for stream_id, count in asked.items() if count > of_host[stream_id] > 0]
    if again and ownership.profile.viommu and not ownership.profile.repeats_ids:
        yield Diagnostic(
            what=f"the node lists a stream ID of {assigned.host} twice: the guest would set the "
            "stream up twice, which stops Xen, or find a second stream",
            hint=f"list each once: {as_entries(master)}",
            prop="iommus",
            expected="each ID once",
            found=listed(again),
        )


def colliding_stream_id(ownership: Ownership) -> Found:
    """Find two devices of one guest with one ID behind two SMMUs: the vSMMU searches for a stream
    by its ID among the devices of the domain (arm_smmu_get_domain_by_sid(), RFC to v3), and finds
    the wrong one of the two.
    """
    if ownership.profile.viommu is None:
        return
    for (place, earlier), ids in sorted(_collisions(ownership).items()):
        assigned = ownership.assigned[place]
        yield assigned.node, _colliding(assigned, ownership.assigned[earlier], ids)


def _collisions(ownership: Ownership) -> dict[tuple[int, int], list[int]]:
    """Return the indexes of each two devices that collide, and the beginnings of their common
    IDs.
    """
    mine = [
        (first & ID_MASK, last & ID_MASK, (place, first >> ID_BITS))
        for place, assigned in enumerate(ownership.assigned)
        if assigned.device.master and ownership.first_of[assigned.host] == assigned.node
        for first, last, _ in ownership.holdings.streams(
            assigned.device.master, maps=ownership.profile.programs_maps
        )
    ]
    collisions: dict[tuple[int, int], list[int]] = {}
    if len({iommu for _, _, (_, iommu) in mine}) < 2:
        return collisions
    for (place, iommu), (earlier, other_iommu), first, _ in meetings(mine, mine):
        ownership.devices.steps.count()
        if earlier < place and iommu != other_iommu:
            ownership.devices.steps.count(steps=OF_A_CONFLICT)
            collisions.setdefault((place, earlier), []).append(first)
    return collisions


def _colliding(assigned: Assigned, other: Assigned, ids: Sequence[int]) -> Diagnostic:
    behind = " and ".join(assigned.device.master.iommus) if assigned.device.master else ""
    other_behind = " and ".join(other.device.master.iommus) if other.device.master else ""
    return Diagnostic(
        what=f"{assigned.host} behind {behind} and {other.host} behind {other_behind} have the "
        "same stream ID",
        hint="the vSMMU tells the streams of a guest apart by ID alone: give one of the two to "
        "another guest",
        prop="iommus",
        expected="IDs that no other SMMU of this guest's devices has",
        found=listed(sorted(set(ids))[:MOST_IDS]),
        other=other.host,
    )


def shared_stream_id(ownership: Ownership) -> Found:
    """Find two devices with one ID on one IOMMU, for which they are one: they share page tables. An
    SMMUv3's driver stops Xen with a BUG as the second is attached (4.17 smmu-v3.c:747, master 753),
    or does not assign it (RFC to v3).
    """
    for conflict in ownership.conflicts.streams:
        iommu, _ = ownership.holdings.stream(conflict.first)
        driver = ownership.holdings.driver(iommu)
        if conflict.rival:
            if driver is None or not driver.may_share:
                yield conflict.node, _shared(conflict, iommu, ownership)
        elif conflict.standing in (Standing.STAYS, Standing.OWN):
            yield conflict.node, _shared(conflict, iommu, ownership)


def _shared(conflict: Conflict, iommu: str, ownership: Ownership) -> Diagnostic:
    other, severity = conflict.other, Severity.ERROR
    if conflict.rival:
        hint = "Xen stops, or does not assign the second: leave one of them out"
        severity = Severity.FATAL
    else:
        why, driver = _of_both(other, iommu, ownership), ownership.holdings.driver(iommu)
        both = f'give the guest both (a node with xen,path = "{other}"), '
        hint = f"{why}: {both if driver and driver.may_share else ''}disable {other} in the host "
        hint += 'tree (status = "disabled";), so that host.overlay can keep it from dom0, or leave '
        hint += "this device to the host"
    return Diagnostic(
        what=f"{conflict.host} and {other} share a stream ID on {iommu}",
        hint=hint,
        prop="iommus",
        expected="IDs of this device alone",
        found=listed(sorted(conflict.ids)),
        severity=severity,
    )


def _of_both(other: str, iommu: str, ownership: Ownership) -> str:
    """Return what Xen does if dom0 has the node at `other`, and a guest the device with its ID."""
    name = kind(ownership.devices.iommus[iommu].compatible)
    if name == IPMMU:
        # ipmmu_utlb_enable().
        return (
            "Xen gives a micro-TLB of an IPMMU to one domain, and does not assign the device while "
            "dom0 has the other"
        )
    if name == SMMUV2:
        # arm_smmu_domain_add_master() writes the context of the last domain.
        return f"an SMMUv2 cannot tell them apart, so the DMA of {other} would reach the guest"
    return "Xen attaches both, and stops; and the SMMU cannot tell them apart"


def stream_shared_with_disabled(ownership: Ownership) -> Found:
    """Find a disabled node with the ID: Xen ignores the status, and attaches it to dom0, if
    host.overlay does not keep it (handle_device(); booted: BUG without the mark, works with it).
    """
    for conflict in ownership.conflicts.streams:
        if conflict.standing is Standing.OFF:
            other = conflict.other
            iommu, _ = ownership.holdings.stream(conflict.first)
            driver = ownership.holdings.driver(iommu)
            stops = "" if driver and driver.may_share else ", and stop"
            yield (
                conflict.node,
                Diagnostic(
                    what=f"{other}, not enabled, shares a stream ID with {conflict.host}",
                    hint=f"Xen would attach it to dom0 all the same{stops}: host.overlay keeps "
                    "it from dom0, so apply that",
                    prop="iommus",
                    expected="IDs of this device alone",
                    found=f"{listed(sorted(conflict.ids))}, status "
                    f'"{ownership.holdings.status(other)}"',
                ),
            )


def _has_one_setting(ownership: Ownership) -> bool:
    """Return whether the vSMMU has one setting of stage 1 for all streams of a device: the first
    CFGI_STE for any of them counts for all, and another is BUG_ON(s1_live) in
    arm_smmu_write_strtab_ent() (booted on AMD's 2023.2 and the RFC).
    """
    viommu = ownership.profile.viommu
    return bool(viommu and viommu.stage1_settings == "device" and ownership.profile.toolstacks)


def _one_setting(ownership: Ownership) -> str:
    """Return what Xen has, or, if that is not known, may have."""
    viommu = ownership.profile.viommu
    has = "has" if viommu and viommu.is_stage1_known else "may have"
    return f"Xen {has} one setting of stage 1 for the whole device"


@of_each
def several_streams(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a device with several stream IDs, if the guest may set up only one of them, once."""
    ids = dict.fromkeys(assigned.ids)
    if len(ids) > 1 and _has_one_setting(ownership):
        yield Diagnostic(
            what=f"the guest gets {len(ids)} stream IDs of {assigned.host}, and "
            f"{_one_setting(ownership)}",
            hint="the guest must set up one of these streams in its vSMMU, once, and that counts "
            "for all: a second one can stop Xen (BUG_ON(s1_live) in smmu-v3.c). "
            "CONFIG_VIOMMU_STAGE1 does so; for a driver that sets up all, list only one ID",
            prop="iommus",
            expected="one stream ID",
            found=listed(ids),
        )


@of_each
def streams_omitted(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find a guest node that lists fewer stream IDs than the host; Xen attaches all."""
    master = assigned.device.master
    asked = frozenset(assigned.ids)
    omitted = [i for i in master.stream_ids if i not in asked] if master else []
    if omitted:
        entries = ", ".join(f"<0x0 {stream_id:#x}>" for stream_id in omitted)
        yield Diagnostic(
            what=f"the host lists more stream IDs for {assigned.host}",
            hint=f"leave the others out: {_one_setting(ownership)}, and a guest that sets up a "
            "second stream of it can stop Xen"
            if _has_one_setting(ownership)
            else "Xen attaches them too: list all, or none, as the guest has no vSMMU for them"
            if ownership.profile.viommu is None
            else f"the guest's driver would set up no stream for them: add {entries} unless the "
            "device never uses them",
            prop="iommus",
            expected=listed(master.stream_ids) if master else "",
            found=listed(assigned.ids),
        )


@of_each
def maps_not_programmed(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """Find an iommu-map beside iommus, on a hypervisor that programs none of its IDs."""
    master = assigned.device.master
    if master and master.streams and master.maps and not ownership.profile.programs_maps:
        yield Diagnostic(
            what=f"{assigned.host} has an iommu-map beside its `iommus`",
            hint="Xen programs only the IDs of `iommus` for this node: DMA under an ID of the map "
            "will fault",
            prop="iommus",
            expected="`iommus` alone",
            found=f"iommu-map of {counted(len(master.maps), 'row')}",
        )
