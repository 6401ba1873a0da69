# SPDX-License-Identifier: Apache-2.0
"""Two guests from the files of `viommu system` alone, under a Xen with its SMMUv3 driver.

Only what no tool of ours says is added to the tree: Xen's own command line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.support import Run
from tests.xen.edu import UNDER_XEN, Bound, Edu, Said, bound, host_tree
from tests.xen.hypervisor import FIRST_MODULE, MODULE_ALIGN, STOPPED, overlaid, said_by
from tests.xen.machine import ENDED, console, host_blob
from tests.xen.programs import edu_guest, image
from tests.xen.stage2 import FIRST, MACHINE, PROFILE, SECOND, needs_stage2, right
from tests.xen.tools import XL, dom0, needs, smmu_xen
from tests.xen.xl import created_of

pytestmark = needs_stage2

BOOTARGS = """/dts-v1/;
/plugin/;

&{/chosen} {
	xen,xen-bootargs = "console=dtuart conswitch=ax";
};
"""


class Loads:
    """Places in RAM for what QEMU loads, one after the other."""

    def __init__(self) -> None:
        self._next = FIRST_MODULE
        self.options: list[str] = []

    def of(self, file: Path) -> int:
        """Where it is put."""
        address = self._next
        self._next += MODULE_ALIGN * 4
        self.options += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
        return address


def made(viommu: Run, folder: Path, host: Path, name: str, edu: Edu, seed: int) -> Bound:
    """A guest with its device, bound and built by itself, with its kernel where Zephyr has it."""
    own = folder / name
    guest = bound(viommu, own, host, PROFILE, UNDER_XEN, Said(edu=edu))
    (own / "zephyr").mkdir()
    kernel = image(edu_guest(own, guest.macros(), seed=seed))
    kernel.rename(own / "zephyr" / "zephyr.bin")
    return guest


def system_of(folder: Path, host: Path, names: Sequence[str]) -> tuple[Path, Loads]:
    """A system.yml of these guests, and where each of their files is loaded."""
    loads = Loads()
    lines = [f"host: {host.name}", "domains:"]
    for name in names:
        kernel = loads.of(folder / name / "zephyr" / "zephyr.bin")
        tree = loads.of(folder / name / "viommu" / "passthrough-dom0less.dtb")
        lines += [f"  {name}:", f"    build: {name}", "    vpl011: true"]
        lines += [f"    load: {{kernel: {kernel:#x}, passthrough: {tree:#x}}}"]
    file = folder / "system.yml"
    file.write_text("\n".join(lines) + "\n")
    return file, loads


def started(folder: Path, host: Path, overlay: str, loads: Loads, guests: int) -> str:
    """The console of Xen on that host, until all of the guests have ended, or Xen has stopped."""
    xen = smmu_xen()
    assert xen is not None
    tree = overlaid(folder, host, BOOTARGS, overlay)
    options = ["-kernel", str(xen), "-dtb", str(tree), *loads.options]
    end = "(?s:" + ".*".join([f"(?:{ENDED})"] * guests) + ")"
    return console(folder, MACHINE, *options, until=f"{end}|{STOPPED}", seconds=120)


def test_each_guest_moves_its_own_bytes(viommu: Run, tmp_path: Path) -> None:
    host = host_tree(host_blob(tmp_path, MACHINE), Said(edu=FIRST), Said(edu=SECOND))
    made(viommu, tmp_path, host, "left", FIRST, seed=1)
    made(viommu, tmp_path, host, "right", SECOND, seed=2)
    file, loads = system_of(tmp_path, host, ["left", "right"])
    outcome = viommu("system", file)
    assert (outcome.status, outcome.err) == (0, "")
    overlay = (tmp_path / "viommu-system" / "host.overlay").read_text()
    printed = started(tmp_path, host, overlay, loads, guests=2)
    assert said_by(1, printed) == right(FIRST), printed
    assert said_by(2, printed) == right(SECOND), printed


@needs(XL)
def test_xl_creates_one_beside_dom0(viommu: Run, tmp_path: Path) -> None:
    """Of NAME.cfg alone, in a dom0 that has the files where system.yml has them."""
    host = host_tree(host_blob(tmp_path, MACHINE), Said(edu=FIRST), Said(edu=SECOND))
    made(viommu, tmp_path, host, "left", FIRST, seed=1)
    made(viommu, tmp_path, host, "right", SECOND, seed=2)
    file, _ = system_of(tmp_path, host, ["left", "right"])
    assert viommu("system", file).status == 0
    written = tmp_path / "viommu-system"
    names = ("left/zephyr/zephyr.bin", "left/viommu/passthrough-xl.dtb")
    own = {"guest.cfg": written / "left.cfg", **{name: tmp_path / name for name in names}}
    xen, first = smmu_xen(), dom0()
    assert xen is not None and first is not None
    marks = (written / "marks.overlay").read_text()
    shown = created_of(tmp_path, MACHINE, xen, first, host, marks, own)
    assert shown.section("xl create")[-1] == "status 0", shown.console
    assert shown.section("guest") == right(FIRST), shown.console


def test_a_stream_of_two_guests_is_refused_and_stops_xen(viommu: Run, tmp_path: Path) -> None:
    """Both were bound to hosts that say so of their own device alone. Of the host as it is, where
    both have one ID, the tool refuses the system; forced, Xen stops."""
    dumped = host_blob(tmp_path, MACHINE)
    alike = Said(edu=SECOND, stream=FIRST.stream)
    host = host_tree(dumped, Said(edu=FIRST), Said(edu=SECOND))
    made(viommu, tmp_path, host, "left", FIRST, seed=1)
    made(viommu, tmp_path, host, "right", SECOND, seed=2)
    file, loads = system_of(tmp_path, host, ["left", "right"])
    assert viommu("system", file).status == 0
    overlay = (tmp_path / "viommu-system" / "host.overlay").read_text()

    host = host_tree(dumped, Said(edu=FIRST), alike)
    outcome = viommu("system", file)
    assert outcome.status == 1
    assert outcome.err.count("was bound to another host tree") == 2, outcome.err
    for name, edu in (("left", FIRST), ("right", SECOND)):
        clash = bind_allowing(viommu, tmp_path / name, host, edu, "shared-stream-id")
        assert clash == 0
    outcome = viommu("system", file)
    assert outcome.status == 1
    assert "error: [shared-stream-id] /edu@10200000 and /edu@10300000 have the same" in outcome.err
    assert not (tmp_path / "viommu-system").exists() or not list(
        (tmp_path / "viommu-system").iterdir()
    )
    printed = started(tmp_path, host, overlay, loads, guests=2)
    assert re.search(r"Xen BUG at drivers/passthrough/arm/smmu-v3\.c:\d+", printed), printed


def bind_allowing(viommu: Run, folder: Path, host: Path, edu: Edu, hazard: str) -> int:
    """Bind the guest again to another host, with a permission for its device; the exit status."""
    config = folder / "viommu.yml"
    config.write_text(f"allow:\n- {{hazard: {hazard}, device: {edu.path}, reason: forced}}\n")
    options = ("--profile", PROFILE, "--config", config, "-o", folder / "viommu")
    source = (folder / "guest.dts").read_text()
    (folder / "guest.dts").write_text(
        re.sub(r"iommus = <0x0 \S+>;", f'xen,path = "{edu.path}";', source)
    )
    return viommu("bind", "--host", host, *options, folder / "guest.dts").status
