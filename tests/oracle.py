# SPDX-License-Identifier: Apache-2.0
"""What `viommu list --format json` must say, by a second implementation.

Reads with libfdt, decodes by the rules of the devicetree specification and of Linux's bindings,
and finds collisions by looking at every single ID. Shares no code with the package.
"""

from __future__ import annotations

from typing import Any

import libfdt

QUIET = [libfdt.NOTFOUND]
NONE = (0, 0xFFFFFFFF)


class Host:
    def __init__(self, blob: bytes):
        self.fdt = libfdt.FdtRo(blob)
        self.parents: dict[int, int | None] = {0: None}
        self.paths = {0: "/"}
        self.order = [0]
        self._visit(0)

    def _visit(self, offset: int) -> None:
        child = self.fdt.first_subnode(offset, QUIET)
        while child >= 0:
            self.parents[child] = offset
            self.paths[child] = self.paths[offset].rstrip("/") + "/" + self.fdt.get_name(child)
            self.order.append(child)
            self._visit(child)
            child = self.fdt.next_subnode(child, QUIET)

    def prop(self, offset: int, name: str) -> bytes | None:
        value = self.fdt.getprop(offset, name, QUIET)
        return None if isinstance(value, int) else bytes(value)

    def cells(self, offset: int, name: str) -> list[int]:
        value = self.prop(offset, name) or b""
        return [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4)]

    def cell(self, offset: int, name: str, default: int) -> int:
        return (self.cells(offset, name) or [default])[0]

    def strings(self, offset: int, name: str) -> list[str]:
        return (self.prop(offset, name) or b"").decode().split("\0")[:-1]

    def status(self, offset: int) -> str:
        at: int | None = offset
        while at is not None:
            for value in self.strings(at, "status"):
                if value not in ("okay", "ok"):
                    return value
            at = self.parents[at]
        return "okay"

    def regions(self, offset: int) -> list[dict[str, int]]:
        bus = self.parents[offset]
        if bus is None:
            return []
        address_cells = self.cell(bus, "#address-cells", 2)
        size_cells = self.cell(bus, "#size-cells", 1)
        numbers = self.cells(offset, "reg")
        found = []
        while size_cells and numbers:
            base = number(numbers[:address_cells])
            size = number(numbers[address_cells : address_cells + size_cells])
            numbers = numbers[address_cells + size_cells :]
            absolute = self.absolute(bus, base, size)
            if absolute is not None:
                found.append({"base": absolute, "size": size})
        return found

    def absolute(self, bus: int, base: int, size: int) -> int | None:
        above = self.parents[bus]
        if above is None:
            return base
        if self.prop(bus, "ranges") is None:
            return None
        rows = self.cells(bus, "ranges")
        if not rows:
            return self.absolute(above, base, size)
        child_cells = self.cell(bus, "#address-cells", 2)
        parent_cells = self.cell(above, "#address-cells", 2)
        size_cells = self.cell(bus, "#size-cells", 1)
        while rows:
            child = number(rows[:child_cells])
            parent = number(rows[child_cells : child_cells + parent_cells])
            length = number(rows[child_cells + parent_cells :][:size_cells])
            rows = rows[child_cells + parent_cells + size_cells :]
            if child <= base and base + size <= child + length:
                return self.absolute(above, base - child + parent, size)
        return None

    def specifier(self, numbers: list[int], fixed: int | None = None) -> tuple[str, list[int]]:
        """Takes a phandle and its IOMMU's cells from the front of `numbers`."""
        iommu = self.fdt.node_offset_by_phandle(numbers.pop(0))
        width = self.cell(iommu, "#iommu-cells", 0) if fixed is None else fixed
        taken, numbers[:width] = numbers[:width], []
        return self.paths[iommu], taken

    def master(self, offset: int) -> dict[str, Any]:
        streams = []
        numbers = self.cells(offset, "iommus")
        while numbers:
            if numbers[0] in NONE:
                numbers.pop(0)
                continue
            of_all = self.cells(self.fdt.node_offset_by_phandle(numbers[0]), "stream-match-mask")
            iommu, taken = self.specifier(numbers)
            pair = [*taken, *of_all, None][:2] if taken else [None, None]
            streams.append({"iommu": iommu, "id": pair[0], "mask": pair[1]})
        maps = []
        numbers = self.cells(offset, "iommu-map")
        quads = [numbers[i : i + 4] for i in range(0, len(numbers), 4)]
        legacy = bool(quads) and all(
            len(q) == 4 and q[1] == quads[0][1] and q[3] == 1 for q in quads
        )
        while numbers:
            rid = numbers.pop(0)
            target = self.fdt.node_offset_by_phandle(numbers[0])
            two_cells = self.cell(target, "#iommu-cells", 0) == 2
            iommu, taken = self.specifier(numbers, 1 if legacy and two_cells else None)
            length = numbers.pop(0)
            if length:
                maps.append(
                    {
                        "iommu": iommu,
                        "rid": rid,
                        "id": taken[0] if taken else None,
                        "length": length,
                    }
                )
        mask = self.cells(offset, "iommu-map-mask")
        return {
            "path": self.paths[offset],
            "compatible": self.strings(offset, "compatible"),
            "status": self.status(offset),
            "regions": self.regions(offset),
            "streams": streams,
            "maps": maps,
            "map_mask": mask[0] if mask else None,
        }

    def iommu(self, offset: int) -> dict[str, Any]:
        compatible = self.strings(offset, "compatible")
        cells = self.cell(offset, "#iommu-cells", 0)
        bus = self.parents[offset]
        first: dict[str, Any] = {"base": None, "size": None}
        width = 0 if bus is None else self.cell(bus, "#address-cells", 2)
        width += 0 if bus is None else self.cell(bus, "#size-cells", 1)
        reg = self.cells(offset, "reg")[:width]
        if reg and bus is not None:
            split = self.cell(bus, "#address-cells", 2)
            base = self.absolute(bus, number(reg[:split]), number(reg[split:]))
            if base is not None:
                first = {"base": base, "size": number(reg[split:])}
        return {
            "path": self.paths[offset],
            "compatible": compatible,
            **first,
            "cells": cells,
            "status": self.status(offset),
            "supported": "arm,smmu-v3" in compatible and cells == 1,
        }


