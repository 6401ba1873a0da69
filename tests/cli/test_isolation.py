# SPDX-License-Identifier: Apache-2.0
"""What must not slip through, and the nearest that must: pages, addresses, interrupts, numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import CHECKOUT, Run

PAGES = (CHECKOUT / "tests" / "hosts" / "pages.dts").read_text()
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; %s
passthrough { #address-cells = <2>; #size-cells = <2>; ranges; %s }; };
"""
CAN = "can { reg = <0 0x22000000 0 0x100>; iommus = <0 4>; };"
USB = "usb { reg = <0 0x21000000 0 0x100>; iommus = <0 3>; };"
NET = "net { reg = <0 0x23000000 0 0x1000>; iommus = <0 5>; %s };"
MOVED = """net { reg = <0 0x%x 0 0x1000>; iommus = <0 5>;
xen,reg = <0 0x23000000 0 0x1000 0 0x%x>; };"""
# Name, what of the host to replace by what, beside /passthrough, in it, the ids that are printed.
CASES = [
    ("a clock on the page", {}, "", CAN, {"error: shared-page"}),
    (
        "a number that is the phandle of what is on the page",
        {"clocks = <&clock 0>;": "bus-width = <&clock>;"},
        "",
        CAN,
        {"error: shared-page"},
    ),
    ("the PHY and a block of shared registers", {}, "", USB, {"warning: shared-page"}),
    (
        "a PHY that another device uses as well",
        {"wide@27000000 {": "wide@27000000 { phys = <&phy>;"},
        "",
        USB,
        {"error: shared-page", "warning: shared-page"},
    ),
    ("a bus around the device", {}, "", NET % "", set()),
    (
        "Zephyr's memory, which is no device_type memory",
        {},
        'memory@40000000 { device_type = "mmio-sram"; reg = <0 0x40000000 0 0x1000000>; };',
        MOVED % (0x40800000, 0x40800000),
        {"error: guest-overlap"},
    ),
    (
        "another node of the guest",
        {},
        "uart@50000800 { reg = <0 0x50000800 0 0x100>; };",
        MOVED % (0x50000000, 0x50000000),
        {"error: guest-overlap"},
    ),
    (
        "another node, that is not enabled",
        {},
        'uart@50000800 { reg = <0 0x50000800 0 0x100>; status = "disabled"; };',
        MOVED % (0x50000000, 0x50000000),
        set(),
    ),
    (
        "the same address twice in one xen,reg",
        {"reg = <0 0x23000000 0 0x1000>;": "reg = <0 0x23000000 0 0x1000 0 0x23004000 0 0x1000>;"},
        "",
        """net { reg = <0 0x50000000 0 0x1000>; iommus = <0 5>; xen,reg = <0 0x23000000 0 0x1000
        0 0x50000000>, <0 0x23004000 0 0x1000 0 0x50000000>; };""",
        {"error: guest-overlap"},
    ),
    ("xen,reg of no size", {}, "", NET % "xen,reg = <0 0 0 0 0 0>;", {"error: malformed"}),
    (
        "an interrupt that the host keeps",
        {"interrupts = <0 11 4>;": "interrupts = <0 14 4>;"},
        "",
        NET % "interrupts = <0 14 4>;",
        {"error: interrupt-clash"},
    ),
    (
        "an interrupt of a device that is not enabled",
        {'status = "disabled";': 'status = "disabled"; interrupts = <0 14 4>;'},
        "",
        NET % "interrupts = <0 14 4>;",
        {"warning: interrupt-shared-with-disabled"},
    ),
    (
        "the vSMMU's interrupt, which dom0less routes even if it is left out",
        {"interrupts = <0 14 4>;": "interrupts = <0 14 4>, <0 1 4>;"},
        "",
        NET % "interrupts = <0 14 4>;",
        {"error: interrupt-clash"},
    ),
    (
        "the other trigger, as by a copy of Linux's 4 into Zephyr",
        {},
        """interrupt-parent = <&gic>; gic: gic { compatible = "arm,gic-v3"; interrupt-controller;
        #interrupt-cells = <4>; };""",
        NET % "interrupts = <0 14 4 0xa0>;",
        {"warning: interrupt-mismatch"},
    ),
]


