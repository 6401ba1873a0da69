# SPDX-License-Identifier: Apache-2.0
"""A partial tree beside its host, and what Xen knows of the host's devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tests.xen.host import Host
from tests.xen.nodes import Node, Span, pack, regions, rows, tree

PAGE = 4096
NO_IOMMU = (0, 0xFFFFFFFF)


@dataclass
class Case:
    """What a rule judges. `passthrough` is the partial tree's node, `devices` all below it."""

    partial: Node
    host: Node
    passthrough: Node

    @cached_property
    def devices(self) -> list[Node]:
        return list(self.passthrough.below())

    @cached_property
    def hosts(self) -> dict[str, Node]:
        """Host nodes by full path: Xen knows no aliases and needs the unit address."""
        return {node.path: node for node in self.host.below()}

    def host_of(self, node: Node) -> Node | None:
        """The host node that the node's xen,path names, if there is one."""
        return self.hosts.get((node.strings("xen,path") or [""])[0])

    def assigned(self) -> list[tuple[Node, Node]]:
        """Each device with its host node."""
        pairs = [(node, self.host_of(node)) for node in self.devices]
        return [(node, host) for node, host in pairs if host is not None]

    @cached_property
    def gic(self) -> Node | None:
        """The one that is Xen's: the interrupts of another it leaves alone."""
        return Host(self.host).gic

    def host_phandle(self, phandle: int) -> Node | None:
        return self._by_phandle.get(phandle)

    @cached_property
    def _by_phandle(self) -> dict[int, Node]:
        return {phandle: node for node in self.hosts.values() for phandle in node.phandles()}


def case(partial: bytes, host: bytes) -> Case | None:
    """The two trees, or None without a /passthrough.

    The guest's root has 2 address and 2 size cells whatever the partial tree's root says.
    """
    root = tree(partial)
    root.props |= {"#address-cells": pack(2), "#size-cells": pack(2)}
    passthrough = root.child("passthrough")
    return None if passthrough is None else Case(root, tree(host), passthrough)


def forced(node: Node) -> bool:
    return "xen,force-assign-without-iommu" in node.props


def pages(base: int, size: int) -> Span:
    """The (start, end) of the pages that the region touches."""
    return base // PAGE * PAGE, -(-(base + size) // PAGE) * PAGE


def host_pages(host: Node) -> list[Span]:
    return [pages(base, size) for base, size in regions(host)]


@dataclass(frozen=True)
class Triple:
    """One entry of xen,reg."""

    host: int
    size: int
    guest: int


def triple_cells(node: Node) -> int:
    """Cells of one xen,reg entry: counted in the cells of the parent, like reg's."""
    assert node.parent is not None
    return 2 * node.parent.cell("#address-cells", 2) + node.parent.cell("#size-cells", 1)


def triples(node: Node) -> list[Triple]:
    """The whole entries of xen,reg: host address, size, guest address."""
    assert node.parent is not None
    width = triple_cells(node)
    address = node.parent.cell("#address-cells", 2)
    values = node.cells("xen,reg")
    found = []
    for i in range(0, len(values) // width * width if width else 0, width or 1):
        row = values[i : i + width]
        for base, size in rows(node.parent, row[:-address]):
            guest = int.from_bytes(pack(*row[-address:]), "big")
            found.append(Triple(base, size, guest))
    return found


@dataclass(frozen=True)
class Stream:
    """One entry of a host node's iommus."""

    iommu: Node
    first: int | None

    @property
    def supported(self) -> bool:
        """Xen's SMMUv3 driver: "#iommu-cells must be 1"; a disabled SMMU protects nothing."""
        return (
            "arm,smmu-v3" in [name.lower() for name in self.iommu.strings("compatible")]
            and self.iommu.cell("#iommu-cells", 0) == 1
            and self.iommu.enabled()
        )


def streams(case: Case, host: Node) -> list[Stream]:
    """The host node's iommus, decoded entry by entry: "cells vary per IOMMU"."""
    values, found = host.cells("iommus"), []
    while values:
        phandle = values.pop(0)
        if phandle in NO_IOMMU:
            continue
        iommu = case.host_phandle(phandle)
        if iommu is None:
            break
        width = iommu.cell("#iommu-cells", 0)
        found.append(Stream(iommu, values[0] if width and values else None))
        del values[:width]
    return found


def host_interrupts(case: Case, host: Node) -> list[tuple[int, int]] | None:
    """The (INTID, flags) of the host node, INTID = SPI + 32 or PPI + 16.

    None where this model does not decode them: interrupts-extended, or a parent that is no GIC
    (Xen leaves an interrupt alone that the GIC does not route).
    """
    parent = next((n for n in host.ancestors() if "interrupt-parent" in n.props), None)
    if "interrupts-extended" in host.props or parent is None:
        return None
    gic = case.host_phandle(parent.cell("interrupt-parent", 0))
    width = 0 if gic is None else gic.cell("#interrupt-cells", 0)
    if gic is None or width < 3 or gic is not case.gic:
        return None
    values = host.cells("interrupts")
    first = {0: 32, 1: 16}
    return [
        (values[i + 1] + first[values[i]], values[i + 2])
        for i in range(0, len(values) // width * width, width)
        if values[i] in first
    ]
