# SPDX-License-Identifier: Apache-2.0
"""The RAM of a host, and what of it is taken, as Xen reads them: early_scan_node() and
process_reserved_memory() in arch/arm/bootfdt.c (4.17).
"""

from __future__ import annotations

from west_viommu.host.devices import Devices
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import Node


def ram(devices: Devices) -> tuple[Region, ...]:
    """Return the banks of RAM that the host tree states, joined if they touch, in order. The boot
    loader of a board fills them in if the tree states none.
    """
    banks = [
        region
        for node in devices.tree.nodes()
        if _is_memory(node)
        for region in devices.index.untranslated(node)
        if region.size
    ]
    joined: list[Region] = []
    for bank in sorted(banks):
        if joined and bank.base <= joined[-1].end:
            base = joined[-1].base
            joined[-1] = Region(base, max(joined[-1].end, bank.end) - base)
        else:
            joined.append(bank)
    return tuple(joined)


def reserved(devices: Devices) -> dict[Region, str]:
    """Return the parts of RAM that are not for Xen to use, each with its name: those below
    /reserved-memory and those of the /memreserve/ block.
    """
    node = devices.tree.node("/reserved-memory")
    parts = {
        region: child.path
        for child in (node.children if node else ())
        for region in devices.index.untranslated(child)
        if region.size
    }
    return parts | {Region(*row): "/memreserve/" for row in devices.tree.memreserve if row[1]}


def _is_memory(node: Node) -> bool:
    is_named = node.name == "memory" or node.name.startswith("memory@")
    is_typed = node.properties.get("device_type") == b"memory\0"
    return (is_named or is_typed) and not node.path.startswith("/reserved-memory/")
