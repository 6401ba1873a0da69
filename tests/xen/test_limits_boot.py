# SPDX-License-Identifier: Apache-2.0
"""A running Xen at the limits of test_limits.py: each boot ends as in the model, with the message
of the function.

By Debian's Xen, or the one that VIOMMU_XEN names; the tool takes no part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.xen.domains import AtBoot
from tests.xen.guest_map import MIB, Layout
from tests.xen.host import Host
from tests.xen.hypervisor import Dom0, Guest, booted
from tests.xen.machine import FOR_XEN, Machine, host_blob
from tests.xen.nodes import Node, blob_of, pack, tree
from tests.xen.programs import idle_image, rtc_guest
from tests.xen.random_boots import LINES, expected, seen
from tests.xen.running import started
from tests.xen.tools import debian_xen, needs
from tests.xen.tree_size import room, tree_bytes
from tests.xen.whole import World, whole
from tests.xen.xens import MASTER, XENS, Xen

FILE = debian_xen()
pytestmark = needs({"Debian's Xen for arm64": FILE})

MSI_TYPER = range(80, 144)  # of QEMU's GICv2m
RTC, RTC_PATH = 0x9010000, "/pl031@9010000"
NO_MARKS = "/dts-v1/;\n/plugin/;\n&{/chosen} { t,nothing; };\n"
EDGE, LEVEL = 1, 4
STARTED = r"Freed \d+kB init memory"
LAYOUT = Layout(memory=64 * MIB, has_uart=True)  # of hypervisor.DOMAIN
ROOT = {"#address-cells": pack(2), "#size-cells": pack(2)}

Edit = Callable[[Node], None]


def this_xen() -> Xen:
    """The model of the Xen that is booted: its name is in its binary (make_hypervisor_node()), and
    VIOMMU_XEN_LIKE has another, for a vendor's.
    """
    assert FILE is not None
    found = re.search(rb"xen,xen-(4\.\d+)", FILE.read_bytes())
    name = os.environ.get("VIOMMU_XEN_LIKE") or (found[1].decode() if found else "")
    # hypervisor.DOMAIN asks for no vSMMU.
    return replace(XENS.get(name, MASTER), lines=LINES, msi_typer=MSI_TYPER, vsmmu=False)


def partial_tree(*nodes: Node, padding: int = 0) -> bytes:
    """A partial tree with these nodes below /passthrough, and so many bytes more."""
    root = Node("", dict(ROOT))
    passthrough = root.add(Node("passthrough", {**ROOT, "ranges": b""}))
    passthrough.props["t,padding"] = bytes(padding)
    for node in nodes:
        passthrough.add(node)
    root.add(Node("gic", {"phandle": pack(1)}))
    return blob_of(root)


def clock(seen_at: int, *, cells: int = 2, path: str = RTC_PATH) -> Node:
    """The clock as the guest is to see it; without IOMMU, as Debian's Xen drives none."""
    address = pack(*[0] * (cells - 1), RTC)
    guest = pack(*[0] * (cells - 2), seen_at >> 32, seen_at & 0xFFFFFFFF)
    size = pack(0x1000) if cells == 3 else pack(0, 0x1000)
    props = {"xen,path": f"{path}\0".encode(), "xen,reg": address + size + guest}
    return Node("clock", {**props, "xen,force-assign-without-iommu": b""})


@dataclass(frozen=True)
class Booted:
    """The console of a boot, and the model of the same trees."""

    console: str
    world: World
    xen: Xen

    def ends_with(self, message: str) -> None:
        """Fail unless Xen ended as in the model, with the message."""
        assert seen(self.console, self.xen) == expected(self.world), self.console
        assert re.search(message, self.console), self.console


