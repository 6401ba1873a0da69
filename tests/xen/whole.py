# SPDX-License-Identifier: Apache-2.0
"""A second opinion on a whole machine: what dom0, each guest and Xen itself hold.

Written from Xen's functions with libfdt; imports nothing from the package. A hand holds streams,
pages and lines; a fault is what Xen, or xl, does not take; a double is one thing in two hands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.xen.dom0 import give_to_dom0
from tests.xen.domains import AtBoot, ByXl, Guest, HardwareDomain, by_xl, give_to_guest
from tests.xen.drivers import Stream
from tests.xen.host import Host
from tests.xen.irqs import XEN, Stops
from tests.xen.mapped import NoAddress, Pages
from tests.xen.nodes import Node
from tests.xen.routed import NoInterrupt
from tests.xen.running import DOM0, Fault, Running, started
from tests.xen.xens import V417, XENS, Xen

__all__ = [
    "AtBoot",
    "ByXl",
    "Double",
    "Fault",
    "Hand",
    "HardwareDomain",
    "World",
    "XENS",
    "by_xl",
    "faults",
    "whole",
]


class Hand(NamedTuple):
    """What one of Xen, dom0 and the guests holds."""

    streams: frozenset[Stream] = frozenset()
    pages: tuple[Pages, ...] = ()
    lines: frozenset[int] = frozenset()


class Double(NamedTuple):
    """One thing in two hands, or what a guest cannot tell apart."""

    kind: str
    hands: tuple[str, str]
    words: str


@dataclass(frozen=True)
class World:
    """The end of a start of Xen. `hands` by name: Xen, dom0, and each guest's. `assigned`: whose
    each host node is that is behind an IOMMU.
    """

    hands: dict[str, Hand]
    faults: tuple[Fault, ...]
    doubles: tuple[Double, ...] = ()
    assigned: dict[str, str] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return not self.faults and not self.doubles


def whole(
    host: bytes | Node, guests: Sequence[Guest] = (), xen: Xen = V417, *, dom0: bool = True
) -> World:
    """Start `xen` on the tree `host`, its overlays applied, with dom0 first, then the guests in the
    order of /chosen.

    start_xen(), arch/arm/setup.c: create_dom0(), then create_domUs(); xl comes later still.
    """
    found = Host(host)
    try:
        running = started(found, xen)
    except (Stops, NoAddress, NoInterrupt) as error:
        kind = error.kind if isinstance(error, Stops) else "panic"
        return World({}, (Fault(kind, XEN, str(error)),))
    making = DOM0
    try:
        if dom0:
            give_to_dom0(running, DOM0)
        ordered = sorted(guests, key=lambda guest: isinstance(guest, ByXl))
        for place, guest in enumerate(ordered, 1):
            making = guest.name
            give_to_guest(running, guest, ordered[place:])
    except (Stops, NoInterrupt) as error:
        kind = error.kind if isinstance(error, Stops) else "panic"
        running.fault(kind, making, str(error))
    hands = _hands(running)
    hosts = {XEN, DOM0} | {guest.name for guest in guests if isinstance(guest, HardwareDomain)}
    doubles = tuple(_doubles(running, hands, hosts))
    return World(hands, tuple(running.faults), doubles, dict(running.iommus.assigned))


def faults(world: World) -> list[str]:
    """All that is wrong with it, a line each; [] for a sound one."""
    wrong = [f"{fault.kind}: {fault.hand}: {fault.words}" for fault in world.faults]
    return wrong + [
        f"double {double.kind}: {' and '.join(double.hands)}: {double.words}"
        for double in world.doubles
    ]


def _hands(running: Running) -> dict[str, Hand]:
    streams: dict[str, set[Stream]] = defaultdict(set)
    lines: dict[str, set[int]] = defaultdict(set)
    for stream, holders in running.iommus.attached.items():
        for hand, _ in holders:
            streams[hand].add(stream)
    for intid, hand in running.irqs.holders.items():
        lines[hand].add(intid)
    names = {XEN, DOM0, *streams, *lines, *running.pages}
    return {
        name: Hand(
            frozenset(streams[name]), tuple(running.pages.get(name, ())), frozenset(lines[name])
        )
        for name in sorted(names)
    }


def _doubles(running: Running, hands: dict[str, Hand], hosts: set[str]) -> Iterator[Double]:
    """Yield what a guest has beside another guest, or beside Xen, dom0 and a hardware domain, which
    are the `hosts`.
    """
    guests = [name for name in hands if name not in hosts]
    for place, name in enumerate(guests):
        for other in (*[name for name in hands if name in hosts], *guests[:place]):
            yield from _pages_of_both(name, hands[name], other, hands[other])
            for stream in sorted(hands[name].streams & hands[other].streams):
                words = f"stream {stream.id:#x} of {stream.smmu}"
                yield Double("stream", (name, other), words)
        if running.xen.vsmmu:
            yield from _namesakes(name, hands[name])
        yield from _split_devices(running, name)


def _pages_of_both(name: str, hand: Hand, other_name: str, other: Hand) -> Iterator[Double]:
    for pages in hand.pages:
        for theirs in other.pages:
            if pages.shares_with(theirs):
                first = max(pages.host, theirs.host)
                words = f"page {first << 12:#x} of {pages.of} and {theirs.of}"
                yield Double("page", (name, other_name), words)


def _namesakes(name: str, hand: Hand) -> Iterator[Double]:
    """arm_smmu_get_domain_by_sid() of the vSMMU finds the first device of the domain with the ID,
    whatever its SMMU.
    """
    smmus: dict[int, str] = {}
    for stream in sorted(hand.streams):
        smmu = smmus.setdefault(stream.id, stream.smmu)
        if smmu != stream.smmu:
            words = f"ID {stream.id:#x} behind {smmu} and {stream.smmu}"
            yield Double("stream", (name, name), words)


def _split_devices(running: Running, name: str) -> Iterator[Double]:
    """A part of an assigned device that is a master by itself, in another hand."""
    owners = running.iommus.assigned
    for path, owner in owners.items():
        for part, other in owners.items():
            if owner == name and other != name and part.startswith(f"{path}/"):
                yield Double("device", (name, other), f"{path} and its part {part}")
