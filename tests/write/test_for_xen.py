# SPDX-License-Identifier: Apache-2.0
"""What is written for Xen: the shapes of guest trees that real boards of the corpus do not have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import CHECKOUT, Outcome, Run, blob
from tests.xen.rules import dom0less_faults, libxl_faults
from west_viommu.read.dtb import tree_from_dtb
from west_viommu.tree.node import Tree

PAGES = CHECKOUT / "tests" / "hosts" / "pages.dts"
HEAD = "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; %s passthrough { %s %s }; };"
TWO_CELLS = "#address-cells = <2>; #size-cells = <2>; ranges;"


class Bound:
    """What a run wrote for the guest `devices`."""

    def __init__(self, viommu: Run, folder: Path):
        self._viommu = viommu
        self.folder = folder

    def run(self, devices: str, *options: str, beside: str = "", bus: str = TWO_CELLS) -> Outcome:
        (self.folder / "guest.dts").write_text(HEAD % (beside, bus, devices))
        return self._viommu("bind", "--host", PAGES, "--profile", "xen-rfc", *options, "guest.dts")

    def tree(self, name: str = "dom0less") -> Tree:
        return tree_from_dtb((self.folder / f"viommu/passthrough-{name}.dtb").read_bytes())

    def text(self, name: str) -> str:
        return (self.folder / "viommu" / name).read_text()

    def faults(self) -> list[str]:
        host = blob(PAGES.read_text())
        at_boot, by_xl = (
            (self.folder / f"viommu/passthrough-{name}.dtb").read_bytes()
            for name in ("dom0less", "xl")
        )
        return dom0less_faults(at_boot, host) + libxl_faults(by_xl, host)


@pytest.fixture
def bound(viommu: Run, tmp_path: Path) -> Bound:
    return Bound(viommu, tmp_path)


NET = "net@23000000 { reg = <0 0x23000000 0 0x1000>; iommus = <0x0 0x5>; %s };"


def test_regions_on_one_page_are_mapped_once(bound: Bound) -> None:
    devices = """serial@20000000 { reg = <0 0x20000000 0 0x100>; iommus = <0x0 0x1>; };
    serial@20000100 { reg = <0 0x20000100 0 0x100>; iommus = <0x0 0x2>; };"""
    outcome = bound.run(devices)
    assert outcome.status == 0, outcome.err
    assert bound.faults() == []
    assert 'iomem = [ "20000,1@20000" ]' in bound.text("xl.cfg")
    # Its disabled twin on the page is kept from dom0 as well.
    assert 'target-path = "/serial@20000200";' in bound.text("host.overlay")
    assert "on a page of /serial@20000000 */" in bound.text("host.overlay")


def test_a_device_at_another_address_in_the_guest(bound: Bound) -> None:
    devices = """serial@50000100 { reg = <0 0x50000100 0 0x100>; iommus = <0x0 0x2>;
    xen,reg = <0 0x20000000 0 0x1000 0 0x50000000>; };
    serial@50000000 { reg = <0 0x50000000 0 0x100>; iommus = <0x0 0x1>;
    xen,reg = <0 0x20000000 0 0x1000 0 0x50000000>; };"""
    assert bound.run(devices).status == 0
    assert bound.faults() == []
    assert 'iomem = [ "20000,1@50000" ]' in bound.text("xl.cfg")
    regions = [device["regions"] for device in json.loads(bound.text("viommu.json"))["devices"]]
    assert regions[0] == [{"host": 0x20000100, "guest": 0x50000100, "size": 0x100}]


def test_a_bus_of_one_cell(bound: Bound) -> None:
    """Xen's root has two cells, so an empty `ranges` would mean nothing."""
    devices = "net@23000000 { reg = <0x23000000 0x1000>; iommus = <0x0 0x5>; };"
    bus = "#address-cells = <1>; #size-cells = <1>; ranges = <0x0 0x0 0x0 0x80000000>;"
    assert bound.run(devices, bus=bus).status == 0
    assert bound.faults() == []
    assert "ranges = <0x0 0x0 0x0 0x80000000>;" in bound.text("passthrough-dom0less.dts")
    net = bound.tree().node("/passthrough/net@23000000")
    assert net and net.properties["xen,reg"].hex() == "230000000000100023000000"


def beside_parts(err: str) -> str:
    """What a run says besides that the node has not all parts of its device."""
    return re.sub(r"(?m)^.*: warning: \[parts-omitted\].*\n *\d+ \|.*\nhint: .*\n", "", err)