def number(cells: list[int]) -> int:
    return int("".join(f"{cell:08x}" for cell in cells) or "0", 16)


def ids(master: dict[str, Any], iommu: str) -> set[int]:
    found = {s["id"] for s in master["streams"] if s["iommu"] == iommu}
    mask = 0xFFFFFFFF if master["map_mask"] is None else master["map_mask"]
    for entry in master["maps"]:
        if entry["iommu"] == iommu:
            for rid in range(entry["rid"], entry["rid"] + entry["length"]):
                if rid & mask == rid:
                    found.add(rid - entry["rid"] + entry["id"])
    return found


def runs(owners: dict[int, list[str]]) -> list[tuple[int, int, list[str]]]:
    """Maximal intervals of IDs with the same two or more owners."""
    result: list[tuple[int, int, list[str]]] = []
    for i in sorted(i for i, who in owners.items() if len(who) > 1):
        if result and result[-1][1] == i - 1 and result[-1][2] == owners[i]:
            result[-1] = (result[-1][0], i, owners[i])
        else:
            result.append((i, i, owners[i]))
    return result


def listing(blob: bytes) -> dict[str, Any]:
    """The document of design section 4 for `blob`."""
    host = Host(blob)
    iommus = [
        host.iommu(offset) for offset in host.order if host.prop(offset, "#iommu-cells") is not None
    ]
    masters = [
        host.master(offset)
        for offset in host.order
        if any(host.prop(offset, name) is not None for name in ("iommus", "iommu-map"))
    ]
    enabled = [master for master in masters if master["status"] == "okay"]
    supported = [iommu["path"] for iommu in iommus if iommu["supported"]]
    by_id: dict[int, list[str]] = {}
    shared = []
    for iommu in supported:
        here: dict[int, list[str]] = {}
        for master in enabled:
            for i in ids(master, iommu):
                here.setdefault(i, []).append(master["path"])
        for i in here:
            by_id.setdefault(i, []).append(iommu)
        shared += [
            {"iommu": iommu, "first": first, "last": last, "masters": who}
            for first, last, who in runs(here)
        ]
    return {
        "schema": 1,
        "model": next(iter(host.strings(0, "model")), None),
        "iommus": iommus,
        "masters": masters,
        "collisions": [
            {"first": first, "last": last, "iommus": who} for first, last, who in runs(by_id)
        ],
        "shared": shared,
    }
