# SPDX-License-Identifier: Apache-2.0
"""Hazards of addresses, IDs and lines at their bounds: the last that is harmless, the first that
is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import PARTIAL_TREE, Run, without_stops

# RAM from 0x80000000 to 0x80000fff, and a device on each side; devices on pages that touch; the
# first line and the last.
HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
gic: gic@f9000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
    reg = <0 0xf9000000 0 0x10000>; };
smmu: smmu@10000000 { compatible = "arm,smmu-v3"; reg = <0 0x10000000 0 0x40000>;
    #iommu-cells = <1>; };
memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x1000>; };
a { reg = <0 0x20000000 0 0x1000>; interrupts = <0 0 4>; iommus = <&smmu 0x10>; };
b { reg = <0 0x20001000 0 0x1000>; interrupts = <0 2 4>; iommus = <&smmu 0x11>; };
c { reg = <0 0x20003000 0 0x800>; interrupts = <0 987 4>; iommus = <&smmu 0x12>; };
d { reg = <0 0x20003800 0 0x800>; interrupts = <0 0 4>; iommus = <&smmu 0x13>; };
before { reg = <0 0x7ffff000 0 0x1000>; iommus = <&smmu 0x14>; };
behind { reg = <0 0x80001000 0 0x1000>; iommus = <&smmu 0x15>; };
inside { reg = <0 0x80000fff 0 1>; iommus = <&smmu 0xffff>; };
wide { reg = <0 0x20005000 0 0x1000>; iommus = <&smmu 0x10000>; };
marked { reg = <0 0x20006000 0 0x1000>; xen,passthrough; };
off { reg = <0 0x20007000 0 0x1000>; status = "disabled"; };
reserved { reg = <0 0x20008000 0 0x1000>; iommus = <&smmu 0x16>; status = "reserved"; };
disabled { reg = <0 0x20009000 0 0x1000>; iommus = <&smmu 0x17>; status = "disabled"; };
ok { reg = <0 0x2000a000 0 0x1000>; iommus = <&smmu 0x18>; status = "ok"; };
same { #address-cells = <2>; #size-cells = <2>; ranges; dma-ranges = <0 0x1000 0 0x1000 0 0x1000>;
    e { reg = <0 0x2000b000 0 0x1000>; iommus = <&smmu 0x19>; }; };
up { #address-cells = <2>; #size-cells = <2>; ranges; dma-ranges = <0 0 0 0x1000 0 0x1000>;
    f { reg = <0 0x2000c000 0 0x1000>; iommus = <&smmu 0x1a>; }; };
down { #address-cells = <2>; #size-cells = <2>; ranges; dma-ranges = <0 0x1000 0 0 0 0x1000>;
    g { reg = <0 0x2000d000 0 0x1000>; iommus = <&smmu 0x1b>; }; };
v { reg = <0 0x2000e000 0 0x1000>; interrupts = <0 12 4>; iommus = <&smmu 0x1c>; };
w { reg = <0 0x2000f000 0 0x1000>; interrupts = <0 13 4>; iommus = <&smmu 0x1d>; };
};
"""
# A device of which nothing is to be said.
B = 'b { xen,path = "/b"; reg = <0 0x20001000 0 0x1000>; interrupts = <0 2 4>; };'
MEMORY = 'memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x1000000>; };'


def said(viommu: Run, folder: Path, passthrough: str) -> list[str]:
    """The hazards that are told, each with what was found, in their order. Of the interrupts that
    the guests here leave out, nothing.
    """
    (folder / "host.dts").write_text(HOST)
    text = (PARTIAL_TREE % passthrough).replace("passthrough {", f"{MEMORY} passthrough {{", 1)
    (folder / "guest.dts").write_text(text)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen-rfc", "guest.dts")
    told = re.findall(r"\[([\w-]+)\].*, found (.*)\)", outcome.err)
    return [f"{hazard} {found}" for hazard, found in told if hazard != "parts-omitted"]


def device(path: str, base: int, size: int, more: str = "") -> str:
    return f'x {{ xen,path = "{path}"; reg = <0 {base:#x} 0 {size:#x}>; {more} }};'


def moved(guest: int) -> str:
    """The device at another address of the guest."""
    return device("/b", guest, 0x1000, f"xen,reg = <0 0x20001000 0 0x1000 0 {guest:#x}>;")


def raw(host: int, guest: int, size: int = 0x1000) -> str:
    """Pages that are mapped without a device."""
    mapping = f"xen,reg = <0 {host:#x} 0 {size:#x} 0 {guest:#x}>;"
    return f"{B} r {{ {mapping} xen,force-assign-without-iommu; }};"


