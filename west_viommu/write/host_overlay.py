# SPDX-License-Identifier: Apache-2.0
"""host.overlay: what the host tree must say for Xen to keep the assigned devices from dom0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from west_viommu.names import OVERLAY_FIRST_LINE, partial_tree
from west_viommu.plan.records import Plan
from west_viommu.write.dts import commented, quoted


def host_overlay(plan: Plan, sizes: Mapping[str, int]) -> str:
    """The text of host.overlay, for dtc and then fdtoverlay. By path: a host blob without symbols
    will do. `sizes`: of the partial trees, in bytes, by name, for the comment on the module.
    """
    marked = {device.assignment.device.path: "" for device in plan.devices}
    for device in plan.devices:
        for twin in device.twins:
            marked.setdefault(twin, f"on a page of {device.assignment.device.path}")
    lines = [OVERLAY_FIRST_LINE, " *", *_about(plan, sizes), " */", "/dts-v1/;", "/plugin/;", ""]
    lines += ["/ {"]
    for i, (path, why) in enumerate(marked.items()):
        lines += ["", f"\t/* {commented(why)} */"] if why else [""]
        lines += [
            f"\tfragment@{i} {{",
            f"\t\ttarget-path = {quoted(path)};",
            "",
            "\t\t__overlay__ {",
        ]
        lines += ["\t\t\txen,passthrough;", "\t\t};", "\t};"]
    return "".join(f"{line}\n" for line in [*lines, "};"])


def _about(plan: Plan, sizes: Mapping[str, int]) -> Iterator[str]:
    """How to apply it, and the domain's node for dom0less."""
    blob = partial_tree("dom0less", ".dtb")
    yield " * Keeps the assigned devices from dom0. Apply it to the tree that Xen is booted with:"
    yield " *   dtc -I dts -O dtb -o host.dtbo host.overlay"
    yield " *   fdtoverlay -i host.dtb -o host-xen.dtb host.dtbo"
    if "dom0less" in plan.profile.toolstacks:
        size = f"{sizes[blob]:#x}" if blob in sizes else "SIZE"
        yield " *"
        yield f" * The domain's node in /chosen says where {blob} is loaded:"
        yield " *   module@ADDRESS {"
        yield ' *           compatible = "multiboot,device-tree", "multiboot,module";'
        yield f" *           reg = <0x0 ADDRESS 0x0 {size}>;"
        yield " *   };"
        if plan.has_viommu:
            yield " * and Xen's own command line has viommu=smmuv3."
