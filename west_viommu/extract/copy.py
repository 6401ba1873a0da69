# SPDX-License-Identifier: Apache-2.0
"""The guest node for a host device: the parts of it, and of the nodes that it refers to, that a
guest of Xen can have, and the parts that are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from struct import pack
from typing import NamedTuple

from west_viommu.diagnostics import first_few
from west_viommu.guest.gic import LINUX_EDGE, LINUX_LEVEL
from west_viommu.host.clocks import FIXED_CLOCK, Clock, Rates, clocks
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import Cover, Interval
from west_viommu.host.inventory import Master
from west_viommu.hypervisor.links import LeftOut as LeftOut
from west_viommu.hypervisor.pages import in_pages, widest
from west_viommu.tree.addresses import Range, Region, address_map, bus_cells
from west_viommu.tree.cells import TreeError, cells, counted
from west_viommu.tree.interrupts import (
    FIRST_SPI,
    Intid,
    interrupts,
    is_gic,
)
from west_viommu.tree.node import NODE_NAME, PROPERTY_NAME, Node, Tree
from west_viommu.tree.providers import companions, meaning
from west_viommu.tree.references import Reading, reading_of

# Why a node below the device is left out.
_UNMAPPED = "Xen maps the registers of the device alone; extract such a node as well"
# The longest name that a node may have.
_MOST_OF_A_NAME = 31


def _stub(tree: Tree, clock: Clock, rate: int) -> Copied:
    """Return the node that stands in a guest for a clock of the host: a clock of a fixed frequency,
    which is no more than a number.
    """
    provider = tree.node(clock.provider)
    is_fixed = provider is not None and FIXED_CLOCK in provider.known_compatible
    properties = [
        Property("compatible", f"{FIXED_CLOCK}\0".encode()),
        Property("#clock-cells", pack(">I", 0)),
        Property("clock-frequency", pack(">I", rate)),
    ]
    if is_fixed and provider and "clock-accuracy" in provider.properties:
        properties.append(Property("clock-accuracy", provider.properties["clock-accuracy"]))
    runs = "which runs at this rate whatever the guest does"
    if not is_fixed:
        runs = "which runs at this rate by the host's tree: whoever controls it must not change it"
    stem = clock.provider.rpartition("/")[2].partition("@")[0]
    name = "-".join([stem[:_MOST_OF_A_NAME], *map(str, clock.specifier)])
    if not re.fullmatch(NODE_NAME, name):
        name = "clock"
    return Copied(
        name, _key(clock), tuple(properties), (), (), (f"stands for the host's {clock}, {runs}",)
    )


def _key(clock: Clock) -> str:
    """Return the key of a stub in place of the path of a host node: no path has a blank."""
    return str(clock)


def _texts(node: Node, name: str) -> tuple[str, ...]:
    try:
        return node.string_list(name)
    except TreeError:
        return ()


def _left_out(node: Node, names: tuple[str, ...], reading: Reading) -> LeftOut:
    name, targets = names[0], reading.reference.targets
    if reading.is_guess:
        numbers = " ".join(map(hex, _numbers(node, name)))
        return LeftOut(names, f"<{numbers}> may refer to {{}}; copy it if it does not", targets[:1])
    words = meaning(name)
    return LeftOut(names, words) if words else LeftOut(names, "it refers to {}", targets)


def _numbers(node: Node, name: str) -> Iterator[int]:
    yield from cells(node.properties[name], node.path, name)[:16]


class Property(NamedTuple):
    """A property of the guest node. `form` is the best form to write it in: "" by its value,
    "interrupts" (type, number, Linux's flags) or "iommus". `cells`: index of a cell that refers to
    a copied node -> path of the host's node.
    """

    name: str
    value: bytes
    form: str = ""
    cells: Mapping[int, str] = {}


class Copied(NamedTuple):
    """A node for the guest, with the path of the `host` node that it stands for. `remarks` are for
    its reader; `stubs`: the nodes beside it that stand for clocks of the host.
    """

    name: str
    host: str
    properties: tuple[Property, ...]
    left_out: tuple[LeftOut, ...]
    children: tuple[Copied, ...]
    remarks: tuple[str, ...] = ()
    stubs: tuple[Copied, ...] = ()

    def nodes(self) -> Iterator[Copied]:
        """Yield the node and all nodes below it."""
        yield self
        for child in self.children:
            yield from child.nodes()

    @property
    def targets(self) -> list[str]:
        """The host nodes that the node refers to, each once."""
        paths = (
            path
            for node in self.nodes()
            for prop in node.properties
            for path in prop.cells.values()
        )
        return list(dict.fromkeys(paths))


# Properties that are written anew, or that have no meaning in the guest.
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
        "dma-coherent",
        "status",
        "phandle",
        "linux,phandle",
        "name",
    }
)
_END_OF_SIZES = 1 << 64


def copied(
    node: Node,
    devices: Devices,
    declared: Collection[str] | None = None,
    along: Collection[str] = (),
) -> Copied:
    """Return the guest node for the host's `node`. `declared`: the properties of Zephyr's binding,
    None if no binding is known; `along`: the paths of the other devices of the same guest. Raises
    TreeError if the host tree is malformed.
    """
    return _Copier(devices, node, along).copy(declared)


class _Copier:
    """Copies one device of a host, and the nodes below it."""

    def __init__(self, devices: Devices, device: Node, along: Collection[str]):
        self._tree = devices.tree
        self._device = device
        self._own = frozenset((device.path, *along))
        self._covers: dict[str, Cover] = {}
        self._rates = Rates(devices.tree)
        self._stubs: dict[str, Copied] = {}
        self._devices = devices
        self._addresses = address_map(devices.tree)

    def copy(self, declared: Collection[str] | None) -> Copied:
        """Return the device's node for the guest's /passthrough, with absolute addresses."""
        node = self._device
        regions = self._addresses.regions(node)
        there = [region for region in regions if region and region.size < _END_OF_SIZES]
        master = self._devices.master(node.path)
        properties = [
            Property(n, node.properties[n]) for n in ("compatible",) if n in node.properties
        ]
        if there:
            properties.append(Property("reg", b"".join(pack(">QQ", *region) for region in there)))
        left_out = list(self._unfit(node, regions, master))
        properties += self._interrupts(node, left_out)
        properties += _iommus(master)
        properties.append(Property("xen,path", node.path.encode() + b"\0"))
        if any("dma-coherent" in ancestor.properties for ancestor in self._tree.lineage(node)):
            properties.append(Property("dma-coherent", b""))
        routed = frozenset(intid for intid, _ in self._by_gic(node))
        children = tuple(self._children(node, routed, left_out))
        if "ranges" in node.properties:
            properties += self._ranges(node, left_out)
        for prop in self._rest(node, left_out):
            if declared is None or prop.name in declared or prop.name.startswith("#"):
                properties.append(prop)
            else:
                left_out.append(LeftOut((prop.name,), "Zephyr's binding does not have it"))
        name = node.name.split("@")[0]
        # Other characters, which a blob may have in a name, could end the node in the output.
        if not re.fullmatch(NODE_NAME, name):
            name = "device"
        return Copied(
            f"{name}@{there[0].base:x}" if there else name,
            node.path,
            tuple(properties),
            tuple(left_out),
            children,
            stubs=tuple(self._stubs.values()),
        )

    def _children(
        self, node: Node, routed: frozenset[Intid], left_out: list[LeftOut]
    ) -> Iterator[Copied]:
        unmapped = []
        for child in node.children:
            if not re.fullmatch(NODE_NAME, child.name):
                left_out.append(LeftOut((child.name,), "not a valid node name"))
            elif child.path in self._own:
                left_out.append(LeftOut((child.name,), "beside, as a device of its own"))
            elif not self._is_mapped(self._device, child):
                unmapped.append(child.name)
            else:
                yield self._child(child, routed)
        if unmapped:
            left_out.append(LeftOut(tuple(unmapped), _UNMAPPED))

    def _is_mapped(self, device: Node, node: Node) -> bool:
        """Return whether the guest gets the registers of a `node` below `device`: Xen maps those of
        the device itself (handle_passthrough_prop()).
        """
        regions = [region for region in self._devices.index.regions(node) if region]
        if not regions:
            return True
        cover = self._covers.get(device.path)
        if cover is None:
            pages = map(in_pages, filter(None, self._addresses.regions(device)))
            cover = self._covers[device.path] = Cover(Interval(*page.ends) for page in pages)
        return all(cover.has(*region.ends) for region in regions)

    def _comes_along(self, path: str) -> bool:
        """Return whether the node at `path` is copied, with this device or with another one."""
        node, below = self._tree.node(path), []
        while node and node.path not in self._own:
            below.append(node)
            node = self._tree.parent(node)
        device = node
        return device is not None and all(
            re.fullmatch(NODE_NAME, each.name) and self._is_mapped(device, each) for each in below
        )

    def _kept(self, node: Node, name: str) -> Property | LeftOut:
        """Return property `name` of `node`: unchanged if it refers to nothing, or to nodes that are
        copied too; else the reason why it is left out, with the properties that belong to it.
        """
        reading = reading_of(self._tree, node, name)
        targets = reading.reference.targets
        if not targets and not reading.is_open:
            return Property(name, node.properties[name])
        is_whole = not (reading.is_open or reading.is_guess or reading.reference.others)
        if is_whole and all(map(self._comes_along, targets)):
            return Property(name, node.properties[name], cells=reading.reference.cells)
        names = (name, *(n for n in companions(name) if n in node.properties))
        return _left_out(node, names, reading)

    def _child(self, node: Node, routed: frozenset[Intid]) -> Copied:
        """Return the copy of a node below the device, at the same place. Of its interrupts, Xen
        routes only those that the device has as well.
        """
        kept = [
            Property(n, node.properties[n]) for n in ("compatible", "reg") if n in node.properties
        ]
        left_out: list[LeftOut] = list(self._unrouted(node))
        own = frozenset(intid for intid, _ in self._by_gic(node))
        if own <= routed:
            kept += self._interrupts(node, left_out)
        else:
            shown = " ".join(map(str, sorted(own)))
            why = f"INTID {shown}: Xen routes those of the device node only"
            left_out.append(LeftOut(("interrupts",), why))
        if self._tree.status(node) != "okay" and "status" in node.properties:
            kept.append(Property("status", node.properties["status"]))
        if "dma-coherent" in node.properties:
            kept.append(Property("dma-coherent", b""))
        if "ranges" in node.properties:
            kept.append(Property("ranges", node.properties["ranges"]))
        kept += self._rest(node, left_out)
        children = tuple(self._children(node, routed, left_out))
        return Copied(node.name, node.path, tuple(kept), tuple(left_out), children)

    def _rest(self, node: Node, left_out: list[LeftOut]) -> Iterator[Property]:
        """Yield the properties that mean the same in a guest. Properties that refer to nodes which
        are not copied go to `left_out`.
        """
        kept = {
            name: self._kept(node, name)
            for name in node.properties
            if name not in _REPLACED and not name.startswith(("iommu-map", "xen,"))
        }
        kept |= self._clocks(node, left_out)
        gone = {
            companion
            for lost in kept.values()
            if isinstance(lost, LeftOut)
            for companion in lost.names[1:]
        }
        for name, prop in kept.items():
            if name in gone:
                continue
            if not re.fullmatch(PROPERTY_NAME, name):
                left_out.append(LeftOut((name,), "not a valid property name"))
            elif name == "dma-ranges":
                left_out.append(LeftOut((name,), "addresses of the host's bus"))
            elif isinstance(prop, LeftOut):
                left_out.append(prop)
            else:
                yield prop

    def _clocks(self, node: Node, left_out: list[LeftOut]) -> dict[str, Property | LeftOut]:
        """Return `clocks` and clock-names of `node`, with a stub for each clock with a rate in the
        host tree. If some clocks have no rate, those with a rate are kept, provided that all have
        names.
        """
        listed = clocks(self._tree, node) if "clocks" in node.properties else None
        if not listed or all(self._comes_along(clock.provider) for clock in listed):
            return {}
        names = _texts(node, "clock-names")
        value = node.properties["clocks"]
        kept, cells_of, kept_names, lost = b"", {}, b"", []
        for i, clock in enumerate(listed):
            name = names[i] if len(names) == len(listed) else ""
            if self._comes_along(clock.provider):
                cells_of[len(kept) // 4] = clock.provider
                end = clock.at + 1 + len(clock.specifier)
                kept += value[4 * clock.at : 4 * end]
            elif rate := self._rates.of(clock.provider, clock.specifier):
                stub = self._stubs.setdefault(_key(clock), _stub(self._tree, clock, rate))
                cells_of[len(kept) // 4] = stub.host
                kept += value[4 * clock.at : 4 * clock.at + 4]
            else:
                lost.append(f"{name}, {clock}" if name else str(clock))
                continue
            kept_names += name.encode() + b"\0"
        if not kept or (lost and len(names) != len(listed)):
            return {}
        found: dict[str, Property | LeftOut] = {"clocks": Property("clocks", kept, cells=cells_of)}
        if lost:
            found["clock-names"] = Property("clock-names", kept_names)
            why = f"{' and '.join(lost)}: the host tree states no rate; it must be running already"
            left_out.append(LeftOut(("clocks",), why))
        return found

    def _by_gic(self, node: Node) -> tuple[tuple[Intid, int], ...]:
        return self._devices.index.interrupts(node).by_gic

    def _interrupts(self, node: Node, left_out: list[LeftOut]) -> Iterator[Property]:
        usable = [(i, f) for i, f in self._by_gic(node) if _is_usable(i, f)]
        if not usable:
            return
        once = list(dict.fromkeys(usable))
        rows = (pack(">III", 0, intid - FIRST_SPI, flags & 0xFF) for intid, flags in once)
        yield Property("interrupts", b"".join(rows), "interrupts")
        names = node.string_list("interrupt-names")
        if len(names) == len(usable):
            kept = [names[usable.index(interrupt)] for interrupt in once]
            value = b"".join(name.encode() + b"\0" for name in kept)
            yield Property("interrupt-names", value)
            if len(kept) < len(names):
                again = (n for i, n in enumerate(names) if usable.index(usable[i]) < i)
                shown = " ".join(again)
                left_out.append(LeftOut(("interrupt-names",), f"{shown}; the same interrupt again"))
        elif names:
            shown = " ".join(names)
            left_out.append(LeftOut(("interrupt-names",), f"{shown}; not all are left"))

    def _unrouted(self, node: Node) -> Iterator[LeftOut]:
        """Yield the first interrupts that a guest of Xen cannot have."""
        for why in first_few(self._why_unrouted(node)):
            yield LeftOut(("interrupts",), why)

    def _why_unrouted(self, node: Node) -> Iterator[str]:
        received = self._devices.index.interrupts(node)
        for controller, specifier in interrupts(self._tree, node) if received.others else ():
            # This includes copied controllers: edtlib wants a binding for each interrupt
            # controller.
            if controller.path in received.others:
                shown = " ".join(map(str, specifier))
                kind = "is not the GIC that Xen drives" if is_gic(controller) else "is not a GIC"
                yield f"<{shown}> goes to {controller.path}, which {kind}"
        yield from received.unroutable
        for intid, flags in received.by_gic:
            if not _is_usable(intid, flags):
                kind = "a PPI, which Xen does not route"
                if intid >= FIRST_SPI:
                    kind = (
                        f"the host gives no trigger of an SPI ({flags}); if it is level-sensitive: "
                        f"<GIC_SPI {intid - FIRST_SPI} IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>"
                    )
                yield f"INTID {intid}: {kind}"

    def _unfit(
        self, node: Node, regions: tuple[Region | None, ...], master: Master | None
    ) -> Iterator[LeftOut]:
        if None in regions:
            yield LeftOut(("reg",), f"region {regions.index(None)} has no absolute address")
        if any(region and region.size >= _END_OF_SIZES for region in regions):
            yield LeftOut(("reg",), "a region is as large as all addresses")
        if master and master.maps:
            names = tuple(n for n in ("iommu-map", "iommu-map-mask") if n in node.properties)
            yield LeftOut(
                names, "bind takes them from the host, where the hypervisor has a use for them"
            )
        yield from self._unrouted(node)

    def _ranges(self, node: Node, left_out: list[LeftOut]) -> Iterator[Property]:
        """Yield `ranges` with absolute addresses in the two cells of /passthrough, for the
        children.
        """
        address, size = bus_cells(node)
        if address == 0 or size == 0:
            lacking = "sizes" if address else "addresses"
            left_out.append(LeftOut(("ranges",), f"the bus has no {lacking}"))
            return
        entries = b""
        lost = 0
        for child, parent, length in self._windows(node):
            there = self._addresses.absolute(node, Region(parent, length))
            if there is None:
                lost += 1
                continue
            entries += child.to_bytes(4 * address, "big") + pack(">Q", there.base)
            entries += length.to_bytes(4 * size, "big")
        if lost:
            windows = counted(lost, "window")
            left_out.append(LeftOut(("ranges",), f"no absolute address for {windows}"))
        if entries or not lost:
            yield Property("ranges", entries)

    def _windows(self, node: Node) -> tuple[Range, ...]:
        """Return the rows of `ranges`. Empty `ranges` mean the addresses of the bus above, so
        return the rows of that bus; if no bus translates, return one row for all addresses of the
        cells.
        """
        for bus in self._tree.lineage(node):
            rows = self._addresses.ranges(bus) if bus.path != "/" else ()
            if rows and bus is node:
                return rows
            if rows:
                return tuple(Range(row.child, row.child, row.size) for row in rows)
        widths = bus_cells(node)
        if widths == (2, 2):
            return ()
        return (Range(0, 0, widest(widths)),)


def _is_usable(intid: int, flags: int) -> bool:
    return intid >= FIRST_SPI and flags & 0xFF in (LINUX_EDGE, LINUX_LEVEL)


def _iommus(master: Master | None) -> Iterator[Property]:
    ids = master.stream_ids if master else ()
    if ids:
        yield Property("iommus", b"".join(pack(">II", 0, stream_id) for stream_id in ids), "iommus")
