# SPDX-License-Identifier: Apache-2.0
"""Guests with edu devices under a Xen with its SMMUv3 driver, which is Debian's source with
CONFIG_ARM_SMMU_V3.

It has no vSMMU, as no released Xen has: the guest leaves stage 1 alone, and a device uses the
guest's own physical addresses, by the stage 2 of its domain.

Many a test boots Xen with another host's tree than the guest was bound to. So what the tool refuses
is forced by hand: Xen goes by the tree that it is booted with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support import Run
from tests.xen.edu import UNDER_XEN, Edit, Edu, Said, bind, bound, host_tree
from tests.xen.hypervisor import Dom0, Guest, booted
from tests.xen.machine import Machine, host_blob
from tests.xen.programs import edu_guest, idle_image, image
from tests.xen.tools import STAGE2, needs, smmu_xen, stage2_qemu

PROFILE = "xen"
FIRST, SECOND, THIRD = Edu(slot=2), Edu(slot=3), Edu(slot=4)
MACHINE = Machine(
    "virt,virtualization=on,gic-version=3,iommu=smmuv3", qemu=str(stage2_qemu())
).with_devices(FIRST.options, SECOND.options, THIRD.options)

needs_stage2 = needs(STAGE2)


def right(edu: Edu) -> list[str]:
    """What a guest prints when its device is its own."""
    return ["guest starts", f"irq {edu.intid}", "by guest addresses: all bytes moved", "PASS"]


def console(
    viommu: Run,
    folder: Path,
    *guests: Sequence[Edu],
    at_boot: Sequence[Said] = (),
    bridge: bool = False,
    edit: Edit | None = None,
    with_dom0: bool = False,
    until: str | None = None,
) -> str:
    """What is printed when each of the `guests` is given its devices, until all have ended, or
    `until` (a pattern), or Xen has stopped.

    They are bound to a host that tells the truth about all devices of the guests. Xen is booted
    with what is said `at_boot` in place of that, or besides, edited, with the PCI `bridge` if asked
    for, and with a dom0, which gets what no guest has.
    """
    dumped = host_blob(folder, MACHINE)
    truth = {edu: Said(edu=edu) for devices in guests for edu in devices}
    host = host_tree(dumped, *truth.values())
    made = []
    for number, devices in enumerate(guests, start=1):
        own = folder / f"guest{number}"
        guest = bound(viommu, own, host, PROFILE, UNDER_XEN, *(truth[edu] for edu in devices))
        kernel = image(edu_guest(own, guest.macros(), seed=number))
        made.append(Guest(kernel, guest.files / "passthrough-dom0less.dtb", guest.marks))
    said = truth | {one.edu: one for one in at_boot}
    host = host_tree(dumped, *said.values(), bridge=bridge, edit=edit)
    dom0 = Dom0(idle_image(folder)) if with_dom0 else None
    xen = smmu_xen()
    assert xen is not None
    return booted(folder, MACHINE, xen, host, *made, dom0=dom0, until=until)


def refusal(viommu: Run, folder: Path, edu: Edu, *said: Said) -> str:
    """What the tool says to a guest with this device, of a host of which all this is said."""
    host = host_tree(host_blob(folder, MACHINE), Said(edu=edu), *said)
    outcome = bind(viommu, folder, host, PROFILE, UNDER_XEN, Said(edu=edu))
    assert outcome.status == 1, outcome
    return outcome.err
