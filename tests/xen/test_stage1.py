# SPDX-License-Identifier: Apache-2.0
"""Without Xen: a guest programs stage 1 of QEMU's SMMUv3 for the IDs that it was bound to.

The SMMU is the machine's own, so what is seen is the guest's half of the promise: with the base and
the stream ID of the bound tree, DMA goes by the guest's own addresses, and with another ID it does
not go at all. The code that programs the SMMU is that of the Zephyr driver.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import Run
from tests.xen.edu import UNDER_QEMU, Edu, Said, bound, host_tree
from tests.xen.machine import ENDED, Machine, console, host_blob
from tests.xen.programs import address_of, edu_guest
from tests.xen.tools import needs

pytestmark = needs({})

MACHINE = Machine("virt,gic-version=3,iommu=smmuv3")
DEVICE = Edu(slot=2)


def guest_on_the_machine(viommu: Run, folder: Path, said: Said) -> tuple[Path, list[str]]:
    """The guest, and what it prints on a machine with the device, where the host's tree is `said`
    to name it."""
    machine = MACHINE.with_devices(DEVICE.options)
    host = host_tree(host_blob(folder, machine), said)
    guest = bound(viommu, folder, host, "qemu-virt", UNDER_QEMU, said)
    program = edu_guest(folder, guest.macros(), stage1=True)
    printed = console(folder, machine, "-kernel", str(program), until=ENDED, seconds=120)
    return program, printed.splitlines()


def test_dma_goes_by_the_guests_own_addresses(viommu: Run, tmp_path: Path) -> None:
    program, printed = guest_on_the_machine(viommu, tmp_path, Said(edu=DEVICE))
    assert printed == [
        "guest starts",
        "irq 37",
        "by its own addresses: all bytes moved",
        "by an unmapped target: no byte moved",
        "event 0x10 of stream 0x10 for 0x4000007000",
        "by an unmapped source: other bytes arrived",
        "event 0x10 of stream 0x10 for 0x4000007000",
        "by physical addresses: no byte moved",
        f"event 0x10 of stream 0x10 for {address_of('from', program):#x}",
        "by changed addresses: all bytes moved",
        "PASS",
    ]


def test_with_another_id_nothing_moves(viommu: Run, tmp_path: Path) -> None:
    """The host's tree names an ID that the device does not have, and the guest is bound to that:
    event 4, C_BAD_STE, names the one that the device has."""
    _, printed = guest_on_the_machine(viommu, tmp_path, Said(edu=DEVICE, stream=0x18))
    assert printed == [
        "guest starts",
        "irq 37",
        "by its own addresses: no byte moved",
        "event 0x4 of stream 0x10 for 0x0",
        "FAIL",
    ]