@pytest.mark.parametrize(
    ("passthrough", "expected"),
    [
        # RAM, and what is beside it.
        (device("/before", 0x7FFFF000, 0x1000), []),
        (device("/behind", 0x80001000, 0x1000), []),
        (device("/inside", 0x80000FFF, 1), ["host-memory 0x80000000/0x1000"]),
        # The last ID of the vSMMU is that of /inside.
        (device("/wide", 0x20005000, 0x1000), ["vsid-range 0x10000"]),
        # A page that touches is another's; one in two halves is both's.
        (device("/b", 0x20001000, 0x1000), []),
        (device("/c", 0x20003000, 0x800), ["shared-page 0x20003800/0x800"]),
        # The first line.
        (device("/a", 0x20000000, 0x1000), ["interrupt-clash INTID 32"]),
        # Any status but okay, and DMA that is moved either way.
        (device("/reserved", 0x20008000, 0x1000), ['device-disabled "reserved"']),
        (device("/disabled", 0x20009000, 0x1000), ['device-disabled "disabled"']),
        (device("/ok", 0x2000A000, 0x1000), []),
        (device("/same/e", 0x2000B000, 0x1000), []),
        (device("/up/f", 0x2000C000, 0x1000), ["dma-ranges 0x0 is 0x1000"]),
        (device("/down/g", 0x2000D000, 0x1000), ["dma-ranges 0x1000 is 0x0"]),
    ],
)
def test_of_the_host(passthrough: str, expected: list[str], viommu: Run, tmp_path: Path) -> None:
    assert said(viommu, tmp_path, passthrough) == expected


@pytest.mark.parametrize("made", [moved, lambda guest: raw(0x60000000, guest)], ids=["x", "raw"])
@pytest.mark.parametrize(
    ("guest", "is_over"),
    [
        # The vSMMU from 0x4040000 to 0x407ffff, memory from 0x40000000 to 0x40ffffff.
        (0x403F000, False),
        (0x4040000, True),
        (0x407F000, True),
        (0x4080000, False),
        (0x3FFFF000, False),
        (0x40000000, True),
        (0x40FFF000, True),
        (0x41000000, False),
    ],
)
def test_of_the_guest(
    guest: int, is_over: bool, made: Callable[[int], str], viommu: Run, tmp_path: Path
) -> None:
    expected = [f"guest-overlap {guest:#x}/0x1000"] if is_over else []
    assert said(viommu, tmp_path, made(guest)) == expected


@pytest.mark.parametrize(
    ("host", "guest", "expected"),
    [
        # In the guest, below, over and above the device.
        (0x60000000, 0x20000000, []),
        (0x60000000, 0x20001000, ["guest-overlap 0x20001000/0x1000"]),
        (0x60000000, 0x20002000, []),
        # What is together on the host is harmless.
        (0x20001000, 0x20001000, []),
        # On the host, the device itself and what is beside it.
        (0x20000000, 0x50000000, ["shared-page 0x20000000/0x1000"]),
        (0x20002000, 0x50000000, []),
        (0x20004000, 0x50000000, []),
        (0x20006000, 0x50000000, ["marked-for-another 0x20006000/0x1000"]),
        (0x20007000, 0x50000000, ["page-shared-with-disabled 0x20007000/0x1000"]),
        (0xF8FFF000, 0x50000000, []),
        (0xF9000000, 0x50000000, ["hypervisor-owned 0xf9000000/0x1000"]),
        (0xF900F000, 0x50000000, ["hypervisor-owned 0xf900f000/0x1000"]),
        (0xF9010000, 0x50000000, []),
        (0x7FFFE000, 0x50000000, []),
        (
            0x80000000,
            0x50000000,
            ["host-memory 0x80000000/0x1000", "shared-page 0x80000fff/0x1"],
        ),
        (0x80002000, 0x50000000, []),
    ],
)
def test_of_what_is_mapped_without_a_device(
    host: int, guest: int, expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    assert said(viommu, tmp_path, raw(host, guest)) == expected


def test_of_a_mapping_with_registers_over_the_vsmmu_once(viommu: Run, tmp_path: Path) -> None:
    registers = "reg = <0 0x4040000 0 0x40000>; xen,reg"
    passthrough = raw(0x60000000, 0x4040000).replace("xen,reg", registers)
    assert said(viommu, tmp_path, passthrough) == ["guest-overlap 0x4040000/0x40000"]


@pytest.mark.parametrize(
    ("guest", "size", "common"),
    [
        (0x403F000, 0x2000, "0x4040000/0x1000"),
        (0x407F000, 0x2000, "0x407f000/0x1000"),
        (0x403F000, 0x42000, "0x4040000/0x40000"),
    ],
)
def test_what_a_mapping_without_a_device_has_in_common(
    guest: int, size: int, common: str, viommu: Run, tmp_path: Path
) -> None:
    found = said(viommu, tmp_path, raw(0x60000000, guest, size))
    assert found == [f"guest-overlap {common}"]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0x61000000, 0x4FFFF000), []),
        ((0x61000000, 0x50000000), ["guest-overlap 0x50000000/0x1000"]),
        ((0x61000000, 0x50001000), []),
        ((0x60000000, 0x50000000), []),
    ],
)
def test_of_two_mappings_without_a_device(
    other: tuple[int, int], expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    host, guest = other
    triples = f"<0 0x60000000 0 0x1000 0 0x50000000>, <0 {host:#x} 0 0x1000 0 {guest:#x}>"
    in_one = f"{B} r {{ xen,reg = {triples}; xen,force-assign-without-iommu; }};"
    assert said(viommu, tmp_path, in_one) == expected
    one, two = raw(0x60000000, 0x50000000), raw(host, guest).removeprefix(B).replace("r {", "s {")
    assert said(viommu, tmp_path, one + two) == expected


def pairs(path: str, *triples: tuple[int, int]) -> str:
    """A node with pages of the host, each at an address of the guest."""
    reg = ", ".join(f"<0 {guest:#x} 0 0x1000>" for _, guest in triples)
    mapping = ", ".join(f"<0 {host:#x} 0 0x1000 0 {guest:#x}>" for host, guest in triples)
    return f'{path} {{ xen,path = "/{path}"; reg = {reg}; xen,reg = {mapping}; }};'


TWO = """n { reg = <0 0x2000e000 0 0x1000>, <0 0x20010000 0 0x1000>; iommus = <&smmu 0x1c>; };
o { reg = <0 0x20012000 0 0x1000>, <0 0x20014000 0 0x1000>; iommus = <&smmu 0x1d>; };
};"""


@pytest.mark.parametrize(
    ("passthrough", "expected"),
    [
        (pairs("n", (0x2000E000, 0x50000000), (0x20010000, 0x50002000)), []),
        # Two regions of one device over each other.
        (
            pairs("n", (0x2000E000, 0x50000000), (0x20010000, 0x50000000)),
            [("n", "0x50000000/0x1000")],
        ),
        # Two of one device over two of another are one mistake, and that of the second.
        (
            pairs("n", (0x2000E000, 0x50000000), (0x20010000, 0x50002000))
            + pairs("o", (0x20012000, 0x50000000), (0x20014000, 0x50002000)),
            [("o", "0x50000000/0x1000")],
        ),
        (
            pairs("n", (0x2000E000, 0x50000000), (0x20010000, 0x50000000))
            + pairs("o", (0x20012000, 0x50004000), (0x20014000, 0x50006000)),
            [("n", "0x50000000/0x1000")],
        ),
    ],
)
def test_of_devices_over_each_other(
    passthrough: str, expected: list[tuple[str, str]], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "host.dts").write_text(HOST.rstrip().removesuffix("};") + TWO)
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % passthrough)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen-rfc", "guest.dts")
    pattern = r"\[guest-overlap\].*node /passthrough/(\w+),.*, found (.*)\)"
    assert re.findall(pattern, outcome.err) == expected


