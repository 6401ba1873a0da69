# SPDX-License-Identifier: Apache-2.0
"""`viommu audit`: sets that are wrong in one way each, on the host of samples/demo."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from tests.audit.changes import HARMLESS, changed, found, is_fixed, patched
from tests.audit.sets import all_sets, sets_of
from tests.support import Run, corpus_params
from west_viommu.audit.judge import with_marks
from west_viommu.host.intervals import Cover, Interval

ETHERNET = "/soc@e0000000/ethernet@100000"
DMA = "/soc@e0000000/dma-controller@200000"
RIGHT = f"""name = "net"
dtdev = [ "{ETHERNET}", "{DMA}" ]
irqs = [ 88, 92, 93 ]
iomem = [ "e0100,1", "e0200,1" ]
"""
TREE = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
ethernet@e0100000 {
compatible = "cdns,gem";
reg = <0 0xe0100000 0 0x1000>;
interrupts = <0 56 4>; interrupt-parent = <0xfde8>;
xen,reg = <0 0xe0100000 0 0x1000 0 0xe0100000>;
xen,path = "/soc@e0000000/ethernet@100000";
}; }; };
"""
OF_DMA = " 0 0xe0200000 0 0x1000 0 0xe0200000"
MARKS = """/dts-v1/;
/plugin/;
/ { fragment@0 {
target-path = "%s";
__overlay__ { xen,passthrough; };
}; };
"""
NO_MARKS = "the marks (xen,passthrough) are not judged"


def told(err: str) -> list[str]:
    """The first line of each message, without its remedy."""
    return [line for line in err.splitlines() if re.match(r"\S+: (error|warning): ", line)]


def audit(viommu: Run, host: Path, **files: str) -> tuple[int, list[str], str]:
    for name, text in files.items():
        Path(name.replace("_", ".")).write_text(text)
    names = [name.replace("_", ".") for name in files]
    outcome = viommu("audit", "--host", host, "--profile", "xen", *names)
    return outcome.status, told(outcome.err), outcome.out + outcome.err


def test_a_right_set_is_clean(viommu: Run, demo_host: Path) -> None:
    status, messages, text = audit(viommu, demo_host, g_cfg=RIGHT)
    assert (status, messages) == (0, [])
    assert NO_MARKS in text and "2 devices, nothing is wrong" in text


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("88, 92", "92", 3, "[missing] INTID 88 (SPI 56) of /soc@e0000000/ethernet@100000"),
        ("88,", "56,", 3, "[wrong] INTID 88 (SPI 56) of /soc@e0000000/ethernet@100000"),
        ("88,", "88, 88,", 3, "[wrong] INTID 88 is in irqs twice"),
        ("93 ]", "93, 97 ]", 3, "[extra] "),
        ("93 ]", "93, 0x5d ]", 3, "[wrong] xl cannot read this line of irqs"),
        ('"e0200,1" ]', "]", 4, "[missing] page 0xe0200 of"),
        ("e0200,1", "e0200000,1", 4, "[wrong] page 0xe0200 of"),
        ("e0200,1", "e0100,1", 4, 'and these pages are given twice (expected "e0200,1"'),
        ("e0200,1", "e0200,0", 4, "[wrong] this range maps nothing"),
        ("e0200,1", "e0200", 4, "[wrong] xl cannot read this range of iomem"),
        ("e0200,1", "e0200,fffffffffffffff", 4, "not within the address space"),
        ('"e0100,1"', '"e0100,1", "1,1"', 4, "[extra] no node of the host has registers on"),
        (f', "{DMA}"', "", 2, f"[missing] {DMA} is not in dtdev"),
        (f'"{DMA}"', f'"{DMA}", "{DMA}"', 2, "is in dtdev twice"),
        (f'"{DMA}"', f'"{DMA}/"', 2, f"[unknown-host-node] the host has no node {DMA}/"),
        (f'[ "{ETHERNET}", "{DMA}" ]', f'"{ETHERNET}"', 2, "dtdev is a single value"),
        ("irqs", "irq", 3, "[wrong] xl has no key irq"),
        ("irqs = [ 88, 92, 93 ]", "irqs = [ 88 ]; irqs = [ 92, 93 ]", 3, "irqs is set again"),
        ("88", "1000", 3, "[wrong] INTID 88 (SPI 56) of"),
        ("[ 88,", "[ [ 88 ],", 3, "irqs has a list as an item"),
    ],
)
def test_one_slip_in_a_configuration_of_xl(
    old: str, new: str, line: int, words: str, viommu: Run, demo_host: Path
) -> None:
    assert old in RIGHT
    status, messages, _ = audit(viommu, demo_host, g_cfg=RIGHT.replace(old, new, 1))
    assert status == 1
    assert any(m.startswith(f"g.cfg:{line}: error: ") and words in m for m in messages), messages


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("0 0x1000 0 0xe0100000>", f"0 0x1000 0 0xe0100000{OF_DMA}>", 8, "shared-page"),
        ("<0 0xe0100000 0 0x1000 0 0xe0100000>", "<0 0xe0200000 0 0x1000 0 0xe0100000>", 9, DMA),
        ("0 0xe0100000>;\nxen,path", "0 0xe0300000>;\nxen,path", 8, "are mapped to"),
        ("0 0xe0100000>;\nxen,path", "0 0xe0100004>;\nxen,path", 8, "not in whole pages"),
        ("0 0xe0100000>;\nxen,path", "0 0xe0100000 7>;\nxen,path", 8, "has a rest"),
        ("interrupts = <0 56 4>", "interrupts = <0 57 4>", 7, "[wrong] /passthrough/ethernet"),
        ("@100000", "@10000", 9, f"expected {ETHERNET}"),
        ('xen,path = "/soc@e0000000/ethernet@100000";', "", 8, "xen,reg without xen,path"),
    ],
)
def test_one_slip_in_a_partial_tree(
    old: str, new: str, line: int, words: str, viommu: Run, demo_host: Path
) -> None:
    assert old in TREE
    status, messages, text = audit(viommu, demo_host, g_dts=TREE.replace(old, new, 1))
    assert status == 1
    here = [m for m in messages if m.startswith(f"g.dts:{line}: error: ")]
    assert any(words in message for message in here) or (words in text and here), text


