# SPDX-License-Identifier: Apache-2.0
"""The layout of a guest beside its devices, and the parts of it that a device hides.

A mapping of stage 2 wins over RAM and over the devices that Xen emulates, in silence: the guest is
made, and lacks the hidden part. Read in xen/include/public/arch-arm.h, arch/arm/vgic-v3.c,
vgic-v2.c, kernel.c, domain_build.c (master: dom0less-build.c); the same from 4.17 to master.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.xen.host import GIC_V2, compatible
from tests.xen.irqs import Stops
from tests.xen.mapped import PAGE_SHIFT
from tests.xen.nodes import Span
from tests.xen.running import Running

MIB = 1 << 20
BLOCK = 2 * MIB  # by which place_modules() aligns
RAM0, RAM0_SIZE, RAM1 = 0x40000000, 0xC0000000, 0x200000000
GICR_OF_A_CPU = 0x20000  # GICV3_GICR_SIZE
VSMMU = (0x4040000, 0x40000)


@dataclass(frozen=True)
class Layout:
    """The settings of a domain: bytes of memory, CPUs, vpl011, shared memory as (guest address,
    size), bytes of the kernel.
    """

    memory: int = 16 * MIB
    cpus: int = 1
    has_uart: bool = False
    shared: tuple[Span, ...] = ()
    kernel: int = 0x10000

    @property
    def banks(self) -> list[Span]:
        """Return the banks of RAM: allocate_memory() fills the first, then the second."""
        first = min(self.memory, RAM0_SIZE)
        banks = [(RAM0, first), (RAM1, self.memory - first)]
        return [bank for bank in banks if bank[1]]


def place(running: Running, name: str, layout: Layout, tree: int) -> None:
    """Add a fault for each part of the guest that a device hides. If Xen itself loads the guest,
    with a `tree` of so many bytes, it stops if a device is in the place of the kernel or the tree:
    "Unable to copy the kernel in the domain memory", "Unable to copy the DTB".
    """
    if not layout.banks:
        raise Stops("panic", f"{name} has no memory")
    if tree:
        for what, span in _loaded(name, layout, tree):
            if hidden := _hidden_by(running, name, span):
                raise Stops("panic", f"Unable to copy the {what} to {name} memory: {hidden}")
    for what, span in (*_emulated(running, layout), *_memory(layout)):
        if hidden := _hidden_by(running, name, span):
            running.fault("hides", name, f"{hidden} is where {what} is")
    ram = [span for _, span in _memory(layout)][: len(layout.banks)]
    for base, size in layout.shared:
        if any(base < start + length and start < base + size for start, length in ram):
            running.fault("hides", name, f"shared memory at {base:#x} is where its RAM is")


def _hidden_by(running: Running, name: str, span: Span) -> str:
    base, end = span[0], sum(span)
    for pages in running.pages.get(name, ()):
        start = pages.guest << PAGE_SHIFT
        if start < end and base < start + (pages.count << PAGE_SHIFT):
            return f"{pages.of} at {start:#x}"
    return ""


def _emulated(running: Running, layout: Layout) -> Iterator[tuple[str, Span]]:
    """Yield the devices that Xen emulates. vgic_v3_domain_init(): each vCPU has a redistributor, in
    a window for more of them. The guest gets the GIC of the host (XEN_DOMCTL_CONFIG_GIC_NATIVE).
    """
    gic = running.host.gic
    if gic is not None and compatible(gic, GIC_V2):
        yield from (("the GICD", (0x3001000, 0x1000)), ("the GICC", (0x3002000, 0x2000)))
    else:
        yield "the GICD", (0x3001000, 0x10000)
        yield "a redistributor", (0x3020000, layout.cpus * GICR_OF_A_CPU)
    if layout.has_uart:
        yield "the vpl011", (0x22000000, 0x1000)
    if running.xen.vsmmu:
        yield "the vSMMU", VSMMU


def _memory(layout: Layout) -> list[tuple[str, Span]]:
    ram = [("its RAM", bank) for bank in layout.banks]
    return ram + [("its shared memory", span) for span in layout.shared]


def _loaded(name: str, layout: Layout, tree: int) -> list[tuple[str, Span]]:
    """Return the kernel and the tree with their places: place_modules(), kernel.c. The kernel is at
    the start of RAM (text_offset is 0 since Linux 5.10, and for Zephyr), the tree at 128 MiB or as
    high as the first bank goes.
    """
    base, size = layout.banks[0]
    kernel_end = base + _blocks(layout.kernel)
    modules = _blocks(tree)
    if modules + kernel_end - base > size:
        words = "Not enough memory in the first bank for the kernel+dtb+initrd"
        raise Stops("panic", f"{words} ({name})")
    if base + size >= base + 128 * MIB + modules and base + layout.kernel < base + 128 * MIB:
        at = base + 128 * MIB
    elif base + size - modules > kernel_end:
        at = base + size - modules
    else:
        raise Stops("panic", f"Unable to find suitable location for dtb+initrd ({name})")
    return [("kernel", (base, layout.kernel)), ("DTB", (at, tree))]


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
