# SPDX-License-Identifier: Apache-2.0
"""Checks of an assignment: whether the guest's stream IDs (vMasterIDs) are fit to be used."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.findings import listed
from west_viommu.hazards.ownership import Ownership, of_each
from west_viommu.hypervisor.assignment import Assigned, AssignedStream
from west_viommu.tree.cells import counted
from west_viommu.tree.node import name_of


@of_each
def not_numbered(assigned: Assigned, ownership: Ownership) -> Iterator[Diagnostic]:
    """A device that the policy, or the hypervisor, gives no stream IDs."""
    streams, renumbers = assigned.streams, ownership.profile.renumbers
    if streams is not None and (not renumbers or assigned.fixed_ids is not None):
        return
    if streams is None and ownership.profile.policy == "explicit":
        count = len(assigned.ids)
        yield Diagnostic(
            what=f"the policy explicit needs {counted(count, 'stream ID')} for {assigned.host}",
            hint=f'write into viommu.yml: vsids: {{"{assigned.host}": '
            f"[{', '.join(f'{stream_id:#x}' for stream_id in assigned.ids)}]}}",
            prop="iommus",
            expected=counted(count, "ID"),
            found=next(
                (
                    counted(len(e.ids), "ID")
                    for e in ownership.terms.explicit
                    if e.device in assigned.names
                ),
                "none",
            ),
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
    """Two streams with one vMasterID, or one that is not the ID that the hypervisor gives."""
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
    """A vMasterID that is wider than what the vSMMU has (SMMU_IDR1.SIDSIZE)."""
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
            else "its guest could not use such an ID: pass through another device",
            prop="iommus",
            expected=f"at most {(1 << bits) - 1:#x}",
            found=listed(wide),
        )


def _clashes(
    assigned: Assigned, ownership: Ownership
) -> Iterator[tuple[AssignedStream, AssignedStream, str]]:
    """A stream, one before it with the same vMasterID, and whose that is. By the policy
    identity that is a collision of pMasterIDs, which has its own hazard, unless that is allowed.
    """
    is_said = not ownership.terms.permission("colliding-stream-id", assigned)
    if ownership.profile.policy == "identity" and is_said:
        return
    for stream in assigned.streams or ():
        theirs, path = ownership.first_with[stream.vmaster]
        if (theirs.iommu, theirs.pmaster) != (stream.iommu, stream.pmaster):
            yield stream, theirs, path
