# SPDX-License-Identifier: Apache-2.0
"""imagebuilder.config: the domains of a system for ImageBuilder's uboot-script-gen, which writes
their nodes itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from west_viommu.names import SYSTEM_FIRST_LINE
from west_viommu.system.records import Domain, DomainFiles, Judged
from west_viommu.write.host_overlay import command_line_switches


def imagebuilder_config(judged: Judged, files: Mapping[str, DomainFiles], overlay: str) -> str:
    """The text, which bash sources. `overlay`: the path of marks.dtbo. All paths are those of
    system.json, for `-d` with the folder that they are relative to.
    """
    return "".join(f"{line}\n" for line in _lines(judged, files, overlay))


def _lines(judged: Judged, files: Mapping[str, DomainFiles], overlay: str) -> Iterator[str]:
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
    yield "NUM_DT_OVERLAY=1"
    yield f"DT_OVERLAY[0]={shlex.quote(overlay)}"


def _by_hand(domain: Domain, judged: Judged, number: int) -> Iterator[str]:
    """What the script does not write, or writes though nobody asked for it."""
    for switch in judged.terms.profile.switches_for("dom0less") if domain.plan.viommu else ():
        if switch.place == "domain-node":
            name, _, value = switch.text.rstrip(";").partition(" = ")
            yield f"# It writes no {name}: add `fdt set /chosen/domU{number} {name} {value}`."
    if not domain.has_vpl011:
        yield "# It gives every domain a vpl011, also this one, which asks for none."
