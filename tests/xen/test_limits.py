# SPDX-License-Identifier: Apache-2.0
"""The model of Xen at the limits of trees, lines and layouts, each case beside its harmless twin.

"Seen" is of a running Xen; the others are read at source alone. test_limits_boot.py has the boots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support import blob
from tests.xen.domains import AtBoot, ByXl, Guest, HardwareDomain, Iomem
from tests.xen.guest_map import MIB, Layout
from tests.xen.one_nic import (
    BUS,
    GIVEN,
    GUEST,
    HOST,
    NIC,
    PLAIN,
    UNPROTECTED,
    in_all,
    refused,
    said,
)
from tests.xen.whole import faults, whole
from tests.xen.xens import V417, V420, V421, XENS, Xen

PLAIN_LAYOUT = Layout()
UART = Layout(has_uart=True)
GIC2 = """
    gic: gic@2f000000 {
        compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>;
        #address-cells = <2>; #size-cells = <2>; ranges; interrupts = <1 9 4>;
        reg = <0 0x2f000000 0 0x1000>, <0 0x2f010000 0 0x2000>;
        v2m@2f020000 {
            %s compatible = "arm,gic-v2m-frame"; reg = <0 0x2f020000 0 0x1000>;
            arm,msi-base-spi = <64>; arm,msi-num-spis = <%d>;
        };
    };
"""
GIC3 = HOST[HOST.index("    gic: gic@") : HOST.index("    timer {")]


def with_frame(host: str, lines: int = 16, status: str = "") -> str:
    return HOST.replace(GIC3, GIC2 % (status, lines)) % host


def wrong(source: str, guests: Sequence[Guest], *, dom0: bool = True) -> dict[str, list[str]]:
    """Return the faults by Xen, for each that has any."""
    host = blob(source)
    found = {x.name: faults(whole(host, guests, x, dom0=dom0)) for x in XENS.values()}
    return {name: lines for name, lines in found.items() if lines}


def at_boot(guest: str = GIVEN, layout: Layout = PLAIN_LAYOUT) -> AtBoot:
    return AtBoot(blob(GUEST % guest), layout=layout)


@pytest.mark.parametrize("status", ["", 'status = "disabled";'])
def test_the_lines_of_a_gicv2m_are_dom0s(status: str) -> None:
    """Seen on 4.17 and master: gicv2_map_hwdom_extra_mappings(), as edge. 40 + 32 = 72 of 64 on."""
    level = "panic: dom0: Unable to get irq 0 for /nic@9000000"
    assert wrong(with_frame(PLAIN, status=status), [at_boot()]) == in_all(level)
    edge = PLAIN.replace("<0 40 4>", "<0 40 1>")
    taken = "Unable to map IRQ72 to dom1: IRQ 72 is already used by dom0 (/nic@9000000)"
    assert wrong(with_frame(edge, status=status), [at_boot()]) == refused(taken)
    assert wrong(with_frame(PLAIN, lines=8, status=status), [at_boot()]) == {}
    assert wrong(with_frame(PLAIN), [at_boot()], dom0=False) == {}


def test_a_gicv2m_has_lines_of_the_gic() -> None:
    stops = "panic: Xen: GICv2: 64 and 960 more are no v2m SPIs (/gic@2f000000/v2m@2f020000)"
    assert wrong(with_frame(PLAIN, lines=960), [at_boot()]) == in_all(stops)


TRIGGERS = "other@9001000 {{ {} interrupts = <0 40 {}>; }};"
STOPS = "panic: dom0: Unable to get irq %d for %s"


def test_a_line_has_one_trigger() -> None:
    """Seen on 4.17, AMD's and master: irq_set_spi_type() is -EBUSY, and a mark does not help."""
    for mark in ("", "xen,passthrough;"):
        found = said(PLAIN.replace("0x20>; }", "0x20>; }") + TRIGGERS.format(mark, 1))
        assert found == in_all(STOPS % (0, "/other@9001000"))
    assert said(PLAIN + TRIGGERS.format("xen,passthrough;", 4)) == {}
    within = PLAIN.replace("<0 40 4>", "<0 40 4>, <0 40 1>")
    assert said(within) == in_all(STOPS % (1, "/nic@9000000"))
    assert said(PLAIN.replace("<0 40 4>", "<0 40 4>, <0 40 4>")) == {}


