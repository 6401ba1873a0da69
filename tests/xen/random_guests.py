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


class RandomGuest(NamedTuple):
    asks: tuple[Ask, ...]
    is_right: bool  # whether each says of its host node what is so

    @property
    def overlay(self) -> str:
        lines = ["/ {", "passthrough {", "#address-cells = <2>;", "#size-cells = <2>;", "ranges;"]
        for place, ask in enumerate(self.asks):
            if ask.inside is None:
                lines += self._node(place)
        return _indented([*lines, "};", "};"])

    def _node(self, place: int) -> list[str]:
        ask = self.asks[place]
        lines = [f"{ask.name} {{", 'compatible = "t,dev";']
        if ask.reg:
            reg = ", ".join(f"<0x0 {base:#x} 0x0 {size:#x}>" for base, size in ask.reg)
            lines.append(f"reg = {reg};")
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
