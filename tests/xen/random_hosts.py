# SPDX-License-Identifier: Apache-2.0
"""Random host trees, small and full of what makes passthrough hard."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from tests.xen.nodes import Node, pack

PAGES, PAGE, RAM = 0x20000000, 0x1000, 0x80000000
EDGE, LEVEL = 1, 4


class Maker:
    """One host in the making. `rng` decides all."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.root = Node("", {"compatible": b"random,host\0", "model": b"random host\0"})
        self.root.props |= {"#address-cells": pack(2), "#size-cells": pack(2)}
        self.phandles = 0
        self.page = 0
        self.used_pages: list[int] = []
        self.spi = 16
        self.used_spis: list[int] = []
        self.id = 0x10
        self.used_ids: list[tuple[int, int]] = []
        self.smmus: list[Node] = []
        self.names: set[str] = set()
        self.gic = self.referenced(Node("gic"))
        self.others: list[Node] = []
        self.nexus: Node | None = None

    def chance(self, percent: float) -> bool:
        return self.rng.random() * 100 < percent

    def referenced(self, node: Node) -> Node:
        self.phandles += 1
        node.props["phandle"] = pack(self.phandles)
        return node

    def address(self) -> int:
        """A page: a fresh one, or at times one that another device has."""
        if self.used_pages and self.chance(7):
            return self.rng.choice(self.used_pages)
        if self.chance(1):
            return RAM + self.rng.randrange(16) * PAGE
        self.page += self.rng.choice((1, 1, 2, 4))
        self.used_pages.append(PAGES + self.page * PAGE)
        return self.used_pages[-1]

    def number(self) -> int:
        """An SPI, at times one that another device has."""
        if self.used_spis and self.chance(6):
            return self.rng.choice(self.used_spis)
        self.spi += 1
        self.used_spis.append(self.spi)
        return self.spi

    def stream(self, smmu: int) -> int:
        """A stream ID, at times one that another device has, there or behind another SMMU."""
        if self.used_ids and self.chance(8):
            other, found = self.rng.choice(self.used_ids)
            if other == smmu or self.chance(50):
                return found
        self.id += 1
        self.used_ids.append((smmu, self.id))
        return self.id


def random_host(rng: Random) -> Node:
    """The root of a host's tree."""
    maker = Maker(rng)
    _gics(maker)
    _smmus(maker)
    _nexus(maker)
    tops: list[Node] = [_memory()]
    tops += [maker.gic, *maker.others, *maker.smmus]
    if maker.nexus is not None:
        tops.append(maker.nexus)
    if maker.chance(25):
        tops.append(_reserved(maker))
    if maker.chance(20):
        tops.append(_bridge(maker))
    if maker.chance(60):
        tops.append(_bus(maker))
    tops += [_device(maker, depth=0) for _ in range(rng.randint(1, 5))]
    if maker.chance(5):
        tops.append(_all_but_namesake(maker, tops[-1]))
    rng.shuffle(tops)
    for node in tops:
        maker.root.add(node)
    maker.root.props["interrupt-parent"] = maker.gic.props["phandle"]
    return maker.root


def _named(maker: Maker, name: str, at: int) -> str:
    """NAME@AT, made the only one of its name; at times like another but for case."""
    while f"{name}@{at:x}" in maker.names:
        name = name.upper() if name.islower() and maker.chance(50) else f"{name}x"
    maker.names.add(f"{name}@{at:x}")
    return f"{name}@{at:x}"


def _all_but_namesake(maker: Maker, node: Node) -> Node:
    """A device of the name of another, but for case: for Xen the two paths are one."""
    other = _device(maker, depth=2)
    kind, _, at = node.name.partition("@")
    namesake = f"{kind.upper()}@{at}"
    if namesake not in maker.names:
        other.name = namesake
        maker.names.add(namesake)
    return other


def _memory() -> Node:
    props = {"device_type": b"memory\0", "reg": pack(0, RAM, 0, 0x10000000)}
    return Node("memory@80000000", props)