def test_a_line_of_two_guests_devices_has_one_trigger() -> None:
    """Seen on 4.17, without a dom0: "Unable to get irq 0"."""
    dma = "dma@9001000 { xen,passthrough; iommus = <&smmu 1>; interrupts = <0 40 %d>; };"
    both = at_boot(GIVEN + 'dma { xen,path = "/dma@9001000"; xen,reg; };')
    why = "Unable to get irq 0 for /dma@9001000"
    assert wrong(HOST % (PLAIN + dma % 1), [both], dom0=False) == refused(why)
    assert wrong(HOST % (PLAIN + dma % 4), [both], dom0=False) == {}


SMALL = 'compatible = "vendor-with-a-name,device-with-a-long-name"; clock-frequency = <1>;'
DEVICE = "dev@200{:02x}000 {{ {} reg = <0 0 0 0x1000>; interrupts = <0 20 4>; iommus = <0 1>; }};"


def devices(count: int, props: str = SMALL) -> str:
    return "".join(DEVICE.format(i, props) for i in range(count))


def test_the_tree_of_a_guest_has_an_end() -> None:
    """Seen on 4.17: 20 small devices panic, and start without two of their properties."""
    found = wrong(HOST % PLAIN, [at_boot(GIVEN + devices(20), UART)])
    assert set(found) == {"4.17"}
    assert found["4.17"][0].startswith("panic: dom1: Could not set up domain dom1: Device tree gen")
    assert wrong(HOST % PLAIN, [at_boot(GIVEN + devices(20, ""), UART)]) == {}
    assert set(wrong(HOST % PLAIN, [at_boot(GIVEN + devices(150), UART)])) == {"4.17", "rfc", "amd"}


def test_each_cpu_takes_some_of_it() -> None:
    """Seen: 4.17 starts 28 CPUs and fails at 32. From 4.22 on there is room for all 128."""

    def cannot(cpus: int) -> set[str]:
        return set(wrong(HOST % PLAIN, [at_boot("", replace(UART, cpus=cpus))]))

    assert (cannot(28), cannot(32)) == (set(), {"4.17"})
    assert cannot(40) == {"4.17", "4.18", "4.19", "4.20", "4.21"}
    assert cannot(128).isdisjoint({"4.22", "master"})


CELLS = (
    "bus {{ #address-cells = <{0}>; #size-cells = <{1}>; "
    'nic {{ xen,path = "/nic@9000000"; xen,reg = <{2}>; }}; }};'
)


def test_three_cells() -> None:
    """Seen: 4.17 starts, 4.20.4 panics. handle_passthrough_prop() of 4.20.4, 4.21.2 and 4.22.0."""
    why = "/passthrough/bus/nic: Invalid address_cells 3 or size_cells 1"
    narrow = {name: lines for name, lines in refused(why).items() if XENS[name].narrow_cells}
    assert said(PLAIN, CELLS.format(3, 1, "0 0 0x9000000 0x1000 0 0 0x9000000")) == narrow
    assert {"4.20", "4.22"} <= set(narrow) and "4.19" not in narrow
    assert said(PLAIN, CELLS.format(2, 1, "0 0x9000000 0x1000 0 0x9000000")) == {}


def at(guest: int, size: int = 0x1000) -> str:
    return (
        f'nic {{ xen,path = "/nic@9000000"; xen,reg = <0 0x9000000 0 {size:#x} 0 {guest:#x}>; }};'
    )