def test_a_right_partial_tree_with_its_marks(viommu: Run, demo_host: Path) -> None:
    right = audit(viommu, demo_host, g_dts=TREE, m_overlay=MARKS % ETHERNET)
    assert right[:2] == (0, []) and NO_MARKS not in right[2]
    status, messages, _ = audit(viommu, demo_host, g_dts=TREE, m_overlay=MARKS % DMA)
    assert status == 1
    assert any("g.dts:9: error: [missing]" in message for message in messages)
    assert any(f"m.overlay:5: error: [extra] {DMA}" in message for message in messages)
    slip = audit(viommu, demo_host, g_dts=TREE, m_overlay=MARKS % "/soc@e0000000/ethernet@10000")
    assert any("m.overlay:5: error: [unknown-host-node]" in message for message in slip[1])


def test_a_configuration_and_its_tree(viommu: Run, demo_host: Path) -> None:
    Path("g.dts").write_text(TREE.replace("xen,path", "// xen,path"))
    only = RIGHT.replace(f', "{DMA}"', "").replace(", 92, 93", "").replace(', "e0200,1"', "")
    assert audit(viommu, demo_host, g_cfg=f'device_tree = "g.dtb"\n{only}')[:2] == (0, [])
    moved = only.replace("e0100,1", "e0100,1@e0300")
    status, messages, _ = audit(viommu, demo_host, g_cfg=f'device_tree = "g.dtb"\n{moved}')
    assert status == 1 and any("g.cfg:5: error: [wrong]" in message for message in messages)


def test_domains_are_judged_together(viommu: Run, demo_host: Path) -> None:
    status, messages, _ = audit(viommu, demo_host, a_cfg=RIGHT, b_cfg=RIGHT)
    assert status == 1
    assert any("[duplicate-assignment]" in m and "(a.cfg:2)" in m for m in messages)


def test_an_imagebuilder_configuration(viommu: Run, demo_host: Path) -> None:
    Path("g.dts").write_text(TREE)
    config = 'NUM_DOMUS=1\nDOMU_PASSTHROUGH_DTB[0]="g.dtb"\nDOMU_PASSTHROUGH_PATHS[0]="%s"\n'
    assert audit(viommu, demo_host, c=config % ETHERNET)[:2] == (0, [])
    status, messages, _ = audit(viommu, demo_host, c=config % f"{ETHERNET} {DMA}")
    assert status == 1 and any(f"c:3: error: [extra] {DMA}" in message for message in messages)
    status, messages, _ = audit(viommu, demo_host, c=config % "$(touch x)")
    assert status == 1 and "c:3: error: [malformed]" in messages[0] and not Path("x").exists()


def test_what_is_allowed_is_a_warning(viommu: Run, demo_host: Path) -> None:
    Path("g.dts").write_text(
        TREE.replace("0 0xe0100000>;\nxen,path", f"0 0xe0100000{OF_DMA}>;\nxen,path")
    )
    command = ("audit", "--host", demo_host, "--profile", "xen", "g.dts")
    refused = viommu(*command)
    assert refused.status == 1
    (owner,) = set(re.findall(r"of (/\S+), which stays", refused.err))
    allowed = viommu(*command, "--allow", f"shared-page:{owner}:tried")
    assert allowed.status == 0 and "because: tried" in allowed.err
    assert viommu(*command, "--allow", "shared-page").status == 2