def _gics(maker: Maker) -> None:
    """The GIC, and at times a second controller that is none, or a second GIC."""
    gic, rng = maker.gic, maker.rng
    gic.name = "interrupt-controller@f9000000"
    gic.props |= {"compatible": b"arm,gic-v3\0", "interrupt-controller": b""}
    gic.props |= {"#interrupt-cells": pack(3), "#address-cells": pack(2), "#size-cells": pack(2)}
    gic.props |= {"ranges": b"", "interrupts": pack(1, 9, LEVEL)}
    gic.props["reg"] = pack(0, 0xF9000000, 0, 0x10000, 0, 0xF9100000, 0, 0x100000)
    if maker.chance(15):
        reg = pack(0, 0xF9200000, 0, 0x20000)
        its = Node("its@f9200000", {"compatible": b"arm,gic-v3-its\0", "reg": reg})
        its.props |= {"msi-controller": b"", "#msi-cells": pack(1)}
        gic.add(its)
    if maker.chance(15):
        kind = rng.choice((b"nvidia,tegra210-agic\0", b"arm,gic-400\0", b"t,irq\0"))
        other = maker.referenced(Node("interrupt-controller@f8000000", {"compatible": kind}))
        other.props |= {"interrupt-controller": b"", "#interrupt-cells": pack(3)}
        other.props["reg"] = pack(0, 0xF8000000, 0, 0x10000)
        if kind.startswith(b"arm") and maker.chance(80):
            other.props["status"] = b"disabled\0"
        else:
            other.props["interrupts"] = pack(0, maker.number(), LEVEL)
        if maker.chance(20):  # Xen's walk ends at the controller, and looks at no map of it
            row = pack(0, 17, LEVEL, _handle(gic), 0, 0, 0, maker.number(), LEVEL)
            other.props |= {"interrupt-map": row, "#address-cells": pack(0)}
        maker.others.append(other)


def _smmus(maker: Maker) -> None:
    for i in range(maker.rng.choice((1, 1, 2, 2, 3))):
        base = 0xFA000000 + i * 0x100000
        smmu = maker.referenced(Node(f"iommu@{base:x}", {"compatible": b"arm,smmu-v3\0"}))
        smmu.props |= {"reg": pack(0, base, 0, 0x40000), "#iommu-cells": pack(1)}
        if maker.chance(50):
            smmu.props["interrupts"] = pack(0, maker.number(), 1)
            smmu.props["interrupt-names"] = b"combined\0"
        if i and maker.chance(12):
            smmu.props["status"] = maker.rng.choice((b"disabled\0", b"reserved\0"))
            if maker.chance(20):
                smmu.props["#iommu-cells"] = pack(2)
        maker.smmus.append(smmu)


def with_other_iommus(host: Node, rng: Random) -> None:
    """Make SMMUv2s or IPMMUs of the host's SMMUv3s, as a released Xen drives them too. The second
    cell that a mask needs stays out: 4.17 and master read it differently.
    """
    name = rng.choice(("arm,mmu-500", "arm,smmu-v2", "renesas,ipmmu-r8a7795"))
    for node in host.below():
        if "arm,smmu-v3" in node.strings("compatible"):
            node.props["compatible"] = name.encode() + b"\0"
            node.props.pop("interrupt-names", None)
            line = int(node.name.partition("@")[2], 16) >> 20 & 0xFF
            node.props["interrupts"] = pack(0, 600 + line, LEVEL, 0, 700 + line, LEVEL)
            node.props["#global-interrupts"] = pack(1)
    chip = host.add(Node("chipid@f7000000", {"compatible": b"renesas,prr\0"}))
    chip.props["reg"] = pack(0, 0xF7000000, 0, 4)


