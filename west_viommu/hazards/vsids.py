# SPDX-License-Identifier: Apache-2.0
"""Checks of an assignment: whether the guest's stream IDs (vMasterIDs) are fit to be used."""

from __future__ import annotations

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.findings import listed
from west_viommu.hazards.ownership import Ownership, of_each
from west_viommu.hypervisor.assignment import AssignedStream, Assignment
from west_viommu.tree.cells import counted


@of_each
def not_numbered(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """A device that the policy, or the hypervisor, gives no stream IDs."""
    streams = ownership.streams[assignment.request.path]
    renumbers = ownership.profile.renumbers
    if streams is not None and (
        not renumbers or ownership.given[assignment.request.path] is not None
    ):
        return
    if streams is None and ownership.profile.policy == "explicit":
        count = len(assignment.streams)
        yield Diagnostic(
            what=f"the policy explicit needs {counted(count, 'stream ID')} for "
            f"{assignment.device.path}",
            hint=f'write into viommu.yml: vsids: {{"{assignment.device.path}": '
            f"[{', '.join(f'{stream_id:#x}' for stream_id, _ in assignment.streams)}]}}",
            prop="iommus",
            expected=counted(count, "ID"),
            found=next(
                (
                    counted(len(e.ids), "ID")
                    for e in ownership.terms.explicit
                    if e.device in assignment.names
                ),
                "none",
            ),
        )
    else:
        yield Diagnostic(
            what=f"{renumbers} numbers the streams of direct children of {PASSTHROUGH} only",
            hint=f"move the node up, to {PASSTHROUGH}/{assignment.request.name}",
            expected=f"a child of {PASSTHROUGH}",
            found=assignment.request.path,
        )


@of_each
def vsid_clash(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """Two streams with one vMasterID, or one that is not the ID that the hypervisor gives."""
    if ownership.profile.viommu is None:
        return
    own = ownership.streams[assignment.request.path] or ()
    for mine, theirs, other in _clashes(assignment, ownership):
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
    given = ownership.given.get(assignment.request.path)
    wrong = [mine.vmaster for mine in own]
    if given is not None and list(given) != wrong:
        yield Diagnostic(
            what=f"this hypervisor gives a guest other stream IDs than the policy "
            f"{ownership.profile.policy}",
            hint="leave the policy to the profile (no --vsid, no vsid: in viommu.yml), or choose "
            "the profile of the Xen that you have",
            prop="iommus",
            expected=listed(given),
            found=listed(wrong),
        )


@of_each
def vsid_range(assignment: Assignment, ownership: Ownership) -> Iterator[Diagnostic]:
    """A vMasterID that is wider than what the vSMMU has (SMMU_IDR1.SIDSIZE)."""
    viommu = ownership.profile.viommu
    if viommu is None:
        return
    bits = viommu.id_bits
    wide = [vmaster for vmaster in ownership.guest_ids(assignment) if vmaster >> bits]
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
    assignment: Assignment, ownership: Ownership
) -> Iterator[tuple[AssignedStream, AssignedStream, str]]:
    """A stream, one before it with the same vMasterID, and whose that is. By the policy
    identity that is a collision of pMasterIDs, which has its own hazard, unless that is allowed.
    """
    is_said = not ownership.terms.permission("colliding-stream-id", assignment)
    if ownership.profile.policy == "identity" and is_said:
        return
    for stream in ownership.streams[assignment.request.path] or ():
        theirs, path = ownership.first_with[stream.vmaster]
        if theirs[:3] != stream[:3]:
            yield stream, theirs, path