def test_a_device_in_the_guests_ram() -> None:
    """Seen on 4.17: "Unable to copy the kernel", or the DTB, at 128 MiB; a hole elsewhere."""
    big = Layout(memory=256 * MIB)
    for guest, what in ((0x40000000, "kernel"), (0x48000000, "DTB")):
        words = f"Unable to copy the {what} to dom1 memory: /passthrough/nic at {guest:#x}"
        assert wrong(HOST % PLAIN, [at_boot(at(guest), big)]) == in_all(f"panic: dom1: {words}")
    hole = "hides: dom1: /passthrough/nic at 0x44000000 is where its RAM is"
    assert wrong(HOST % PLAIN, [at_boot(at(0x44000000), big)]) == in_all(hole)
    for memory in (64, 128):
        assert wrong(HOST % PLAIN, [at_boot(at(0x48000000), Layout(memory=memory * MIB))]) == {}


def test_a_guest_needs_memory() -> None:
    words = "panic: dom1: Not enough memory in the first bank for the kernel+dtb+initrd (dom1)"
    assert wrong(HOST % PLAIN, [at_boot(GIVEN, Layout(memory=2 * MIB))]) == in_all(words)


def test_shared_memory_of_a_guest() -> None:
    """process_shm() maps it before the devices are mapped."""
    shared = Layout(shared=((0x60000000, MIB),))
    hidden = "hides: dom1: /passthrough/nic at 0x60080000 is where its shared memory is"
    assert wrong(HOST % PLAIN, [at_boot(at(0x60080000), shared)]) == in_all(hidden)
    assert wrong(HOST % PLAIN, [at_boot(at(0x60100000), shared)]) == {}
    over = replace(shared, memory=768 * MIB)
    words = "hides: dom1: shared memory at 0x60000000 is where its RAM is"
    assert wrong(HOST % PLAIN, [at_boot(GIVEN, over)]) == in_all(words)


@pytest.mark.parametrize(("cpus", "hidden"), [(1, False), (7, False), (8, True)])
def test_each_cpu_has_a_redistributor(cpus: int, hidden: bool) -> None:
    """Seen on 4.17, with one: 0x20000 of them from 0x3020000."""
    words = "hides: dom1: /passthrough/nic at 0x3100000 is where a redistributor is"
    found = wrong(HOST % PLAIN, [at_boot(at(0x3100000), Layout(cpus=cpus))])
    assert found == (in_all(words) if hidden else {})


def test_what_a_guest_has_of_xen() -> None:
    for guest, what in ((0x3001000, "the GICD"), (0x22000000, "the vpl011")):
        words = f"hides: dom1: /passthrough/nic at {guest:#x} is where {what} is"
        assert wrong(HOST % PLAIN, [at_boot(at(guest), UART)]) == in_all(words)
    assert wrong(HOST % PLAIN, [at_boot(at(0x22000000))]) == {}
    vsmmu = wrong(HOST % PLAIN, [at_boot(at(0x4040000))])
    assert set(vsmmu) == {name for name, xen in XENS.items() if xen.vsmmu}


def test_by_xl_the_same() -> None:
    guest = ByXl(("/nic@9000000",), (72,), (Iomem(0x9000, 1, 0x40100),), layout=Layout())
    words = "hides: dom1: iomem at 0x40100000 is where its RAM is"
    assert wrong(HOST % PLAIN, [guest]) == in_all(words)
    away = replace(guest, iomem=(Iomem(0x9000, 1, 0x9000),))
    assert wrong(HOST % PLAIN, [away]) == {}
    beyond = replace(guest, iomem=(Iomem(0x9000, 1, 1 << 36),))
    why = "Failed to map iomem to the guest at 0x1000000000000"
    assert wrong(HOST % PLAIN, [beyond]) == in_all(f"refused: dom1: {why}")


def ends(host: str, guests: Sequence[Guest], xen: Xen, *, dom0: bool = False) -> list[str]:
    return faults(whole(blob(HOST % host), guests, xen, dom0=dom0))


