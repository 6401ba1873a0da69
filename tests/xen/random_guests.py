# SPDX-License-Identifier: Apache-2.0
"""Random guests of a host: which of its nodes are asked for, and how."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tests.xen.host import Host
from tests.xen.mapped import NoAddress, regions
from tests.xen.nodes import Node
from tests.xen.random_hosts import EDGE
from tests.xen.routed import NoInterrupt, raw_interrupts


class Ask(NamedTuple):
    """One request. `path` is the host node that is meant; the rest is how it is asked for, `named`
    with xen,path.
    """

    path: str
    name: str
    reg: tuple[tuple[int, int], ...]
    spis: tuple[tuple[int, str], ...]  # the SPI and its trigger, as Zephyr calls it
    ids: tuple[int, ...]
    named: str | None
    inside: int | None  # the place of the request that this one stands in
    moved: int = 0  # how far from its host address the guest is to see it
    has_bus: bool = False  # whether it stands on a bus of three address cells

    def pages(self) -> list[tuple[int, int, int]]:
        """The (host, size, guest) of xen,reg."""
        found = []
        for base, size in self.reg:
            first, end = base & ~0xFFF, (base + size + 0xFFF) & ~0xFFF
            found.append((first, end - first, first + self.moved))
        return list(dict.fromkeys(found))


class RandomGuest(NamedTuple):
    """`padding`: bytes of a property of the first request; `page`: one of no device of the host;
    `has_gic`: with a GIC below /passthrough.
    """

    asks: tuple[Ask, ...]
    is_right: bool  # whether each says of its host node what is so
    shared: tuple[tuple[int, int], ...] = ()
    padding: int = 0
    page: int | None = None
    is_page_forced: bool = True
    has_gic: bool = False

    @property
    def overlay(self) -> str:
        lines = ["/ {"]
        for base, size in self.shared:
            lines += ["reserved-memory {", "#address-cells = <2>;", "#size-cells = <2>;", "ranges;"]
            lines += [f"xen-shmem@{base:x} {{", 'compatible = "xen,shared-memory-v1";']
            lines += [f"reg = <{_two(base)} {_two(size)}>;", 'xen,id = "0";', "};", "};"]
        lines += ["passthrough {", "#address-cells = <2>;", "#size-cells = <2>;", "ranges;"]
        for place, ask in enumerate(self.asks):
            if ask.inside is None:
                lines += self._on_its_bus(place)
        if self.page is not None:
            lines += [f"page@{self.page:x} {{", f"reg = <{_two(self.page)} 0x0 0x1000>;"]
            lines.append(f"xen,reg = <{_two(self.page)} 0x0 0x1000 {_two(self.page)}>;")
            lines += ["xen,force-assign-without-iommu;"] * self.is_page_forced + ["};"]
        if self.has_gic:
            lines += ["interrupt-controller@3001000 {", 'compatible = "arm,gic-v3";']
            lines += ["interrupt-controller;", "#interrupt-cells = <3>;", "#address-cells = <0>;"]
            lines += ["reg = <0x0 0x3001000 0x0 0x10000>, <0x0 0x3020000 0x0 0x1000000>;", "};"]
        return _indented([*lines, "};", "};"])

    def _on_its_bus(self, place: int) -> list[str]:
        ask = self.asks[place]
        if not ask.has_bus:
            return self._node(place)
        rows = (f"<0x0 {_two(seen)} {_two(seen)} {size:#x}>" for _, size, seen in ask.pages())
        lines = ["bus {", 'compatible = "simple-bus";', "#address-cells = <3>;"]
        lines += ["#size-cells = <1>;", f"ranges = {', '.join(rows)};"]
        return [*lines, *self._node(place), "};"]

    def _node(self, place: int) -> list[str]:
        ask = self.asks[place]
        lines = [f"{ask.name} {{", 'compatible = "t,dev";']
        if place == 0 and self.padding:
            lines.append(f't,padding = "{"x" * (self.padding - 1)}";')
        if ask.reg:
            width = "" if ask.has_bus else "0x0 "
            more = "0x0 " if ask.has_bus else ""
            reg = (f"<{more}{_two(base + ask.moved)} {width}{size:#x}>" for base, size in ask.reg)
            lines.append(f"reg = {', '.join(reg)};")
        if ask.moved:
            maps = (f"<{_bus(ask, h)} {width}{n:#x} {_bus(ask, g)}>" for h, n, g in ask.pages())
            lines.append(f"xen,reg = {', '.join(maps)};")
        if ask.spis:
            rows = (f"<GIC_SPI {spi} {how} IRQ_DEFAULT_PRIORITY>" for spi, how in ask.spis)
            lines.append(f"interrupts = {', '.join(rows)};")
        if ask.ids:
            lines.append(f"iommus = {', '.join(f'<0x0 {id:#x}>' for id in ask.ids)};")
        if ask.named is not None:
            lines.append(f'xen,path = "{ask.named}";')
        below = [i for i, other in enumerate(self.asks) if other.inside == place]
        if below:
            lines += ["#address-cells = <2>;", "#size-cells = <2>;", "ranges;"]
        for other in below:
            lines += self._node(other)
        return [*lines, "};"]


def _two(address: int) -> str:
    return f"{address >> 32:#x} {address & 0xFFFFFFFF:#x}"


def _bus(ask: Ask, address: int) -> str:
    return f"0x0 {_two(address)}" if ask.has_bus else _two(address)


def _indented(lines: list[str]) -> str:
    text, depth = "", 0
    for line in lines:
        depth -= line == "};"
        text += "\t" * depth + line + "\n"
        depth += line.endswith("{")
    return text


def random_guest(rng: Random, root: Node) -> RandomGuest:
    """A guest that asks for one to three nodes of the host at `root`; mostly for masters."""
    host = Host(root)
    masters = [node for node in host.nodes if "iommus" in node.props]
    others = [node for node in host.nodes[1:] if "iommus" not in node.props]
    asks: list[Ask] = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        pool = masters if masters and rng.random() < 0.95 else others or masters
        node = rng.choice(pool)
        if any(ask.path == node.path for ask in asks):
            continue
        asks.append(_ask(rng, host, node, len(asks)))
        parts = [part for part in node.below() if "iommus" in part.props]
        if parts and rng.random() < 0.6:
            part = rng.choice(parts)
            inside = len(asks) - 1 if rng.random() < 0.5 else None
            if all(ask.path != part.path for ask in asks):
                asks.append(_ask(rng, host, part, len(asks))._replace(inside=inside))
    if rng.random() < 0.92:
        return RandomGuest(tuple(asks), True)
    place = rng.randrange(len(asks))
    asks[place] = _mistaken(rng, asks[place])
    return RandomGuest(tuple(asks), False)


def _ask(rng: Random, host: Host, node: Node, place: int) -> Ask:
    try:
        reg = tuple(regions(node))
    except NoAddress:
        reg = ()
    ids = _ids(host, node)
    if len(ids) > 1 and rng.random() < 0.25:
        ids = tuple(rng.sample(ids, rng.randint(1, len(ids) - 1)))
    names_path = not ids or rng.random() < 0.6
    if names_path and rng.random() < 0.4:
        ids = ()
    spis = _spis(host, node)
    if len(spis) > 1 and rng.random() < 0.15:
        spis = spis[:1]
    name = node.name.partition("@")[0].lower()
    at = f"@{reg[0][0]:x}" if reg else f"-{rng.randrange(1 << 24):x}"
    return Ask(
        node.path, f"{name}{place}{at}", reg, spis, ids, node.path if names_path else None, None
    )


def _ids(host: Host, node: Node) -> tuple[int, ...]:
    """The IDs that somebody would copy: all that follow a phandle."""
    values, found = node.cells("iommus"), []
    while values:
        phandle = values.pop(0)
        smmu = host.with_phandle(phandle) if phandle else None
        if smmu is None:
            continue
        width = smmu.cell("#iommu-cells", 1)
        found += values[:1]
        del values[:width]
    return tuple(dict.fromkeys(found))


def _spis(host: Host, node: Node) -> tuple[tuple[int, str], ...]:
    """The interrupts that somebody would copy: the plain SPIs of the GIC."""
    try:
        raws = raw_interrupts(host, node)
    except NoInterrupt:
        return ()
    return tuple(
        dict.fromkeys(
            (raw.specifier[1], "IRQ_TYPE_EDGE" if raw.specifier[2] == EDGE else "IRQ_TYPE_LEVEL")
            for raw in raws
            if raw is not None and raw.controller is host.gic and raw.specifier[:1] == [0]
            if raw.specifier[1] < 960
        )
    )


def _mistaken(rng: Random, ask: Ask) -> Ask:
    """The request with one thing wrong."""
    kind = rng.choice(("id", "reg", "spi", "path"))
    if kind == "id" and ask.ids:
        return ask._replace(ids=(*ask.ids[1:], rng.randint(1, 0x40)))
    if kind == "reg" and ask.reg:
        base, size = ask.reg[0]
        return ask._replace(reg=((base + rng.choice((0x1000, 0x100000)), size), *ask.reg[1:]))
    if kind == "spi":
        return ask._replace(spis=(*ask.spis[1:], (rng.randint(0, 60), "IRQ_TYPE_LEVEL")))
    return ask._replace(named=f"{ask.path}x")
