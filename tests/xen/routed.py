# SPDX-License-Identifier: Apache-2.0
"""The interrupt lines of a node for Xen: whose they are, and their INTID.

Read in common/device_tree.c (4.17; alike in master): dt_number_of_irq(), dt_device_get_raw_irq(),
dt_irq_map_raw(), dt_for_each_irq_map(); and gic_irq_xlate(), arch/arm/gic.c.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.xen.host import Host, number_of_phandles, phandle_args
from tests.xen.nodes import Node

LOCAL = 32  # NR_LOCAL_IRQS: SGIs and PPIs
TABLE = 1024  # NR_IRQS: the size of irq_desc[], which irq_to_desc() does not check
DEPTH = 64  # of our own: Xen would walk a circle for ever


class NoInterrupt(Exception):
    """An interrupt that Xen cannot retrieve; the message is Xen's."""


class Raw(NamedTuple):
    """struct dt_raw_irq: the controller at which the walk ended, and the cells there."""

    controller: Node
    specifier: list[int]


class Line(NamedTuple):
    """struct dt_irq: what the GIC makes of a specifier."""

    intid: int
    sense: int


def line(raw: Raw) -> Line | None:
    """gic_irq_xlate(): 16 for the SGIs, and 16 more for type 0 alone; whatever the other type is.

    So GIC types 2 and 3, the extended SPIs and PPIs, come out as other lines. None below 3 cells.
    """
    if len(raw.specifier) < 3:
        return None
    kind, number, flags = raw.specifier[:3]
    return Line((number + 16 + (0 if kind else 16)) & 0xFFFFFFFF, flags & 0xF)


def interrupt_parent(host: Host, node: Node) -> Node | None:
    """dt_irq_find_parent(): up to a node with #interrupt-cells."""
    found: Node | None = node
    for _ in range(DEPTH):
        assert found is not None
        if "interrupt-parent" in found.props:
            found = host.with_phandle(found.cell("interrupt-parent", 0))
        else:
            found = found.parent
        if found is None or "#interrupt-cells" in found.props:
            return found
    raise NoInterrupt(f"the interrupt parents of {node.path} go in a circle")


def number_of_interrupts(host: Host, node: Node) -> int:
    """dt_number_of_irq(): interrupts-extended if it can be counted, else interrupts."""
    extended = number_of_phandles(host, node, "interrupts-extended", "#interrupt-cells")
    if extended is not None:
        return extended
    parent = interrupt_parent(host, node) if "interrupts" in node.props else None
    width = 0 if parent is None else parent.cell("#interrupt-cells", 0)
    return len(node.cells("interrupts")) // width if width else 0


def raw_interrupts(host: Host, node: Node) -> list[Raw | None]:
    """dt_device_get_raw_irq() for each: None where it fails, with "Unable to retrieve irq"."""
    count = number_of_interrupts(host, node)
    if number_of_phandles(host, node, "interrupts-extended", "#interrupt-cells") is not None:
        entries = list(phandle_args(host, node, "interrupts-extended", "#interrupt-cells"))
        found = [_raw(host, node, parent, spec) for parent, spec in entries]
        return found + [None] * (count - len(found))
    if not count:
        return []
    parent = interrupt_parent(host, node)
    assert parent is not None
    values, width = node.cells("interrupts"), parent.cell("#interrupt-cells", 0)
    return [_raw(host, node, parent, values[i * width : i * width + width]) for i in range(count)]


def _raw(host: Host, device: Node, parent: Node, specifier: list[int]) -> Raw | None:
    """dt_irq_map_raw(): the walk ends at `interrupt-controller`, even beside an interrupt-map."""
    address = device.cells("reg") if "reg" in device.props else None
    at: Node | None = parent
    width = _address_cells(parent)
    for _ in range(DEPTH):
        if at is None:
            return None
        if "interrupt-controller" in at.props:
            return Raw(at, specifier)
        if "interrupt-map" not in at.props:
            at = interrupt_parent(host, at)
            continue
        if address is None and width:
            return None
        row = _row(host, at, (address or [])[:width], width, specifier)
        if row is None:
            return None
        at, address, specifier = row
        width = len(address)
    return None


def _address_cells(node: Node) -> int:
    """ "The old linux trick of looking for the parent here": the nearest one that says it, or 2."""
    for above in node.ancestors():
        if "#address-cells" in above.props:
            return above.cell("#address-cells", 2)
    return 2


def _row(
    host: Host, nexus: Node, address: list[int], width: int, specifier: list[int]
) -> tuple[Node, list[int], list[int]] | None:
    """The parent, address and specifier in the map's first row for the address and specifier."""
    values, mask = nexus.cells("interrupt-map"), nexus.cells("interrupt-map-mask")
    wanted = address + [0] * (width - len(address)) + specifier
    left = len(wanted)
    mask = mask + [0xFFFFFFFF] * (left - len(mask))
    while len(values) > left + 1:
        match = all(
            not (a ^ b) & m for a, b, m in zip(wanted, values[:left], mask[:left], strict=True)
        )
        parent = host.with_phandle(values[left])
        if parent is None or "#interrupt-cells" not in parent.props:
            return None
        cells = parent.cell("#address-cells", 0), parent.cell("#interrupt-cells", 0)
        values = values[left + 1 :]
        if len(values) < sum(cells):
            return None
        if match:
            return parent, values[: cells[0]], values[cells[0] : sum(cells)]
        values = values[sum(cells) :]
    return None


def map_targets(host: Host, node: Node) -> list[Raw]:
    """dt_for_each_irq_map(): the target of each row that ends at the GIC itself, whatever the
    mask and the devices below. NoInterrupt where the map is no map.
    """
    at: Node | None = node
    while at is not None and "#interrupt-cells" not in at.props:
        at = interrupt_parent(host, at)
    if at is None:
        raise NoInterrupt(f"{node.path}: no interrupt parent")
    values = node.cells("interrupt-map")
    if "interrupt-map" not in node.props:
        return []
    left, found = _address_cells(at) + at.cell("#interrupt-cells", 1), []
    while len(values) > left + 1:
        parent = host.with_phandle(values[left])
        if parent is None or "#interrupt-cells" not in parent.props:
            raise NoInterrupt(f"{node.path}: a row of its interrupt-map names no controller")
        cells = parent.cell("#address-cells", 0), parent.cell("#interrupt-cells", 0)
        values = values[left + 1 :]
        if len(values) < sum(cells):
            raise NoInterrupt(f"{node.path}: a row of its interrupt-map is cut short")
        if parent is host.gic:
            found.append(Raw(parent, values[cells[0] : sum(cells)]))
        values = values[sum(cells) :]
    return found


def named_interrupt(host: Host, node: Node, name: str) -> Line | None:
    """platform_get_irq_byname(): the interrupt at the place of `name` in interrupt-names."""
    names, raws = node.strings("interrupt-names"), raw_interrupts(host, node)
    if name not in names or names.index(name) >= len(raws):
        return None
    raw = raws[names.index(name)]
    return line(raw) if raw is not None and raw.controller is host.gic else None
