# SPDX-License-Identifier: Apache-2.0
"""Hosts and guests that are well-formed and mean nonsense: cells, parents, maps, status, nesting.

Each input is one file: the blob of a host, and behind it, where no reader of blobs looks, the
source of a guest that asks for devices of it.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PROPERTY, _BEGIN, _END_NODE, _END = 3, 1, 2, 9
_MAGIC = 0xD00DFEED
# How often a choice is the one that makes sense, in one input after the other.
_SANE = (0.5, 0.8, 0.95, 0.99, 1.0)
_STATUS = ("okay", "ok", "disabled", "reserved", "fail", "fail-sss", "", "OKAY")
_COMPATIBLES = ("acme,dma", "arm,pl011", "arm,smmu-v3", "arm,gic-v3", "pci-host-ecam-generic", "")
_IDS = (0, 1, 2, 7, 0x40, 0x41, 0x100, 0xFFFE, 0xFFFF, 0x10000, 0xFFFFFFFF)
_DEEPEST = 6


class Reference(NamedTuple):
    """A cell that is the phandle of the node at `path`."""

    path: str


Cell = int | Reference


class Made:
    """A node in the making."""

    def __init__(self, path: str, name: str):
        self.path = path
        self.name = name
        self.cells: dict[str, list[Cell]] = {}
        self.texts: dict[str, bytes] = {}
        self.children: list[Made] = []

    def child(self, name: str) -> Made:
        made = Made(f"{self.path.rstrip('/')}/{name}", name)
        self.children.append(made)
        return made

    def below(self) -> Iterator[Made]:
        yield self
        for child in self.children:
            yield from child.below()


class Absurd:
    """Makes inputs."""

    def __init__(self, pick: random.Random):
        self._pick = pick
        self._count = 0

    def mutant(self) -> bytes:
        """A host's blob, and a guest's source behind it."""
        self._sane = _SANE[self._count % len(_SANE)]
        self._count += 1
        # What differs from device to device, where it makes sense.
        self._fresh = itertools.count(1)
        root = Made("/", "")
        self._gics = [f"/gic{i}" for i in range(self._either(1, (0, 2)))]
        self._smmus = [f"/smmu{i}" for i in range(self._pick.choice((1, 1, 2, 3)))]
        self._nexuses: list[str] = []
        root.cells["#address-cells"] = [self._either(2, (0, 1, 3, 4, 5))]
        root.cells["#size-cells"] = [self._either(2, (0, 1, 3))]
        if self._gics:
            root.cells["interrupt-parent"] = [self._reference(self._gics)]
        for path in self._gics:
            self._gic(root.child(path[1:]))
        for i, path in enumerate(self._smmus):
            self._smmu(root.child(path[1:]), i)
        self._fill(root, 0)
        if self._pick.random() < 0.3:
            memory = root.child("memory@0")
            memory.texts["device_type"] = b"memory\0"
            memory.cells["reg"] = self._reg(root, 1)
        return blob(root) + self._guest(root).encode()

    def _either(self, sane: int, others: Sequence[int]) -> int:
        return sane if self._pick.random() < self._sane else self._pick.choice(others)

    def _is_odd(self) -> bool:
        return self._pick.random() > self._sane

    def _reference(self, paths: Sequence[str]) -> Cell:
        if not paths or self._is_odd():
            everybody = [*self._gics, *self._smmus, *self._nexuses, "/", "/nowhere"]
            return self._pick.choice([Reference(self._pick.choice(everybody)), 0, 0xFFFFFFFF])
        return Reference(self._pick.choice(paths))

    def _number(self) -> int:
        return self._pick.choice((0, 1, 0x1000, 0x10000, 0x10000000, 0x80000000, 0xFFFFF000))

    def _gic(self, node: Made) -> None:
        node.texts["compatible"] = b"arm,gic-v3\0" if not self._is_odd() else b"acme,pic\0"
        node.texts["interrupt-controller"] = b""
        node.cells["#interrupt-cells"] = [self._either(3, (0, 1, 2, 4, 17))]
        node.cells["#address-cells"] = [self._either(0, (1, 2, 9))]
        node.cells["reg"] = [0, 0x1000000, 0, 0x10000]

    def _smmu(self, node: Made, number: int) -> None:
        node.texts["compatible"] = b"arm,smmu-v3\0" if not self._is_odd() else b"arm,mmu-500\0"
        node.cells["#iommu-cells"] = [self._either(1, (0, 2, 3))]
        node.cells["reg"] = [0, 0x2000000 + 0x100000 * number, 0, 0x20000]
        self._status(node)
        if self._is_odd():
            node.cells["iommus"] = [self._reference(self._smmus), self._pick.choice(_IDS)]

    def _status(self, node: Made) -> None:
        if self._is_odd():
            node.texts["status"] = self._pick.choice(_STATUS).encode() + b"\0"

    def _fill(self, parent: Made, depth: int) -> None:
        for i in range(self._pick.randrange(1, 5)):
            kind = self._pick.random()
            if kind < 0.25 and depth < _DEEPEST:
                bus = parent.child(f"bus{i}")
                self._bus(bus, parent)
                self._fill(bus, depth + 1)
            elif kind < 0.35:
                self._nexus(parent.child(f"nexus{i}"))
            else:
                device = parent.child(f"dev{i}@{depth}{i}000000")
                self._device(device, parent)
                # A device with children, as a bridge or a PHY's bus.
                if self._pick.random() < 0.1 and depth < _DEEPEST:
                    self._fill(device, depth + 1)

    def _bus(self, node: Made, parent: Made) -> None:
        node.texts["compatible"] = b"simple-bus\0"
        own = self._either(2, (0, 1, 3, 4, 0xFFFFFFFF)), self._either(2, (0, 1, 3))
        node.cells["#address-cells"], node.cells["#size-cells"] = [own[0]], [own[1]]
        self._status(node)
        for name in ("ranges", "dma-ranges"):
            kind = self._pick.random()
            if not self._is_odd():
                node.texts[name] = b""
            elif kind < 0.6 and own[0] < 9:
                above = parent.cells.get("#address-cells", [2])[0]
                wide = above if isinstance(above, int) and above < 9 else 2
                width = own[0] + wide + own[1] + (1 if self._is_odd() else 0)
                count = self._pick.randrange(1, 4) * width
                node.cells[name] = [self._number() for _ in range(count)]

    def _nexus(self, node: Made) -> None:
        self._nexuses.append(node.path)
        own = self._either(1, (0, 2, 3, 16))
        node.cells["#interrupt-cells"] = [own]
        node.cells["#address-cells"] = [self._either(0, (1, 2, 3))]
        rows: list[Cell] = []
        for line in range(self._pick.randrange(4)):
            rows += [line] * own
            rows += [self._reference([*self._gics, *self._nexuses]), 0, 32 + line, 4]
        node.cells["interrupt-map"] = rows[: len(rows) - self._either(0, (1, 2, 3))]
        if self._pick.random() < 0.3:
            node.cells["interrupt-map-mask"] = [0xFFFFFFFF] * own
        if self._is_odd():
            node.texts["interrupt-controller"] = b""
        if self._is_odd():
            node.cells["interrupt-parent"] = [self._reference(self._nexuses)]

    def _device(self, node: Made, parent: Made) -> None:
        pick = self._pick
        compatible = pick.choice(_COMPATIBLES[:2] if not self._is_odd() else _COMPATIBLES)
        node.texts["compatible"] = compatible.encode() + b"\0"
        self._status(node)
        node.cells["reg"] = self._reg(parent, pick.randrange(3))
        for _ in range(pick.randrange(3)):
            line = self._either(next(self._fresh), range(70))
            interrupt: list[Cell] = [self._either(0, (1, 2, 3, 9)), line, 4]
            node.cells.setdefault("interrupts", []).extend(interrupt)
        if self._nexuses and pick.random() < 0.15:
            node.cells["interrupt-parent"] = [self._reference(self._nexuses)]
            node.cells["interrupts"] = [pick.randrange(4)]
        if self._is_odd():
            node.cells["interrupts-extended"] = [self._reference(self._gics), 0, 7, 4]
        kind = pick.random()
        if kind < 0.7:
            of = self._reference(self._smmus)
            count = pick.choice((1, 1, 1, 2, 3))
            ids = [next(self._fresh) for _ in range(count)]
            ids = pick.sample(_IDS, count) if self._is_odd() else ids
            node.cells["iommus"] = [cell for number in ids for cell in (of, number)]
            if self._is_odd():
                node.cells["iommus"].pop()
        elif self._is_odd():
            node.cells["iommu-map"] = [
                *(pick.choice(_IDS), self._reference(self._smmus), pick.choice(_IDS)),
                pick.choice((0, 1, 0x100, 0x10000, 0xFFFFFFFF)),
            ][: self._either(4, (1, 2, 3))]
            if pick.random() < 0.3:
                node.cells["iommu-map-mask"] = [pick.choice((0, 0xFF, 0xFFFF, 0x5555))]
        for name in ("memory-region", "clocks", "power-domains", "msi-parent"):
            if pick.random() < 0.1:
                node.cells[name] = [self._reference([*self._smmus, *self._gics])]
        if pick.random() < 0.1:
            node.texts["dma-coherent"] = b""

    def _reg(self, parent: Made, count: int) -> list[Cell]:
        widths = [parent.cells.get(f"#{name}-cells", [2])[0] for name in ("address", "size")]
        address, size = (width if isinstance(width, int) and width < 9 else 2 for width in widths)
        found: list[Cell] = []
        for _ in range(count):
            base = 0x10000000 + 0x10000 * next(self._fresh)
            high = [0] * max(0, address - 1)
            found += [*high, base if not self._is_odd() else self._number()][:address]
            large = self._either(0x1000, (0x100, 0x3000, 0, 0xFFFFFFFF))
            found += [*[0] * max(0, size - 1), large][:size]
        return found[: len(found) - self._either(0, (1, 2))]

    def _guest(self, host: Made) -> str:
        """The source of a guest: a whole tree, or an overlay for one that is not given."""
        pick = self._pick
        nodes = [node for node in host.below() if node.path != "/"]
        masters = [node for node in nodes if "iommus" in node.cells and node.name[:3] == "dev"]
        wanted = pick.sample(masters, min(len(masters), pick.randrange(1, 5)))
        while not wanted or self._is_odd():
            wanted.append(pick.choice(nodes))
        asks = "".join(self._asking(node, i) for i, node in enumerate(wanted))
        address, size = self._either(2, (0, 1, 3, 5)), self._either(2, (0, 1, 3))
        cells = f"#address-cells = <{address}>; #size-cells = <{size}>;"
        ranges = "" if self._is_odd() else "ranges;"
        body = f"passthrough {{ {cells} {ranges} {asks} }};"
        if pick.random() < 0.5:
            return f"/ {{ {body} }};\n"
        gic = (
            'gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = '
            f"<{self._either(4, (0, 1, 3, 5))}>; #address-cells = <0>; }};"
        )
        memory = 'memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x1000000>; };'
        head = "#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;"
        return f"/dts-v1/;\n/ {{ {head} {gic} {memory if pick.random() < 0.5 else ''} {body} }};\n"

    def _asking(self, node: Made, number: int) -> str:
        """A guest node that asks for `node`, or nearly."""
        pick = self._pick
        lines = []
        if pick.random() < 0.7:
            lines.append(f'xen,path = "{node.path if not self._is_odd() else "/no/such"}";')
        ids = [each for each in node.cells.get("iommus", [])[1::2] if isinstance(each, int)]
        if (ids and pick.random() < 0.7) or self._is_odd():
            own = ids or [pick.choice(_IDS)]
            target = "0x0" if not self._is_odd() else pick.choice(("&gic", "0x1", "0xfdea"))
            lines.append("iommus = " + ", ".join(f"<{target} {each:#x}>" for each in own) + ";")
        reg = [each for each in node.cells.get("reg", []) if isinstance(each, int)]
        if reg and pick.random() < 0.8:
            lines.append(f"reg = <{' '.join(map(hex, reg))}>;")
        if "interrupts" in node.cells and pick.random() < 0.6:
            of_host = node.cells["interrupts"][1:2]
            line = of_host[0] if of_host and not self._is_odd() else pick.randrange(70)
            lines.append(f"interrupts = <0 {line} 4 0xa0>;")
        if pick.random() < 0.05:
            lines.append(f"xen,reg = <{' '.join(map(hex, (reg + [0, 0, 0, 0])[:4]))} 0 0x1000>;")
        if self._is_odd():
            lines.append(f'status = "{pick.choice(_STATUS)}";')
        if self._is_odd():
            lines.append(self._asking(node, number + 100))
        return f"d{number}: d{number} {{ {' '.join(lines)} }}; "


def blob(root: Made) -> bytes:
    """The blob of `root`. A reference to a node that is not there is a phandle that nobody has."""
    phandles = {node.path: number for number, node in enumerate(root.below(), 1)}
    offsets: dict[str, int] = {}
    names = bytearray()
    body = bytearray()

    def add(name: str, value: bytes) -> None:
        if name not in offsets:
            offsets[name] = len(names)
            names.extend(name.encode() + b"\0")
        body.extend(struct.pack(">3I", _PROPERTY, len(value), offsets[name]))
        body.extend(value + bytes(-len(value) % 4))

    def write(node: Made) -> None:
        raw = node.name.encode()
        body.extend(struct.pack(">I", _BEGIN) + raw + bytes(4 - len(raw) % 4))
        for name, text in node.texts.items():
            add(name, text)
        for name, cells in node.cells.items():
            if name not in node.texts:
                add(name, b"".join(struct.pack(">I", number(cell)) for cell in cells))
        add("phandle", struct.pack(">I", phandles[node.path]))
        for child in node.children:
            write(child)
        body.extend(struct.pack(">I", _END_NODE))

    def number(cell: Cell) -> int:
        return cell if isinstance(cell, int) else phandles.get(cell.path, 0x7FFF)

    write(root)
    body.extend(struct.pack(">I", _END))
    end = 56 + len(body)
    sizes = (end + len(names), 56, end, 40, 17, 16, 0, len(names), len(body))
    return struct.pack(">10I", _MAGIC, *sizes) + bytes(16) + bytes(body) + bytes(names)
