# SPDX-License-Identifier: Apache-2.0
"""The nodes of a host that are no devices: those that Xen itself drives, and those that it leaves
out of dom0.
"""

from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import XEN_GICS
from west_viommu.tree.node import Node, Tree

MEMORY = "memory"
RESERVED = "reserved memory"
CONSOLE = "the console of Xen"
IOMMU = "an IOMMU"
# The IOMMUs for which Xen has drivers, by the match tables of drivers/passthrough/arm/smmu-v3.c,
# smmu.c and ipmmu-vmsa.c. Any other IOMMU is a device that dom0 gets: device_get_class() uses
# these.
_IOMMUS = frozenset(
    {
        "arm,smmu-v3",
        "arm,smmu-v1",
        "arm,smmu-v2",
        "arm,mmu-400",
        "arm,mmu-401",
        "arm,mmu-500",
        "renesas,ipmmu-r8a7795",
        "renesas,ipmmu-r8a77965",
        "renesas,ipmmu-r8a7796",
        "renesas,ipmmu-r8a77961",
        "renesas,ipmmu-r8a779f0",
        "renesas,ipmmu-r8a779g0",
    }
)
# Compatible -> the role of such a node for Xen. DEVICE_GIC nodes and their children are left out of
# dom0 (make_gic_node()), and so are timers (DT_MATCH_TIMER) and the nodes that handle_node() skips;
# an ITS or a frame for MSIs beside the GIC has no other driver either.
_ROLES = {
    **dict.fromkeys(XEN_GICS, "an interrupt controller"),
    "arm,gic-v3-its": "a part of the interrupt controller",
    "arm,gic-v2m-frame": "a part of the interrupt controller",
    "arm,armv7-timer": "a timer of the CPUs",
    "arm,armv8-timer": "a timer of the CPUs",
    "arm,armv7-timer-mem": "a timer",
    "arm,psci": "firmware",
    "arm,psci-0.2": "firmware",
    "arm,psci-1.0": "firmware",
    "xen,xen": "the hypervisor's own node",
}
# Nodes that are no devices, with all nodes below them.
_PLACES = {
    "/chosen": "what the boot loader says",
    "/aliases": "names of nodes",
    "/cpus": "a CPU",
    "/reserved-memory": RESERVED,
}
# Nodes that handle_node() leaves out of dom0 with all nodes below them, and that Xen does not
# drive.
_LEFT_OUT = frozenset(
    {
        "xen,multiboot-module",
        "multiboot,module",
        "arm,cortex-a7-pmu",
        "arm,cortex-a15-pmu",
        "arm,cortex-a53-edac",
        "arm,armv8-pmuv3",
    }
)
_NOT_FOR_DOM0 = _LEFT_OUT.union(_ROLES, _IOMMUS)


def role(node: Node) -> str:
    """Return the role of `node` for the hypervisor; "" for a device that some domain could have."""
    compatible = node.compatible_for_xen
    if not _IOMMUS.isdisjoint(compatible):
        return IOMMU
    kind = node.properties.get("device_type", b"").lower()
    # Xen recognizes RAM by the name of its node (early_scan_node() in bootfdt.c, 4.17).
    if kind == b"memory\0" or node.name == "memory" or node.name.startswith("memory@"):
        return MEMORY
    if kind == b"cpu\0":
        return "a CPU"
    place = _PLACES.get("/" + node.path.split("/", 2)[1])
    if place:
        return place
    return next((_ROLES[name] for name in compatible if name in _ROLES), "")


def is_left_out(node: Node) -> bool:
    """Return whether handle_node() leaves `node`, and the nodes below it, out of dom0."""
    return (
        node.path.lower() in ("/cpus", "/chosen")
        or node.properties.get("device_type", b"").lower() == b"memory\0"
        or not _NOT_FOR_DOM0.isdisjoint(node.compatible_for_xen)
    )


def console(tree: Tree) -> str | None:
    """Return the path of the UART that is Xen's console, if there is one: the UART that `dtuart` of
    Xen's command line names, else stdout-path (dt_uart_init() in drivers/char/arm-uart.c), up to a
    colon; both may be aliases. The command line is xen,xen-bootargs, else bootargs beside
    xen,dom0-bootargs (boot_fdt_cmdline() in arch/arm/bootfdt.c, 4.17). Xen does not read
    linux,stdout-path.
    """
    chosen = tree.node("/chosen")
    if chosen is None:
        return None
    name = _first(chosen, "stdout-path")
    arguments = _first(chosen, "xen,xen-bootargs")
    if "xen,xen-bootargs" not in chosen.properties and "xen,dom0-bootargs" in chosen.properties:
        arguments = _first(chosen, "bootargs")
    for word in arguments.split():
        if word.startswith("dtuart="):
            name = word.removeprefix("dtuart=")
    name = name.split(":")[0]
    aliases = tree.node("/aliases")
    if name and not name.startswith("/") and aliases:
        name = _first(aliases, name)
    node = tree.node(name) if name else None
    return node.path if node else None


def _first(node: Node, prop: str) -> str:
    try:
        return next(iter(node.string_list(prop)), "")
    except TreeError:
        return ""