@pytest.mark.parametrize(
    ("changes", "beside", "devices", "expected"),
    [pytest.param(*case, id=name) for name, *case in CASES],
)
def test_a_hazard_and_its_twin(
    changes: dict[str, str],
    beside: str,
    devices: str,
    expected: set[str],
    viommu: Run,
    tmp_path: Path,
) -> None:
    host = PAGES
    for old, new in changes.items():
        assert old in host
        host = host.replace(old, new)
    (tmp_path / "host.dts").write_text(host)
    (tmp_path / "guest.dts").write_text(GUEST % (beside, devices))
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    found = re.findall(r"(error|warning): \[([a-z-]+)\]", outcome.err)
    # The nodes here are as short as can be, without interrupts.
    said = {f"{severity}: {hazard}" for severity, hazard in found} - {"warning: parts-omitted"}
    assert said == expected, outcome.err
    assert outcome.status == any(each.startswith("error") for each in expected)


def test_a_part_of_an_assigned_node_that_is_mapped_nowhere(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dts").write_text(PAGES)
    child = "core@60000000 { reg = <0 0x60000000 0 0x1000>; };"
    bus = "#address-cells = <2>; #size-cells = <2>; ranges; "
    (tmp_path / "guest.dts").write_text(GUEST % ("", NET % (bus + child)))
    err = viommu("bind", "--host", "host.dts", "guest.dts").err
    assert "note: /passthrough/net/core@60000000 asks for no host device" in err


def test_a_part_of_the_device_is_kept_from_dom0(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dts").write_text(PAGES)
    (tmp_path / "guest.dts").write_text(GUEST % ("", USB))
    viommu("bind", "--host", "host.dts", "guest.dts")
    marked = re.findall(r'target-path = "(.*)";', (tmp_path / "viommu/host.overlay").read_text())
    assert marked == ["/usb@21000000", "/phy@21000100"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vsids: {/a: [0x_]}", "this is not a stream ID (expected 32 bits, found 0x_)"),
        ("vsids: {/a: [" + "9" * 5000 + "]}", "this is not a stream ID"),
        ("vsids: {/a: [!!int x]}", "tags are not read here"),
        ("[" * 3000, "nested too deeply"),
    ],
)
def test_hostile_yaml(text: str, says: str, viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "viommu.yml").write_text(text)
    (tmp_path / "guest.dts").write_text(GUEST % ("", NET % ""))
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    assert outcome.status == 1
    assert says in outcome.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"intid": 33', '"intid": 33.0', "intid is not a number (expected 32 to 1019, found 33.0)"),
        ('"combined"', '"combined\\n"', "name has other characters"),
        ('"mine"', '"xen-rfc"', "a shipped profile has this name"),
        ("0xfdea", "true", "phandle is not a number"),
        ('"name": "mine"', "[" * 5000, "nested too deeply"),
    ],
)
def test_hostile_profiles(old: str, new: str, says: str, viommu: Run, tmp_path: Path) -> None:
    text = viommu("profiles", "xen-rfc").out.replace('"xen-rfc"', '"mine"')
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    (tmp_path / "host.dts").write_text(PAGES)
    (tmp_path / "guest.dts").write_text(GUEST % ("", NET % ""))
    outcome = viommu("bind", "--host", "host.dts", "--profile", "mine.yaml", "guest.dts")
    assert outcome.status == 1
    assert says in outcome.err


def test_other_peoples_files_stay(viommu: Run, tmp_path: Path) -> None:
    out = tmp_path / "viommu"
    out.mkdir()
    theirs = [".xl.cfg.swp", ".host.overlay.orig", ".viommu.json.123", ".west-viommu.bak"]
    for name in (*theirs, ".west-viommu.123"):
        (out / name).touch()
    (tmp_path / "guest.dts").write_text(GUEST % ("", NET % "nonsense"))
    assert viommu("bind", "--host", "host.dts", "guest.dts").status == 1
    assert sorted(path.name for path in out.iterdir()) == sorted(theirs)


def test_a_neighbour_whose_status_is_no_text_counts_as_enabled(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dts").write_text(PAGES.replace('status = "disabled";', "status = <1>;", 1))
    (tmp_path / "guest.dts").write_text(
        GUEST % ("", "a { reg = <0 0x20000000 0 0x100>; iommus = <0 1>; };")
    )
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    assert outcome.status == 1
    assert "[shared-page] /serial@20000200 has registers on a page" in outcome.err
    assert viommu("extract", "--host", "host.dts", "/serial@20000000").status == 0


@pytest.mark.parametrize(
    "text", ["name: !!float ''", "toolstacks: [libxl]\ntoolstacks: [x, y, libxl]"]
)
def test_profiles_that_yaml_stumbles_over(text: str, viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"{text}\n")
    (tmp_path / "host.dts").write_text(PAGES)
    (tmp_path / "guest.dts").write_text(GUEST % ("", NET % ""))
    assert viommu("bind", "--host", "host.dts", "--profile", "./p.yaml", "guest.dts").status == 1
