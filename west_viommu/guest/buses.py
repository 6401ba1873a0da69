# SPDX-License-Identifier: Apache-2.0
"""Buses of a guest that are wrong for all that is on them: their cells, or that they have no
`ranges`. One mistake there spoils the `reg` of each node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.source import BASE, GuestTree
from west_viommu.tree.addresses import bus_cells
from west_viommu.tree.cells import TreeError, cells, joined
from west_viommu.tree.node import Node, unit_address

# What people write, the usual first.
_USUAL = ((2, 2), (1, 1), (2, 1), (1, 2))


def misread(guest: GuestTree, asking: Sequence[Node]) -> Iterator[tuple[str, Diagnostic]]:
    """Each bus that none of the nodes `asking` on it was written for, by its path, and what is
    wrong with it.
    """
    on_bus: dict[str, list[Node]] = {}
    for node in asking:
        bus = guest.tree.parent(node)
        if bus and "reg" in node.properties and not bus.path.startswith(BASE):
            on_bus.setdefault(bus.path, []).append(node)
    for path, nodes in on_bus.items():
        bus = guest.tree.node(path)
        meant = _meant_cells(bus, nodes) if bus else None
        if bus and meant:
            yield path, _other_cells(guest, bus, meant)
            continue
        lineage = guest.tree.lineage(bus) if bus else ()
        hole = next((e.path for e in lineage if e.path != "/" and "ranges" not in e.properties), "")
        if hole and any(node.properties["reg"] for node in nodes):
            yield path, _no_ranges(guest, hole)


def _meant_cells(bus: Node, nodes: Sequence[Node]) -> tuple[int, int] | None:
    """The cells in which the nodes of `bus` are written, as their unit addresses tell, where those
    are not the ones of `bus`.
    """
    try:
        stated = bus_cells(bus)
        regs = [
            (cells(node.properties["reg"], "", "reg"), unit_address(node.name)) for node in nodes
        ]
    except TreeError:
        return None
    telling = [(reg, unit) for reg, unit in regs if unit is not None]
    if any(_fits(reg, unit, *stated) for reg, unit in telling):
        return None
    fitting = [pair for pair in _USUAL if all(_fits(reg, unit, *pair) for reg, unit in telling)]
    return fitting[0] if telling and len(fitting) == 1 else None


def _fits(reg: tuple[int, ...], unit: int, address: int, size: int) -> bool:
    """Whether `reg` in such cells begins at the unit address, and no entry is empty."""
    width = address + size
    if not reg or not address or len(reg) % width or joined(reg[:address]) != unit:
        return False
    return all(joined(reg[i + address : i + width]) for i in range(0, len(reg), width))


def _other_cells(guest: GuestTree, bus: Node, meant: tuple[int, int]) -> Diagnostic:
    stated = bus_cells(bus)
    names = ("#address-cells", "#size-cells")
    wrong = [name for name, is_, other in zip(names, stated, meant, strict=True) if is_ != other]
    has = [name for name in wrong if name in bus.properties]
    verb = "does" if len(wrong) == 1 else "do"
    return Diagnostic(
        id="malformed",
        what=f"{' and '.join(wrong)} of {bus.path} {verb} not fit the reg of the nodes on it"
        if has
        else f"{bus.path} lacks {' and '.join(wrong)}, which the reg of the nodes on it needs",
        hint=f"write {' '.join(f'{n} = <{c}>;' for n, c in zip(names, meant, strict=True))} in "
        f"{bus.path}",
        node=bus.path,
        expected=f"#address-cells = <{meant[0]}> and #size-cells = <{meant[1]}>",
        found=f"<{stated[0]}> and <{stated[1]}>" if has else "none",
        where=guest.locate(bus.path, (has or wrong)[0]),
    )


def _no_ranges(guest: GuestTree, path: str) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what=f"{path} has no `ranges`, so that nothing on it has an address in the guest",
        hint=f"write `ranges;` in {path}",
        node=path,
        expected="`ranges;` in each bus from the node to the root",
        found="none",
        where=guest.locate(path, ""),
    )
