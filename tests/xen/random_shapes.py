# SPDX-License-Identifier: Apache-2.0
"""Shapes at the limits of Xen's drivers, trees and layouts, for random pairs.

random_pairs.py and random_systems.py take some of them. Each shape changes the host in place or
returns another guest; a shape that does not fit the pair changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.xen.host import Host
from tests.xen.nodes import Node, cells, pack
from tests.xen.random_guests import Ask, RandomGuest
from tests.xen.random_hosts import EDGE, LEVEL
from tests.xen.routed import NoInterrupt, raw_interrupts

Shape = Callable[[Random, Node, RandomGuest], RandomGuest]
RAM, MIB = 0x40000000, 1 << 20


def shaped(rng: Random, host: Node, guest: RandomGuest, profile: str) -> RandomGuest:
    """Return the guest with one or two shapes; those of the host are in it."""
    known = [*OF_HOSTS, *OF_GUESTS]
    if profile == "xen":
        known += [*OF_SMMU_V2, *OF_SMMU_V2]
    for shape in rng.sample(known, rng.choice((1, 1, 2))):
        if shape in OF_SMMU_V2:
            _make_smmu_v2(host)
        guest = shape(rng, host, guest)
    return guest


def _masters(host: Node) -> list[Node]:
    """Return the nodes of whose iommus Xen knows by that property alone."""
    return [
        node
        for node in host.below()
        if "iommus" in node.props and "#stream-id-cells" not in node.props
    ]


def _iommus(host: Node) -> list[Node]:
    return [node for node in host.below() if "#iommu-cells" in node.props]


def _make_smmu_v2(host: Node) -> None:
    """Turn all IOMMUs of the host into SMMUv2s that probe."""
    for place, node in enumerate(_iommus(host)):
        if node.strings("compatible") != ["arm,mmu-500"]:
            node.props["compatible"] = b"arm,mmu-500\0"
            node.props.pop("interrupt-names", None)
            node.props["interrupts"] = pack(0, 600 + place, LEVEL, 0, 700 + place, LEVEL)
            node.props["#global-interrupts"] = pack(1)


def _entries(host: Node, node: Node) -> list[tuple[int, list[int]]]:
    """Return the entries of iommus: a phandle, and the cells behind it."""
    known = {smmu.cell("phandle", 0): smmu.cell("#iommu-cells", 1) for smmu in _iommus(host)}
    values, found = node.cells("iommus"), []
    while values:
        width = known.get(values[0], 0)
        found.append((values[0], values[1 : 1 + width]))
        values = values[1 + width :]
    return found


def _set_entries(node: Node, entries: list[tuple[int, list[int]]]) -> None:
    node.props["iommus"] = b"".join(pack(phandle, *rest) for phandle, rest in entries)


def _wide_ids(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Set bits above the 15 of an SMMUv2, at times on the ID of another master."""
    masters = _masters(host)
    ids = [rest[0] for node in masters for _, rest in _entries(host, node) if rest]
    if not masters or not ids:
        return guest
    node = rng.choice(masters)
    entries = _entries(host, node)
    place = rng.randrange(len(entries))
    phandle, rest = entries[place]
    if rest:
        low = rng.choice(ids) if rng.random() < 0.7 else rest[0]
        wide = low | rng.choice((0x8000, 0x10000, 0x18000))
        entries[place] = (phandle, [wide, *rest[1:]])
        _set_entries(node, entries)
    return _renamed(guest, host, node)


