# SPDX-License-Identifier: Apache-2.0
"""The virtual stream IDs that series v3 gives, and the devicetree that the guest receives.

What stands around /passthrough is templated by hand: the dom0less trees after captures from a
running guest (GICv3), the rest after the field notes. Only what comes from the partial tree and
the vSMMU's node are meant to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.xen.nodes import Node, blob_of, pack, tree

GUEST_PHANDLE_GIC = 65000
GUEST_PHANDLE_VSMMU = 0xFDEA
VPCI_VSIDS = 0x1000
TAKEN_BY_XEN = ("xen,reg", "xen,path", "xen,force-assign-without-iommu")


def dom0less_vsids(partial: bytes, first: int = 0) -> dict[str, list[int]]:
    """Node path -> the vSIDs of its iommus, when Xen builds the domain.

    "The walk is pre-order below /passthrough, a node before its children; each 8 bytes of
    `iommus` take the next vSID from 0, per domain; a repeated SID gets a second vSID; nodes that
    are disabled count too. `iommus` on /passthrough itself is left alone. Children of /aliases
    are walked as well and share the counter in document order."
    """
    return _numbered(_dom0less_walk(tree(partial)), first)


def libxl_vsids(partial: bytes, has_vpci: bool) -> dict[str, list[int]]:
    """Node path -> the vSIDs of its iommus, when libxl builds the domain.

    "libxl (read, not run): direct children of /passthrough only; with vPCI devices it first takes
    0x1000 vSIDs."
    """
    return _numbered(_libxl_walk(tree(partial)), VPCI_VSIDS if has_vpci else 0)


def _dom0less_walk(root: Node) -> Iterator[Node]:
    for node in _copied(root):
        yield from node.below()


def _libxl_walk(root: Node) -> Iterator[Node]:
    passthrough = root.child("passthrough")
    if passthrough is not None:
        yield from passthrough.children


def _copied(root: Node) -> list[Node]:
    """ "Reads /gic, /aliases, /passthrough": the first gives a number, the others are copied."""
    return [node for node in root.children if node.name in ("passthrough", "aliases")]


def _numbered(nodes: Iterator[Node], first: int) -> dict[str, list[int]]:
    found = {}
    for node in nodes:
        if "iommus" in node.props:
            count = len(node.props["iommus"]) // 8
            found[node.path] = list(range(first, first + count))
            first += count
    return found


def _virtualise(node: Node, vsids: list[int]) -> None:
    """ "The input phandle is never looked at. #iommu-cells is never looked at: leftover bytes are
    zeroed, 3-cell entries come out as nonsense."
    """
    pairs = b"".join(pack(GUEST_PHANDLE_VSMMU, vsid) for vsid in vsids)
    node.props["iommus"] = pairs.ljust(len(node.props["iommus"]), b"\0")


def dom0less_guest_tree(
    partial: bytes, vsmmu: bool = True, *, vpl011: bool = False, gic: int = 3
) -> bytes:
    """The guest's tree as Xen makes it.

    "Root order: chosen, cpus, memory, passthrough, interrupt-controller, timer, iommu, psci."
    `vsmmu` False is a Xen booted without viommu=smmuv3: no node, and iommus as they were given.
    `vpl011` adds the console that the captured guests had.
    """
    given = tree(partial)
    if vsmmu:
        _virtualise_all(_dom0less_walk(given), 0)
    stub = given.child("gic")
    parent = (stub.cell("phandle", 0) if stub is not None else 0) or GUEST_PHANDLE_GIC
    root = Node("", {"#address-cells": pack(2), "#size-cells": pack(2)})
    for node in (Node("chosen"), _cpus(), _memory()):
        root.add(node)
    for node in _copied(given):
        if node.name == "passthrough":
            _strip(node)
        root.add(node)
    root.add(_gic(gic, parent))
    root.add(_timer(parent))
    if vsmmu:
        root.add(_vsmmu(parent))
    root.add(_psci())
    if vpl011:
        root.add(_vpl011(parent))
    return blob_of(root)


def libxl_guest_tree(partial: bytes, has_vpci: bool = False) -> bytes:
    """The guest's tree as libxl makes it: never captured, so only its rules are sure.

    "libxl copies /passthrough (mandatory) and /aliases verbatim", in that order, and "root parent
    is 65000 there". ValueError without /passthrough: xl create fails.
    """
    given = tree(partial)
    if given.child("passthrough") is None:
        raise ValueError("libxl wants a /passthrough")
    _virtualise_all(_libxl_walk(given), VPCI_VSIDS if has_vpci else 0)
    root = Node("", {"compatible": b"xen,xenvm\0", "interrupt-parent": pack(GUEST_PHANDLE_GIC)})
    root.props |= {"#address-cells": pack(2), "#size-cells": pack(2)}
    for node in (Node("chosen"), _cpus(), _psci(), _memory()):
        root.add(node)
    root.add(_gic(3, GUEST_PHANDLE_GIC))
    root.add(_timer(GUEST_PHANDLE_GIC))
    if has_vpci:
        root.add(_vpci())
    root.add(_vsmmu(GUEST_PHANDLE_GIC))
    for node in sorted(_copied(given), key=lambda node: node.name == "aliases"):
        root.add(node)
    return blob_of(root)


def _virtualise_all(nodes: Iterator[Node], first: int) -> None:
    walked = list(nodes)
    numbered = _numbered(iter(walked), first)
    for node in walked:
        if "iommus" in node.props:
            _virtualise(node, numbered[node.path])


def _strip(node: Node) -> None:
    """Xen consumes its own properties below /passthrough, on that node too; not in /aliases."""
    for name in TAKEN_BY_XEN:
        node.props.pop(name, None)
    for child in node.children:
        _strip(child)


def _region(*spans: tuple[int, int]) -> bytes:
    return b"".join(pack(0, base, 0, size) for base, size in spans)


def _cpus() -> Node:
    cpus = Node("cpus", {"#address-cells": pack(1), "#size-cells": pack(0)})
    cpus.add(
        Node(
            "cpu@0",
            {
                "compatible": b"arm,cortex-a57\0",
                "device_type": b"cpu\0",
                "reg": pack(0),
                "enable-method": b"psci\0",
            },
        )
    )
    return cpus


def _memory() -> Node:
    reg = _region((0x40000000, 0x2000000))
    return Node("memory@40000000", {"device_type": b"memory\0", "reg": reg})


def _gic(version: int, phandle: int) -> Node:
    props = {"#address-cells": pack(0), "#interrupt-cells": pack(3), "interrupt-controller": b""}
    if version == 3:
        props["compatible"] = b"arm,gic-v3\0"
        props["#redistributor-regions"] = pack(1)
        props["reg"] = _region((0x3001000, 0x10000), (0x3020000, 0x1000000))
    else:
        props["compatible"] = b"arm,gic-400\0"
        props["reg"] = _region((0x3001000, 0x1000), (0x3002000, 0x2000))
    props |= {"linux,phandle": pack(phandle), "phandle": pack(phandle)}
    return Node("interrupt-controller@3001000", props)


def _timer(parent: int) -> Node:
    interrupts = b"".join(pack(1, number, 0xF08) for number in (13, 14, 11))
    props = {"compatible": b"arm,armv8-timer\0", "interrupts": interrupts}
    return Node("timer", {**props, "interrupt-parent": pack(parent)})


def _vsmmu(parent: int) -> Node:
    """ "The node: iommu@4040000, reg <0 0x4040000 0 0x40000>, phandle 0xfdea, #iommu-cells 1,
    interrupt-names "combined", interrupts <0 1 0xf04>, interrupt-parent = the phandle of the
    partial tree's /gic."
    """
    return Node(
        "iommu@4040000",
        {
            "compatible": b"arm,smmu-v3\0",
            "reg": _region((0x4040000, 0x40000)),
            "phandle": pack(GUEST_PHANDLE_VSMMU),
            "#iommu-cells": pack(1),
            "interrupt-names": b"combined\0",
            "interrupts": pack(0, 1, 0xF04),
            "interrupt-parent": pack(parent),
        },
    )


def _psci() -> Node:
    compatible = b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0"
    props = {"compatible": compatible, "method": b"hvc\0"}
    return Node("psci", {**props, "cpu_off": pack(1), "cpu_on": pack(2)})


def _vpl011(parent: int) -> Node:
    return Node(
        "sbsa-uart@22000000",
        {
            "compatible": b"arm,sbsa-uart\0",
            "reg": _region((0x22000000, 0x1000)),
            "interrupts": pack(0, 0, 0xF04),
            "interrupt-parent": pack(parent),
            "current-speed": pack(115200),
        },
    )


def _vpci() -> Node:
    """ "PCI: iommu-map = <0 vSMMU first_vsid 0x1000> on the vPCI node." """
    props = {"compatible": b"pci-host-ecam-generic\0", "device_type": b"pci\0"}
    props |= {"#address-cells": pack(3), "#size-cells": pack(2)}
    props["reg"] = _region((0x10000000, 0x10000000))
    props["iommu-map"] = pack(0, GUEST_PHANDLE_VSMMU, 0, VPCI_VSIDS)
    return Node("pcie@10000000", props)