def test_references_within_are_kept_and_others_left_out(bound: Bound) -> None:
    devices = (
        """fixed: clock { compatible = "fixed-clock"; #clock-cells = <0>; };"""
        + NET
        % """clocks = <&fixed>; clock-names = "bus"; resets = <&outside 3>; reset-names = "r";
        power-domains = <0x12 0x3>; custom,link = <&outside>; pinctrl-0 = <0x1>;
        pinctrl-names = "default"; custom,number = <0x1>;"""
    )
    outcome = bound.run(devices, beside="outside: reset { #reset-cells = <1>; };")
    assert beside_parts(outcome.err) == (
        "note: left out of /passthrough/net@23000000 for Xen, whose guest has no such nodes: "
        "resets, reset-names (its reset lines; it must be out of reset already); power-domains "
        "(its power domain; it must be on already); custom,link (it refers to /reset); "
        "pinctrl-0, pinctrl-names (its pins; firmware or dom0 must have set them up)\n"
    )
    net = bound.tree().node("/passthrough/net@23000000")
    assert net and {"clocks", "clock-names", "custom,number"} <= set(net.properties)
    assert not {"resets", "power-domains", "custom,link", "pinctrl-0"} & set(net.properties)
    assert "clocks = <&passthrough_clock_" in bound.text("passthrough-xl.dts")
    assert bound.faults() == []


def test_interrupts_of_a_controller_that_comes_along(bound: Bound) -> None:
    devices = NET % (
        "ctl: controller { interrupt-controller; #interrupt-cells = <1>; #address-cells = <0>; };"
        " part { interrupt-parent = <&ctl>; interrupts = <3>; };"
    )
    assert bound.run(devices).status == 0
    for toolstack in ("dom0less", "xl"):
        tree = bound.tree(toolstack)
        part = tree.node("/passthrough/net@23000000/part")
        controller = tree.node("/passthrough/net@23000000/controller")
        assert part and controller
        assert part.properties["interrupt-parent"] == controller.properties["phandle"]
        assert part.properties["interrupts"] == b"\0\0\0\3"


def test_interrupts_extended_of_a_controller_that_comes_along(bound: Bound) -> None:
    """What is left of them, where the other one goes to nobody whom the guest has."""
    devices = NET % (
        "ctl: controller { interrupt-controller; #interrupt-cells = <1>; #address-cells = <0>; };"
        " part { interrupts-extended = <&ctl 3>, <&far 7 7>; };"
    )
    far = "far: far { interrupt-controller; #interrupt-cells = <2>; };"
    outcome = bound.run(devices, beside=far)
    assert outcome.status == 0, outcome.err
    for toolstack in ("dom0less", "xl"):
        tree = bound.tree(toolstack)
        part = tree.node("/passthrough/net@23000000/part")
        controller = tree.node("/passthrough/net@23000000/controller")
        assert part and controller
        phandle = controller.properties["phandle"]
        assert part.properties["interrupts-extended"] == phandle + b"\0\0\0\3"


@pytest.mark.parametrize(("phandle", "is_kept"), [(1, True), (64998, True), (64999, False)])
def test_a_phandle_that_nothing_refers_to_is_kept_where_xen_accepts_it(
    phandle: int, is_kept: bool, bound: Bound
) -> None:
    assert bound.run(NET % f"part {{ phandle = <{phandle}>; }};").status == 0
    part = bound.tree().node("/passthrough/net@23000000/part")
    value = phandle.to_bytes(4, "big")
    assert part and part.properties.get("phandle") == (value if is_kept else None)
    assert bound.faults() == []


def test_a_device_without_registers_still_says_so(bound: Bound) -> None:
    """Xen panics over an xen,path without xen,reg; an empty one is fine."""
    assert bound.run("net { iommus = <0x0 0x5>; };").status == 0
    net = bound.tree().node("/passthrough/net")
    assert net and net.properties["xen,reg"] == b""
    assert bound.faults() == []


def test_aliases_of_devices_come_after_them(bound: Bound) -> None:
    beside = "aliases { e0 = &net; other = &elsewhere; }; elsewhere: elsewhere { };"
    assert bound.run("net: " + NET % "", beside=beside).status == 0
    tree = bound.tree()
    assert [child.name for child in tree.root.children][:2] == ["passthrough", "aliases"]
    aliases = tree.node("/aliases")
    assert aliases and dict(aliases.properties) == {"e0": b"/passthrough/net@23000000\0"}
    assert bound.faults() == []


