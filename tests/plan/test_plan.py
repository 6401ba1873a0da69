# SPDX-License-Identifier: Apache-2.0
"""What a plan says of the domain as a whole, and of what viommu.yml says in vain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support import PARTIAL_TREE, Outcome, Run

HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
gic: gic@f9000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
    reg = <0 0xf9000000 0 0x10000>; };
smmu: smmu@10000000 { compatible = "arm,smmu-v3"; reg = <0 0x10000000 0 0x40000>;
    #iommu-cells = <1>; };
a { reg = <0 0x20000000 0 0x1000>; iommus = <&smmu 0x10>; };
b { reg = <0 0x20001000 0 0x1000>; iommus = <&smmu 0x11>; };
off { reg = <0 0x20004000 0 0x2000>; status = "disabled"; };
pmu { interrupts = <1 7 4>; #address-cells = <2>; #size-cells = <2>; ranges;
    c { reg = <0 0x20002000 0 0x1000>; iommus = <&smmu 0x12>; }; };
};
"""


def bound(viommu: Run, folder: Path, passthrough: str, config: str = "") -> Outcome:
    (folder / "host.dts").write_text(HOST)
    (folder / "guest.dts").write_text(PARTIAL_TREE % passthrough)
    (folder / "viommu.yml").write_text(f"profile: xen-rfc\n{config}")
    return viommu("bind", "--host", "host.dts", "guest.dts")


def at(guest: int, host: str = "a", base: int = 0x20000000) -> str:
    """A device that the guest sees at an address of its own."""
    return (
        f'{host} {{ xen,path = "/{host}"; reg = <{guest >> 32} {guest & 0xFFFFFFFF:#x} 0 0x1000>; '
        f"xen,reg = <0 {base:#x} 0 0x1000 {guest >> 32} {guest & 0xFFFFFFFF:#x}>; }};"
    )


def raw(host: int, size: int = 0x1000, guest: int = 0x50000000) -> str:
    mapping = f"xen,reg = <0 {host:#x} 0 {size:#x} 0 {guest:#x}>;"
    return f"r {{ {mapping} xen,force-assign-without-iommu; }};"


@pytest.mark.parametrize(
    ("passthrough", "limit"),
    [
        # Xen's first bank for the RAM of a guest goes from 0x40000000 to 0xffffffff.
        (at(0x20000000), None),
        (at(0x3FFFF000), None),
        (at(0x40001000), 0x1000),
        (at(0xFFFFF000), 0xBFFFF000),
        (at(0x80000000), 0x40000000),
        (at(0x1_0000_0000), None),
        (at(0x1_0000_1000), None),
        # What does not fit there goes from 0x200000000 to 0xffffffffff.
        (at(0x1_FFFF_F000), None),
        (at(0x2_0000_0000), 0xC0000000),
        (at(0x3_0000_0000), 0x1_C000_0000),
        (at(0xFF_FFFF_F000), 0xFE_BFFF_F000),
        (at(0x100_0000_0000), None),
        (at(0x2_0000_1000) + at(0x60000000, "b", 0x20001000), 0x20000000),
        # Up to the lowest of several, with a device or without.
        (at(0x60000000) + at(0x50000000, "b", 0x20001000), 0x10000000),
        (at(0x60000000) + at(0x3FFFF000, "b", 0x20001000), 0x20000000),
        (at(0x60000000) + raw(0x20004000, guest=0x58000000), 0x18000000),
    ],
)
def test_the_memory_ends_below_the_lowest_device_in_its_bank(
    passthrough: str, limit: int | None, viommu: Run, tmp_path: Path
) -> None:
    assert bound(viommu, tmp_path, passthrough).status == 0
    assert json.loads((tmp_path / "viommu/viommu.json").read_text())["memory_limit"] == limit


@pytest.mark.parametrize(
    "passthrough",
    [at(0x40000000), at(0x20000000) + raw(0x20004000, 0x2000, guest=0x3FFFF000)],
)
def test_a_guest_has_memory_from_the_beginning_of_its_bank(
    passthrough: str, viommu: Run, tmp_path: Path
) -> None:
    outcome = bound(viommu, tmp_path, passthrough)
    assert outcome.status == 1
    assert "[guest-overlap] this region overlaps the beginning of the guest's memory" in outcome.err


A = 'a { xen,path = "/a"; };'


@pytest.mark.parametrize(
    ("passthrough", "config", "why"),
    [
        (A, "", None),
        # What dom0 has a right to, it may hand on: a page of its own to the last byte, and no more.
        (A + raw(0x20004000, 0x2000), "", None),
        (A + raw(0x20005000), "", None),
        (
            A + raw(0x20005000, 0x2000),
            "",
            "Xen gives dom0 no right to the memory that /passthrough/r maps",
        ),
        (A + raw(0x20003000), "", "Xen gives dom0 no right to the memory that /passthrough/r maps"),
        ('c { xen,path = "/pmu/c"; };', "", "Xen gives dom0 no right to /pmu/c"),
        (A + 'c { xen,path = "/pmu/c"; };', "", "Xen gives dom0 no right to /pmu/c"),
        (A, "dom0: none\n", "there is no dom0, where xl would run"),
    ],
)
def test_what_hinders_xl(
    passthrough: str, config: str, why: str | None, viommu: Run, tmp_path: Path
) -> None:
    outcome = bound(viommu, tmp_path, passthrough, config)
    assert outcome.status == 0, outcome.err
    notes = re.findall(r"note: nothing for libxl: (.*)", outcome.err)
    assert notes == ([why] if why else [])
    assert (tmp_path / "viommu/xl.cfg").exists() == (why is None)