def boot(
    folder: Path,
    edit: Edit,
    partial: bytes | None = None,
    *,
    machine: Machine = FOR_XEN,
    rtc: int = RTC,
    with_dom0: bool = False,
) -> Booted:
    """Boot the machine, its tree edited, with a guest of this partial tree, which has the clock at
    `rtc`, and a dom0 if asked for.
    """
    assert FILE is not None
    root = tree(host_blob(folder, machine).read_bytes())
    edit(root)
    host = folder / "edited.dtb"
    host.write_bytes(blob_of(root))
    guests, models = [], []
    if partial is not None:
        kernel, module = rtc_guest(folder, rtc), folder / "partial.dtb"
        module.write_bytes(partial)
        guests.append(Guest(kernel, module, NO_MARKS))
        layout = replace(LAYOUT, kernel=kernel.stat().st_size)
        models.append(AtBoot(partial, layout=layout))
    dom0 = Dom0(idle_image(folder)) if with_dom0 else None
    until = None if guests else STARTED
    printed = booted(folder, machine, FILE, host, *guests, dom0=dom0, until=until)
    for_xen = tree((folder / "edited-overlaid.dtb").read_bytes())
    xen = this_xen()
    return Booted(printed, whole(for_xen, models, xen, dom0=with_dom0), xen)


def mark(root: Node) -> None:
    named(root, "pl031@9010000").props["xen,passthrough"] = b""


def named(root: Node, name: str) -> Node:
    return next(node for node in root.below() if node.name == name)


def with_node(node: Node) -> Edit:
    def edit(root: Node) -> None:
        root.add(node)

    return edit


