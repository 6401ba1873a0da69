# SPDX-License-Identifier: Apache-2.0
"""The lines to paste into a guest's node, so that it means a host device."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.entries import STREAM_IDS
from west_viommu.guest.gic import Gic, interrupt_entry
from west_viommu.guest.regions import Mapped, RegionPair
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.host.devices import Device
from west_viommu.host.inventory import Master
from west_viommu.hypervisor.assignment import Assigned
from west_viommu.tree.addresses import Region, bus_cells
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI

_CELL_BITS = 32
# A longer line is not for pasting from a message; `viommu extract` writes it.
_MOST_ENTRIES = 32


class Paper(NamedTuple):
    """The context of a line to paste: the guest's tree, and its GIC."""

    guest: GuestTree
    gic: Gic

    def reg(self, path: str, device: Device) -> str:
        """Return `reg` of the guest's node at `path` for the registers of `device` at their own
        addresses; "" if they do not fit the cells of its bus, or the bus has other addresses.
        """
        return self.reg_of(path, [region for region in device.regions if region])

    def reg_of(self, path: str, regions: Sequence[Region]) -> str:
        """Return `reg` as above for `regions`, which are addresses of the guest."""
        bus = self.guest.tree.node(path.rpartition("/")[0])
        if bus is None or bus.path != PASSTHROUGH or not 0 < len(regions) <= _MOST_ENTRIES:
            return ""
        try:
            address, size = bus_cells(bus)
        except TreeError:
            return ""
        entries = [
            f"<{' '.join((*_cells(region.base, address), *_cells(region.size, size)))}>"
            for region in regions
            if region.base >> _CELL_BITS * address == 0 and region.size >> _CELL_BITS * size == 0
        ]
        return f"reg = {', '.join(entries)};" if len(entries) == len(regions) else ""

    def moved(
        self,
        path: str,
        pairs: Sequence[RegionPair],
        mapped: Sequence[Mapped],
        places: Mapping[Region, Region],
    ) -> str:
        """Return `reg` and `xen,reg` of the guest's node at `path` with the regions `pairs` and all
        the pages `mapped`, moved as in `places`; "" if one line cannot express that.
        """
        bus = self.guest.tree.node(path.rpartition("/")[0])
        if bus is None or bus.path != PASSTHROUGH or max(len(pairs), len(mapped)) > _MOST_ENTRIES:
            return ""
        try:
            address, size = bus_cells(bus)
        except TreeError:
            return ""
        regs, triples = [], []
        for guest, host in pairs:
            page = next((each for each in places if each.contains(guest.base)), None)
            base = guest.base if page is None else guest.base - page.base + places[page].base
            if host is None or (base + guest.size) >> _CELL_BITS * address:
                return ""
            regs.append(f"<{' '.join((*_cells(base, address), *_cells(guest.size, size)))}>")
        for host, guest in mapped:
            there = places.get(guest, guest)
            if any(number >> _CELL_BITS * address for number in (host.end, there.end)):
                return ""
            if host.size >> _CELL_BITS * size:
                return ""
            cells = (
                *_cells(host.base, address),
                *_cells(host.size, size),
                *_cells(there.base, address),
            )
            triples.append(f"<{' '.join(cells)}>")
        reg = f"reg = {', '.join(regs)}; " if regs else ""
        return f"{reg}xen,reg = {', '.join(triples)};"

    def mapped(self, path: str, pages: Sequence[Region], places: Sequence[int] = ()) -> str:
        """Return `xen,reg` of the guest's node at `path` that maps `pages` to the guest's `places`,
        by default their own addresses; "" if they do not fit the cells of its bus.
        """
        places = places or [page.base for page in pages]
        bus = self.guest.tree.node(path.rpartition("/")[0])
        try:
            address, size = bus_cells(bus) if bus else (0, 0)
        except TreeError:
            return ""
        if not all(
            p.end >> _CELL_BITS * address == 0 == p.size >> _CELL_BITS * size for p in pages
        ):
            return ""
        triples = (
            " ".join((*_cells(p.base, address), *_cells(p.size, size), *_cells(at, address)))
            for p, at in zip(pages, places, strict=True)
        )
        return f"xen,reg = {', '.join(f'<{triple}>' for triple in triples)};"

    def interrupts(self, device: Device) -> str:
        """Return `interrupts` for the interrupts of `device`, as the guest's GIC has them; "" if it
        has no interrupts.
        """
        spis = [line for line in dict.fromkeys(device.interrupts) if line[0] >= FIRST_SPI]
        if not 0 < len(spis) <= _MOST_ENTRIES:
            return ""
        entries = [
            interrupt_entry(self.gic.cells, intid - FIRST_SPI, flags) for intid, flags in spis
        ]
        return f"interrupts = {', '.join(entries)};"


def parts_omitted(assigned: Assigned, paper: Paper) -> Diagnostic | None:
    """Return the problem of a node that lacks the registers of its device, or the interrupts, or
    both; None if it has both, or the device has neither.
    """
    device, request = assigned.device, assigned.request
    if request is None:
        return None
    lines: dict[str, str] = {}
    regions = [region for region in device.regions if region and region.size]
    if regions and not request.regions and not request.mapped:
        reg = paper.reg(request.path, device)
        lines["registers"] = reg or f"reg for {' '.join(map(str, regions[:_MOST_ENTRIES]))}"
    interrupts = paper.interrupts(device)
    if interrupts and not request.interrupts and not request.extended:
        lines["interrupts"] = interrupts
    if not lines:
        return None
    return Diagnostic(
        what=f"{device.path} has {' and '.join(lines)}, and this node has none",
        hint=f"a driver of the guest finds none then: write {' '.join(lines.values())}",
        expected=" and ".join(lines),
        found="none",
        severity=Severity.WARNING,
    )


def path_line(path: str) -> str:
    """Return `xen,path` for the host node at `path`."""
    return f'xen,path = "{path}";'


def path_lines(paths: Iterable[str]) -> str:
    """Return the `xen,path` lines of which the user should paste one."""
    return " or ".join(map(path_line, paths))


def as_entries(master: Master, prop: str = "iommus") -> str:
    """Return the stream IDs of `master`, in the property in which a request has its own."""
    if not master.streams:
        return "it has no `iommus`, only iommu-map"
    if prop == STREAM_IDS:
        return f"{STREAM_IDS} = <{' '.join(f'{i:#x}' for i in master.stream_ids)}>;"
    return f"iommus = {', '.join(f'<0x0 {i:#x}>' for i in master.stream_ids)};"


def _cells(number: int, count: int) -> list[str]:
    """Return `number` in `count` cells."""
    return [
        f"{number >> _CELL_BITS * place & (1 << _CELL_BITS) - 1:#x}"
        for place in reversed(range(count))
    ]