def with_odd_shapes(host: Node, rng: Random, but: Collection[str]) -> None:
    """What Xen reads in a way of its own: cells behind the last whole entry, of nodes `but` for
    those at these paths; a bus with #interrupt-cells alone; a nexus without #address-cells.
    """
    for node in host.below():
        if b"t," in node.props.get("compatible", b"") and node.path not in but:
            prop = rng.choice(("reg", "interrupts", "interrupts-extended", ""))
            # A master whose registers cannot be read refuses the host.
            is_master = not {"iommus", "iommu-map"}.isdisjoint(node.props)
            if rng.random() < 0.15 and prop in node.props and not (is_master and prop == "reg"):
                node.props[prop] += pack(*[0] * rng.choice((1, 1, 2)))
        if node.name.startswith("bus") and rng.random() < 0.5:
            node.props["#interrupt-cells"] = pack(3)
        if node.name == "nexus" and rng.random() < 0.5:
            cells = node.cells("interrupt-map")
            rows = (cells[i : i + 7] for i in range(0, len(cells), 7))
            node.props["interrupt-map"] = b"".join(pack(0, 0, *row) for row in rows)
            node.props["interrupt-map-mask"] = pack(0, 0, 0xFF)
            del node.props["#address-cells"]


def _nexus(maker: Maker) -> None:
    if maker.chance(30):
        rows = b""
        for i in range(3):
            rows += pack(i, _handle(maker.gic), 0, 0, 0, maker.number(), LEVEL)
        maker.nexus = maker.referenced(Node("nexus", {"interrupt-map": rows}))
        maker.nexus.props |= {"#interrupt-cells": pack(1), "#address-cells": pack(0)}


def _handle(node: Node) -> int:
    return node.cell("phandle", 0)


def _reserved(maker: Maker) -> Node:
    props = {"#address-cells": pack(2), "#size-cells": pack(2), "ranges": b""}
    node = Node("reserved-memory", props)
    base = maker.address() if maker.chance(20) else 0x88000000
    child = Node(f"buffer@{base:x}", {"reg": pack(0, base, 0, 0x10000), "no-map": b""})
    if maker.chance(10):
        child.props["compatible"] = b"t,buffer\0"
        child.props["iommus"] = pack(_handle(maker.smmus[0]), maker.stream(0))
    node.add(child)
    return node


def _bridge(maker: Maker) -> Node:
    base = maker.address()
    node = Node(_named(maker, "pcie", base), {"device_type": b"pci\0"})
    node.props |= {"compatible": b"pci-host-ecam-generic\0", "reg": pack(0, base, 0, PAGE)}
    node.props |= {"#address-cells": pack(3), "#size-cells": pack(2), "#interrupt-cells": pack(1)}
    window = maker.address() if maker.chance(10) else 0x30000000
    node.props["ranges"] = pack(0x2000000, 0, window, 0, window, 0, 0x10000)
    node.props["interrupt-map-mask"] = pack(0, 0, 0, 7)
    rows = b""
    for pin in range(1, maker.rng.randint(2, 4)):
        line = pack(0, 0, 0, maker.number(), LEVEL)
        rows += pack(0, 0, 0, pin, _handle(maker.gic)) + line
    node.props["interrupt-map"] = rows
    if maker.chance(70):
        node.props["iommu-map"] = pack(0, _handle(maker.smmus[0]), 0x1000, 0x100)
    _status(maker, node)
    return node


def _bus(maker: Maker) -> Node:
    """A bus: with one-to-one or other ranges, or none, and cells of its own or inherited."""
    kind = maker.rng.choice(("same",) * 5 + ("moved",) * 5 + ("none", "inherits"))
    node = Node("bus@20000000" if kind == "moved" else "bus", {"compatible": b"simple-bus\0"})
    if kind != "inherits":
        node.props |= {"#address-cells": pack(2), "#size-cells": pack(2)}
    if kind == "moved":
        node.props["ranges"] = pack(0, 0, 0, PAGES, 0, 0x10000000)
    elif kind != "none":
        node.props["ranges"] = b""
    if maker.chance(8):
        node.props["status"] = b"disabled\0"
    for _ in range(maker.rng.randint(1, 4)):
        node.add(_device(maker, depth=1, offset=PAGES if kind == "moved" else 0))
    return node


