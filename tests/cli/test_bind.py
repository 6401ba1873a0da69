# SPDX-License-Identifier: Apache-2.0
"""The main job from end to end: what bind writes, and that the devicetree compilers take it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from devicetree import dtlib

from tests.support import CHECKOUT, DEMO, XENVM, Run, golden
from west_viommu.names import OVERLAY_FIRST_LINE

TWO_SMMUS = CHECKOUT / "tests" / "hosts" / "two-smmus.dts"
# What a run leaves, but for Zephyr's bindings.
FILES = (
    "viommu.json",
    "viommu.overlay",
    "passthrough-dom0less.dts",
    "passthrough-dom0less.dtb",
    "passthrough-xl.dts",
    "passthrough-xl.dtb",
    "xenlib.h",
    "xl.cfg",
    "host.overlay",
)

PARTIAL_TREE = """/dts-v1/;
/ {
	#address-cells = <2>;
	#size-cells = <2>;
	passthrough {
		compatible = "simple-bus";
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
%s
	};
};
"""
# A Zephyr overlay: no /dts-v1/, labels and macros of a base tree that is not given.
OVERLAY = PARTIAL_TREE.removeprefix("/dts-v1/;\n")


def bound(folder: Path, *guests: str) -> dict[str, list[int]]:
    """Path of each device -> its stream IDs behind the vSMMU, by dtc and by dtlib, which must
    agree, in the guest's files and the overlay, concatenated as Zephyr does.
    """
    source = folder / "all.dts"
    files = [folder / guest for guest in guests] + [folder / "viommu/viommu.overlay"]
    source.write_text("".join(file.read_text() for file in files))
    compiled = folder / "all.dtb"
    dtc = ["dtc", "-I", "dts", "-O", "dtb", "-o", str(compiled), str(source)]
    run = subprocess.run(dtc, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "iommus" not in run.stderr
    decompiled = folder / "decompiled.dts"
    subprocess.run(["dtc", "-q", "-o", str(decompiled), "-O", "dts", str(compiled)], check=True)
    results = []
    for file in (source, decompiled):
        tree = dtlib.DT(str(file))
        vsmmu = tree.get_node("/iommu@4040000")
        phandle = vsmmu.props["phandle"].to_num()
        assert vsmmu.props["compatible"].to_string() == "arm,smmu-v3"
        result = {}
        for node in tree.node_iter():
            if "iommus" in node.props:
                numbers = dtlib.to_nums(node.props["iommus"].value)
                assert set(numbers[::2]) == {phandle}
                result[node.path] = numbers[1::2]
        results.append(result)
    assert results[0] == results[1]
    return results[0]


CORPUS_GUESTS = [
    pytest.param(
        "morello-sdp",
        """display@2cc00000 {
            reg = <0x0 0x2cc00000 0x0 0x20000>;
            iommus = <0x0 0x0 0x0 0x1 0x0 0x2 0x0 0x3 0x0 0x8>; };""",
        {"display@2cc00000": [0, 1, 2, 3, 8]},
        id="morello display by IDs",
    ),
    pytest.param(
        "morello-sdp",
        'screen { xen,path = "/display@2cc00000"; };',
        {"screen": [0, 1, 2, 3, 8]},
        id="morello display by path",
    ),
    pytest.param(
        "morello-sdp",
        "display { iommus = <0xe 0x0 0xe 0x1 0xe 0x2 0xe 0x3 0xe 0x8>; };",
        {"display": [0, 1, 2, 3, 8]},
        id="morello display with the host's phandle",
    ),
    pytest.param(
        "versal-net-vn-x-b2197-01-revA",
        "eth { iommus = <0x0 0x235>; }; emmc { iommus = <0xfdea 0x243>; };",
        {"eth": [0x235], "emmc": [0x243]},
        id="versal-net by IDs",
    ),
    pytest.param(
        "versal-net-vn-x-b2197-01-revA",
        'eth { xen,path = "/axi/ethernet@f19f0000"; };'
        ' bus { emmc { xen,path = "/axi/mmc@f1050000"; }; };',
        {"eth": [0x235], "bus/emmc": [0x243]},
        id="versal-net by paths, nested",
    ),
    pytest.param(
        "imx95-19x19-evk-smmu-on",
        "a { iommus = <0 0xe>; }; b { iommus = <0 0xf>; };",
        {"a": [0xE], "b": [0xF]},
        id="imx95 by IDs",
    ),
    pytest.param(
        "imx95-19x19-evk-smmu-on",
        'a { xen,path = "/soc/bus@4c100000/usb@4c100000"; };'
        ' b { xen,path = "/soc/usb@4c200000"; };',
        {"a": [0xE], "b": [0xF]},
        id="imx95 by paths",
    ),
]


@pytest.mark.parametrize(("host", "devices", "expected"), CORPUS_GUESTS)
@pytest.mark.parametrize("form", ["partial tree", "overlay"])
def test_real_hosts(
    form: str,
    host: str,
    devices: str,
    expected: dict[str, list[int]],
    viommu: Run,
    corpus: Path,
    tmp_path: Path,
) -> None:
    guests = ["guest.dts"]
    if form == "overlay":
        (tmp_path / "base.dts").write_text(XENVM)
        (tmp_path / "guest.dts").write_text(OVERLAY % devices)
        guests.insert(0, "base.dts")
    else:
        (tmp_path / "guest.dts").write_text(PARTIAL_TREE % devices)
    outcome = viommu("bind", "--host", corpus / f"{host}.dtb", "guest.dts")
    assert outcome.status == 0, outcome.err
    paths = {f"/passthrough/{name}": ids for name, ids in expected.items()}
    assert bound(tmp_path, *guests) == paths
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    assert {
        device["node"]: [stream["vmaster"] for stream in device["streams"]]
        for device in plan["devices"]
    } == paths


@pytest.mark.parametrize(
    ("host", "device", "hazard", "says"),
    [
        ("imx95-19x19-evk", "iommus = <0 0xe>;", "iommu-disabled", "give the tree that you boot"),
        (
            "r8a779g0-white-hawk",
            'xen,path = "/soc/mmc@ee140000";',
            "unsupported-iommu",
            "renesas,ipmmu-r8a779g0 renesas,rcar-gen4-ipmmu-vmsa",
        ),
        (
            "hamoa-iot-evk-el2",
            "iommus = <0 0x14a0>;",
            "unsupported-iommu",
            "qcom,x1e80100-smmu-500 qcom,smmu-500 arm,mmu-500",
        ),
        (
            "zynqmp-zcu102-rev1.1",
            'xen,path = "/axi/ethernet@ff0e0000";',
            "unprotected",
            "is behind no IOMMU",
        ),
        (
            "fvp-base-revc",
            'xen,path = "/pci@40000000";',
            "map-only",
            "has its stream IDs from iommu-map alone",
        ),
    ],
)
def test_real_hosts_that_cannot(
    host: str, device: str, hazard: str, says: str, viommu: Run, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % f"device {{ {device} }};")
    outcome = viommu("bind", "--host", corpus / f"{host}.dtb", "guest.dts")
    assert outcome.status == 1
    assert f"guest.dts:10: error: [{hazard}]" in outcome.err
    assert says in outcome.err
    assert not (tmp_path / "viommu").exists()


def test_demo(viommu: Run, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    outcome = viommu("bind", "--host", "host.dts", "guest.overlay")
    assert outcome.status == 0
    assert outcome.err == (
        "note: no --profile: this assumes a Xen that keeps stream IDs (RFC, v1), not one that "
        "renumbers (v2, v3)\n"
    )
    assert outcome.out == golden("demo.txt", outcome.out)
    for name in ("viommu.overlay", "passthrough-dom0less.dts", "xl.cfg", "host.overlay"):
        text = (tmp_path / "viommu" / name).read_text()
        assert text == golden(f"demo.{name.removeprefix('viommu.')}", text)
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    # What dtc makes of a source may differ from one dtc to the next.
    plan["files"] = sorted(plan["files"])
    text = json.dumps(plan, indent=2) + "\n"
    assert text == golden("demo.json", text)


def test_the_plan_seals_the_other_files(viommu: Run, tmp_path: Path) -> None:
    viommu("bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay", "-o", "out")
    folder = tmp_path / "out"
    sums = json.loads((folder / "viommu.json").read_text())["files"]
    assert sorted([*sums, "viommu.json"]) == sorted(os.listdir(folder)) == sorted(FILES)
    for name, digest in sums.items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_a_chosen_profile_needs_no_note(viommu: Run, tmp_path: Path) -> None:
    host, guest = DEMO / "host.dts", DEMO / "guest.overlay"
    options = ("--profile", "xen-rfc", "--vsid", "identity")
    assert viommu("bind", "--host", host, guest, *options).err == ""
    assert "(default" not in (tmp_path / "viommu/viommu.overlay").read_text()


def test_a_board_and_its_overlay(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "board.dts").write_text(XENVM)
    shutil.copy(DEMO / "guest.overlay", tmp_path)
    macros = ("-D", "GIC_SPI=0", "-D", "IRQ_TYPE_LEVEL=2", "-D", "IRQ_DEFAULT_PRIORITY=0xa0")
    command = ("bind", "--host", DEMO / "host.dts", "board.dts", "guest.overlay")
    assert viommu(*command, *macros).status == 0
    overlay = (tmp_path / "viommu/viommu.overlay").read_text()
    assert "interrupts = <0 1 2 0xa0>; /* INTID 33 level */" in overlay
    assert "interrupt-parent = <&gic>;" in overlay
    assert "host:    host.dts (west-viommu demo host)" in overlay
    assert "guest:   board.dts guest.overlay" in overlay


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        pytest.param(
            PARTIAL_TREE % "e { iommus = <0 0x10>; interrupts = <0 20 4>; };",
            ["interrupts = <0 1 4>; /* INTID 33 level */"],
            id="a partial tree has three cells and no GIC",
        ),
        pytest.param(
            OVERLAY % "e { iommus = <0 0x10>; interrupts = <GIC_SPI 20 IRQ_TYPE_LEVEL 0xa0>; };",
            ["interrupts = <0 1 2 0xa0>; /* INTID 33 level */"],
            id="an overlay that does not name the GIC",
        ),
        pytest.param(
            (PARTIAL_TREE % "e { iommus = <0 0x10>; interrupts = <0 20 4>; };")
            + "/ { gic { interrupt-controller; #interrupt-cells = <3>; phandle = <1>; };"
            " passthrough { e { interrupt-parent = <1>; }; }; };",
            ["interrupts = <0 1 4>; /* INTID 33 level */", "interrupt-parent = <&{/gic}>;"],
            id="a stub of dom0less",
        ),
    ],
)
def test_the_interrupt_of_the_vsmmu_is_in_the_cells_of_the_guests_gic(
    guest: str, expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "guest.dts").write_text(guest)
    outcome = viommu("bind", "--host", TWO_SMMUS, "guest.dts")
    assert outcome.status == 0, outcome.err
    overlay = (tmp_path / "viommu/viommu.overlay").read_text()
    lines = [line.strip() for line in overlay.splitlines() if line.strip().startswith("interrupt")]
    assert [line for line in lines if "names" not in line] == expected
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    assert plan["devices"][0]["intids"] == [52]


def test_a_root_with_one_cell_gets_a_reg_with_one_cell(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "guest.dts").write_text(
        "/dts-v1/; / { #address-cells = <1>; #size-cells = <1>;"
        " passthrough { e { iommus = <0 0x10>; }; }; };"
    )
    assert viommu("bind", "--host", TWO_SMMUS, "guest.dts").status == 0
    overlay = (tmp_path / "viommu/viommu.overlay").read_text()
    assert "\t\treg = <0x4040000 0x40000>;\n" in overlay


def test_regions_may_be_elsewhere_in_the_guest(viommu: Run, tmp_path: Path) -> None:
    device = """e {
        iommus = <0 0x11>, <0 0x12>;
        reg = <0 0x50000000 0 0x1000>, <0 0x50001000 0 0x200>;
        xen,reg = <0 0x20010000 0 0x1000 0 0x50000000>, <0 0x20020000 0 0x1000 0 0x50001000>; };"""
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % device)
    outcome = viommu("bind", "--host", TWO_SMMUS, "guest.dts")
    assert outcome.status == 0, outcome.err
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    assert plan["devices"][0]["regions"] == [
        {"host": 0x20010000, "guest": 0x50000000, "size": 0x1000},
        {"host": 0x20020000, "guest": 0x50001000, "size": 0x200},
    ]


@pytest.mark.parametrize(
    ("device", "warnings"),
    [
        (
            "e { iommus = <0 0x10>; reg = <0 0x20000000 0 0x1000>; interrupts = <0 20 4>; };",
            [],
        ),
        ("e { iommus = <0 0x10>; reg = <0 0x20000000 0 0x1000>; };", ["parts-omitted"]),
        ("e { iommus = <0 0x10>; interrupts = <0 20 4>; };", ["parts-omitted"]),
        ("e { iommus = <0 0x11>; };", ["streams-omitted", "parts-omitted"]),
        ("e { iommus = <0 0x90>; };", ["device-disabled", "parts-omitted"]),
        ('e { xen,path = "/net@200c0000"; };', ["maps-not-programmed", "parts-omitted"]),
        ('e { xen,path = "/twin-a"; };', ["device-disabled", "device-without-region"]),
    ],
)
def test_warnings_do_not_refuse(
    device: str, warnings: list[str], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % device)
    outcome = viommu("bind", "--host", TWO_SMMUS, "--profile", "xen-rfc", "guest.dts")
    assert outcome.status == 0
    assert re.findall(r"^guest.dts:\d+: warning: \[(.*?)\]", outcome.err, re.M) == warnings


@pytest.mark.parametrize("device", ["ethernet@20000000", "e"])
def test_address_then_name_settle_a_tie(device: str, viommu: Run, tmp_path: Path) -> None:
    twins = PARTIAL_TREE % f"{device} {{ iommus = <0 0xc0>; }};"
    (tmp_path / "guest.dts").write_text(twins.replace(device, "twin-b"))
    assert viommu("bind", "--host", TWO_SMMUS, "guest.dts").status == 0
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    assert plan["devices"][0]["host"] == "/twin-b"


def test_an_overlay_of_an_earlier_run_is_ignored(viommu: Run, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    command = ("bind", "--host", "host.dts", "guest.overlay")
    assert viommu(*command).status == 0
    first = (tmp_path / "viommu/viommu.overlay").read_text()
    assert viommu(*command, "viommu/viommu.overlay").status == 0
    again = (tmp_path / "viommu/viommu.overlay").read_text()
    assert again.replace("guest.overlay viommu.overlay", "guest.overlay") == first


@pytest.mark.parametrize(
    "guest",
    [
        pytest.param("&{/} { passthrough { BUS e { iommus = <0 0x10>; }; }; };", id="the root"),
        pytest.param("&{/passthrough} { e { iommus = <0 0x10>; REG }; };", id="the base's bus"),
        pytest.param(
            "/ { chosen { x = <&vsmmu>; }; passthrough { BUS e { iommus = <0 0x10>; }; }; };",
            id="our label",
        ),
    ],
)
def test_overlays_that_lean_on_their_base(guest: str, viommu: Run, tmp_path: Path) -> None:
    bus = "#address-cells = <2>; #size-cells = <2>; ranges;"
    text = guest.replace("BUS", bus).replace("REG", "reg = <0 0x20000000 0 0x1000>;")
    (tmp_path / "guest.overlay").write_text(text)
    outcome = viommu("bind", "--host", TWO_SMMUS, "guest.overlay")
    assert outcome.status == 0, outcome.err


def test_a_guest_that_is_bound_already_is_checked_all_the_same(viommu: Run, tmp_path: Path) -> None:
    bound_by_hand = (
        PARTIAL_TREE % "e { iommus = <&smmu 0x10>; }; f { iommus = <&smmu 0x99>; };"
    ) + '/ { smmu: iommu@4040000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; }; };\n'
    (tmp_path / "guest.dts").write_text(bound_by_hand)
    outcome = viommu("bind", "--host", TWO_SMMUS, "guest.dts")
    assert outcome.status == 1
    assert outcome.err.count("error") == 1
    assert "[unknown-stream-id]" in outcome.err
    (tmp_path / "guest.dts").write_text(bound_by_hand.replace("f { iommus = <&smmu 0x99>; };", ""))
    assert viommu("bind", "--host", TWO_SMMUS, "guest.dts").status == 0
    assert bound(tmp_path, "guest.dts") == {"/passthrough/e": [0x10]}


def test_a_refused_run_leaves_none_of_our_files_and_all_others(viommu: Run, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    assert viommu("bind", "--host", "host.dts", "guest.overlay").status == 0
    (tmp_path / "viommu/notes.txt").write_text("mine")
    guest = tmp_path / "guest.overlay"
    guest.write_text(guest.read_text().replace("0x40>", "0x41>"))
    assert viommu("bind", "--host", "host.dts", "guest.overlay").status == 1
    assert os.listdir(tmp_path / "viommu") == ["notes.txt"]


def test_a_run_refused_for_its_settings_leaves_none_either(viommu: Run, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    assert viommu("bind", "--host", "host.dts", "guest.overlay").status == 0
    assert viommu("bind").status == 2
    assert sorted(os.listdir(tmp_path / "viommu")) == sorted(FILES)
    (tmp_path / "viommu/.west-viommu.123").write_text("/* Generated by west")
    (tmp_path / "viommu.yml").write_text("hst: host.dts\n")
    assert viommu("bind", "guest.overlay").status == 1
    assert os.listdir(tmp_path / "viommu") == []


def test_somebody_elses_overlay_is_not_overwritten(viommu: Run, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    (tmp_path / "viommu.overlay").write_text("/ { };\n")
    outcome = viommu("bind", "--host", "host.dts", "guest.overlay", "-o", ".")
    assert outcome.status == 1
    assert outcome.err == (
        "viommu.overlay: error: [unwritable] a file of this name exists that this tool did not "
        "write\nhint: move it away, or give another folder with -o\n"
    )
    assert (tmp_path / "viommu.overlay").read_text() == "/ { };\n"


@pytest.mark.parametrize("stream_id", ["0x40>", "0x41>"])
def test_somebody_elses_plan_is_not_touched(stream_id: str, viommu: Run, tmp_path: Path) -> None:
    guest = tmp_path / "guest.overlay"
    guest.write_text((DEMO / "guest.overlay").read_text().replace("0x40>", stream_id))
    (tmp_path / "viommu.json").write_text('{"mine": 1}')
    outcome = viommu("bind", "--host", DEMO / "host.dts", "guest.overlay", "-o", ".")
    assert outcome.status == 1
    assert "viommu.json: error: [unwritable]" in outcome.err
    assert (tmp_path / "viommu.json").read_text() == '{"mine": 1}'


def test_a_full_disk_leaves_none_of_our_files(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(source: str, target: str) -> None:
        if target.endswith("viommu.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    # A mock, as a test cannot fill the disk that everybody uses.
    monkeypatch.setattr(os, "replace", full)
    outcome = viommu("bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay")
    assert outcome.status == 1
    assert "viommu: error: [unwritable] No space left on device" in outcome.err
    assert os.listdir(tmp_path / "viommu") == []


def test_an_output_folder_that_cannot_be(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = viommu(
        "bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay", "-o", "file/viommu"
    )
    assert outcome.status == 1
    assert outcome.err == (
        "file/viommu: error: [unwritable] Not a directory\n"
        "hint: give a folder you can write to with -o\n"
    )


def test_outputs_obey_the_umask(viommu: Run, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        viommu("bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay")
    finally:
        os.umask(before)
    mode = (tmp_path / "viommu/viommu.overlay").stat().st_mode
    assert stat.S_IMODE(mode) == 0o640


def test_the_host_may_come_from_the_environment(
    viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIOMMU_HOST_DTB", str(DEMO / "host.dts"))
    assert viommu("bind", DEMO / "guest.overlay").status == 0
    assert viommu("list").status == 0


def test_text_of_the_host_cannot_leave_a_comment_or_a_string(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dts").write_text(
        TWO_SMMUS.read_text().replace('model = "two SMMUs"', 'model = "*/ bad \\n */ {"')
    )
    (tmp_path / "guest.dts").write_text(
        PARTIAL_TREE.replace('"simple-bus"', '"a\\"b\\\\", "\\x01"') % "e { iommus = <0 0x10>; };"
    )
    assert viommu("bind", "--host", "host.dts", "guest.dts").status == 0
    overlay = (tmp_path / "viommu/viommu.overlay").read_text()
    assert overlay.startswith(OVERLAY_FIRST_LINE)
    assert "host.dts (* / bad ? * / {)" in overlay
    assert 'compatible = "viommu,passthrough", "a\\"b\\\\", "\\x01", "simple-bus";' in overlay
    assert bound(tmp_path, "guest.dts") == {"/passthrough/e": [0x10]}


def test_a_copy_of_two_cells_for_a_xen_that_drives_the_smmu(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "host.dts").write_text(
        """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
        memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; };
        gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
        smmu: iommu@e0000000 { compatible = "arm,mmu-500"; #iommu-cells = <2>;
            #global-interrupts = <1>; interrupts = <0 1 4>, <0 2 4>;
            reg = <0 0xe0000000 0 0x10000>; };
        dma@9000000 { reg = <0 0x9000000 0 0x1000>; iommus = <&smmu 6 0>, <&smmu 7 0>; }; };"""
    )
    (tmp_path / "guest.dts").write_text(
        PARTIAL_TREE
        % "dma@9000000 { reg = <0 0x9000000 0 0x1000>; iommus = <0x0 6 0>, <0x0 7 0>; };"
    )
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen", "guest.dts")
    assert (outcome.status, outcome.err) == (0, "")
    plan = json.loads((tmp_path / "viommu/viommu.json").read_text())
    assert [stream["pmaster"] for stream in plan["devices"][0]["streams"]] == [6, 7]
    files = (tmp_path / "guest.dts", tmp_path / "viommu/viommu.overlay")
    (tmp_path / "all.dts").write_text("".join(file.read_text() for file in files))
    device = dtlib.DT(str(tmp_path / "all.dts")).get_node("/passthrough/dma@9000000")
    assert list(device.props) == ["reg", "xen,smmu-stream-ids", "xen,path"]
