# SPDX-License-Identifier: Apache-2.0
"""The drivers of IOMMUs in Xen: their probes, and the streams that they know.

Read in drivers/passthrough/arm/smmu-v3.c, smmu.c (SMMUv1 and v2) and ipmmu-vmsa.c, 4.17 to master.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.xen.host import SMMU_V2, SMMU_V3, compatible, phandle_args
from tests.xen.irqs import Irqs, Stops
from tests.xen.mapped import NoAddress, regions
from tests.xen.nodes import Node, Span
from tests.xen.routed import Line, named_interrupt
from tests.xen.xens import Xen

# arm_smmu_resource_size(): one page of registers with the option, else two.
WHOLE, HALF = 0x20000, 0x10000
PAGE0_REGS_ONLY = "cavium,cn9900-broken-page1-regspace"
# arm_smmu_init_strtab_2lvl(): STRTAB_L1_SZ_SHIFT - 3 + STRTAB_SPLIT bits, of a table of 2 levels.
SIDS = 1 << 25
SMMU_LINES = ("eventq", "priq", "gerror")
SMR_MASK = 0x7FFF  # SMR_ID_MASK, SMR_MASK_MASK
MAX_PHANDLE_ARGS = 16  # and MAX_MASTER_STREAMIDS
IPMMU_UTLB_MAX = 64


class Stream(NamedTuple):
    """An entry of the tables of an IOMMU: an ID, or by a mask several IDs."""

    smmu: str
    id: int
    mask: int = 0

    def has(self, smmu: str, id: int) -> bool:
        return smmu == self.smmu and not (id ^ self.id) & ~self.mask

    def overlaps(self, other: Stream) -> bool:
        return self.smmu == other.smmu and not (other.id ^ self.id) & ~(self.mask | other.mask)


class Entry(NamedTuple):
    """An ID of a master (fwspec->ids)."""

    id: int
    mask: int = 0


class Smr(NamedTuple):
    """A stream match register of an SMMUv2."""

    id: int
    mask: int

    def holds(self, other: Smr) -> bool:
        """arm_smmu_find_sme(): "the new entry is _entirely_ matched by an existing entry"."""
        return other.mask & self.mask == other.mask and not (other.id ^ self.id) & ~self.mask

    def overlaps(self, other: Smr) -> bool:
        """ "any other overlap with an existing one": -EINVAL."""
        return not (other.id ^ self.id) & ~(self.mask | other.mask)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """An IOMMU after its probe. `why`: the reason if it cannot be used (-ENODEV). Xen takes `lines`
    at once, and one of `context_lines` with each context of a domain. `masters` has the entries of
    mmu-masters.
    """

    why: str = ""
    lines: list[Line] = field(default_factory=list)
    context_lines: list[Line] = field(default_factory=list)
    masters: list[tuple[Node, list[Entry]]] = field(default_factory=list)
    is_main: bool = False


def kind_of(node: Node, xen: Xen) -> str:
    """Return which of the three drivers has the node: v3, v2, ipmmu, or ""."""
    if compatible(node, SMMU_V3):
        return "v3"
    if compatible(node, SMMU_V2):
        return "v2"
    return "ipmmu" if compatible(node, xen.ipmmus) else ""


def probed(node: Node, kind: str, irqs: Irqs, has_main: bool) -> Probed | None:
    """Probe an IOMMU; return None for -EAGAIN. Stops for any error but -ENODEV."""
    if kind == "v3":
        return _smmu_v3(node, irqs)
    if kind == "v2":
        return _smmu_v2(node, irqs)
    return _ipmmu(node, irqs, has_main)


def _broken(node: Node) -> Stops:
    return Stops("panic", f"Couldn't configure correctly all the IOMMUs ({node.path})")


def _region(node: Node) -> Span:
    try:
        return regions(node)[0]
    except (NoAddress, IndexError):
        raise _broken(node) from None


def _smmu_v3(node: Node, irqs: Irqs) -> Probed:
    """Probe an SMMUv3. arm_smmu_device_dt_probe(): "invalid #iommu-cells value";
    arm_smmu_device_probe(): "MMIO region too small", and the combined line, or else the others.
    """
    smallest = HALF if PAGE0_REGS_ONLY in node.props else WHOLE
    if node.cells("#iommu-cells")[:1] != [1] or _region(node)[1] < smallest:
        raise _broken(node)
    combined = named_interrupt(irqs.host, node, "combined")
    names = ("combined",) if combined is not None else SMMU_LINES
    found = [named_interrupt(irqs.host, node, name) for name in names]
    return Probed(lines=[line for line in found if line is not None])


def _smmu_v2(node: Node, irqs: Irqs) -> Probed:
    """Probe an SMMUv2: arm_smmu_device_dt_probe() of smmu.c. Interrupts count up to the first that
    fails. (Xen also compares their number with a register of the SMMU.)
    """
    _region(node)
    if not node.cells("#global-interrupts"):
        return Probed(why="missing #global-interrupts property")
    lines = []
    for raw in irqs.of(node):
        found = irqs.configured(raw, node.path)
        if found is None:
            break
        lines.append(found)
    count = node.cell("#global-interrupts", 0)
    if len(lines) <= count:
        return Probed(why=f"found {len(lines)} interrupts but expected at least {count + 1}")
    masters = [
        (master, [Entry(id & SMR_MASK) for id in ids[:MAX_PHANDLE_ARGS]])
        for master, ids in phandle_args(irqs.host, node, "mmu-masters", "#stream-id-cells")
    ]
    return Probed(lines=lines[:count], context_lines=lines[count:], masters=masters)


def _ipmmu(node: Node, irqs: Irqs, has_main: bool) -> Probed | None:
    """Probe an IPMMU: ipmmu_probe(). A cache waits for the main one, which needs an interrupt, and
    by ipmmu_stage2_supported() a node renesas,prr. (Xen also reads the SoC in its register.)
    """
    _region(node)
    if "renesas,ipmmu-main" in node.props:
        return Probed() if has_main else None
    chip = next((n for n in irqs.host.nodes if compatible(n, ("renesas,prr",))), None)
    try:
        if chip is None or not regions(chip):
            return Probed(why="Failed to find PRR node")
    except NoAddress:
        return Probed(why="Failed to get PRR MMIO")
    raws = irqs.of(node)
    found = irqs.configured(raws[0], node.path) if raws else None
    if found is None:
        raise _broken(node)
    return Probed(lines=[found], is_main=True)
