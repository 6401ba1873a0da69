# SPDX-License-Identifier: Apache-2.0
"""The guest node for a host device: what of it a guest of Xen can have, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from struct import pack
from typing import NamedTuple

from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Master
from west_viommu.plan.providers import companions, is_provider, meaning
from west_viommu.tree.addresses import AddressMap, Region, bus_cells
from west_viommu.tree.interrupts import FIRST_SPI, gic_interrupts, interrupts, is_gic
from west_viommu.tree.node import Node

# Said anew, or without meaning in the guest.
_REPLACED = frozenset(
    {
        "compatible",
        "reg",
        "ranges",
        "interrupts",
        "interrupts-extended",
        "interrupt-parent",
        "interrupt-names",
        "iommus",
        "xen,path",
        "xen,reg",
        "dma-coherent",
        "status",
        "phandle",
        "linux,phandle",
        "name",
    }
)
# Numbers by what they are called (dt-schema, property-units.yaml, and the common bindings).
_NUMBER = re.compile(
    r"#.*|(max|min|num|nr|reg)-.*|bus-range|(.*[-,])?"
    r"(hz|mhz|khz|bits|ms|us|ns|ps|mw|ohms|microvolt|microamp|percent|bp|width|depth|size|shift|"
    r"count|number|frequency|speed|rate|level|channels|mask|offset|delay|cells|lanes|ports)"
)
_EDGE, _LEVEL = 1, 4


class Property(NamedTuple):
    """A property of the guest node. `form` tells how to write it best: "" by its value,
    "interrupts" (type, number, Linux's flags) or "iommus".
    """

    name: str
    value: bytes
    form: str = ""


class LeftOut(NamedTuple):
    """What of the host node the guest node does not have, and why."""

    names: tuple[str, ...]
    why: str


class Copied(NamedTuple):
    """A node for the guest, with the host node that it stands for."""

    name: str
    host: str
    properties: tuple[Property, ...]
    left_out: tuple[LeftOut, ...]
    children: tuple[Copied, ...]


def copied(node: Node, devices: Devices, declared: Collection[str] | None) -> Copied:
    """The guest node for the host's `node`. `declared`: what Zephyr's binding of it has, None where
    that is not known. Raises TreeError for what is malformed.
    """
    return _Copier(devices).device(node, declared)


class _Copier:
    """Copies nodes of one host."""

    def __init__(self, devices: Devices):
        self._tree = devices.tree
        self._devices = devices
        self._addresses = AddressMap(devices.tree)

    def device(self, node: Node, declared: Collection[str] | None) -> Copied:
        """The node itself: on the guest's /passthrough, by absolute addresses."""
        regions = self._addresses.regions(node)
        there = [region for region in regions if region]
        master = next((m for m in self._devices.masters if m.path == node.path), None)
        properties = [
            Property(n, node.properties[n]) for n in ("compatible",) if n in node.properties
        ]
        if there:
            properties.append(Property("reg", b"".join(pack(">QQ", *region) for region in there)))
        properties += self._interrupts(node)
        properties += _iommus(master)
        properties.append(Property("xen,path", node.path.encode() + b"\0"))
        if any("dma-coherent" in each.properties for each in self._tree.lineage(node)):
            properties.append(Property("dma-coherent", b""))
        children = tuple(self._child(child) for child in node.children)
        left_out = list(self._unfit(node, regions, master))
        if children and "ranges" in node.properties:
            properties += self._ranges(node)
        for prop in self._rest(node, left_out):
            if declared is None or prop.name in declared or prop.name.startswith("#"):
                properties.append(prop)
            else:
                left_out.append(LeftOut((prop.name,), "Zephyr's binding does not have it"))
        name = node.name.split("@")[0]
        return Copied(
            f"{name}@{there[0].base:x}" if there else name,
            node.path,
            tuple(properties),
            tuple(left_out),
            children,
        )

    def _child(self, node: Node) -> Copied:
        """A node below the device, which keeps its place there."""
        kept = [
            Property(n, node.properties[n]) for n in ("compatible", "reg") if n in node.properties
        ]
        kept += self._interrupts(node)
        if self._tree.status(node) != "okay" and "status" in node.properties:
            kept.append(Property("status", node.properties["status"]))
        if "ranges" in node.properties:
            kept.append(Property("ranges", node.properties["ranges"]))
        left_out: list[LeftOut] = list(self._unrouted(node))
        kept += self._rest(node, left_out)
        children = tuple(self._child(child) for child in node.children)
        return Copied(node.name, node.path, tuple(kept), tuple(left_out), children)

    def _rest(self, node: Node, left_out: list[LeftOut]) -> Iterator[Property]:
        """The properties that mean the same in a guest. Those that refer to other nodes, or may do
        so, go to `left_out`: a blob does not say which numbers are phandles.
        """
        gone = {each for name in node.properties if is_provider(name) for each in companions(name)}
        for name, value in node.properties.items():
            if name in _REPLACED or name in gone or name.startswith("iommu-map"):
                continue
            if is_provider(name):
                names = (name, *(each for each in companions(name) if each in node.properties))
                left_out.append(LeftOut(names, meaning(name)))
            elif name == "dma-ranges":
                left_out.append(LeftOut((name,), "addresses of the host's bus"))
            elif target := self._maybe_reference(name, value):
                left_out.append(LeftOut((name,), f"may refer to {target}; copy it if it does not"))
            else:
                yield Property(name, value)

    def _maybe_reference(self, name: str, value: bytes) -> str | None:
        """The node whose phandle the property may hold."""
        is_text = value.endswith(b"\0") and all(0x20 <= byte < 0x7F for byte in value[:-1])
        if not value or len(value) % 4 or is_text or _NUMBER.fullmatch(name):
            return None
        target = self._tree.with_phandle(int.from_bytes(value[:4], "big"))
        return target.path if target else None

    def _interrupts(self, node: Node) -> Iterator[Property]:
        found = [(i, f) for i, f in gic_interrupts(self._tree, node) if _is_usable(i, f)]
        if found:
            rows = (pack(">III", 0, intid - FIRST_SPI, flags & 0xFF) for intid, flags in found)
            yield Property("interrupts", b"".join(rows), "interrupts")
            if len(node.string_list("interrupt-names")) == len(found):
                yield Property("interrupt-names", node.properties["interrupt-names"])

    def _unrouted(self, node: Node) -> Iterator[LeftOut]:
        """The interrupts that a guest of Xen cannot have."""
        for controller, specifier in interrupts(self._tree, node):
            if not is_gic(controller):
                shown = " ".join(map(str, specifier))
                yield LeftOut(("interrupts",), f"<{shown}> goes to {controller.path}, no GIC")
        for intid, flags in gic_interrupts(self._tree, node):
            if not _is_usable(intid, flags):
                kind = (
                    "a PPI, which Xen does not route" if intid < FIRST_SPI else f"trigger {flags}"
                )
                yield LeftOut(("interrupts",), f"INTID {intid}: {kind}")

    def _unfit(
        self, node: Node, regions: tuple[Region | None, ...], master: Master | None
    ) -> Iterator[LeftOut]:
        if None in regions:
            yield LeftOut(("reg",), f"region {regions.index(None)} has no absolute address")
        if master and master.maps:
            names = tuple(n for n in ("iommu-map", "iommu-map-mask") if n in node.properties)
            yield LeftOut(
                names, "bind takes them from the host, where the hypervisor has a use for them"
            )
        yield from self._unrouted(node)

    def _ranges(self, node: Node) -> Iterator[Property]:
        """`ranges` from the cells of the node to absolute addresses, for its children's regions."""
        address, size = bus_cells(node)
        entries = []
        for child in node.children:
            local = self._addresses.reg(child)
            for own, there in zip(local, self._addresses.regions(child), strict=True):
                if there:
                    entries.append(
                        own.base.to_bytes(4 * address, "big")
                        + pack(">Q", there.base)
                        + own.size.to_bytes(4 * size, "big")
                    )
        yield Property("ranges", b"".join(dict.fromkeys(entries)))


def _is_usable(intid: int, flags: int) -> bool:
    return intid >= FIRST_SPI and flags & 0xFF in (_EDGE, _LEVEL)


def _iommus(master: Master | None) -> Iterator[Property]:
    ids = master.stream_ids if master else ()
    if ids:
        yield Property("iommus", b"".join(pack(">II", 0, stream_id) for stream_id in ids), "iommus")
