# SPDX-License-Identifier: Apache-2.0
"""The generated bindings, judged by edtlib itself with a small set of others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from devicetree import edtlib

from tests.support import CHECKOUT, IS_CHECKOUT, PACKAGE, tree
from west_viommu.read.bindings import Bindings
from west_viommu.read.plain_file import shipped
from west_viommu.read.profiles import profile
from west_viommu.write.bindings import compatibles, generated_bindings

BASE = """properties:
  compatible: {type: string-array, required: true}
  status: {type: string}
  reg: {type: array}
  interrupts: {type: array}
  interrupt-names: {type: string-array}
  label: {type: string}
"""
UART = 'description: a uart\ncompatible: "arm,pl011"\ninclude: [base.yaml]\n'
WITH_IOMMUS = (
    'description: a device\ncompatible: "x,own-iommus"\ninclude: {name: base.yaml}\n'.replace(
        "{name: base.yaml}", "\n  - name: base.yaml"
    )
    + "properties:\n  iommus: {type: phandle-array, specifier-space: iommu, required: true}\n"
)


@pytest.fixture
def zephyr(tmp_path: Path) -> Path:
    """A directory of bindings."""
    folder = tmp_path / "zephyr"
    (folder / "serial").mkdir(parents=True)
    (folder / "base.yaml").write_text(BASE)
    (folder / "serial" / "arm,pl011.yaml").write_text(UART)
    (folder / "odd-name.yaml").write_text(UART.replace("arm,pl011", "x,odd"))
    (folder / "x,own-iommus.yaml").write_text(WITH_IOMMUS)
    (folder / "x,i2c.yaml").write_text(UART.replace("arm,pl011", "x,i2c") + "on-bus: i2c\n")
    (folder / "x,on-bus.yaml").write_text(
        UART.replace("arm,pl011", "x,on-bus") + "on-bus: passthrough\n"
        "properties: {iommus: {type: phandle-array, specifier-space: iommu}}\n"
    )
    (folder / "test,gic.yaml").write_text(
        'description: a gic\ncompatible: "test,gic"\ninclude: base.yaml\ninterrupt-cells: [irq]\n'
    )
    (folder / "broken.yaml").write_text("{")
    (folder / "no-mapping.yaml").write_text("- compatible\n")
    (folder / "vendor-prefixes.txt").write_text("# known\n\narm\tArm\nx\tX\n")
    return folder


DEVICES = """
    a { compatible = "arm,pl011", "arm,primecell"; iommus = <&v 1>; xen,path = "/a"; };
    b { compatible = "y,first", "arm,pl011"; iommus = <&v 2>; };
    c { compatible = "y,unknown"; iommus = <&v 3>; flag; list = <1 2>; };
    d { compatible = "y,unknown"; iommus = <&v 4>; list; #cells-of-it = <1>; };
    e { compatible = "x,odd"; iommus = <&v 5>; xen,reg = <1 2 3>; iommu-map = <0 1 2 3>; };
    f { compatible = "x,own-iommus"; iommus = <&v 6>; xen,path = "/f"; };
    g { compatible = "x,i2c"; iommus = <&v 7>; };
    h { compatible = "x,on-bus"; iommus = <&v 8>; };
    i { iommus = <&v 9>; };
    j { compatible = "no valid one"; };
"""


def generated(
    zephyr: Path, folder: Path, *more: Path, vsmmu: str = "", profile_name: str = "xen-rfc"
) -> dict[str, str]:
    """Generates the bindings for DEVICES into `folder`. `vsmmu`: what the guest gives the vSMMU."""
    found = tree(f"v: v {{ #iommu-cells = <1>; }}; p {{ {DEVICES} }};").node("/p")
    assert found
    dirs = [str(zephyr), *map(str, more)]
    requests = [node.path for node in found.children if "iommus" in node.properties]
    given = set(re.findall(r"([\w,-]+)(?: =[^;]*)?;", vsmmu))
    known = Bindings(dirs, compatibles(found))
    viommu = profile(profile_name, None).viommu
    files = generated_bindings(found, requests, known, viommu, given)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {name.removeprefix("dts/bindings/"): text for name, text in files.items()}


def edt(folder: Path, *dirs: Path, vsmmu: str = "", own: str = "") -> edtlib.EDT:
    source = folder / "all.dts"
    devices = DEVICES.replace('j { compatible = "no valid one"; };', "")
    source.write_text(
        f"""/dts-v1/; / {{ #address-cells = <2>; #size-cells = <2>;
        v: v {{ compatible = {own}"arm,smmu-v3"; reg = <0 0 0 1>; interrupts = <1>; {vsmmu}
            interrupt-parent = <&gic>; #iommu-cells = <1>; }};
        gic: gic {{ compatible = "test,gic"; #interrupt-cells = <1>; interrupt-controller; }};
        passthrough {{ compatible = "viommu,passthrough"; label = "p"; {devices} }}; }};"""
    )
    return edtlib.EDT(str(source), [str(each) for each in dirs])


@pytest.mark.parametrize("with_module", [True, False], ids=["module", "no module"])
def test_edtlib_takes_every_device(with_module: bool, zephyr: Path, tmp_path: Path) -> None:
    shipped = [CHECKOUT / "bindings"] if with_module else []
    generated(zephyr, tmp_path, *shipped)
    found = edt(tmp_path, zephyr, *shipped, tmp_path / "dts/bindings")
    ids = {
        node.name: [entry.data["stream-id"] for entry in node.props["iommus"].val]
        for node in found.nodes
        if "iommus" in node.props
    }
    assert ids == {"a": [1], "b": [2], "c": [3], "d": [4], "e": [5], "f": [6], "g": [7], "h": [8]}
    assert found.get_node("/passthrough/c").props["flag"].val is True


def test_what_is_generated(zephyr: Path, tmp_path: Path) -> None:
    files = generated(zephyr, tmp_path, CHECKOUT / "bindings")
    assert sorted(files) == [
        "arm,smmu-v3.yaml",
        "passthrough-arm,pl011.yaml",
        "passthrough-x,i2c.yaml",
        "passthrough-x,odd.yaml",
        "passthrough-x,own-iommus.yaml",
        "passthrough-y,unknown.yaml",
        "vendor-prefixes.txt",
    ]
    assert files["passthrough-x,odd.yaml"] == (
        "# Generated by west-viommu. Do not edit.\n"
        'description: "x,odd in a guest that west-viommu bound"\n'
        'compatible: "x,odd"\n'
        'on-bus: "passthrough"\n'
        "include:\n"
        '  - "odd-name.yaml"\n'
        '  - "viommu,assigned-device.yaml"\n'
    )
    assert (
        '  - {"name": "viommu,assigned-device.yaml", "property-blocklist": ["iommus"]}\n'
        in (files["passthrough-x,own-iommus.yaml"])
    )
    assert files["passthrough-y,unknown.yaml"].endswith(
        'properties:\n  "flag": {type: boolean}\n  "list": {type: compound}\n'
    )
    assert files["vendor-prefixes.txt"] == (
        "# Generated by west-viommu. Do not edit.\ny\tvendor of a host device\n"
    )


SMMU = UART.replace("arm,pl011", "arm,smmu-v3")
QUEUES = "properties: {cmdq-size: {type: int, required: true}, evtq-size: {type: int}}\n"


@pytest.mark.parametrize(
    ("binding", "vsmmu", "files"),
    [
        (f"{SMMU}iommu-cells: [sid]\n", "", []),
        (f"{SMMU}iommu-cells: [sid]\n{QUEUES}", "cmdq-size = <8>;", []),
        (f"{SMMU}iommu-cells: [sid]\n{QUEUES}", "", ["viommu,smmu-v3.yaml"]),
        (f"{SMMU}{QUEUES}", "", ["viommu,smmu-v3.yaml"]),
        (f"{SMMU}{QUEUES}", "cmdq-size = <8>; evtq-size = <8>;", ["viommu,smmu-v3.yaml"]),
        (f"{SMMU}iommu-cells: [sid, ssid]\n", "", ["viommu,smmu-v3.yaml"]),
        (SMMU.replace("[base.yaml]", "[cells.yaml]"), "", []),
        (f"{SMMU}iommu-cells: [sid]\n", "dma-coherent;", ["viommu,smmu-v3.yaml"]),
    ],
    ids=[
        "fits",
        "given what it wants",
        "wants more",
        "no cells",
        "both",
        "two",
        "by include",
        "given more than it declares",
    ],
)
def test_beside_another_smmu_binding(
    binding: str, vsmmu: str, files: list[str], zephyr: Path, tmp_path: Path
) -> None:
    (zephyr / "cells.yaml").write_text("include: base.yaml\niommu-cells: [sid]\n")
    (zephyr / "arm,smmu-v3.yaml").write_text(binding)
    shipped = CHECKOUT / "bindings"
    made = generated(zephyr, tmp_path, shipped, vsmmu=vsmmu)
    assert [name for name in made if "smmu" in name] == files
    compatible = '"viommu,smmu-v3", ' if files else ""
    found = edt(tmp_path, zephyr, shipped, tmp_path / "dts/bindings", vsmmu=vsmmu, own=compatible)
    (entry,) = found.get_node("/passthrough/a").props["iommus"].val
    assert list(entry.data.values()) == [1]


@pytest.mark.parametrize(
    ("name", "value"), [("xen-rfc", "device"), ("xen-amd", "device"), ("qemu-virt", "stream")]
)
def test_the_binding_has_what_the_profile_knows_of_stage_1(
    name: str, value: str, zephyr: Path, tmp_path: Path
) -> None:
    generated(zephyr, tmp_path, CHECKOUT / "bindings", profile_name=name)
    found = edt(tmp_path, zephyr, CHECKOUT / "bindings", tmp_path / "dts/bindings")
    assert found.get_node("/v").props["viommu,stage1-settings"].val == value


def test_without_the_module_the_folder_stands_alone(zephyr: Path, tmp_path: Path) -> None:
    files = generated(zephyr, tmp_path)
    assert {"viommu,passthrough.yaml", "viommu,assigned-device.yaml"} <= set(files)
    assert "viommu\t" in files["vendor-prefixes.txt"]


def test_the_package_or_the_checkout_has_the_bindings() -> None:
    folder = Path(shipped("bindings", "bindings"))
    assert (folder / "viommu,passthrough.yaml").is_file()
    assert folder == (PACKAGE if not IS_CHECKOUT else CHECKOUT) / "bindings"


def test_a_stub_takes_what_its_siblings_have_and_hides_no_binding(
    zephyr: Path, tmp_path: Path
) -> None:
    body = """
        a { compatible = "y,x", "arm,pl011"; iommus = <1 1>; };
        b { compatible = "y,x"; iommus = <1 2>; };
        c { compatible = "y,z"; iommus = <1 3>; };
        d { compatible = "y,z"; only-here = <1>; w { compatible = "w,w"; }; };
    """
    parent = tree(f"p {{ {body} }};").node("/p")
    assert parent
    known = Bindings([str(zephyr), str(CHECKOUT / "bindings")], compatibles(parent))
    files = generated_bindings(parent, ["/p/a", "/p/b", "/p/c"], known)
    names = sorted(name.removeprefix("dts/bindings/") for name in files)
    assert [name for name in names if name.startswith("passthrough-")] == [
        "passthrough-arm,pl011.yaml",
        "passthrough-y,z.yaml",
    ]
    assert '"only-here": {type: compound}' in files["dts/bindings/passthrough-y,z.yaml"]
    assert "\nw\t" in files["dts/bindings/vendor-prefixes.txt"]


def test_a_device_below_a_bus_of_its_own_is_bound_on_that(zephyr: Path, tmp_path: Path) -> None:
    (zephyr / "x,bus.yaml").write_text(UART.replace("arm,pl011", "x,bus") + "bus: [own, two]\n")
    body = 'b { compatible = "x,bus"; d { compatible = "arm,pl011"; iommus = <1 1>; }; };'
    parent = tree(f"p {{ {body} }};").node("/p")
    assert parent
    known = Bindings([str(zephyr), str(CHECKOUT / "bindings")], compatibles(parent))
    files = generated_bindings(parent, ["/p/b/d"], known)
    assert 'on-bus: "own"\n' in files["dts/bindings/own-arm,pl011.yaml"]


def test_of_two_files_with_one_name_the_right_one_counts(zephyr: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (zephyr / "same.yaml").write_text(
        UART.replace("arm,pl011", "x,same")
        + "properties: {mine: {type: int}, iommus: {type: phandle-array, specifier-space: iommu}}\n"
    )
    (other / "same.yaml").write_text(UART.replace("arm,pl011", "x,other"))
    parent = tree('p { a { compatible = "x,same"; iommus = <1 1>; mine = <1>; }; };').node("/p")
    assert parent
    dirs = [zephyr, other, CHECKOUT / "bindings"]
    known = Bindings([str(each) for each in dirs], compatibles(parent))
    text = generated_bindings(parent, ["/p/a"], known)["dts/bindings/passthrough-x,same.yaml"]
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "passthrough-x,same.yaml").write_text(text)
    source = tmp_path / "all.dts"
    source.write_text(
        """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
        v: v { #iommu-cells = <1>; };
        passthrough { compatible = "viommu,passthrough";
            a { compatible = "x,same"; mine = <7>; xen,path = "/a"; }; }; };"""
    )
    found = edtlib.EDT(str(source), [*map(str, dirs), str(tmp_path / "generated")])
    assert found.get_node("/passthrough/a").props["mine"].val == 7
    assert found.get_node("/passthrough/a").props["xen,path"].val == "/a"


def test_files_that_are_no_bindings_are_left_to_zephyr(zephyr: Path, tmp_path: Path) -> None:
    (zephyr / "latin.yaml").write_bytes(b'compatible: "y,unknown" # \xe9\n')
    (zephyr / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    (zephyr / "circle.yaml").write_text("include: circle.yaml\nproperties: {p: {type: int}}\n")
    assert "passthrough-y,unknown.yaml" in generated(zephyr, tmp_path, CHECKOUT / "bindings")
    assert Bindings([str(zephyr)]).declared("circle.yaml") == {"p"}