def _many_ids(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Give a master about as many IDs as there is room for."""
    masters, smmus = _masters(host), _iommus(host)
    if not masters or not smmus:
        return guest
    node, count = rng.choice(masters), rng.choice((15, 16, 16, 17, 17, 20))
    smmu = rng.choice(smmus)
    rest = [0] * (smmu.cell("#iommu-cells", 1) - 1)
    first = 0x400 + 0x20 * rng.randrange(4)
    entries = [(smmu.cell("phandle", 0), [first + i, *rest]) for i in range(count)]
    _set_entries(node, entries)
    return _renamed(guest, host, node)


def _masks(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Give entries a second cell, a mask; at times an SMMU has a mask for all as well."""
    lists = {node.path: _entries(host, node) for node in _masters(host)}
    for smmu in _iommus(host):
        if smmu.cell("#iommu-cells", 1) == 1 and rng.random() < 0.3:
            smmu.props["stream-match-mask"] = pack(rng.choice((1, 0xF, 0x7FFF)))
        smmu.props["#iommu-cells"] = pack(2)
    for node in host.below():
        node.props.pop("iommu-map", None)  # its entries have the cells of an ID as well
    for node in _masters(host):
        mask = rng.choice((0, 0, 0, 1, 3, 0xF, 0x1F))
        entries = [(p, [*rest[:1], mask] if rest else rest) for p, rest in lists[node.path]]
        _set_entries(node, entries)
    return guest


def _old_binding(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Put masters into mmu-masters, in place of iommus or beside it."""
    # An entry has at most 16 IDs.
    masters = [node for node in _masters(host) if len(_entries(host, node)) <= 16]
    smmus = _iommus(host)
    if not masters or not smmus:
        return guest
    smmu = rng.choice(smmus)
    listed = b""
    # Another shape of this kind may have numbered nodes already.
    first = max([0x6FF, *(node.cell("phandle", 0) for node in host.below())]) + 1
    for number, node in enumerate(rng.sample(masters, min(len(masters), rng.choice((1, 1, 2))))):
        ids = [rest[0] for _, rest in _entries(host, node) if rest][:16]
        if "phandle" not in node.props:
            node.props["phandle"] = pack(first + number)
        node.props["#stream-id-cells"] = pack(len(ids))
        listed += pack(node.cell("phandle", 0), *ids)
        if rng.random() < 0.8:
            del node.props["iommus"]
    if rng.random() < 0.1:
        rng.choice(smmus).props["mmu-masters"] = listed
    smmu.props["mmu-masters"] = listed + (listed if rng.random() < 0.1 else b"")
    return guest


def _frames(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Make the GIC a GICv2 with one or two frames for MSIs, at times on lines of devices."""
    gic = Host(host).gic
    if gic is None or any(ask.path.startswith(f"{gic.path}/") for ask in guest.asks):
        return guest
    gic.props["compatible"] = b"arm,gic-400\0"
    gic.props["reg"] = pack(0, 0xF9000000, 0, 0x1000, 0, 0xF9010000, 0, 0x2000)
    gic.children = []
    for number in range(rng.choice((1, 1, 2))):
        base = 0xF9080000 + number * 0x10000
        frame = gic.add(Node(f"v2m@{base:x}", {"compatible": b"arm,gic-v2m-frame\0"}))
        frame.props |= {"msi-controller": b"", "reg": pack(0, base, 0, 0x1000)}
        first = rng.choice((48, 56, 64, 400)) + 32 * number
        frame.props["arm,msi-base-spi"] = pack(first)
        frame.props["arm,msi-num-spis"] = pack(rng.choice((4, 8, 16)))
        if rng.random() < 0.3:
            frame.props["status"] = b"disabled\0"
    return guest


def _triggers(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Give a line of one node to another, or to the same, with the other trigger."""
    found = Host(host)
    rows: list[tuple[Node, list[int]]] = []
    for node in found.nodes[1:]:
        try:
            raws = raw_interrupts(found, node)
        except NoInterrupt:
            continue
        rows += [
            (node, raw.specifier)
            for raw in raws
            if raw is not None and raw.controller is found.gic and raw.specifier[:1] == [0]
        ]
    plain = [node for node in found.nodes[1:] if _has_plain_lines(node)]
    if not rows or not plain:
        return guest
    node, specifier = rng.choice(rows)
    other = EDGE if specifier[2] == LEVEL else LEVEL
    target = node if node in plain and rng.random() < 0.3 else rng.choice(plain)
    target.props["interrupts"] += pack(0, specifier[1], other)
    return guest


def _has_plain_lines(node: Node) -> bool:
    return (
        b"t," in node.props.get("compatible", b"")
        and "interrupt-parent" not in node.props
        and len(node.cells("interrupts")) % 3 == 0
        and "interrupts" in node.props
    )


def _second_kind(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Add an IOMMU of another kind, before or behind the others, with a master or none."""
    smmus = _iommus(host)
    if not smmus:
        return guest
    is_v3 = "arm,smmu-v3" in smmus[0].strings("compatible")
    other = Node("other@fe000000", {"compatible": b"arm,mmu-400\0" if is_v3 else b"arm,smmu-v3\0"})
    other.props |= {"reg": pack(0, 0xFE000000, 0, 0x20000), "#iommu-cells": pack(1)}
    other.props |= {"phandle": pack(0x800), "#global-interrupts": pack(1)}
    other.props["interrupts"] = pack(0, 800, LEVEL, 0, 801, LEVEL)
    if rng.random() < 0.15:
        other.props["status"] = b"disabled\0"
    _insert(host, other, 0 if rng.random() < 0.4 else len(host.children))
    if rng.random() < 0.6:
        master = host.add(Node("behind@fe100000", {"compatible": b"t,dev\0"}))
        master.props |= {"reg": pack(0, 0xFE100000, 0, 0x1000), "iommus": pack(0x800, 5)}
        if rng.random() < 0.4:
            master.props["status"] = b"disabled\0"
    return guest


def _insert(parent: Node, child: Node, place: int) -> None:
    parent.add(child)
    parent.children.insert(place, parent.children.pop())


def _unusable(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Take from an IOMMU a property without which its driver does not probe."""
    smmus = _iommus(host)
    if not smmus:
        return guest
    smmu = rng.choice(smmus)
    if rng.random() < 0.15:
        del smmu.props["reg"]
    elif "arm,smmu-v3" in smmu.strings("compatible") and rng.random() < 0.25:
        smmu.props["#iommu-cells"] = rng.choice((pack(2), pack(0), b"\1"))
    elif "arm,smmu-v3" in smmu.strings("compatible"):
        base = cells(smmu.props["reg"])[:2]
        smmu.props["reg"] = pack(*base, 0, rng.choice((0x10000, 0x1F000, 0x20000)))
        if rng.random() < 0.2:
            smmu.props["cavium,cn9900-broken-page1-regspace"] = b""
    elif rng.random() < 0.5:
        smmu.props.pop("#global-interrupts", None)
    else:
        smmu.props["interrupts"] = smmu.props.get("interrupts", b"")[:12]
    return guest


def _malformed(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Make a list of a master malformed that the guest does not ask for."""
    asked = {ask.path for ask in guest.asks}
    masters = [node for node in _masters(host) if node.path not in asked]
    if not masters:
        return guest
    node = rng.choice(masters)
    value = node.props["iommus"]
    gic = Host(host).gic
    broken = (
        value[:-4],
        value[:-3],
        value + value[:4],
        value + b"\0\0",
        pack(0x7777, 1) + value,
        value + pack(gic.cell("phandle", 0) if gic else 0x7777, 1),
        b"text\0",
    )
    node.props["iommus"] = rng.choice(broken)
    if rng.random() < 0.3:
        node.props["iommu-map"] = pack(0, *cells(value)[:1])
    return guest


def _in_capitals(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Write a compatible or a device_type in capitals: Xen compares both without regard to case."""
    kinds = [(node, name) for node in host.below() for name in ("compatible", "device_type")]
    known = [(node, name) for node, name in kinds if b"t," not in node.props.get(name, b"t,")]
    for node, name in rng.sample(known, min(len(known), 2)):
        node.props[name] = node.props[name].upper()
    return guest


def _unbuildable(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Add a node on which no dom0 starts, at times disabled or marked."""
    kind = rng.choice(("address", "interrupt", "ranges"))
    if kind == "interrupt":
        node = host.add(Node("broken", {"interrupts-extended": pack(0)}))
    else:
        node = host.add(Node("broken-bus", {"#address-cells": pack(1), "#size-cells": pack(1)}))
        part = node.add(Node("part@200", {"reg": pack(0x200, 0x10)}))
        node.props["ranges"] = pack(0, 0, 0xFD000000, 0x100) if kind == "address" else pack(0, 0)
        node = part
    if rng.random() < 0.4:
        node.props.update(rng.choice(({"status": b"disabled\0"}, {"xen,passthrough": b""})))
    return guest


def _renamed(guest: RandomGuest, host: Node, node: Node) -> RandomGuest:
    """Return the guest, its request for the node with the new IDs."""
    new = tuple(dict.fromkeys(rest[0] for _, rest in _entries(host, node) if rest))
    asks = tuple(
        ask._replace(ids=new) if ask.path == node.path and ask.ids else ask for ask in guest.asks
    )
    return guest._replace(asks=asks)


def _whole_ask(guest: RandomGuest) -> int | None:
    """Return the place of a request that stands alone and has registers."""
    parents = {ask.inside for ask in guest.asks}
    for place, ask in enumerate(guest.asks):
        if ask.reg and ask.inside is None and place not in parents and ask.named is not None:
            return place
    return None


def _moved(guest: RandomGuest, address: int) -> RandomGuest:
    """Return the guest with one request at another address."""
    place = _whole_ask(guest)
    if place is None:
        return guest
    ask = guest.asks[place]
    moved = ask._replace(moved=(address & ~0xFFF) - (ask.reg[0][0] & ~0xFFF))
    if min(base for base, _ in ask.reg) + moved.moved < 0:
        return guest
    return _with_ask(guest, place, moved)


def _with_ask(guest: RandomGuest, place: int, ask: Ask) -> RandomGuest:
    return guest._replace(asks=(*guest.asks[:place], ask, *guest.asks[place + 1 :]))


def _high(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Move a device to the end of the guest's addresses."""
    bits = rng.choice((40, 48, 48, 49))
    return _moved(guest, (1 << bits) - rng.choice((0, 0x1000, 0x10000, 0x100000)))


def _in_ram(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    return _moved(guest, RAM + rng.choice((-0x1000, 0, 0, 0x1000, 4 * MIB, 128 * MIB)))


def _in_a_window(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    return _moved(guest, rng.choice((0x3001000, 0x3020000, 0x3040000, 0x3100000, 0x22000000)))


def _three_cells(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    place = _whole_ask(guest)
    if place is None:
        return guest
    return _with_ask(guest, place, guest.asks[place]._replace(has_bus=True))


def _shared_memory(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Add memory that two guests share, at times with a device there."""
    base = RAM + rng.choice((256, 512)) * MIB
    guest = guest._replace(shared=((base, MIB),))
    return _moved(guest, base + rng.choice((0, MIB, 4 * MIB))) if rng.random() < 0.6 else guest


def _large(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Add more, or less, than there is room for in the tree of one version or another."""
    return guest._replace(padding=rng.choice((1000, 6000, 6000, 20000)))


def _page(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    """Add a page of no device, which Xen gives by xen,force-assign-without-iommu alone."""
    forced = rng.random() < 0.5
    return guest._replace(
        page=0xE0000000, is_page_forced=forced, is_right=guest.is_right and forced
    )


def _gic_copy(rng: Random, host: Node, guest: RandomGuest) -> RandomGuest:
    return guest._replace(has_gic=True, is_right=False)


OF_SMMU_V2: tuple[Shape, ...] = (_wide_ids, _many_ids, _masks, _old_binding)
OF_HOSTS: tuple[Shape, ...] = (
    _frames,
    _triggers,
    _second_kind,
    _unusable,
    _unbuildable,
    _malformed,
    _in_capitals,
)
OF_GUESTS: tuple[Shape, ...] = (
    _high,
    _in_ram,
    _in_a_window,
    _three_cells,
    _shared_memory,
    _large,
    _page,
    _gic_copy,
)
