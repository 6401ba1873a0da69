# SPDX-License-Identifier: Apache-2.0
"""One interrupt-map: what a nexus makes of the interrupts of its children."""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.tree.addresses import DEFAULT_ADDRESS_CELLS, cell_count
from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.node import Node, Tree


class Interrupt(NamedTuple):
    """An interrupt specifier and the node that gives it its meaning (a controller or a nexus)."""

    controller: Node
    specifier: tuple[int, ...]


def interrupt_map(tree: Tree, nexus: Node, address: int, specifier: int) -> InterruptMap:
    """The interrupt-map of `nexus`, read once for so many cells of a unit address and of a
    specifier. Raises TreeError.
    """
    known = tree.decoded(_no_maps, nexus)
    if (address, specifier) not in known:
        known[address, specifier] = InterruptMap(tree, nexus, address, specifier)
    return known[address, specifier]


def _no_maps(tree: Tree, nexus: Node) -> dict[tuple[int, int], InterruptMap]:
    return {}


def address_cells(tree: Tree, nexus: Node) -> int:
    """How many cells a unit address has in the interrupt-map of `nexus`: as it or the nearest node
    above says ("the old linux trick", dt_irq_map_raw() of Xen, of_irq_parse_raw() of Linux).
    """
    saying = (above for above in tree.lineage(nexus) if "#address-cells" in above.properties)
    return cell_count(next(saying, nexus), "#address-cells", DEFAULT_ADDRESS_CELLS)


class InterruptMap:
    """The interrupt-map of a nexus, its rows by what they match.

    A row is: child unit address, child specifier, parent phandle, parent unit address, parent
    specifier. A row matches where address and specifier, both ANDed with interrupt-map-mask, are
    equal to its own (devicetree specification 0.4, 2.4.3.1). Of rows that match alike, the first
    counts; a malformed row, only where none before it matches. `targets`: the interrupts of the
    parents in all rows before a malformed one.
    """

    def __init__(self, tree: Tree, nexus: Node, address: int, specifier: int):
        self._address_cells = address
        key_cells = address + specifier
        mask = nexus.properties.get("interrupt-map-mask", b"\xff" * 4 * key_cells)
        self._mask = cells(mask, nexus.path, "interrupt-map-mask")[:key_cells]
        if len(self._mask) < key_cells:
            raise cut(nexus, "interrupt-map-mask")
        self._rows: dict[tuple[int, ...], tuple[Interrupt, tuple[int, ...]]] = {}
        self.targets: list[Interrupt] = []
        self._error: TreeError | None = None
        numbers = cells(nexus.properties["interrupt-map"], nexus.path, "interrupt-map")
        try:
            self._read(tree, nexus, numbers, key_cells)
        except TreeError as error:
            self._error = error

    def parent_interrupt(
        self, address: tuple[int, ...], specifier: tuple[int, ...]
    ) -> tuple[Interrupt, tuple[int, ...]] | None:
        """What becomes of `specifier` from a child at `address`: the interrupt of the parent, and
        the unit address there; None where no row matches. Raises TreeError.
        """
        # A child without reg has unit address 0, as in Linux (of_irq_parse_one).
        unit_address = (*address, *(0,) * self._address_cells)[: self._address_cells]
        row = self._rows.get(self._masked((*unit_address, *specifier)))
        if row is None and self._error:
            raise self._error
        return row

    def _read(self, tree: Tree, nexus: Node, numbers: tuple[int, ...], key_cells: int) -> None:
        at = 0
        while at < len(numbers):
            if at + key_cells >= len(numbers):
                raise cut(nexus, "interrupt-map")
            parent = tree.phandle_target(numbers[at + key_cells], nexus, "interrupt-map")
            start = at + key_cells + 1 + cell_count(parent, "#address-cells", 0)
            end = start + interrupt_cells(parent)
            if end > len(numbers):
                raise cut(nexus, "interrupt-map")
            row = Interrupt(parent, numbers[start:end]), numbers[at + key_cells + 1 : start]
            self.targets.append(row[0])
            self._rows.setdefault(self._masked(numbers[at : at + key_cells]), row)
            at = end

    def _masked(self, key: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(k & m for k, m in zip(key, self._mask, strict=True))


def interrupt_cells(controller: Node) -> int:
    """How many cells an interrupt of `controller` has. Raises TreeError."""
    count = controller.number("#interrupt-cells", 0)
    if not 0 < count <= 16:
        raise TreeError(
            "#interrupt-cells is out of range",
            controller.path,
            "#interrupt-cells",
            "1 to 16",
            str(count),
        )
    return count


def cut(node: Node, prop: str) -> TreeError:
    """The error of a list whose last entry is incomplete."""
    return TreeError(f"the last entry of {prop} is cut off", node.path, prop, "a whole entry")
