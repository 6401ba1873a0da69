# SPDX-License-Identifier: Apache-2.0
"""The size of the tree that Xen makes for a guest, and the room that it has.

prepare_dtb_domU(), arch/arm/domain_build.c (4.17, 4.18; AMD 2023.2), dom0less-build.c (4.19, 4.20),
common/device-tree/dom0less-build.c (4.21 on), and the functions that it calls. fdt_finish() packs
nothing: each property must fit when it is written. libfdt writes like nodes.blob_of(), but for 8
bytes behind the header, to which fdt_create() aligns the reserve map.
"""

from __future__ import annotations

from tests.xen.guest_map import VSMMU, Layout
from tests.xen.host import GIC_V2, Host, compatible, type_of
from tests.xen.nodes import Node, blob_of, pack
from tests.xen.running import Running
from tests.xen.xens import Xen

SZ_2M = 0x200000
ALIGNMENT = 8
TAKEN = ("xen,reg", "xen,path", "xen,force-assign-without-iommu")
CPU = {"compatible": b"arm,cortex-a57\0"}  # of a host without /cpus, which no Xen would start on


def room(xen: Xen, module: int) -> int:
    """Return the bytes for fdt_create(), with a module of so many."""
    return min(xen.tree_size + (module if xen.adds_module else 0), SZ_2M)


def tree_bytes(running: Running, partial: Node, layout: Layout) -> int:
    """Return the size of the guest's tree. (Without a ramdisk, bootargs and xen,enhanced.)"""
    return len(blob_of(guest_tree(running, partial, layout))) + ALIGNMENT


def guest_tree(running: Running, partial: Node, layout: Layout) -> Node:
    """Return the tree, each value of the right length."""
    xen, host = running.xen, running.host
    root = Node("", {"#address-cells": pack(2), "#size-cells": pack(2)})
    copied = [_copied(node) for node in partial.children if _is_scanned(node)]
    chosen = Node("chosen")
    if not xen.adds_module:  # make_chosen_node(): the kernel's module is taken for a ramdisk
        chosen.props |= {"linux,initrd-start": bytes(8), "linux,initrd-end": bytes(8)}
    psci = Node("psci", {"compatible": b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0"})
    psci.props |= {"method": b"hvc\0", "cpu_off": pack(0), "cpu_on": pack(0)}
    first = [chosen] if xen.passthrough_first else [chosen, psci]
    rest = [_cpus(host, layout), _memory(layout)]
    if layout.shared:
        rest.append(_shared(layout))
    last = [_gic(host, xen), _timer(host)]
    if xen.passthrough_first:
        nodes = [*copied, *first, *rest, *last, psci]
    else:
        nodes = [*first, *rest, *copied, *last]
    if layout.has_uart:
        nodes.append(_uart())
    if xen.vsmmu:
        nodes.append(_vsmmu(xen))
    for node in nodes:
        root.add(node)
    return root


def _is_scanned(node: Node) -> bool:
    return node.name.lower() in ("passthrough", "aliases")


def _copied(node: Node, in_aliases: bool = False) -> Node:
    """Copy a node as handle_prop_pfdt(): without its own properties, but for /aliases."""
    in_aliases = in_aliases or node.name.lower() == "aliases"
    props = {k: v for k, v in node.props.items() if in_aliases or k not in TAKEN}
    copy = Node(node.name, props)
    for child in node.children:
        copy.add(_copied(child, in_aliases))
    return copy


def _cpus(host: Host, layout: Layout) -> Node:
    """Make /cpus: compatible and clock-frequency of the first CPU, for each vCPU."""
    above = host.with_path("/cpus")
    known = [node for node in above.children if type_of(node) == "cpu"] if above else []
    cpu = known[0].props if known else CPU
    cpus = Node("cpus", {"#address-cells": pack(1), "#size-cells": pack(0)})
    for vcpu in range(layout.cpus):
        affinity = (vcpu >> 4) << 8 | vcpu & 0xF  # vcpuid_to_vaffinity()
        props = {"compatible": cpu.get("compatible", b""), "device_type": b"cpu\0"}
        props["reg"] = pack(affinity)
        if "clock-frequency" in cpu:
            props["clock-frequency"] = pack(0)
        cpus.add(Node(f"cpu@{affinity:x}", {**props, "enable-method": b"psci\0"}))
    return cpus


def _memory(layout: Layout) -> Node:
    return Node(
        "memory@40000000", {"device_type": b"memory\0", "reg": bytes(16 * len(layout.banks))}
    )


def _shared(layout: Layout) -> Node:
    """Make /reserved-memory: make_resv_memory_node(), make_shm_memory_node()."""
    above = Node("reserved-memory", {"ranges": b""})
    above.props |= {"#address-cells": pack(2), "#size-cells": pack(2)}
    for base, _ in layout.shared:
        node = above.add(Node(f"xen-shmem@{base:x}", {"compatible": b"xen,shared-memory-v1\0"}))
        node.props |= {"reg": bytes(16), "xen,id": b"0\0", "xen,offset": bytes(8)}
    return above


def _gic(host: Host, xen: Xen) -> Node:
    node = Node("interrupt-controller@3001000", {"#address-cells": pack(0)})
    node.props |= {"#interrupt-cells": pack(3), "interrupt-controller": b""}
    if host.gic is not None and compatible(host.gic, GIC_V2):
        node.props["compatible"] = b"arm,gic-400\0"
    else:
        node.props["compatible"] = b"arm,gic-v3\0"
        if xen.counts_redistributors:
            node.props["#redistributor-regions"] = pack(1)
    return _with(node, {"reg": bytes(32), "linux,phandle": pack(0), "phandle": pack(0)})


def _timer(host: Host) -> Node:
    node = Node("timer", {"compatible": b"arm,armv8-timer\0", "interrupts": bytes(36)})
    node.props["interrupt-parent"] = pack(0)
    names = ("arm,armv8-timer", "arm,armv7-timer")
    timer = next((each for each in host.nodes if compatible(each, names)), None)
    if timer is not None and "clock-frequency" in timer.props:
        node.props["clock-frequency"] = pack(0)
    return node


def _uart() -> Node:
    node = Node("sbsa-uart@22000000", {"compatible": b"arm,sbsa-uart\0", "reg": bytes(16)})
    return _with(
        node, {"interrupts": bytes(12), "interrupt-parent": pack(0), "current-speed": pack(0)}
    )


def _vsmmu(xen: Xen) -> Node:
    """Make the vSMMU: make_vsmmuv3_node(). Only AMD's has dma-coherent."""
    node = Node(f"iommu@{VSMMU[0]:x}", {"compatible": b"arm,smmu-v3\0", "reg": bytes(16)})
    node.props |= {"phandle": pack(0), "#iommu-cells": pack(1), "interrupt-names": b"combined\0"}
    node.props |= {"interrupts": bytes(12), "interrupt-parent": pack(0)}
    return _with(node, {"dma-coherent": b""} if xen.name == "amd" else {})


def _with(node: Node, props: dict[str, bytes]) -> Node:
    node.props |= props
    return node