def test_fix_prints_a_diff_and_changes_nothing(viommu: Run, demo_host: Path) -> None:
    wrong = f"""name = "net"
dtdev = [ "{ETHERNET}", # and the DMA controller
 "{DMA}" ]
irqs = [
    56, # the Ethernet
    92,
    93,
    93,
]
iomem = []
iomem += [ "e0100,1", "e0200000,1" ]
"""
    Path("g.cfg").write_text(wrong)
    command = ("audit", "--host", demo_host, "--profile", "xen")
    outcome = viommu(*command, "--fix", "g.cfg")
    assert outcome.status == 1 and Path("g.cfg").read_text() == wrong
    fixed = patched(wrong, outcome.out)
    assert (
        fixed
        == f"""name = "net"
dtdev = [ "{ETHERNET}", # and the DMA controller
 "{DMA}" ]
irqs = [
    # the Ethernet
    92,
    93,
    88,
]
iomem = []
iomem += [ "e0100,1", "e0200,1", ]
"""
    )
    Path("g.cfg").write_text(fixed)
    assert (viommu(*command, "g.cfg").status, viommu(*command, "--fix", "g.cfg").out) == (0, "")


def test_fix_adds_lists_that_are_not_there(viommu: Run, demo_host: Path) -> None:
    wrong = f'irqs = [ 88 ]\niomem = "e0100,1"\ndtdev = [ "{ETHERNET}" ]\n'
    Path("g.cfg").write_text(wrong)
    command = ("audit", "--host", demo_host, "--profile", "xen")
    fixed = patched(wrong, viommu(*command, "--fix", "g.cfg").out)
    assert fixed == f'irqs = [ 88 ]\niomem = [ "e0100,1" ]\ndtdev = [ "{ETHERNET}" ]\n'
    Path("g.cfg").write_text('irqs = [ 88 ]\niomem = [ "e0100,1" ]')
    added = viommu(*command, "--fix", "g.cfg").out
    assert f'+dtdev = [ "{ETHERNET}" ]\n' in added


def test_json_has_devices_and_problems(viommu: Run, demo_host: Path) -> None:
    Path("g.cfg").write_text(RIGHT.replace("88, ", ""))
    command = ("audit", "--host", demo_host, "--profile", "xen", "--json", "g.cfg")
    found_ones = json.loads(viommu(*command).out)
    (domain,) = found_ones["domains"]
    assert [device["host"] for device in domain["devices"]] == [ETHERNET, DMA]
    assert [device["right"] for device in domain["devices"]] == [False, True]
    (problem,) = found_ones["problems"]
    assert (problem["id"], problem["line"], problem["expected"]) == ("missing", 3, "88")


@pytest.mark.parametrize(
    "text, words",
    [
        ("#include <x.h>\nstruct a b = {\n.irqs = { 1 },\n};\n", "C source"),
        ("/dts-v1/;\n/ { x { }; };\n", "neither a partial tree nor has it domains"),
        ("import os\n", "xl does not read this"),
        ("\0\0\0", "zero byte"),
    ],
)
def test_a_file_that_is_no_set(text: str, words: str, viommu: Run, demo_host: Path) -> None:
    status, messages, _ = audit(viommu, demo_host, x=text)
    assert status == 1 and words in messages[0]


def test_sets_of_our_own_are_clean_and_changes_are_found() -> None:
    rng = random.Random(7)
    for each in all_sets(14, 7):
        assert each.audit().status == 0, each
        change = changed(each, rng)
        finding = found(each, change) if change else None
        if change and change.file == "xl.cfg":
            assert is_fixed(each, change), change
        assert finding is None or finding.is_found or finding.reason in HARMLESS, (each, change)


@pytest.mark.parametrize("host", corpus_params())
def test_sets_for_real_hosts_are_clean(host: Path) -> None:
    for each in sets_of(host, 3):
        outcome = each.audit()
        assert outcome.status == 0, (each, outcome.err)


def test_cover_cuts_intervals() -> None:
    cover = Cover([Interval(10, 19), Interval(20, 29), Interval(40, 49)])
    assert cover.parts == [Interval(10, 29), Interval(40, 49)]
    assert cover.rest([Interval(0, 60)]) == [Interval(0, 9), Interval(30, 39), Interval(50, 60)]
    assert cover.rest([Interval(12, 20)]) == []
    assert cover.common([Interval(25, 41)]) == [Interval(25, 29), Interval(40, 41)]
    assert cover.has(10, 29) and not cover.has(10, 30) and not cover.has(30, 30)


def test_marks_are_put_and_taken(demo_host: Path) -> None:
    from west_viommu.read.tree import read_host_tree

    tree = read_host_tree(str(demo_host))
    marked = with_marks(tree, {ETHERNET})
    node, other = marked.node(ETHERNET), marked.node(DMA)
    assert node and "xen,passthrough" in node.properties and other == tree.node(DMA)
    again = with_marks(marked, (), {ETHERNET}).node(ETHERNET)
    assert again and again == tree.node(ETHERNET)
