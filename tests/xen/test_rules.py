# SPDX-License-Identifier: Apache-2.0
"""The model of Xen against captures of a real one, and each of its rules against one mistake."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import blob
from tests.xen.captured import capture
from tests.xen.nodes import Node, pack, tree
from tests.xen.rules import (
    dom0less_faults,
    dom0less_guest_tree,
    dom0less_vsids,
    libxl_faults,
    libxl_guest_tree,
    libxl_vsids,
    unmarked,
)

NAMES = ("A", "B", "B_aliases_first", "E1")

HOST = """
/dts-v1/;
/ {
    interrupt-parent = <&gic>;
    #address-cells = <2>;
    #size-cells = <2>;
    gic: gic@2f000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
    smmu0: iommu@10000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };
    smmu1: iommu@11000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };
    off: iommu@12000000 {
        compatible = "arm,smmu-v3"; #iommu-cells = <1>; status = "disabled";
    };
    soc {
        #address-cells = <1>;
        #size-cells = <1>;
        ranges = <0x0 0x0 0x80000000 0x10000000>;
        eth: eth@20000 {
            reg = <0x20000 0x1000>, <0x30200 0x200>;
            interrupts = <0 40 4>, <0 41 1>;
            iommus = <&smmu0 0x10>, <&smmu0 0x11>;
        };
        dma@40000 { reg = <0x40000 0x2000>; interrupts = <0 42 4>; iommus = <&smmu1 0x20>; };
        twin@50000 { reg = <0x50000 0x1000>; iommus = <&smmu1 0x20>; };
        namesake@60000 { reg = <0x60000 0x1000>; iommus = <&smmu1 0x10>; };
        two@70000 { reg = <0x70000 0x1000>; iommus = <&smmu0 0x30>, <&smmu1 0x31>; };
        off@80000 { reg = <0x80000 0x1000>; iommus = <&off 0x40>; };
        ppi@90000 { reg = <0x90000 0x1000>; interrupts = <1 5 4>; iommus = <&smmu0 0x50>; };
        one@a0000 { reg = <0xa0000 0x1000>; interrupts = <0 1 4>; iommus = <&smmu0 0x60>; };
        bare@b0000 { reg = <0xb0000 0x1000>; };
        map@c0000 { reg = <0xc0000 0x1000>; iommu-map = <0 &smmu0 0x70 1>; };
        virtual { iommus = <&smmu0 0x80>; };
    };
};
"""

# The tree that both take but for the lines with interrupt-parent.
GOOD = """
/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    passthrough {
        compatible = "simple-bus";
        ranges;
        #address-cells = <2>;
        #size-cells = <2>;
        clk { phandle = <7>; #clock-cells = <1>; };
        eth@30000000 {
            reg = <0 0x30000000 0 0x1000>, <0 0x30010200 0 0x200>;
            interrupts = <0 40 4>, <0 41 1>;
            interrupt-parent = <1>;
            clocks = <7 3>;
            iommus = <0 0x10>, <0 0x11>;
            xen,reg = <0 0x80020000 0 0x1000 0 0x30000000>,
                      <0 0x80030000 0 0x1000 0 0x30010000>;
            xen,path = "/soc/eth@20000";
        };
        dma@80040000 {
            reg = <0 0x80040000 0 0x2000>;
            interrupts = <0 42 4>;
            interrupt-parent = <1>;
            iommus = <0 0x20>;
            xen,reg = <0 0x80040000 0 0x2000 0 0x80040000>;
            xen,path = "/soc/dma@40000";
        };
        virtual { iommus = <0 0x80>; xen,reg; xen,path = "/soc/virtual"; };
        bare@800b0000 {
            reg = <0 0x800b0000 0 0x1000>;
            xen,reg = <0 0x800b0000 0 0x1000 0 0x800b0000>;
            xen,force-assign-without-iommu;
        };
    };
    aliases { ethernet0 = "/passthrough/eth@30000000"; };
    gic { phandle = <1>; };
};
"""
DMA = "dma@80040000 {"
EXTRA = "virtual {"
DMA_REG = "xen,reg = <0 0x80040000 0 0x2000 0 0x80040000>"


class Change(NamedTuple):
    """One mistake: `old` in the good tree becomes `new`, and the fault says `words`."""

    name: str
    old: str
    new: str
    words: str


def device(host: str, iommus: str = "0 0x99") -> str:
    """A node that assigns /soc/`host`, NAME@ADDRESS there."""
    at = f"0x800{host.partition('@')[2]}"
    return (
        f"more@{at} {{ reg = <0 {at} 0 0x1000>; iommus = <{iommus}>;"
        f' xen,reg = <0 {at} 0 0x1000 0 {at}>; xen,path = "/soc/{host}"; }};'
    )


def another(host: str, iommus: str = "0 0x99") -> str:
    """The same before the node EXTRA, to stand in its place."""
    return f"{device(host, iommus)} {EXTRA}"


BOTH = (
    Change("no /passthrough", "passthrough {", "passed {", "no /passthrough"),
    Change("not first", "    passthrough {", "first { }; passthrough {", "not the first child"),
    Change("not a bus", "simple-bus", "a-bus", "no simple-bus"),
    Change("no ranges", "ranges;", "", "/passthrough: no ranges"),
    Change("reg that goes nowhere", "ranges;", "", "does not translate"),
    Change("ranges elsewhere", "ranges;", "ranges = <0 0 1 0 1 0>;", "is not covered by xen,reg"),
    Change(
        "default address cells", "        #address-cells = <2>;", "", "/passthrough: no #address"
    ),
    Change("default size cells", "        #size-cells = <2>;", "", "/passthrough: no #size-cells"),
    Change("iommus on the bus", "ranges;", "ranges; iommus = <0 1>;", "iommus on the node itself"),
    Change("xen,reg on the bus", "ranges;", "ranges; xen,reg;", "xen,reg on the node itself"),
    Change("two of a name", "clk {", "clk { }; clk {", "2 nodes of this name"),
    Change("aliases first", "    passthrough {", "aliases { }; passthrough {", "stands before"),
    Change("child of aliases", '30000000"; };', '30000000"; kid { }; };', "a child of /aliases"),
    Change("iommus in aliases", "aliases {", "aliases { iommus = <0 1>;", "/aliases: iommus"),
    Change("dangling alias", '"/passthrough/eth@30', '"/passthrough/eth@40', "names no node"),
    Change("vSMMU by name", EXTRA, f"iommu@4040000 {{ }}; {EXTRA}", "a vSMMU node"),
    Change("vSMMU", "clk {", 'clk { compatible = "arm,smmu-v3";', "a vSMMU node"),
    Change("phandle of the vSMMU", "<7>", "<0xfdea>", "0xfdea is one of Xen's own"),
    Change("phandle of the GIC", "<7>", "<0xfde8>", "0xfde8 is one of Xen's own"),
    Change("high phandle", "<7>", "<64999>", "64999 is not in 1..64998"),
    Change("phandle twice", "phandle = <7>", "phandle = <1>", "is also that of /passthrough/clk"),
    Change("dangling clock", "clocks = <7 3>", "clocks = <8 3>", "clocks refers to 0x8"),
    Change("second clock", "clocks = <7 3>", "clocks = <7 3 9 1>", "clocks refers to 0x9"),
    Change("pinctrl", "clocks = <7 3>", "pinctrl-0 = <9>", "pinctrl-0 refers to 0x9"),
    Change("supply", "clocks = <7 3>", "vdd-supply = <9>", "vdd-supply refers to 0x9"),
    Change("gpio", "clocks = <7 3>", "reset-gpios = <9 1 0>", "reset-gpios refers to 0x9"),
    Change(
        "reference to the bus", "clocks = <7 3>", "phy-handle = <1>", "phy-handle refers to 0x1"
    ),
    Change("host's map", DMA, f"{DMA} iommu-map = <0 9 0 1>;", "iommu-map refers to 0x9"),
    Change("no host node", "/soc/dma@40000", "/soc/dma", "/soc/dma is no node of the host"),
    Change("two paths", '"/soc/virtual"', '"/soc/virtual", "/b"', "xen,path is not one string"),
    Change("twice", '"/soc/virtual"', '"/soc/dma@40000"', "/soc/dma@40000 is already assigned by"),
    Change("half a triple", DMA_REG, f"{DMA_REG}, <0>", "28 bytes, not a multiple of 24"),
    Change("host address", "0x80040000 0 0x2000 0 ", "0x80040200 0 0x2000 0 ", "not page aligned"),
    Change("guest address", f"{DMA_REG[:-1]}", f"{DMA_REG[:-2]}8", "not page aligned"),
    Change("size", "0x80040000 0 0x2000 0 ", "0x80040000 0 0x1800 0 ", "not page aligned"),
    Change("no size", "0x80040000 0 0x2000 0 ", "0x80040000 0 0 0 ", "has size 0"),
    Change(
        "page of another", "0x80040000 0 0x2000 0 ", "0x80040000 0 0x3000 0 ", "maps 0x80040000"
    ),
    Change("untranslated", "<0 0x80040000 0 0x2000 0 ", "<0 0x40000 0 0x2000 0 ", "maps 0x40000"),
    Change(
        "larger reg", "reg = <0 0x80040000 0 0x2000>", "reg = <0 0x80040000 0 0x3000>", "is not"
    ),
    Change("wrong register", "0 0x30010200 0 0x200>", "0 0x30010000 0 0x200>", "no register of"),
    Change(
        "swapped guest pages", "0 0x1000 0 0x30010000", "0 0x1000 0 0x30000000", "guest page twice"
    ),
    Change("over the vSMMU", "0x30000000", "0x4040000", "hides Xen's own at 0x4040000"),
    Change("over the GIC", "0x30000000", "0x3020000", "hides Xen's own at 0x3020000"),
    Change("cells of Zephyr", "<0 42 4>", "<0 42 4 160>", "not rows of 3 cells"),
    Change("PPI", "<0 42 4>", "<1 42 4>", "interrupt of type 1"),
    Change("flags of Zephyr", "<0 42 4>", "<0 42 2>", "flags 0x2"),
    Change("another trigger", "<0 42 4>", "<0 42 1>", "INTID 74 has other flags"),
    Change("another INTID", "<0 42 4>", "<0 43 4>", "INTID 75 is not one of"),
    Change("INTID for SPI", "<0 42 4>", "<0 74 4>", "INTID 106 is not one of"),
    Change("INTID of the vSMMU", EXTRA, another("one@a0000", "0 0x60"), "33 is the vSMMU's"),
    Change("masks", "iommus = <0 0x20>", "iommus = <0 0x20 0>", "12 bytes"),
    Change("empty iommus", "iommus = <0 0x20>", "iommus", "0 bytes"),
    Change("unknown ID", "iommus = <0 0x20>", "iommus = <0 0x21>", "stream ID 0x21 is not one of"),
    Change("no iommus", "iommus = <0 0x20>;", "", "xen,path without iommus"),
    Change("nothing assigned", "clk {", "clk { iommus = <0 1>;", "iommus without xen,path"),
    Change("unprotected", EXTRA, another("bare@b0000"), "is behind no SMMUv3"),
    Change("map only", EXTRA, another("map@c0000"), "is behind no SMMUv3"),
    Change("disabled SMMU", EXTRA, another("off@80000", "0 0x40"), "is behind no SMMUv3"),
    Change("two SMMUs", EXTRA, another("two@70000", "0 0x30"), "more than one IOMMU"),
    Change("shared ID", EXTRA, another("twin@50000", "0 0x20"), "shares stream ID 0x20"),
    Change("colliding ID", EXTRA, another("namesake@60000", "0 0x10"), "collides in stream ID"),
)
DOM0LESS_ONLY = (
    Change("no /gic", "gic {", "pic {", "no /gic"),
    Change("GIC without phandle", "phandle = <1>;", "", "/gic: no phandle"),
    Change("path alone", "xen,reg; ", "", "xen,path without xen,reg"),
    Change("reg alone", "xen,force-assign-without-iommu;", "", "xen,reg without xen,path"),
    Change("inherited parent", "    interrupt-parent = <1>;", "", "without an interrupt-parent"),
    Change("parent", "interrupt-parent = <1>;", "interrupt-parent = <7>;", "not the phandle of"),
    Change("PPI of the host", EXTRA, another("ppi@90000", "0 0x50"), "private interrupt 21"),
)
DEEP = f"bus {{ ranges; #address-cells = <2>; #size-cells = <2>; {device('ppi@90000')} }};"
LONG = "x" * 120
LIBXL_ONLY = (
    Change("parent", "ranges;", "ranges; interrupt-parent = <1>;", "in a tree for libxl"),
    Change("deep", EXTRA, f"{DEEP} {EXTRA}", "libxl leaves iommus alone"),
    Change("long path", EXTRA, f"{LONG} {{", "path of more than 127 bytes"),
)


def dom0less_source(change: Change | None = None) -> str:
    return changed(GOOD, change)


def libxl_source(change: Change | None = None) -> str:
    return changed(GOOD.replace("            interrupt-parent = <1>;\n", ""), change)


def changed(source: str, change: Change | None) -> str:
    if change is None:
        return source
    assert change.old in source
    return source.replace(change.old, change.new)


def by_name(change: Change) -> str:
    return change.name


def test_a_good_tree_is_accepted() -> None:
    assert dom0less_faults(blob(dom0less_source()), blob(HOST)) == []
    assert libxl_faults(blob(libxl_source()), blob(HOST)) == []


@pytest.mark.parametrize("change", [*BOTH, *DOM0LESS_ONLY], ids=by_name)
def test_dom0less_refuses(change: Change) -> None:
    faults = dom0less_faults(blob(dom0less_source(change)), blob(HOST))
    assert [fault for fault in faults if change.words in fault], faults


@pytest.mark.parametrize("change", [*BOTH, *LIBXL_ONLY], ids=by_name)
def test_libxl_refuses(change: Change) -> None:
    faults = libxl_faults(blob(libxl_source(change)), blob(HOST))
    assert [fault for fault in faults if change.words in fault], faults


ACCEPTED = (
    Change("any phandle", "iommus = <0 0x20>", "iommus = <0x1234 0x20>", ""),
    Change("disabled", DMA, f'{DMA} status = "disabled";', ""),
    Change("fewer IDs", "<0 0x10>, <0 0x11>", "<0 0x11>", ""),
    Change("an ID twice", "<0 0x10>, <0 0x11>", "<0 0x10>, <0 0x10>", ""),
    Change("fewer interrupts", "<0 40 4>, ", "", ""),
    Change("highest phandle", "<7", "<64998", ""),
    Change("gap in a list", "clocks = <7 3>", "clocks = <0 7 3>", ""),
    Change("no aliases", 'aliases { ethernet0 = "/passthrough/eth@30000000"; };', "", ""),
    Change("stub SMMU", "    gic {", "smmu { #iommu-cells = <1>; phandle = <2>; }; gic {", ""),
    Change("unused", "        clk {", "spare { }; clk {", ""),
)


@pytest.mark.parametrize("change", ACCEPTED, ids=by_name)
def test_accepted(change: Change) -> None:
    assert dom0less_faults(blob(dom0less_source(change)), blob(HOST)) == []
    assert libxl_faults(blob(libxl_source(change)), blob(HOST)) == []


def test_what_is_no_blob() -> None:
    assert dom0less_faults(b"nothing", blob(HOST)) == ["no valid devicetree blob"]
    assert libxl_faults(blob(GOOD)[:-8], blob(HOST)) == ["no valid devicetree blob"]


GOOD_BLOB, HOST_BLOB = blob(GOOD), blob(HOST)


@settings(deadline=None, derandomize=True)
@given(st.integers(56, len(GOOD_BLOB) - 1), st.integers(0, 255))
def test_a_broken_tree_ends_in_faults_not_in_an_exception(at: int, byte: int) -> None:
    broken = bytearray(GOOD_BLOB)
    broken[at] = byte
    for faults in (dom0less_faults, libxl_faults):
        assert all(isinstance(fault, str) for fault in faults(bytes(broken), HOST_BLOB))


def test_host_nodes_without_the_mark() -> None:
    marked = HOST.replace("eth: eth@20000 {", "eth: eth@20000 { xen,passthrough;")
    assert unmarked(blob(GOOD), blob(marked)) == ["/soc/dma@40000", "/soc/virtual"]


@pytest.mark.parametrize("name", NAMES)
def test_the_guest_tree_is_what_xen_gave(name: str) -> None:
    """The captured guests had a console by vpl011. Whole trees, the templated nodes too."""
    model = tree(dom0less_guest_tree(capture(f"{name}-in"), vpl011=True))
    real = tree(capture(name))
    assert [child.name for child in model.children] == [child.name for child in real.children]
    for wanted in ("passthrough", "aliases", "iommu@4040000"):
        assert model.child(wanted) == real.child(wanted)
    assert model == real


@pytest.mark.parametrize("name", NAMES)
def test_the_vsids_are_those_xen_gave(name: str) -> None:
    given = tree(capture(f"{name}-in"))
    real = {node.path: node for node in tree(capture(name)).below()}
    vsids = dom0less_vsids(capture(f"{name}-in"))
    assert vsids == {path: real[path].cells("iommus")[1::2] for path in vsids}
    walked = {n.path for n in given.below() if "iommus" in n.props and n.path != "/aliases"}
    assert set(vsids) == walked


WALK = """
/dts-v1/;
/ {
    passthrough {
        iommus = <0 0x1>;
        a { iommus = <5 0x10 6 0x10>; b { iommus = <0 0x11>; status = "disabled"; }; };
        odd { iommus = <0 0x12 0x13 0 0x14>; };
        less { iommus = <0>; };
        c { xen,reg; xen,path = "/c"; xen,force-assign-without-iommu; iommus = <0 0x15>; };
    };
    gic { phandle = <3>; };
    aliases { xen,path = "/a"; kid { iommus = <0 0x16>; }; };
};
"""


def test_the_walk_of_dom0less() -> None:
    found = {
        "/passthrough/a": [4, 5],
        "/passthrough/a/b": [6],
        "/passthrough/odd": [7, 8],
        "/passthrough/less": [],
        "/passthrough/c": [9],
        "/aliases/kid": [10],
    }
    assert dom0less_vsids(blob(WALK), first=4) == found
    first = {path: [vsid - 4 for vsid in vsids] for path, vsids in found.items()}
    assert dom0less_vsids(blob(WALK)) == first


def test_the_walk_of_libxl() -> None:
    found = {
        "/passthrough/a": [0, 1],
        "/passthrough/odd": [2, 3],
        "/passthrough/less": [],
        "/passthrough/c": [4],
    }
    assert libxl_vsids(blob(WALK), has_vpci=False) == found
    after = {path: [vsid + 0x1000 for vsid in vsids] for path, vsids in found.items()}
    assert libxl_vsids(blob(WALK), has_vpci=True) == after


def node(root: Node, path: str) -> Node:
    return next(found for found in root.below() if found.path == path)


def test_the_guest_tree_of_dom0less() -> None:
    guest = tree(dom0less_guest_tree(blob(WALK)))
    assert node(guest, "/passthrough").cells("iommus") == [0, 1]
    assert node(guest, "/passthrough/a").cells("iommus") == [0xFDEA, 0, 0xFDEA, 1]
    assert node(guest, "/passthrough/odd").cells("iommus") == [0xFDEA, 3, 0xFDEA, 4, 0]
    assert node(guest, "/passthrough/less").cells("iommus") == [0]
    assert list(node(guest, "/passthrough/c").props) == ["iommus"]
    assert node(guest, "/aliases").strings("xen,path") == ["/a"]
    assert node(guest, "/iommu@4040000").props["interrupt-parent"] == pack(3)
    assert node(guest, "/interrupt-controller@3001000").phandles() == {3}
    assert guest.child("gic") is None


def test_the_guest_tree_without_a_vsmmu() -> None:
    guest = tree(dom0less_guest_tree(blob(WALK), vsmmu=False, gic=2))
    assert guest.child("iommu@4040000") is None
    assert node(guest, "/passthrough/a").cells("iommus") == [5, 0x10, 6, 0x10]
    assert node(guest, "/interrupt-controller@3001000").strings("compatible") == ["arm,gic-400"]


def test_the_guest_tree_of_libxl() -> None:
    guest = tree(libxl_guest_tree(blob(WALK), has_vpci=True))
    assert guest.cells("interrupt-parent") == [65000]
    assert node(guest, "/interrupt-controller@3001000").phandles() == {65000}
    assert [child.name for child in guest.children][-2:] == ["passthrough", "aliases"]
    assert node(guest, "/passthrough/a").cells("iommus") == [0xFDEA, 0x1000, 0xFDEA, 0x1001]
    assert node(guest, "/passthrough/a/b").cells("iommus") == [0, 0x11]
    assert node(guest, "/aliases/kid").cells("iommus") == [0, 0x16]
    assert node(guest, "/passthrough/c").strings("xen,path") == ["/c"]
    assert node(guest, "/pcie@10000000").cells("iommu-map") == [0, 0xFDEA, 0, 0x1000]
    with pytest.raises(ValueError, match="wants a /passthrough"):
        libxl_guest_tree(blob("/dts-v1/; / { };"))
