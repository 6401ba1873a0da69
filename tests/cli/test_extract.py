# SPDX-License-Identifier: Apache-2.0
"""From a host node to the guest node to paste, and through bind to a plan."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support import DEMO, Run, blob, corpus_params, golden
from west_viommu.host.devices import NodeIndex
from west_viommu.read.dtb import tree_from_dtb

HOST = """/dts-v1/; / {
	model = "h";
	#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
	aliases { net0 = "/soc/ethernet@1000"; broken = <1>; };
	__symbols__ { mac = "/soc/ethernet@1000"; };
	gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
	clk: clock { #clock-cells = <0>; phandle = <8>; };
	gpio: gpio { interrupt-controller; #interrupt-cells = <2>; };
	smmu: iommu@9000000 { compatible = "arm,smmu-v3"; reg = <0 0x9000000 0 0x20000>;
		#iommu-cells = <1>; };
	soc {
		#address-cells = <1>; #size-cells = <1>; ranges = <0x0 0x1 0x80000000 0x100000>;
		dma-coherent;
		ethernet@1000 {
			compatible = "arm,pl011", "x,y"; reg = <0x1000 0x800>, <0x3000 0x1000>;
			interrupts-extended = <&gic 0 10 4>, <&gic 0 11 1>, <&gpio 1 2>, <&gic 1 5 4>;
			interrupt-names = "a", "b", "c", "d";
			iommus = <&smmu 0x10>, <&smmu 0x11>;
			clocks = <&clk>; clock-names = "bus"; vdd-supply = <&clk>; pinctrl-0 = <&clk>;
			vendor,link = <&clk>; vendor,depth = <8>; bus-width = <8>; vendor,text = "a*/\\"b";
			vendor,odd = [01 02 03]; vendor,flag; dma-ranges; status = "okay";
			#address-cells = <1>; #size-cells = <1>; ranges = <0x0 0x3000 0x1000>;
			part@10 { compatible = "x,part"; reg = <0x10 0x10>; status = "disabled";
				interrupts = <0 12 4>; clocks = <&clk>; };
		};
		spi@5000 { reg = <0x5000 0x1000>; };
		spi@6000 { reg = <0x6000 0x1000>; };
		nowhere@200000 { reg = <0x200000 0x1000>; iommus = <&smmu 0x12>; };
	};
	a { link { iommus = <&smmu 0x20>; }; };
	b { link { iommus = <&smmu 0x21>; }; };
}; """


@pytest.fixture
def host(tmp_path: Path) -> Path:
    file = tmp_path / "host.dtb"
    file.write_bytes(blob(HOST))
    return file


def test_a_node_with_everything(host: Path, viommu: Run) -> None:
    outcome = viommu("extract", "--host", host, "/soc/ethernet@1000")
    assert outcome.status == 0
    assert outcome.out == golden("extracted.overlay", outcome.out)
    assert f"{host}: warning: [interrupt-not-routed]" in outcome.err


@pytest.mark.parametrize("name", ["net0", "mac", "&mac", "ethernet@1000", "ethernet"])
def test_names_of_a_node(name: str, host: Path, viommu: Run) -> None:
    by_path = viommu("extract", "--host", host, "/soc/ethernet@1000").out
    assert viommu("extract", "--host", host, name).out == by_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("spi", "2 host nodes have this name (expected one of /soc/spi@5000, /soc/spi@6000,"),
        ("ethernet@100", "hint: did you mean ethernet@1000"),
        ("broken", "no node of this path, name, alias or label"),
        ("", "no node of this path, name, alias or label"),
        ("zzzzzzz", "hint: `viommu list` shows the host nodes"),
    ],
)
def test_names_that_mean_no_node(name: str, says: str, host: Path, viommu: Run) -> None:
    outcome = viommu("extract", "--host", host, name)
    assert (outcome.status, outcome.out) == (1, "")
    assert f"{host}: error: [unknown-host-node]" in outcome.err
    assert says in outcome.err


def test_a_label_of_a_tree_without_symbols(viommu: Run) -> None:
    Path("host.dtb").write_bytes(blob((DEMO / "host.dts").read_text()))
    outcome = viommu("extract", "--host", "host.dtb", "gem3")
    assert outcome.status == 1
    assert "this tree has no labels, as it was compiled without symbols (dtc -@)" in outcome.err


def test_every_name_that_means_none_is_told(host: Path, viommu: Run) -> None:
    assert viommu("extract", "--host", host, "zz1", "net0", "zz2").err.count("error:") == 2


def test_nodes_of_one_name_stay_apart(host: Path, viommu: Run, tmp_path: Path) -> None:
    out = viommu("extract", "--host", host, "/a/link", "/b/link", "/a/link").out
    assert out.count("\t\tlink {") == 1
    assert out.count("\t\tlink-2 {") == 1
    (tmp_path / "g.overlay").write_text(out)
    assert viommu("bind", "--host", host, "g.overlay").status == 0


def test_a_region_without_address_is_left_out(host: Path, viommu: Run) -> None:
    outcome = viommu("extract", "--host", host, "nowhere")
    assert "\t\tnowhere {\n" in outcome.out
    assert "/* left out: reg: region 0 has no absolute address */" in outcome.out
    assert "warning: [untranslatable-region]" in outcome.err


@pytest.mark.parametrize("node", ["/soc@e0000000/iommu@800000", "/interrupt-controller@f9000000"])
def test_what_no_guest_can_have_is_not_printed(viommu: Run, node: str) -> None:
    outcome = viommu("extract", "--host", DEMO / "host.dts", node)
    assert (outcome.status, outcome.out) == (1, "")
    assert f"error: [hypervisor-owned] {node} is a" in outcome.err
    assert outcome.err.endswith("\nhint: `viommu list --passable` shows what a guest can have\n")


@pytest.mark.parametrize("file", corpus_params())
def test_there_and_back_on_real_hosts(file: Path, viommu: Run, tmp_path: Path) -> None:
    """Every master that could go to a guest: what extract prints binds, as it is, to that device
    with all its regions, interrupts and IDs, under the profile that --passable takes.
    """
    listing = json.loads(viommu("list", "--host", file, "--format", "json", "--passable").out)
    tree = tree_from_dtb(file.read_bytes())
    for master in listing["masters"]:
        (tmp_path / "g.overlay").write_text(viommu("extract", "--host", file, master["path"]).out)
        outcome = viommu("bind", "--host", file, "--profile", "xen", "g.overlay")
        assert outcome.status == 0, outcome.err
        (device,) = json.loads((tmp_path / "viommu/viommu.json").read_text())["devices"]
        assert device["host"] == master["path"]
        # The guest's addresses differ where its layout has no room.
        regions = [{"base": each["host"], "size": each["size"]} for each in device["regions"]]
        assert regions == master["regions"]
        assert [stream["pmaster"] for stream in device["streams"]] == [
            stream["id"] for stream in master["streams"]
        ]
        node = tree.node(master["path"])
        assert node
        # A host may list one twice; a driver of the guest gets it once.
        routed = dict.fromkeys(i for i, _ in NodeIndex(tree).interrupts(node).by_gic if i >= 32)
        assert device["intids"] == [*routed]


@pytest.mark.parametrize("file", corpus_params())
def test_any_node_of_a_real_host_gives_valid_source(
    file: Path, viommu: Run, tmp_path: Path
) -> None:
    """Also what no guest can have: dtc takes it below a tree with a GIC."""
    tree = tree_from_dtb(file.read_bytes())
    paths = [node.path for node in tree.nodes() if {"reg", "compatible"} <= set(node.properties)]
    some = paths[:: max(1, len(paths) // 12)]
    # Those that no guest can have are named, and refused.
    owned = re.findall(
        r"\[hypervisor-owned\] (\S+) is ", viommu("extract", "--host", file, *some).err
    )
    outcome = viommu("extract", "--host", file, *(path for path in some if path not in owned))
    assert outcome.status == 0, outcome.err
    macros = {
        "GIC_SPI": "0",
        "IRQ_TYPE_LEVEL": "2",
        "IRQ_TYPE_EDGE": "4",
        "IRQ_DEFAULT_PRIORITY": "1",
    }
    source = outcome.out
    for name, value in macros.items():
        source = source.replace(name, value)
    assert blob(f"/dts-v1/; / {{ gic: gic {{ }}; }};\n{source}")


def test_zephyrs_binding_says_what_it_has_and_requires(
    host: Path, viommu: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "bindings"
    folder.mkdir()
    (folder / "base.yaml").write_text(
        "properties: {reg: {type: array}, interrupt-names: {type: string-array}}\n"
    )
    (folder / "x,y.yaml").write_text(
        'description: d\ncompatible: "x,y"\ninclude: base.yaml\nproperties:\n'
        "  bus-width: {type: int, required: true}\n  speed: {type: int, required: true}\n"
    )
    out = viommu("extract", "--host", host, "net0", "--zephyr-bindings", folder).out
    assert "/* Zephyr requires: speed (int), by its binding of x,y */" in out
    assert "\t\t\tbus-width = <0x8>;\n" in out
    assert "/* left out: vendor,depth: Zephyr's binding does not have it */" in out
    (folder / "x,y.yaml").write_text('compatible: "x,y"\nproperties: {a: {typ: int}}\n')
    outcome = viommu("extract", "--host", host, "net0", "--zephyr-bindings", folder)
    assert (outcome.status, outcome.out) == (1, "")
    assert "Zephyr's edtlib rejects it" in outcome.err
    assert outcome.err.endswith("\nhint: correct it, or what it includes\n")


# What no binding of Zephyr's says.
ODD_BINDINGS = [
    "properties: {a: {const: 0x_}}",
    "properties: {a: {const: 2001-99-99}}",
    "properties: {a: {const: %s}}" % ("9" * 5000),  # noqa: UP031
    "properties: [1]",
    "properties: {1: 2, a: null}",
    "properties: {a: {type: [int]}}",
    "include: x,y.yaml",
    "include: [{name: [1]}, 5]",
    "include: [{name: base.yaml, property-allowlist: 5}]",
    "include: 5",
    "[[[",
]


@pytest.mark.parametrize("text", ODD_BINDINGS)
def test_odd_bindings(text: str, host: Path, viommu: Run, tmp_path: Path) -> None:
    """In one that cannot be read nobody finds a binding; what else is wrong is edtlib's to say."""
    (tmp_path / "base.yaml").write_text("properties: {reg: {type: array}}\n")
    (tmp_path / "x,y.yaml").write_text(f'compatible: "x,y"\n{text}\n')
    outcome = viommu("extract", "--host", host, "net0", "--zephyr-bindings", ".")
    if outcome.status:
        said, hint = outcome.err.splitlines()
        assert said.startswith("./x,y.yaml: error: [malformed] Zephyr's edtlib rejects it: ")
        assert hint == "hint: correct it, or what it includes"
    else:
        assert "Zephyr has no binding for it" in outcome.out


def test_the_demo(viommu: Run, tmp_path: Path) -> None:
    host = DEMO / "host.dts"
    (tmp_path / "g.overlay").write_text(viommu("extract", "--host", host, "dma-controller").out)
    assert viommu("bind", "--host", host, "g.overlay").status == 0


def one_device(node: str, renamed: dict[bytes, bytes], tmp_path: Path) -> Path:
    """A host with one device behind an SMMU, as a blob with names that dtc would not take."""
    data = blob(
        "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; smmu: iommu@9000000 { compatible ="
        ' "arm,smmu-v3"; reg = <0 0x9000000 0 0x20000>; #iommu-cells = <1>; };'
        f" {node} }};"
    )
    for old, new in renamed.items():
        assert old in data and len(old) == len(new)
        data = data.replace(old, new)
    file = tmp_path / "host.dtb"
    file.write_bytes(data)
    return file


def test_names_of_the_host_cannot_become_source(viommu: Run, tmp_path: Path) -> None:
    node = "dev-with-a-long-name@1000 { reg = <0 0x1000 0 0x10>; iommus = <&smmu 1>;"
    host = one_device(
        f"{node} prop-one = <1>; prop-two = <2>; child-one {{ }}; }};",
        {
            b"dev-with-a-long-name@": b"d { }; evil@@  \x1b[31m@",
            b"prop-one": b'a\n#inc "',
            b"prop-two": b"/delete/",
            b"child-one": b"x{};\x1b[1m*",
        },
        tmp_path,
    )
    listing = json.loads(viommu("list", "--host", host, "--format", "json").out)
    (path,) = [master["path"] for master in listing["masters"]]
    out = viommu("extract", "--host", host, path).out
    assert "\x1b" not in out and "\n#inc" not in out
    assert "\t\tdevice@1000 {\n" in out
    assert '/* left out: a?#inc ": not a valid property name */' in out
    (tmp_path / "g.overlay").write_text(out)
    assert viommu("bind", "--host", host, "g.overlay").status == 0


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (
            "bus { #address-cells = <2>; #size-cells = <3>; ranges; d@0 { reg = <0 0 1 0 0>;"
            " iommus = <&smmu 1>; }; };",
            "/* left out: reg: a region is as large as all addresses */",
        ),
        (
            "d@1000 { reg = <0 0x1000 0 0x10>; iommus = <&smmu 1>; #address-cells = <3>;"
            " #size-cells = <2>; ranges = <0x2000000 0 0x50000000 0 0x50000000 0 0x1000>; };",
            "ranges = <0x2000000 0x0 0x50000000 0x0 0x50000000 0x0 0x1000>;",
        ),
        (
            "soc { #address-cells = <1>; #size-cells = <1>; ranges = <0 0x8 0 0x10000>; d@1000 {"
            " reg = <0x1000 0x10>; iommus = <&smmu 1>; #address-cells = <1>; #size-cells = <1>;"
            " ranges; }; };",
            "ranges = <0x0 0x8 0x0 0x10000>;",
        ),
        (
            "soc { #address-cells = <1>; #size-cells = <1>; ranges = <0 0x8 0 0x1000>; d@100 {"
            " reg = <0x100 0x10>; iommus = <&smmu 1>; #address-cells = <1>; #size-cells = <1>;"
            " ranges = <0 0x2000 0x100>; }; };",
            "/* left out: ranges: no absolute address for 1 window */",
        ),
        (
            "d@1000 { reg = <0 0x1000 0 0x10>; iommus = <&smmu 1>; acme,map = <0 9>; };"
            " misc { phandle = <9>; };",
            "/* left out: acme,map: <0x0 0x9> may refer to /misc; copy it if it does not */",
        ),
    ],
)
def test_odd_devices(node: str, line: str, viommu: Run, tmp_path: Path) -> None:
    host = one_device(node, {}, tmp_path)
    outcome = viommu("extract", "--host", host, "d")
    assert outcome.status == 0
    assert f"\t\t\t{line}\n" in outcome.out


def test_what_cannot_be_copied_at_all(host: Path, viommu: Run, tmp_path: Path) -> None:
    assert "no node of this path" in viommu("extract", "--host", host, "/").err
    outcome = viommu("extract", "--host", host, "net0", "--zephyr-bindings", tmp_path / "none")
    assert (outcome.status, outcome.out) == (1, "")
    assert "none: error: [unreadable] there is no such folder of bindings" in outcome.err


def test_a_malformed_status_above_the_node(viommu: Run, tmp_path: Path) -> None:
    source = '/dts-v1/; / { bus { status = [62 61 64]; dma { compatible = "x"; }; }; };'
    (tmp_path / "host.dts").write_text(source)
    outcome = viommu("extract", "--host", "host.dts", "/bus/dma")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(
        "host.dts: error: [malformed] status is not a list of strings (node /bus, "
    )


def test_each_interrupt_that_a_guest_cannot_have_is_told(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dtb").write_bytes(
        blob(
            """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
            gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
                #address-cells = <0>; };
            v2: other { compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>; };
            nexus: nexus { #address-cells = <0>; #interrupt-cells = <1>;
                interrupt-map = <1 &gic 0 9 4>; };
            smmu: iommu { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };
            dev@9000000 { reg = <0 0x9000000 0 0x1000>; iommus = <&smmu 5>;
                interrupts-extended = <&gic 0 8 4>, <&v2 0 6 4>, <&gic 2 7 4>, <&nexus 1>,
                    <&nexus 3>, <&gic 0 2000 4>; }; };"""
        )
    )
    out = viommu("extract", "--host", "host.dtb", "/dev@9000000").out
    assert "interrupts = <GIC_SPI 8 " in out and "<GIC_SPI 9 " in out and "GIC_SPI 6" not in out
    assert [line.strip() for line in out.splitlines() if "left out" in line] == [
        "/* left out: interrupts: <0 6 4> goes to /other, which is not the GIC that Xen drives */",
        "/* left out: interrupts: <2 7 4> is of type 2, which Xen takes for INTID 23 */",
        "/* left out: interrupts: <3> has no row in the interrupt-map of /nexus */",
        "/* left out: interrupts: <0 2000 4> is beyond the last SPI */",
    ]
