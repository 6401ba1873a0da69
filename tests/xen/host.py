# SPDX-License-Identifier: Apache-2.0
"""The host's tree as Xen has it in memory (unflatten_dt_node()), and its look-ups.

Read in common/device_tree.c of 4.17; master's common/device-tree/device-tree.c is the same here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from tests.xen.nodes import Node, number, tree

# asm/gic.h: DT_MATCH_GIC_V2, DT_MATCH_GIC_V3.
GIC_V2 = ("arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,gic-400")
GICS = (*GIC_V2, "arm,gic-v3")
SMMU_V3 = ("arm,smmu-v3",)
# drivers/passthrough/arm/smmu.c: arm_smmu_of_match.
SMMU_V2 = ("arm,smmu-v1", "arm,smmu-v2", "arm,mmu-400", "arm,mmu-401", "arm,mmu-500")
# What the drivers of drivers/char/ match, as far as hosts behind an SMMUv3 have it.
CONSOLES = (
    "arm,pl011",
    "arm,sbsa-uart",
    "cdns,uart-r1p8",
    "cdns,uart-r1p12",
    "xlnx,xuartps",
    "ns16550a",
    "snps,dw-apb-uart",
    "fsl,imx8qxp-lpuart",
)


class Host:
    """A host's tree. Nodes are told apart by path: a Node compares by content."""

    def __init__(self, blob: bytes | Node) -> None:
        self.root = tree(blob) if isinstance(blob, bytes) else blob
        self.nodes = [self.root, *self.root.below()]

    @cached_property
    def _by_phandle(self) -> dict[int, Node]:
        found: dict[int, Node] = {}
        for node in self.nodes:
            found.setdefault(phandle(node), node)
        return found

    @cached_property
    def _by_path(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for node in self.nodes:
            found.setdefault(node.path.lower(), node)
        return found

    def with_phandle(self, wanted: int) -> Node | None:
        """dt_find_node_by_phandle(): the first in document order."""
        return self._by_phandle.get(wanted)

    def with_path(self, wanted: str) -> Node | None:
        """dt_find_node_by_path(): dt_node_cmp() is strcasecmp(), and the first one is it. Aliases
        and shortened names are not looked up.
        """
        return self._by_path.get(wanted.lower())

    @cached_property
    def gic(self) -> Node | None:
        """gic_dt_preinit(), arch/arm/gic.c: "Only one GIC is supported", the first that has
        `interrupt-controller`, is not the root, is enabled by its own status and not marked, and
        whose compatible a driver knows.
        """
        for node in self.nodes[1:]:
            if "interrupt-controller" in node.props and is_driven(node) and compatible(node, GICS):
                return node
        return None

    @cached_property
    def console(self) -> Node | None:
        """dt_uart_init(), drivers/char/arm-uart.c: stdout-path, a path or an alias, up to a colon;
        Xen takes it if a driver knows it. (dtuart= of the command line is not modelled.)
        """
        chosen = self.with_path("/chosen")
        named = (chosen.strings("stdout-path") if chosen is not None else None) or [""]
        name = named[0].partition(":")[0]
        aliases = self.with_path("/aliases")
        if not name.startswith("/") and aliases is not None:
            name = (aliases.strings(name) or [""])[0]
        node = self.with_path(name) if name else None
        if node is None or not is_driven(node) or not compatible(node, CONSOLES):
            return None
        return node


def phandle(node: Node) -> int:
    """unflatten_dt_node(): the first of phandle and linux,phandle that is not 0."""
    for name in node.props:
        if name in ("phandle", "linux,phandle") and node.cell(name, 0):
            return node.cell(name, 0)
    return 0


def compatible(node: Node, names: tuple[str, ...] | frozenset[str]) -> bool:
    """dt_device_is_compatible(): dt_compat_cmp() is strcasecmp()."""
    return any(name.lower() in names for name in node.strings("compatible"))


def available(node: Node) -> bool:
    """dt_device_is_available(): the node's own status, never its ancestors'."""
    return "status" not in node.props or node.strings("status")[:1] in (["okay"], ["ok"])


def marked(node: Node) -> bool:
    """dt_device_for_passthrough(): the property is there, whatever it says."""
    return "xen,passthrough" in node.props


def is_driven(node: Node) -> bool:
    """device_init(), arch/arm/device.c: -ENODEV for what is disabled or marked."""
    return available(node) and not marked(node)


def type_of(node: Node) -> str:
    return (node.strings("device_type") or ["<NULL>"])[0]


def inherited(node: Node, name: str, default: int) -> int:
    """__dt_n_addr_cells(): of the nearest ancestor that says it, not of the parent alone."""
    for above in node.ancestors():
        if above is not node and name in above.props:
            return above.cell(name, default)
    return default


def address_cells(node: Node) -> int:
    """dt_n_addr_cells(): the cells of an address in the node's own reg."""
    return inherited(node, "#address-cells", 2)


def size_cells(node: Node) -> int:
    return inherited(node, "#size-cells", 1)


def phandle_args(host: Host, node: Node, name: str, count: str) -> Iterator[tuple[Node, list[int]]]:
    """dt_parse_phandle_with_args() for index 0, 1, ... until it fails: at a phandle of 0 (an
    "empty entry" is -ENOENT), one that no node has, a provider without `count`, or too few cells.
    """
    values = node.cells(name)
    while values:
        provider = host.with_phandle(values[0]) if values[0] else None
        # dt_property_read_u32() needs four bytes.
        if provider is None or not provider.cells(count):
            return
        width = provider.cell(count, 0)
        if 1 + width > len(values):
            return
        yield provider, values[1 : 1 + width]
        values = values[1 + width :]


def number_of_phandles(host: Host, node: Node, name: str, count: str) -> int | None:
    """dt_count_phandle_with_args(): an empty entry counts; None where the list is no list."""
    if name not in node.props:
        return None
    values, found = node.cells(name), 0
    while values:
        width = 0
        if values[0]:
            provider = host.with_phandle(values[0])
            if provider is None or not provider.cells(count):
                return None
            width = provider.cell(count, 0)
            if 1 + width > len(values):
                return None
        values, found = values[1 + width :], found + 1
    return found


def u64(parts: list[int]) -> int:
    """dt_read_number(): what does not fit falls off at the top."""
    return number(parts) & 0xFFFFFFFFFFFFFFFF