@pytest.mark.parametrize(("more", "ends"), [(0, "PASS"), (4, "Device tree generation failed")])
def test_the_tree_of_a_guest_is_full(more: int, ends: str, tmp_path: Path) -> None:
    """To the byte: DOMU_DTB_SIZE. (fdt_property() rounds up to 4.)"""
    root = tree(host_blob(tmp_path).read_bytes())
    xen = this_xen()
    running = started(Host(root), xen)
    empty = partial_tree(clock(RTC))
    free = room(xen, len(empty)) - tree_bytes(running, tree(empty), LAYOUT)
    if xen.adds_module:
        pytest.skip("a module of any size has room for itself")
    partial = partial_tree(clock(RTC), padding=free // 4 * 4 + more)
    boot(tmp_path, mark, partial).ends_with(ends)


def test_twenty_small_devices(tmp_path: Path) -> None:
    props = {"compatible": b"vendor-with-a-name,device-with-a-long-name\0", "reg": bytes(16)}
    props |= {"interrupts": bytes(12), "iommus": bytes(8), "clock-frequency": bytes(4)}
    nodes = (Node(f"dev@200{place:02x}000", dict(props)) for place in range(20))
    has_room = room(this_xen(), 1) > 4096
    ends = "PASS" if has_room else "Could not set up domain guest1"
    boot(tmp_path, mark, partial_tree(clock(RTC), *nodes)).ends_with(ends)


def test_a_line_of_two_triggers(tmp_path: Path) -> None:
    """irq_set_spi_type(); a mark does not help."""
    other = Node("other@a100000", {"interrupts": pack(0, 2, EDGE), "xen,passthrough": b""})
    found = boot(tmp_path, with_node(other), with_dom0=True)
    found.ends_with("Unable to get irq 0 for /(other@a100000|pl031@9010000)")


def test_a_line_of_one_trigger(tmp_path: Path) -> None:
    other = Node("other@a100000", {"interrupts": pack(0, 2, LEVEL)})
    boot(tmp_path, with_node(other), with_dom0=True).ends_with(STARTED)


def frame(root: Node, line: int) -> None:
    """A frame of INTIDs 100 to 103, and a node of that line."""
    found = next(n for n in root.below() if n.name.startswith("v2m@"))
    found.props |= {"arm,msi-base-spi": pack(100), "arm,msi-num-spis": pack(4)}
    root.add(Node("other@a100000", {"interrupts": pack(0, line, LEVEL)}))


GICV2 = Machine("virt,virtualization=on,gic-version=2")


@pytest.mark.parametrize(("line", "ends"), [(71, "Unable to get irq 0"), (72, STARTED)])
def test_the_lines_of_a_gicv2m(line: int, ends: str, tmp_path: Path) -> None:
    """gicv2_map_hwdom_extra_mappings() of INTIDs, as edge: SPI 71 is INTID 103."""

    def edit(root: Node) -> None:
        frame(root, line)

    boot(tmp_path, edit, machine=GICV2, with_dom0=True).ends_with(ends)


@pytest.mark.parametrize(
    ("properties", "line", "ends"),
    [
        ({}, 111, "Unable to get irq 0"),
        ({}, 112, STARTED),
        ({"arm,msi-base-spi": pack(200)}, 48, "Unable to get irq 0"),
        ({"arm,msi-base-spi": pack(200), "arm,msi-num-spis": pack(0)}, 168, STARTED),
    ],
    ids=["inside", "beyond", "no number", "none"],
)
def test_the_lines_in_the_register_of_a_gicv2m(
    properties: dict[str, bytes], line: int, ends: str, tmp_path: Path
) -> None:
    """gicv2_add_v2m_frame_to_list() reads MSI_TYPER unless the tree has both properties."""

    def edit(root: Node) -> None:
        found = next(n for n in root.below() if n.name.startswith("v2m@"))
        assert not found.props.keys() & {"arm,msi-base-spi", "arm,msi-num-spis"}
        found.props |= properties
        root.add(Node("other@a100000", {"interrupts": pack(0, line, LEVEL)}))

    boot(tmp_path, edit, machine=GICV2, with_dom0=True).ends_with(ends)


@pytest.mark.parametrize(
    ("at", "ends"),
    [
        (0x40000000, r"Unable to copy the kernel in the (domain|\S+) memory"),
        # 64 MiB of memory: place_modules() has the tree at their end.
        (0x43E00000, "Unable to copy the DTB"),
        (0x41000000, "PASS"),
    ],
    ids=["at the kernel", "at the tree", "in between"],
)
def test_a_device_in_ram(at: int, ends: str, tmp_path: Path) -> None:
    found = boot(tmp_path, mark, partial_tree(clock(at)), rtc=at)
    found.ends_with(ends)
    assert [fault.kind for fault in found.world.faults] == ["hides" if ends == "PASS" else "panic"]


@pytest.mark.parametrize(("at", "is_sound"), [(0x303F000, False), (0x3040000, True)])
def test_a_device_at_the_redistributors(at: int, is_sound: bool, tmp_path: Path) -> None:
    """vgic_v3_domain_init(): one CPU has 0x20000 of the 16 MiB, which a device hides in silence."""
    found = boot(tmp_path, mark, partial_tree(clock(at)), rtc=at)
    found.ends_with("PASS")
    assert found.world.is_sound is is_sound


def test_three_cells(tmp_path: Path) -> None:
    """handle_passthrough_prop(): "Invalid address_cells 3", or nothing."""
    bus = Node("bus", {"#address-cells": pack(3), "#size-cells": pack(1)})
    bus.add(clock(RTC, cells=3))
    ends = "Invalid address_cells 3" if this_xen().narrow_cells else "PASS"
    boot(tmp_path, mark, partial_tree(bus)).ends_with(ends)


def test_an_address_that_no_guest_has(tmp_path: Path) -> None:
    """map_regions_p2mt(); QEMU's Cortex-A57 has 44 bits, no CPU has more than 48."""
    found = boot(tmp_path, mark, partial_tree(clock(1 << 48)))
    found.ends_with("Failed to map (0x)?0*9010000 to the guest")


UNBUILDABLE = {
    "no address": (
        {**ROOT, "ranges": pack(0, 0, 0, 0xA000000, 0, 0x100)},
        {"reg": pack(0, 0x200, 0, 0x10)},
        "Unable to retrieve address 0 for /bus/part",
    ),
    "no interrupt": (
        {},
        {"interrupts-extended": pack(0)},
        "Unable to retrieve irq 0 for /bus/part",
    ),
}


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_no_dom0_starts(name: str, tmp_path: Path) -> None:
    """handle_device() looks at no status."""
    above, props, ends = UNBUILDABLE[name]
    bus = Node("bus", dict(above))
    bus.add(Node("part", {**props, "status": b"disabled\0"}))
    boot(tmp_path, with_node(bus), with_dom0=True).ends_with(ends)
