# SPDX-License-Identifier: Apache-2.0
"""extract of a host whose source is given: what is a number, what a reference, and to what."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support import CHECKOUT, Run, blob, golden
from west_viommu.__main__ import main
from west_viommu.read.tree import read_host_tree
from west_viommu.tree.node import Node, Tree

HOST = CHECKOUT / "tests" / "hosts" / "board.dts"


def test_a_device_and_what_it_refers_to(viommu: Run) -> None:
    outcome = viommu("extract", "--host", HOST, "eth")
    assert outcome.status == 0
    assert outcome.out == golden("board.overlay", outcome.out)


def test_what_was_extracted_binds_and_keeps_its_references(viommu: Run) -> None:
    overlay = viommu("extract", "--host", HOST, "&eth", "/bus@40000000/flash@300000").out
    Path("guest.overlay").write_text(overlay)
    outcome = viommu("bind", "--host", HOST, "guest.overlay")
    assert outcome.status == 0, outcome.err
    assert "left out of" not in outcome.err
    assert "2 devices behind one vSMMU" in outcome.out


def test_partitions_come_along_on_a_bus_without_sizes(viommu: Run) -> None:
    out = viommu("extract", "--host", HOST, "flash@300000").out
    assert "/* left out: ranges: the bus has no sizes */" in out
    assert 'partition@0 {\n\t\t\t\t\tlabel = "boot";' in out.replace(
        "reg = <0x0 0x10000>;\n\t\t\t\t\t", ""
    )


@pytest.mark.parametrize(
    ("cells", "lacking"), [((0, 1), "addresses"), ((0, 0), "addresses"), ((2, 0), "sizes")]
)
def test_ranges_of_a_bus_that_has_nothing_to_map_are_left_out(
    cells: tuple[int, int], lacking: str, viommu: Run
) -> None:
    of_bus = f"ranges; #address-cells = <{cells[0]}>; #size-cells = <{cells[1]}>; child {{ }};"
    source = f"""/dts-v1/;
        / {{
            #address-cells = <2>;
            #size-cells = <2>;
            smmu: smmu@40000 {{
                compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0 0x40000 0 0x20000>;
            }};
            bus@10000 {{ reg = <0 0x10000 0 0x1000>; iommus = <&smmu 1>; {of_bus} }};
        }};"""
    Path("host.dts").write_text(source)
    outcome = viommu("extract", "--host", "host.dts", "bus@10000")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"/* left out: ranges: the bus has no {lacking} */" in outcome.out


def test_a_blob_goes_by_the_names_of_properties(viommu: Run) -> None:
    Path("host.dtb").write_bytes(blob(HOST.read_text()))
    out = viommu("extract", "--host", "host.dtb", "ethernet@200000").out
    assert "/* From a blob, which does not say what is a phandle:" in out
    assert "phy-handle = <&host_ethernet_phy_1>;" in out
    assert "host_ethernet_phy_1: ethernet-phy@1 {" in out
    assert "clocks = <&host_oscillator>;" in out
    assert re.search(r"left out: acme,tuning: <0x\d> may refer to \S+/tuning; copy it if", out)


def test_a_source_of_numbers_is_read_as_a_blob_is(viommu: Run) -> None:
    """dtc's own source of a blob has numbers where there were references."""
    source = HOST.read_text().replace("tuning: tuning {", "tuning: tuning { phandle = <2>;")
    Path("host.dts").write_text(source)
    out = viommu("extract", "--host", "host.dts", "eth").out
    assert "left out: acme,burst: <0x2> may refer to " in out
    assert "acme,tuning = <&tuning>;" in out


def test_the_binding_of_zephyr_is_named(viommu: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bindings"
    folder.mkdir()
    (folder / "acme,mac.yaml").write_text(
        'description: x\ncompatible: "acme,mac"\nproperties:\n'
        "  speed: {type: int, required: true}\n  acme,burst: {type: int}\n"
    )
    out = viommu("extract", "--host", HOST, "--zephyr-bindings", folder, "eth", "flash").out
    assert "/* Zephyr's binding: acme,mac */" in out
    assert "/* Zephyr requires: speed (int), by its binding of acme,mac */" in out
    assert "acme,burst = <0x2>;" in out
    assert "/* left out: clocks: Zephyr's binding does not have it */" in out
    # What nothing refers to any more is not needed.
    assert "oscillator" not in out
    assert (
        "/* Zephyr has no binding for it, and so no driver: the properties are the host's */" in out
    )


# A folder of hosts as people write them, beside those of the tests.
WILD = os.environ.get("VIOMMU_WILD")


def hosts() -> list[Path]:
    own = [HOST, CHECKOUT / "samples" / "demo" / "host.dts"]
    corpus = os.environ.get("VIOMMU_CORPUS")
    found = sorted(Path(corpus).glob("*.dtb")) if corpus else []
    wild = sorted(Path(WILD).glob("*host*.dts")) if WILD else []
    return [*own, *found, *wild]


def lost(node: Node, out: str) -> list[str]:
    """The properties of `node` that are neither written nor spoken of in `out`."""
    return [
        f"{node.path} {name}"
        for name in node.properties
        if not re.search(rf"(^\s*|left out: [^:]*|, ){re.escape(name)}(;| =|,|:)", out, re.M)
        and name not in SAID_ANEW
    ]


SAID_ANEW = {
    *("interrupts-extended", "interrupt-parent", "status", "phandle", "linux,phandle", "reg"),
    *("interrupts", "interrupt-names", "iommus", "name", "compatible", "ranges"),
    *("iommu-map", "iommu-map-mask"),
}


def below(node: Node, out: str) -> list[Node]:
    """The node and those below that a comment of `out` does not leave out."""
    left_out = re.findall(r"left out: ([^:]*): Xen maps the registers of the device", out)
    names = {name for names in left_out for name in names.split(", ")}
    children = [child for child in node.children if child.name not in names]
    return [node, *(each for child in children for each in below(child, out))]


@pytest.mark.parametrize("host", hosts(), ids=lambda host: host.name)
def test_every_master_of_a_host(
    host: Path, viommu: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Extracted, it loses nothing without a word; and each profile has an answer to it."""
    tree: Tree = read_host_tree(str(host))
    masters = [n for n in tree.nodes() if {"iommus", "iommu-map"} & set(n.properties)]
    for node in masters:
        outcome = viommu("extract", "--host", host, node.path)
        assert outcome.status in (0, 1), outcome.err
        assert "Traceback" not in outcome.err
        if outcome.status:
            continue
        # What a blob loses by its missing types, a comment says as well.
        assert [each for part in below(node, outcome.out) for each in lost(part, outcome.out)] == []
        Path("guest.overlay").write_text(outcome.out)
        for profile in (
            "xen-rfc",
            "xen-v3-dom0less",
            "xen-v3-libxl",
            "xen",
            "xen-amd",
            "qemu-virt",
        ):
            bound = viommu("bind", "--host", host, "--profile", profile, "guest.overlay")
            assert "Traceback" not in bound.err
            assert bound.status == 0 or "hint:" in bound.err, bound.err
            if bound.status == 0 and profile.startswith("xen"):
                for name in Path("viommu").glob("passthrough-*.dtb"):
                    checked = main(["check", "--dts", str(name), "--guest-dtb", str(name)])
                    assert checked in (0, 1)
        capsys.readouterr()