def test_triggers_of_zephyr_become_those_of_linux(bound: Bound) -> None:
    gic = """interrupt-parent = <&gic>; gic: gic@1 { compatible = "arm,gic-v3";
    interrupt-controller; #interrupt-cells = <4>; #address-cells = <0>; };"""
    for zephyr, linux in ((2, 4), (4, 1)):
        assert bound.run(NET % f"interrupts = <0 14 {zephyr} 0xa0>;", beside=gic).status == 0
        net = bound.tree("xl").node("/passthrough/net@23000000")
        assert net and net.properties["interrupts"].hex() == f"000000000000000e{linux:08x}"
        # xl's guest has the parent from the root, dom0less' from the node.
        assert "interrupt-parent" not in net.properties
        net, stub = (bound.tree().node(path) for path in ("/passthrough/net@23000000", "/gic"))
        assert net and net.properties["interrupts"].hex() == f"000000000000000e{linux:08x}"
        assert stub and net.properties["interrupt-parent"] == stub.properties["phandle"]


def test_what_is_not_asked_for_is_told(bound: Bound) -> None:
    devices = NET % "" + "forgotten@26000000 { reg = <0 0x26000000 0 0x1000>; };"
    assert beside_parts(bound.run(devices).err) == (
        "note: /passthrough/forgotten@26000000 asks for no host device (no iommus, no xen,path): "
        "nothing is mapped for it\n"
    )


def test_a_nested_device_for_an_xl_that_keeps_ids(bound: Bound) -> None:
    """libxl rewrites direct children only; what it would write can be given, as IDs stay."""
    devices = f'bus {{ compatible = "simple-bus"; {TWO_CELLS} {NET % ""} }};'
    assert bound.run(devices).status == 0
    assert bound.faults() == []
    net = bound.tree("xl").node("/passthrough/bus/net@23000000")
    assert net and net.properties["iommus"].hex() == "0000fdea00000005"


def test_only_the_tree_of_a_toolstack_that_gives_these_ids(bound: Bound, tmp_path: Path) -> None:
    (tmp_path / "viommu.yml").write_text("domain: [vpci]\n")
    device = "net { iommus = <0x0 0x5>; };"
    for profile, present in (("xen-v3-dom0less", "dom0less"), ("xen-v3-libxl", "xl")):
        assert bound.run(device, "--profile", profile).status == 0
        found = [path.name for path in (tmp_path / "viommu").glob("passthrough-*.dts")]
        assert found == [f"passthrough-{present}.dts"]
        assert (tmp_path / "viommu/xl.cfg").exists() == (present == "xl")
    # A hypervisor that is no Xen needs none of it, and what is there of an earlier run goes.
    assert bound.run(device, "--profile", "qemu-virt").status == 0
    left = sorted(path.name for path in (tmp_path / "viommu").iterdir())
    assert left == ["viommu.json", "viommu.overlay"]


def test_unprotected_by_permission(viommu: Run, tmp_path: Path) -> None:
    """No vSMMU for a guest that would have nothing behind it: Xen panics over that."""
    (tmp_path / "viommu.yml").write_text(
        'allow: [{hazard: unprotected, device: /gpio@25000000, reason: "a */ \\" reason\\n"}]\n'
    )
    (tmp_path / "g.dts").write_text(
        HEAD
        % (
            "",
            TWO_CELLS,
            'g@25000000 { reg = <0 0x25000000 0 0x1000>; xen,path = "/gpio@25000000"; };',
        )
    )
    outcome = viommu("bind", "--host", PAGES, "--profile", "xen-rfc", "g.dts")
    assert outcome.status == 0
    assert "warning: [unprotected]" in outcome.err
    assert 'hint: allowed by viommu.yml:1, because: a */ " reason\\n\n' in outcome.err
    assert "no IOMMU: its DMA reaches all memory\n1 device and no vSMMU\n" in outcome.out
    overlay = (tmp_path / "viommu/viommu.overlay").read_text()
    assert 'allowed: unprotected for /gpio@25000000, because: a * / " reason?\n' in overlay
    assert "iommu@" not in overlay and "iommus" not in overlay
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    assert plan["viommu"] is None
    assert plan["allowed"] == [
        {"hazard": "unprotected", "device": "/gpio@25000000", "reason": 'a */ " reason\n'}
    ]
    source = (tmp_path / "viommu/passthrough-dom0less.dts").read_text()
    assert "xen,force-assign-without-iommu;" in source and "iommus" not in source
    assert "dtdev = [ ]\n" in (tmp_path / "viommu/xl.cfg").read_text()
    assert "viommu =" not in (tmp_path / "viommu/xl.cfg").read_text()


