# SPDX-License-Identifier: Apache-2.0
"""The lines of a Xen that starts: their triggers and their owners (arch/arm/irq.c)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.xen.host import Host
from tests.xen.nodes import Node
from tests.xen.routed import LOCAL, TABLE, Line, Raw, line, raw_interrupts
from tests.xen.xens import Xen

XEN = "Xen"


class Stops(Exception):
    """Xen stops: `kind` is panic or BUG; or "breaks", as it writes over its own memory."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


@dataclass
class Irqs:
    """The state of irq_desc[] for one host."""

    host: Host
    xen: Xen
    holders: dict[int, str] = field(default_factory=dict)
    senses: dict[int, int] = field(default_factory=dict)
    _raws: dict[str, list[Raw | None]] = field(default_factory=dict)

    def of(self, node: Node) -> list[Raw | None]:
        """Return the interrupts of the node, None for each that Xen cannot retrieve."""
        if node.path not in self._raws:
            self._raws[node.path] = raw_interrupts(self.host, node)
        return self._raws[node.path]

    def on_the_gic(self, raw: Raw) -> bool:
        return raw.controller is self.host.gic

    def configured(self, raw: Raw | None, of: str) -> Line | None:
        """Return platform_get_irq(): the line, its sense now fixed; None if that fails.

        irq_set_type() refuses a second sense (irq_validate_new_type()), and looks up the
        descriptor without a bound: what is beyond the table overwrites Xen's memory.
        """
        found = line(raw) if raw is not None and self.on_the_gic(raw) else None
        return found if found is not None and self.set_sense(found, of) else None

    def set_sense(self, found: Line, of: str) -> bool:
        """Fix the sense of a line of the node `of`; False (-EBUSY) if it has another already."""
        if found.intid >= TABLE:
            raise Stops("panic", f"line {found.intid} of {of} is outside irq_desc[]")
        return self.senses.setdefault(found.intid, found.sense) == found.sense

    def route(self, domain: str, intid: int, limit: int) -> str | None:
        """Return why route_irq_to_guest() fails, or None. "If it's the same domain -> Xen doesn't
        need to update the IRQ desc."
        """
        if intid >= limit:
            return f"the vIRQ number {intid} is too high for {domain} (max = {limit})"
        if intid < LOCAL:
            return f"IRQ{intid} can only be routed to an SPI"
        if intid >= self.xen.lines:
            return f"the IRQ{intid} is not routable"
        holder = self.holders.setdefault(intid, domain)
        return None if holder == domain else f"IRQ {intid} is already used by {holder}"

    def request(self, found: Line | None, of: str) -> None:
        """Give the line to Xen itself, by request_irq(); one that a domain has stays there."""
        if found is not None and self.set_sense(found, of):
            self.holders.setdefault(found.intid, XEN)
