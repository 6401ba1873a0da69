# SPDX-License-Identifier: Apache-2.0
"""A Xen that starts: what it has given to whom so far, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.xen.attached import Iommus, Stops
from tests.xen.host import Host
from tests.xen.mapped import Pages, memory, pages_touched, regions, reserved
from tests.xen.nodes import Node
from tests.xen.routed import LOCAL, TABLE, Line, Raw, line, named_interrupt, raw_interrupts
from tests.xen.xens import Xen

XEN, DOM0 = "Xen", "dom0"
SMMU_LINES = ("eventq", "priq", "gerror")
PINNED_TO_GIC = ("arm,gic-v3-its", "arm,gic-v2m-frame")


class Fault(NamedTuple):
    """`kind`: panic or BUG (Xen stops), refused (this device, or by xl the domain, is not made)."""

    kind: str
    hand: str
    words: str


@dataclass
class Running:
    host: Host
    xen: Xen
    iommus: Iommus
    lines: dict[int, str] = field(default_factory=dict)
    senses: dict[int, int] = field(default_factory=dict)
    pages: dict[str, list[Pages]] = field(default_factory=dict)
    # dom0's irq_caps and iomem_caps, as (first, last) page frames: what xl may hand on.
    line_caps: set[int] = field(default_factory=set)
    page_caps: list[tuple[int, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _interrupts: dict[str, list[Raw | None]] = field(default_factory=dict)

    def fault(self, kind: str, hand: str, words: str) -> None:
        self.faults.append(Fault(kind, hand, words))

    def interrupts(self, node: Node) -> list[Raw | None]:
        if node.path not in self._interrupts:
            self._interrupts[node.path] = raw_interrupts(self.host, node)
        return self._interrupts[node.path]

    def on_the_gic(self, raw: Raw) -> bool:
        return raw.controller is self.host.gic

    def configured(self, raw: Raw | None) -> Line | None:
        """platform_get_irq(), arch/arm/irq.c: the line, its sense now fixed; None where it fails.

        irq_set_type() refuses a second sense (irq_validate_new_type()), and looks up the
        descriptor without a bound: what is beyond the table overwrites Xen's memory.
        """
        found = line(raw) if raw is not None and self.on_the_gic(raw) else None
        return found if found is not None and self.set_sense(found) else None

    def set_sense(self, found: Line) -> bool:
        if found.intid >= TABLE:
            raise Stops("panic", f"line {found.intid} is outside irq_desc[]")
        return self.senses.setdefault(found.intid, found.sense) == found.sense

    def route(self, domain: str, intid: int, limit: int) -> str | None:
        """route_irq_to_guest(), arch/arm/irq.c: why not, or None. "If it's the same domain -> Xen
        doesn't need to update the IRQ desc."
        """
        if intid >= limit:
            return f"the vIRQ number {intid} is too high for {domain} (max = {limit})"
        if intid < LOCAL:
            return f"IRQ{intid} can only be routed to an SPI"
        if intid >= self.xen.lines:
            return f"the IRQ{intid} is not routable"
        holder = self.lines.setdefault(intid, domain)
        return None if holder == domain else f"IRQ {intid} is already used by {holder}"

    def map(self, domain: str, pages: Pages) -> None:
        if pages.count:
            self.pages.setdefault(domain, []).append(pages)


def started(host: Host, xen: Xen) -> Running:
    """Xen with its own devices up and no domain yet; Stops where it does not get so far."""
    running = Running(host, xen, Iommus(host, xen))
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
    running.iommus.set_up()
    for smmu in running.iommus.driven.values():
        _hold(running, smmu)
        # arm_smmu_device_probe(): the combined line, or else these.
        combined = named_interrupt(host, smmu, "combined")
        for name in ("combined",) if combined is not None else SMMU_LINES:
            _take_line(running, named_interrupt(host, smmu, name))
    console = host.console
    if console is not None:
        _hold(running, console)
        raws = running.interrupts(console)
        _take_line(running, line(raws[0]) if raws and raws[0] is not None else None)
    return running


def _hold(running: Running, node: Node) -> None:
    for base, size in regions(node):
        running.map(XEN, pages_touched(base, size, node.path))


def _take_line(running: Running, found: Line | None) -> None:
    if found is not None and running.set_sense(found):
        running.lines[found.intid] = XEN