def region(device: str, base: int) -> str:
    return f"regions: [{{device: {device}, region: [{base:#x}, 0x4], reason: a test}}]\n"


NO_NODE = "no guest node of /a lists the region"
VSIDS = "vsids count only under the policy explicit"


@pytest.mark.parametrize(
    ("passthrough", "config", "what"),
    [
        (A, region("/a", 0x20004010), f"{NO_NODE} 0x20004010/0x4"),
        ('a { xen,path = "/a"; reg = <0 0x20004010 0 4>; };', region("/a", 0x20004010), None),
        (A, "vsid: explicit\nvsids: {/a: [0]}\n", None),
        (A, "vsid: explicit\nvsids: {/passthrough/a: [0]}\n", None),
        (A, "vsids: {/a: [0]}\n", VSIDS),
        (
            A,
            "vsid: explicit\nvsids: {/a: [0], /b: [1]}\n",
            "vsids numbers /b, which no guest node asks for",
        ),
        (
            A,
            "vsid: explicit\nvsids: {/a: [0], /passthrough/a: [0]}\n",
            "vsids numbers /passthrough/a twice",
        ),
    ],
)
def test_what_viommu_yml_says_in_vain(
    passthrough: str, config: str, what: str | None, viommu: Run, tmp_path: Path
) -> None:
    outcome = bound(viommu, tmp_path, passthrough, config)
    found = re.findall(r"error: \[malformed\] (.*?)(?: \(.*)?\n", outcome.err)
    assert found == ([what] if what else []), outcome.err
    assert outcome.status == len(found)


def ids(outcome: Outcome) -> list[str]:
    """The ids of the errors that are told."""
    return re.findall(r"error: \[([\w-]+)\]", outcome.err)


ALLOW = "allow: [{{hazard: {}, device: /a, reason: a test}}]\n"


@pytest.mark.parametrize(
    ("passthrough", "config", "expected"),
    [
        # One part that is missing is a mistake; two are another host, which is told once.
        ('x { xen,path = "/nothing"; };', "", ["unknown-host-node"]),
        ('x { xen,path = "/nothing"; iommus = <0 0x99>; };', "", ["wrong-host"]),
        (
            'x { xen,path = "/nothing"; iommus = <0 0x99>; };'
            'y { xen,path = "/neither"; iommus = <0 0x98>; };',
            "",
            ["wrong-host"],
        ),
        (
            'x { xen,path = "/nothing"; iommus = <0 0x99>; interrupts = <0 200 4>; };',
            "",
            ["wrong-host"],
        ),
        # What one node is refused for already hides nothing of the next.
        (
            'x { xen,path = "/gic@f9000000"; }; y { xen,path = "/off"; };',
            "",
            ["hypervisor-owned", "unprotected"],
        ),
        # What is not known for a mistake of another kind is not told.
        (
            'x { xen,path = "/nothing"; };',
            "vsid: explicit\nvsids: {/b: [0]}\n",
            ["unknown-host-node"],
        ),
    ],
)
def test_one_mistake_is_told_once(
    passthrough: str, config: str, expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    assert ids(bound(viommu, tmp_path, passthrough, config)) == expected


@pytest.mark.parametrize(
    ("count", "config", "errors"),
    [
        (2, "", 1),
        (2, ALLOW.format("duplicate-assignment"), 0),
        # Of one device, sixteen at most.
        (16, ALLOW.format("duplicate-assignment"), 0),
        (17, ALLOW.format("duplicate-assignment"), 1),
        (18, ALLOW.format("duplicate-assignment"), 2),
    ],
)
def test_several_requests_for_one_device(
    count: int, config: str, errors: int, viommu: Run, tmp_path: Path
) -> None:
    passthrough = "".join(f'd{i} {{ xen,path = "/a"; }};' for i in range(count))
    outcome = bound(viommu, tmp_path, passthrough, config)
    assert ids(outcome) == ["duplicate-assignment"] * errors
    if not errors:
        devices = json.loads((tmp_path / "viommu/viommu.json").read_text())["devices"]
        assert [each["node"] for each in devices] == [f"/passthrough/d{i}" for i in range(count)]


@pytest.mark.parametrize(("vsid", "is_told"), [(0x0F, True), (0x10, False), (0x11, True)])
def test_other_numbers_for_a_xen_that_keeps_ids(
    vsid: int, is_told: bool, viommu: Run, tmp_path: Path
) -> None:
    config = f"vsid: explicit\nvsids: {{/a: [{vsid}]}}\n"
    outcome = bound(viommu, tmp_path, A, config)
    assert outcome.status == 0
    assert ("xen-rfc keeps stream IDs" in outcome.err) == is_told


def test_the_ids_that_the_node_leaves_out(viommu: Run, tmp_path: Path) -> None:
    both = HOST.replace("<&smmu 0x10>", "<&smmu 0x10>, <&smmu 0x15>")
    (tmp_path / "host.dts").write_text(both)
    node = 'a { xen,path = "/a"; reg = <0 0x20000000 0 0x1000>; iommus = <0x0 0x10>; };'
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % node)
    assert viommu("bind", "--host", "host.dts", "guest.dts").status == 0
    (device,) = json.loads((tmp_path / "viommu" / "viommu.json").read_text())["devices"]
    assert [each["pmaster"] for each in device["omitted"]] == [0x15]


def test_a_second_node_for_a_device_is_one_message(viommu: Run, tmp_path: Path) -> None:
    outcome = bound(viommu, tmp_path, at(0x20000000) + at(0x20000000).replace("a {", "a2 {", 1))
    assert outcome.status == 1
    assert re.findall(r"error: \[([\w-]+)\]", outcome.err) == ["duplicate-assignment"]
