# SPDX-License-Identifier: Apache-2.0
"""Texts that boot a system.

boot.cmd is a script for U-Boot that loads the modules of Xen, and starts Xen.

Every line was seen to be needed with Debian's U-Boot 2023.01 and 2025.01 (tests/xen): a failed load
does not stop a script, so the loads are joined by &&; the addresses are numbers, as ${fdt_addr_r}
may be unset; fdt_high keeps the tree in its place, as booti would copy it over a module; no fdt
command runs, as many U-Boots lack fdt apply.

imagebuilder.config has the domains of a system for ImageBuilder's uboot-script-gen, which writes
their nodes itself.
"""

import posixpath
import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.names import SYSTEM_FIRST_LINE, XL_CFG_FIRST_LINE
from west_viommu.system.boot import files_of, files_of_dom0
from west_viommu.system.records import Domain, DomainFiles, Judged
from west_viommu.write.host_overlay import command_line_switches


def imagebuilder_config(judged: Judged, files: Mapping[str, DomainFiles], overlay: str) -> str:
    """Return the text, which bash sources. `overlay`: the path of marks.dtbo. All paths are
    relative to the folder of system.json: pass that folder with `-d`.
    """
    return "".join(f"{line}\n" for line in _domain_lines(judged, files, overlay))


def _domain_lines(judged: Judged, files: Mapping[str, DomainFiles], overlay: str) -> Iterator[str]:
    profile = judged.terms.profile
    yield SYSTEM_FIRST_LINE
    yield "# Source it from the configuration that has the rest: MEMORY_START, DEVICE_TREE, XEN."
    if any(domain.plan.viommu for domain in judged.domains):
        for text in command_line_switches(profile):
            yield f"# For the vSMMUs, XEN_CMD has {text}."
    yield f"NUM_DOMUS={len(judged.domains)}"
    for number, domain in enumerate(judged.domains):
        made_of = files[domain.name]
        yield f"# {domain.name}"
        if made_of.kernel:
            yield f"DOMU_KERNEL[{number}]={shlex.quote(made_of.kernel.file)}"
        tree = made_of.trees["dom0less"].file
        yield f"DOMU_PASSTHROUGH_DTB[{number}]={shlex.quote(tree)}"
        yield f"DOMU_MEM[{number}]={domain.memory}"
        yield f"DOMU_VCPUS[{number}]={domain.cpus}"
        yield from _by_hand(domain, judged, number)
    yield "# A script without DT_OVERLAY, or a U-Boot without `fdt apply`, leave out the marks:"
    yield "# then DEVICE_TREE is the host's tree with this overlay applied (fdtoverlay)."
    yield "NUM_DT_OVERLAY=1"
    yield f"DT_OVERLAY[0]={shlex.quote(overlay)}"


def _by_hand(domain: Domain, judged: Judged, number: int) -> Iterator[str]:
    """Yield comments on settings that uboot-script-gen omits, or writes although not asked for."""
    for switch in judged.terms.profile.switches_for("dom0less") if domain.plan.viommu else ():
        if switch.place == "domain-node":
            name, _, value = switch.text.rstrip(";").partition(" = ")
            yield f"# It writes no {name}: add `fdt set /chosen/domU{number} {name} {value}`."
    if not domain.has_vpl011:
        yield "# It gives every domain a vpl011, also this one, which asks for none."
    if judged.terms.profile.vpl011_by_name:
        node = f"/chosen/domU{number}"
        again = f"; fdt set {node} vpl011" if domain.has_vpl011 else ""
        yield "# It writes a number into vpl011, over which this Xen panics. Add, before booti:"
        yield f"#   fdt rm {node} vpl011{again}"


_PLAIN = string.ascii_letters + string.digits + "._/+-@"
_FROM = "load ${devtype} ${devnum}:${distro_bootpart}"


class Load(NamedTuple):
    """A file that the script loads: its name, its address, and its size in bytes if xen.dtb states
    that size.
    """

    file: str
    address: int
    size: int | None


def name_on_board(path: str) -> str:
    """Return the name of a file in boot.cmd: its path below the folder of the system, else its
    name.
    """
    is_below = not path.startswith(("../", "/"))
    return path if is_below else posixpath.basename(path)


def is_plain_name(name: str) -> bool:
    """Return whether the shell of U-Boot takes `name` unchanged."""
    return name.isascii() and not set(name).difference(_PLAIN)


def boot_script_of(
    judged: Judged, files: Mapping[str, DomainFiles], xen_file: str, tree_file: str
) -> str:
    """Return the script that boots a system; all its files have addresses."""
    boot = judged.boot
    if boot is None or boot.xen is None or boot.tree is None:
        raise AssertionError("no addresses")
    parts = [part for domain in judged.domains for part in files_of(domain, files[domain.name])]
    parts += files_of_dom0(boot.dom0) if boot.dom0 else []
    loads = [
        Load(name_on_board(file.file), address, file.size)
        for _, file, address in parts
        if address is not None
    ]
    xen = Load(name_on_board(xen_file), boot.xen.base, None)
    return boot_script(loads, xen, Load(name_on_board(tree_file), boot.tree.base, None))


def boot_script(loads: Sequence[Load], xen: Load, tree: Load) -> str:
    """Return the text of the script: it loads the modules, `tree` and `xen`, and boots."""
    return "".join(f"{line}\n" for line in _script_lines([*loads, tree, xen], xen, tree))


def _script_lines(loads: Sequence[Load], xen: Load, tree: Load) -> Iterator[str]:
    yield XL_CFG_FIRST_LINE
    yield "# mkimage -A arm64 -T script -C none -d boot.cmd boot.scr makes it a script for U-Boot."
    steps = []
    for load in loads:
        steps.append(f"{_FROM} {load.address:#x} ${{prefix}}{load.file}")
        if load.size is not None:
            steps.append(f"test 0x${{filesize}} -eq {load.size:#x}")
    yield "if " + " \\\n&& ".join(steps)
    yield "then"
    yield "\tsetenv fdt_high 0xffffffffffffffff"
    yield f"\tbooti {xen.address:#x} - {tree.address:#x}"
    yield "else"
    yield '\techo "boot.cmd: a file is missing, or has another size than xen.dtb says"'
    yield "fi"
