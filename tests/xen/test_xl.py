# SPDX-License-Identifier: Apache-2.0
"""xl, in a Linux dom0, makes a guest of the xl.cfg that `viommu bind` wrote, pasted as it is.

The devices are behind the machine's SMMUv3; Xen and its stage 2 are as in stage2.py.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import Outcome, Run
from tests.xen.edu import UNDER_XEN, Bound, Said, bound, host_tree
from tests.xen.machine import host_blob
from tests.xen.programs import edu_guest, image
from tests.xen.stage2 import FIRST, MACHINE, PROFILE, SECOND, THIRD, right
from tests.xen.tools import XL, dom0, needs, smmu_xen
from tests.xen.xl import Created, created

pytestmark = needs(XL)

# How this xl's guest differs from one that was bound to a vSMMU: xl 4.17 makes none.
WITHOUT_A_VSMMU = """  NODE                       WHAT        BUILT                GIVEN
  /passthrough/edu@10200000  iommus      a vSMMU in the tree  <0x2 0x10>, not rewritten
  /iommu@4040000             vSMMU       present              none
  /passthrough/edu@10200000  stream IDs  0x10                 none
"""


def made_by_xl(viommu: Run, folder: Path, said: Said) -> tuple[Bound, Created]:
    """A guest that owns the first device, where the host's tree is `said` to name it. The other
    one stays with dom0."""
    host = host_tree(host_blob(folder, MACHINE), said, Said(edu=SECOND))
    guest = bound(viommu, folder, host, PROFILE, UNDER_XEN, said)
    kernel = image(edu_guest(folder, guest.macros()))
    xen, first = smmu_xen(), dom0()
    assert xen is not None and first is not None
    return guest, created(folder, MACHINE, xen, first, host, guest.files, kernel)


def checked(viommu: Run, folder: Path, guest: Bound, shown: Created) -> Outcome:
    """`viommu check` of what was built and what libxl gave."""
    dump, built = folder / "dump.dtb", folder / "built.dts"
    dump.write_bytes(shown.guest_tree)
    overlay = (guest.files / "viommu.overlay").read_text()
    built.write_text((folder / "guest.dts").read_text() + overlay)
    return viommu("check", "--dts", built, "--guest-dtb", dump, "--profile", PROFILE)


def test_a_guest_of_xl(viommu: Run, tmp_path: Path) -> None:
    guest, shown = made_by_xl(viommu, tmp_path, Said(edu=FIRST))
    assert shown.section("xl create")[-1] == "status 0", shown.console
    assert shown.section("guest") == right(FIRST), shown.console
    outcome = checked(viommu, tmp_path, guest, shown)
    if guest.has_vsmmu:
        assert outcome.out.partition("\n")[2].partition("hint:")[0] == WITHOUT_A_VSMMU
    else:
        assert outcome.status == 0, outcome


def test_by_another_id_none_moves(viommu: Run, tmp_path: Path) -> None:
    _, shown = made_by_xl(viommu, tmp_path, Said(edu=FIRST, stream=THIRD.stream))
    assert shown.section("guest") == [
        "guest starts",
        "irq 37",
        "by guest addresses: no byte moved",
        "FAIL",
    ], shown.console