def _device(maker: Maker, depth: int, offset: int = 0, within: int = 0) -> Node:
    rng, first = maker.rng, within or maker.address()
    kind = rng.choice(("dev", "dev", "dma", "eth", "syscon"))
    node = Node(_named(maker, kind, first - offset), {"compatible": f"t,{kind}\0".encode()})
    shared = maker.used_pages.count(first) > 1 or within
    size = rng.choice((PAGE, PAGE, PAGE, 2 * PAGE, 0x100, 0x1800))
    if shared:
        first, size = first + rng.choice((0, 0x400, 0x800)), 0x100
    regs = [(first, size)]
    if maker.chance(10):
        regs.append((maker.address(), PAGE))
    if not maker.chance(6):
        node.props["reg"] = b"".join(pack(0, base - offset, 0, length) for base, length in regs)
    if not maker.chance(20):
        _interrupts(maker, node)
    if kind != "syscon" or maker.chance(20):
        _iommus(maker, node)
    _status(maker, node)
    if depth < 2 and maker.chance(12):
        node.props |= {"#address-cells": pack(2), "#size-cells": pack(2), "ranges": b""}
        inside = first if maker.chance(50) else 0
        node.add(_device(maker, depth + 1, offset, within=inside))
    return node


def _status(maker: Maker, node: Node) -> None:
    if maker.chance(22):
        words = (b"disabled\0", b"disabled\0", b"disabled\0", b"okay\0", b"reserved\0", b"fail\0")
        node.props["status"] = maker.rng.choice(words)
    if maker.chance(4):
        node.props["xen,passthrough"] = b""


def _interrupts(maker: Maker, node: Node) -> None:
    lines = [_line(maker) for _ in range(maker.rng.choice((1, 1, 1, 2)))]
    if maker.nexus is not None and maker.chance(15):
        node.props["interrupts"] = pack(maker.rng.randrange(4 if maker.chance(10) else 3))
        node.props["interrupt-parent"] = maker.nexus.props["phandle"]
    elif maker.others and maker.chance(20):
        node.props["interrupts"] = b"".join(lines)
        node.props["interrupt-parent"] = maker.others[0].props["phandle"]
    elif maker.chance(8):
        gic = maker.gic.props["phandle"]
        node.props["interrupts-extended"] = b"".join(gic + line for line in lines)
    else:
        node.props["interrupts"] = b"".join(lines)


def _line(maker: Maker) -> bytes:
    if maker.chance(2):
        return pack(1, maker.rng.randint(0, 8), LEVEL)
    if maker.chance(2):
        return pack(maker.rng.choice((2, 3)), maker.number(), LEVEL)
    if maker.chance(1):
        return pack(0, 2000, LEVEL)
    return pack(0, maker.number(), EDGE if maker.chance(3) else LEVEL)


def _iommus(maker: Maker, node: Node) -> None:
    """Mostly a list that Xen takes; at times one of each kind that it reads otherwise."""
    place = maker.rng.randrange(len(maker.smmus))
    smmu = maker.smmus[place]
    width = smmu.cell("#iommu-cells", 1)

    def entry() -> bytes:
        return pack(_handle(smmu), maker.stream(place), *[0] * (width - 1))

    entries = [entry() for _ in range(maker.rng.choice((1, 1, 1, 2, 3)))]
    if maker.chance(3):
        entries.append(maker.rng.choice(entries))
    if maker.chance(3):
        nothing = pack(maker.rng.choice((0, 0, 0xFFFFFFFF)))
        entries.insert(maker.rng.randint(0, len(entries)), nothing)
    if len(maker.smmus) > 1 and maker.chance(2):
        other = (place + 1) % len(maker.smmus)
        cells = [0] * (maker.smmus[other].cell("#iommu-cells", 1) - 1)
        entries.append(pack(_handle(maker.smmus[other]), maker.stream(other), *cells))
    if not maker.chance(5):
        node.props["iommus"] = b"".join(entries)
    if maker.chance(4):
        node.props["iommu-map"] = pack(0, _handle(maker.smmus[0]), 0x2000, 0x10)
