# SPDX-License-Identifier: Apache-2.0
"""Conflicts between the generated vSMMU and the guest's own tree."""

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.requests import Asked
from west_viommu.guest.source import GuestTree
from west_viommu.host.inventory import is_smmuv3
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.profile import Profile, Viommu
from west_viommu.names import VSMMU_LABEL


def clashes(asked: Asked, guest: GuestTree, profile: Profile) -> Iterator[Diagnostic]:
    """Yield the conflicts of the vSMMU of `profile` with the guest's own tree, if any request needs
    a vSMMU.
    """
    viommu = profile.viommu
    if viommu is None:
        return
    path = f"/{viommu.node_name}"
    hint = "remove the hand-written node: the vSMMU is generated"
    label = guest.tree.labels.get(VSMMU_LABEL, path)
    if label != path and VSMMU_LABEL not in guest.open_labels:
        yield _clash(
            guest, label, f"the label {VSMMU_LABEL} is taken", "rename the label", f"it at {path}"
        )
    for node in guest.tree.nodes():
        if node.path == path:
            continue
        if is_smmuv3(node):
            yield _clash(guest, node.path, "a second vSMMU", hint, f"one vSMMU, at {path}")
        if viommu.phandle and node is guest.tree.with_phandle(viommu.phandle):
            what = f"phandle {viommu.phandle:#x} is the vSMMU's"
            yield _clash(guest, node.path, what, "give the node another phandle", "another")
    if asked.requests:
        yield from _in_its_place(asked, guest, viommu)


def _in_its_place(asked: Asked, guest: GuestTree, viommu: Viommu) -> Iterator[Diagnostic]:
    """Yield the guest's own nodes at the addresses, or on an interrupt, of the vSMMU."""
    asking = {request.path for request in asked.requests}
    own = f"/{viommu.node_name}"
    for path, region in asked.occupied:
        if path not in asking and path != own and in_pages(region).overlaps(viommu.region):
            yield Diagnostic(
                id="guest-overlap",
                what=f"this node overlaps the vSMMU ({own})",
                hint="move the node, or remove it: Xen puts the vSMMU there",
                node=path,
                expected=f"no overlap with {viommu.region}",
                found=str(region),
                where=guest.locate(path, "reg") or guest.locate(path, ""),
            )
    names = {interrupt.intid: interrupt.name for interrupt in viommu.interrupts}
    for path, intid in asked.lines:
        if intid in names and path != own:
            yield Diagnostic(
                id="interrupt-clash",
                what=f"INTID {intid} also belongs to the vSMMU ({names[intid]})",
                hint="give the node another interrupt, or remove it",
                node=path,
                expected="an interrupt of this node alone",
                found=f"INTID {intid}",
                where=guest.locate(path, "interrupts") or guest.locate(path, ""),
            )


def _clash(guest: GuestTree, path: str, what: str, hint: str, expected: str) -> Diagnostic:
    where = guest.locate(path, "phandle") or guest.locate(path, "")
    return Diagnostic(
        id="malformed", what=what, hint=hint, node=path, expected=expected, where=where
    )