def test_a_dtc_that_does_not_end(
    bound: Bound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "dtc"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("west_viommu.write.trees.MOST_SECONDS", 0.3)
    started = time.monotonic()
    outcome = bound.run("net { iommus = <0x0 0x5>; };")
    assert time.monotonic() - started < 20
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-2:] == [
        "error: [malformed] dtc had not finished passthrough-dom0less.dts after 0.3 s",
        "hint: try `dtc --version`: is it the devicetree compiler? Or ask for fewer devices",
    ]
    assert not (tmp_path / "viommu").exists()


def test_a_dtc_that_refuses(bound: Bound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "bin" / "dtc"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\ncat >/dev/null\necho 'dtc: unknown option' >&2\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
    outcome = bound.run("net { iommus = <0x0 0x5>; };")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-2:] == [
        "error: [malformed] dtc rejects passthrough-dom0less.dts: dtc: unknown option",
        "hint: correct the guest's nodes that it names",
    ]
    assert not (tmp_path / "viommu").exists()


def test_without_dtc_there_is_a_note_and_no_blob(
    bound: Bound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cpp", "gcc"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tools))
    outcome = bound.run("net { iommus = <0x0 0x5>; };")
    assert outcome.status == 0
    assert beside_parts(outcome.err) == (
        "note: no dtc: passthrough-*.dtb are missing; install device-tree-compiler\n"
    )
    assert not list((tmp_path / "viommu").glob("*.dtb"))
    assert "0x0 SIZE>;" in bound.text("host.overlay")


def test_a_host_path_that_needs_quotes(viommu: Run, tmp_path: Path) -> None:
    """The names of a host's nodes are input: none may break out of what is written."""
    host = tmp_path / "host.dtb"
    host.write_bytes(blob(PAGES.read_text()).replace(b"net@23000000", b'n"*@2\\]#$x0`'))
    (tmp_path / "g.dts").write_text(HEAD % ("", TWO_CELLS, "net { iommus = <0x0 0x5>; };"))
    outcome = viommu("bind", "--host", host, "g.dts")
    assert outcome.status == 0, outcome.err
    for source in tmp_path.glob("viommu/passthrough-*.dts"):
        command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(tmp_path / "o"), str(source)]
        subprocess.run(command, check=True)
    (tmp_path / "h.dtbo").write_bytes(blob((tmp_path / "viommu/host.overlay").read_text()))
    merge = ["fdtoverlay", "-i", str(host), "-o", str(tmp_path / "m.dtb"), str(tmp_path / "h.dtbo")]
    subprocess.run(merge, check=True)
    dtdev = (tmp_path / "viommu/xl.cfg").read_text().splitlines()[2]
    assert dtdev == 'dtdev = [ "/bus@23000000/n\\"*@2\\\\]#$x0`" ]'


def _names(tree: Tree) -> int:
    """The size of the different property names, with their ends."""
    return sum(
        len(name) + 1 for name in {name for node in tree.nodes() for name in node.properties}
    )


def test_names_of_properties_that_dtc_is_long_at(bound: Bound) -> None:
    many = [f"{'p' * 11}{i:04};" for i in range(500)]
    assert bound.run(NET % " ".join(many)).status == 0
    left = 8192 - max(_names(bound.tree()), _names(bound.tree("xl")))
    assert 16 < left < 255
    assert bound.run(NET % " ".join([*many, f"{'q' * (left - 1)};"])).status == 0
    assert max(_names(bound.tree()), _names(bound.tree("xl"))) == 8192
    outcome = bound.run("\n" + NET % " ".join([*many, f"{'q' * left};"]))
    assert (outcome.status, outcome.out) == (1, "")
    wrong, *_, hint = beside_parts(outcome.err).splitlines()
    assert wrong == (
        "guest.dts:2: error: [malformed] the partial tree for Xen would have too many property "
        "names for dtc (node /passthrough/net@23000000, expected at most 8 KiB of different names "
        "below /passthrough and in /aliases)"
    )
    assert hint == "hint: leave out those that the guest does not need"


def test_as_many_aliases(bound: Bound) -> None:
    aliases = "\n".join(f"net{i} = &net;" for i in range(1000))
    net = f"net: {NET % ''}"
    assert bound.run(net, beside=f"aliases {{ {aliases} }};").status == 0
    more = "\n".join(f"net{i} = &net;" for i in range(1300))
    outcome = bound.run(net, beside=f"\naliases {{ {more} }};")
    assert outcome.status == 1
    assert "guest.dts:2: error: [malformed] the partial tree" in outcome.err
    assert "(node /aliases, expected at most 8 KiB" in outcome.err