@pytest.mark.parametrize(
    ("profile", "interrupts", "is_told"),
    [
        # dom0less routes what the host node has, xl what the guest's node lists.
        ("xen-rfc", "", True),
        ("xen-v3-libxl", "", False),
        ("xen-v3-libxl", "interrupts = <0 2 4>;", True),
    ],
)
def test_a_line_of_the_guests_own_node(
    profile: str, interrupts: str, is_told: bool, viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "host.dts").write_text(HOST)
    own = """interrupt-parent = <9>; gic { compatible = "arm,gic-v3"; interrupt-controller;
        #interrupt-cells = <3>; phandle = <9>; }; own { interrupts = <0 2 4>; };"""
    text = PARTIAL_TREE % B.replace("interrupts = <0 2 4>;", interrupts)
    (tmp_path / "guest.dts").write_text(text.replace("passthrough {", f"{own} passthrough {{", 1))
    outcome = viommu("bind", "--host", "host.dts", "--profile", profile, "guest.dts")
    assert ("INTID 34 also belongs to /own, a node of the guest" in outcome.err) == is_told


def test_a_vsmmu_that_is_in_the_tree_already_is_in_nobodys_way(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dts").write_text(HOST)
    own = """interrupt-parent = <9>; gic { compatible = "arm,gic-v3"; interrupt-controller;
        #interrupt-cells = <3>; phandle = <9>; };
        iommu@4040000 { compatible = "arm,smmu-v3"; reg = <0 0x4040000 0 0x40000>;
            #iommu-cells = <1>; interrupts = <0 1 1>; };"""
    text = (PARTIAL_TREE % B).replace("passthrough {", f"{own} passthrough {{", 1)
    (tmp_path / "guest.dts").write_text(text)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen-rfc", "guest.dts")
    assert (outcome.status, without_stops(outcome.err)) == (0, "")


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [("/v", 0x2000E000, ["interrupt-clash INTID 44"]), ("/w", 0x2000F000, [])],
)
def test_the_last_line_of_virtio(
    path: str, base: int, expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "viommu.yml").write_text("domain: [virtio]\n")
    assert said(viommu, tmp_path, device(path, base, 0x1000)) == expected


def test_a_mapping_over_more_than_is_told(viommu: Run, tmp_path: Path) -> None:
    pages = [f"n{i} {{ reg = <0 {0x60000000 + i * 0x1000:#x} 0 0x1000>; }};" for i in range(53)]
    host = HOST.replace("memory@", f"{' '.join(pages)} memory@", 1)
    (tmp_path / "host.dts").write_text(host)
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % raw(0x60000000, 0x50000000, 53 * 0x1000))
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    assert outcome.status == 1
    assert outcome.err.count("error: [shared-page] xen,reg maps memory of ") == 50
    assert "error: [shared-page] and 3 more like this" in outcome.err