def test_a_hardware_domain_is_like_dom0() -> None:
    """Seen on master: `capabilities = <2>`, from 4.21 on."""
    twin = PLAIN + "dma@9001000 { %s iommus = <&smmu 0x20>; };"
    guests = (at_boot(), HardwareDomain("hw"))
    left = "BUG: hw: /dma@9001000: stream 0x20 of /smmu@8000000 is attached to dom1 by /nic@9000000"
    assert ends(twin % "", guests, V421) == [left]
    assert ends(twin % "", guests, V420) == []
    assert ends(twin % "xen,passthrough;", guests, V421) == []
    page = "other@9000800 { reg = <0 0x9000800 0 0x100>; };"
    shared = "double page: dom1 and hw: page 0x9000000 of /passthrough/nic and /other@9000800"
    assert ends(PLAIN + page, guests, V421) == [shared]
    reserved = f"reserved-memory {{ {BUS} tee@e000000 {{ reg = <0 0xe000000 0 0x1000>; }}; }};"
    assert ends(PLAIN + reserved, guests, V421) == []


def test_a_hardware_domain_stands_last() -> None:
    """Seen on master. parse_dom0less_node() looks for a partial tree in all that stands behind."""
    words = 'panic: hw: "multiboot,device-tree" incompatible with hardware domain'
    assert ends(PLAIN, (HardwareDomain("hw"), at_boot()), V421) == [words]
    assert ends(PLAIN, (at_boot(), HardwareDomain("hw")), V421) == []
    assert ends(PLAIN, (HardwareDomain("hw"), at_boot()), V420) == []


def test_a_hardware_domain_needs_an_iommu() -> None:
    source = (HOST % PLAIN).replace("arm,smmu-v3", "acme,smmu")
    found = faults(whole(blob(source), (HardwareDomain("hw"),), V421, dom0=False))
    assert found == ["panic: hw: non-direct mapped hardware domain requires iommu"]


NO_DOM0 = {
    "no address": (
        "bus { #address-cells = <1>; #size-cells = <1>; ranges = <0 0 0x9000 0x100>; "
        "reason@200 { reg = <0x200 1>; }; };",
        "Unable to retrieve address 0 for /bus/reason@200",
        "0x100>;",
        "0x1000>;",
    ),
    "no interrupt": (
        "dev { interrupts-extended = <0>; };",
        "Unable to retrieve irq 0 for /dev",
        "interrupts-extended = <0>; ",
        "",
    ),
    "ranges of half an entry": (
        "bus { #address-cells = <2>; #size-cells = <2>; ranges = <0 0 0 0x9000>; "
        "dev@0 { reg = <0 0 0 0x1000>; }; };",
        "Unable to retrieve address 0 for /bus/dev@0",
        "ranges = <0 0 0 0x9000>",
        "ranges = <0 0 0 0x9000 0 0x1000>",
    ),
}


@pytest.mark.parametrize("name", NO_DOM0)
def test_no_dom0_starts(name: str) -> None:
    """Seen on 4.17 ("no address"). Neither a status nor a mark helps; without dom0 all is well."""
    host, why, old, new = NO_DOM0[name]
    assert said(PLAIN + host) == in_all(f"panic: dom0: {why}")
    for prop in ('status = "disabled";', "xen,passthrough;"):
        last = host.rindex("{", 0, host.rindex("=")) + 1
        assert said(PLAIN + f"{host[:last]} {prop} {host[last:]}") == in_all(f"panic: dom0: {why}")
    assert wrong(HOST % (PLAIN + host), [at_boot()], dom0=False) == {}
    assert said(PLAIN + host.replace(old, new)) == {}


def test_registers_without_a_path() -> None:
    """handle_prop_pfdt(): -EINVAL, but for xen,force-assign-without-iommu."""
    page = "page { %s xen,reg = <0 0x9001000 0 0x1000 0 0x9001000>; };"
    why = "/passthrough/page: xen,reg or xen,path missing for dom1"
    assert said(PLAIN, GIVEN + page % "") == refused(why)
    assert said(PLAIN, GIVEN + page % "xen,force-assign-without-iommu;") == {}


def test_without_an_iommu_a_guest_has_no_device() -> None:
    """Seen: 4.17 starts it all the same, 4.20 panics."""
    source = (HOST % f"{NIC} }};").replace("arm,smmu-v3", "acme,smmu")
    assert wrong(source, [at_boot()]) == refused(f"{UNPROTECTED}Xen drives no IOMMU")
    assert V417.forgives_children and not V420.forgives_children
