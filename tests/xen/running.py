# SPDX-License-Identifier: Apache-2.0
"""A Xen that starts: the pages and permissions that it has given so far, and its faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.xen.attached import Iommus
from tests.xen.host import GIC_V2, Host, compatible
from tests.xen.irqs import XEN, Irqs, Stops
from tests.xen.mapped import (
    NoAddress,
    Pages,
    memory,
    pages_mapped,
    pages_touched,
    regions,
    reserved,
)
from tests.xen.nodes import Node, Span
from tests.xen.routed import Line, line
from tests.xen.xens import Xen

DOM0 = "dom0"
PINNED_TO_GIC = ("arm,gic-v3-its", "arm,gic-v2m-frame")
FIRST_V2M, LAST_V2M = 32, 1019  # V2M_MIN_SPI, V2M_MAX_SPI
EDGE_RISING = 1


class Fault(NamedTuple):
    """`kind`: panic or BUG (Xen stops), breaks (it writes over its own memory), refused (this
    device, or by xl the domain, is not made), hides (the guest is made without what it counts on).
    """

    kind: str
    hand: str
    words: str

    @property
    def stops(self) -> bool:
        return self.kind not in ("refused", "hides")


@dataclass
class Running:
    host: Host
    xen: Xen
    irqs: Irqs
    iommus: Iommus
    pages: dict[str, list[Pages]] = field(default_factory=dict)
    # irq_caps and iomem_caps of dom0, as (first, last) page frames: what xl may hand on.
    line_caps: set[int] = field(default_factory=set)
    page_caps: list[tuple[int, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, kind: str, hand: str, words: str) -> None:
        self.faults.append(Fault(kind, hand, words))

    def map(self, domain: str, pages: Pages) -> None:
        if pages.count:
            self.pages.setdefault(domain, []).append(pages)


def started(host: Host, xen: Xen) -> Running:
    """Return Xen with its own devices up and no domain yet; Stops if it does not get so far."""
    irqs = Irqs(host, xen)
    running = Running(host, xen, irqs, Iommus(host, xen, irqs))
    if host.gic is None:
        raise Stops("panic", "Unable to find compatible GIC in the device tree")
    for pages in memory(host, xen.ram_by_type) + reserved(host):
        running.map(XEN, pages)
    _hold(running, host.gic)
    for node in host.nodes:
        # Xen drives an ITS below the GIC alone (gicv3_its_dt_init()); beside it, dom0 is handed the
        # pages. No guest is to have them either way: their doorbell is every device's.
        if any(name in PINNED_TO_GIC for name in node.strings("compatible")):
            _hold(running, node)
    list(_v2m_frames(running))
    running.iommus.set_up()
    for smmu in running.iommus.driven.values():
        _hold(running, smmu)
    console = host.console
    if console is not None:
        _hold(running, console)
        raws = irqs.of(console)
        found = line(raws[0]) if raws and raws[0] is not None else None
        irqs.request(found, console.path)
    return running


def map_v2m_frames(running: Running, domain: str) -> None:
    """Give the domain the frames of the GICv2m and their lines, as edge, be it disabled or not:
    gicv2_map_hwdom_extra_mappings().
    """
    given: set[int] = set()
    for frame, span, intids in _v2m_frames(running):
        running.map(domain, pages_mapped(*span, frame.path))
        for intid in intids:
            if not running.irqs.set_sense(Line(intid, EDGE_RISING), frame.path):
                raise Stops(
                    "panic", f"GICv2: Failed to set v2m MSI SPI[{intid}] type ({frame.path})"
                )
            why = running.irqs.route(domain, intid, running.xen.lines_of_dom0)
            why = why or ("reserved already" if intid in given else None)
            if why is not None:
                words = f"Failed to route v2m MSI SPI[{intid}]: {why} ({frame.path})"
                raise Stops("panic", f"GICv2: {words}")
            given.add(intid)


def _v2m_frames(running: Running) -> Iterator[tuple[Node, Span, range]]:
    """Yield each frame with its region and its INTIDs: gicv2_extension_dt_init(), and
    gicv2_add_v2m_frame_to_list(), which reads a register if one of the properties is 0 or absent.
    """
    host = running.host
    if host.gic is None or not compatible(host.gic, GIC_V2):
        return
    for frame in host.gic.children:
        if not compatible(frame, ("arm,gic-v2m-frame",)):
            continue
        try:
            spans = regions(frame)
        except NoAddress:
            spans = []
        if not spans:
            raise Stops("panic", f"GICv2: Cannot find a valid v2m frame address: {frame.path}")
        base, count = frame.cell("arm,msi-base-spi", 0), frame.cell("arm,msi-num-spis", 0)
        if base and count and (base < FIRST_V2M or base + count > LAST_V2M):
            raise Stops("panic", f"GICv2: {base} and {count} more are no v2m SPIs ({frame.path})")
        stated = range(base, base + count) if base and count else running.xen.msi_typer
        yield frame, spans[0], stated


def _hold(running: Running, node: Node) -> None:
    for base, size in regions(node):
        running.map(XEN, pages_touched(base, size, node.path))
