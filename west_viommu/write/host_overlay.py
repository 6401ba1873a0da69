# SPDX-License-Identifier: Apache-2.0
"""host.overlay: what the host tree must say for Xen to keep the assigned devices from dom0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from west_viommu.hypervisor.marks import Mark
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import HOST_OVERLAY, OVERLAY_FIRST_LINE, partial_tree
from west_viommu.plan.plan import Plan
from west_viommu.write.dts import commented, quoted


def host_overlay(plan: Plan, profile: Profile, sizes: Mapping[str, int]) -> str:
    """The text of host.overlay, for dtc and then fdtoverlay. By path: a host blob without symbols
    will do. `sizes`: of the partial trees, in bytes, by name, for the comment on the module.
    """
    lines = [OVERLAY_FIRST_LINE, " *", *_about(plan, profile, sizes), " */"]
    lines += ["/dts-v1/;", "/plugin/;", "", "/ {", *fragments(plan.marks)]
    return "".join(f"{line}\n" for line in [*lines, "};"])


def fragments(marks: Iterable[Mark]) -> Iterator[str]:
    """The fragment of an overlay for each of `marks`, with a word on why."""
    for i, mark in enumerate(marks):
        yield ""
        if mark.why:
            yield f"\t/* {commented(mark.why)} */"
        yield f"\tfragment@{i} {{"
        yield f"\t\ttarget-path = {quoted(mark.node)};"
        yield ""
        yield "\t\t__overlay__ {"
        yield from ("\t\t\txen,passthrough;", "\t\t};", "\t};")


def applying(name: str) -> tuple[str, ...]:
    """How the overlay in the file `name` gets into the host's tree."""
    blob = f"{name.partition('.')[0]}.dtbo"
    return (
        f"dtc -I dts -O dtb -o {blob} {name}",
        f"fdtoverlay -i host.dtb -o host-xen.dtb {blob}",
    )


def _about(plan: Plan, profile: Profile, sizes: Mapping[str, int]) -> Iterator[str]:
    """How to apply it, and the domain's node for dom0less."""
    blob = partial_tree("dom0less", ".dtb")
    yield " * Keeps the assigned devices from dom0. Apply it to the tree that Xen is booted with:"
    yield from (f" *   {line}" for line in applying(HOST_OVERLAY))
    if "dom0less" in profile.toolstacks:
        yield from _domain(plan, profile, sizes.get(blob))
    for text in command_line_switches(profile) if plan.viommu else ():
        yield " *"
        yield f" * For the vSMMU, Xen's own command line has {text}."


def command_line_switches(profile: Profile) -> list[str]:
    """What switches the vSMMU on there, for any of the toolstacks."""
    switches = [each for name in profile.toolstacks for each in profile.switches_for(name)]
    texts = (each.text for each in switches if each.place == "xen-command-line")
    return list(dict.fromkeys(texts))


def _domain(plan: Plan, profile: Profile, size: int | None) -> Iterator[str]:
    """What the domain's node says."""
    blob = partial_tree("dom0less", ".dtb")
    switches = profile.switches_for("dom0less") if plan.viommu else ()
    yield " *"
    yield f" * The domain's node in /chosen says where {blob} is loaded:"
    yield " *   module@ADDRESS {"
    yield ' *           compatible = "multiboot,device-tree", "multiboot,module";'
    yield f" *           reg = <0x0 ADDRESS 0x0 {'SIZE' if size is None else f'{size:#x}'}>;"
    yield " *   };"
    for switch in switches:
        if switch.place == "domain-node":
            yield f" * and, for the vSMMU: {switch.text}"
    for line in plan.added:
        yield f" * Added to its device: {commented(line)}"
    if plan.memory_limit is not None:
        yield f" * Its memory is {memory_limit(plan.memory_limit)}."


def memory_limit(limit: int) -> str:
    """How much memory the domain may have, for people: xl counts in MiB, dom0less in KiB."""
    return f"at most {limit >> 20} MiB (dom0less: <0 {limit >> 10:#x}>), as a device is above it"
