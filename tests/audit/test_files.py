# SPDX-License-Identifier: Apache-2.0
"""The files of a set together: which belongs to which, and what is judged of several domains."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.audit.said import BOARD, said
from tests.support import Run

SOC = "/soc@10000000"
MMC = f"{SOC}/mmc@40000"
NODE = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
%s {
compatible = "arasan,sdhci-8.9a";
reg = <0 %#x 0 0x1000>;
interrupt-parent = <0xfde8>; interrupts = <0 %d 4>;
xen,reg = <0 %#x 0 0x1000 0 %#x>;
xen,path = "%s";
}; }; };
"""
ONE = NODE % ("mmc@10040000", 0x10040000, 50, 0x10040000, 0x10040000, MMC)
OTHER = NODE % ("dma@100b0000", 0x100B0000, 70, 0x100B0000, 0x100B0000, f"{SOC}/dma@b0000")
XL = f'name = "%s"\nmemory = %d\ndtdev = [ "{MMC}" ]\nirqs = [ 82 ]\niomem = [ "10040,1" ]\n'


def audit(viommu: Run, *arguments: str, **files: str) -> tuple[int, list[str]]:
    for name, text in files.items():
        path = Path(name.replace("__", "/").replace("_", "."))
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    names = [name.replace("__", "/").replace("_", ".") for name in files]
    host = BOARD / "host.dts"
    outcome = viommu("audit", "--host", host, "--profile", "xen", *arguments, *names)
    return outcome.status, said(outcome.err)


def script(*lines: str) -> str:
    return "\n".join((f"NUM_DOMUS={len(lines)}", *lines, ""))


def paths(number: int, *named: str) -> str:
    return f'DOMU_PASSTHROUGH_PATHS[{number}]="{" ".join(named)}"'


def test_trees_of_one_name_are_told_apart_by_their_folders(viommu: Run) -> None:
    config = script('DOMU_PASSTHROUGH_DTB[0]="a/p.dtb"', 'DOMU_PASSTHROUGH_DTB[1]="b/p.dtb"')
    config += "\n".join((paths(0, MMC), paths(1, f"{SOC}/dma@b0000"), ""))
    assert audit(viommu, config=config, a__p_dts=ONE, b__p_dts=OTHER) == (0, [])
    status, messages = audit(viommu, config=config.replace("b/p", "a/p"), a__p_dts=ONE)
    assert status == 1
    assert any("[duplicate-assignment]" in message for message in messages)


def test_partial_trees_by_the_names_of_devices(viommu: Run) -> None:
    config = script('PASSTHROUGH_DTS_REPO="folder"', "X=1")
    config += f"{paths(0, MMC, f'{SOC}/dma@b0000')}\nDOMU_MEM[0]=256\n"
    Path("dma@b0000.dts").write_text(OTHER)
    assert audit(viommu, config=config, **{"mmc@40000_dts": ONE}) == (0, [])
    wrong = ONE.replace("0 0x1000 0 0x10040000", "0 0x1000 0 0x10050000")
    status, messages = audit(viommu, config=config, **{"mmc@40000_dts": wrong})
    assert status == 1
    assert messages[0].startswith("mmc@40000.dts:8: error: [wrong] the registers of")
    Path("dma@b0000.dts").unlink()
    assert audit(viommu, config=config, **{"mmc@40000_dts": ONE})[0] == 0


def test_an_overlay_with_nodes_goes_on_the_partial_tree(viommu: Run) -> None:
    base = ONE.replace("passthrough {", "passthrough: passthrough {")
    node = OTHER.partition("ranges;\n")[2].removesuffix(" };\n").removesuffix(" };")
    overlay = f"/dts-v1/;\n/plugin/;\n&passthrough {{\n{node}\n}};\n".replace("}; };\n", "};\n")
    marks = f"/dts-v1/;\n/plugin/;\n&{{{MMC}}} {{ xen,passthrough; }};\n"
    marks += f"&{{{SOC}/dma@b0000}} {{ xen,passthrough; }};\n"
    files = {"p_dts": base, "o_dtso": overlay, "m_overlay": marks}
    assert audit(viommu, **files) == (0, [])
    status, messages = audit(viommu, p_dts=base, m_overlay=marks)
    assert (status, len(messages)) == (1, 1) and "m.overlay:4: error: [extra]" in messages[0]
    status, messages = audit(viommu, o_dtso=overlay)
    assert status == 1 and "and the files have 0 partial trees" in messages[0]


def test_the_only_tree_is_that_of_the_only_configuration(viommu: Run) -> None:
    of_xl = "\n".join(line for line in ONE.splitlines() if not line.startswith("xen,"))
    status, messages = audit(viommu, d_cfg=XL % ("d", 64), p_dts=of_xl)
    assert (status, messages) == (
        0,
        ["note: d.cfg has no device_tree: the guest gets no node of p.dts"],
    )
    # One that Xen itself reads is of another domain, which is given the same.
    status, messages = audit(viommu, d_cfg=XL % ("d", 64), p_dts=ONE)
    assert status == 1 and "[duplicate-assignment]" in messages[0]
    two = {"a_cfg": XL % ("a", 64), "p_dts": of_xl, "b_cfg": XL % ("b", 64)}
    assert any("(a.cfg:3)" in message for message in audit(viommu, **two)[1])


def test_a_device_tree_must_have_passthrough(viommu: Run) -> None:
    of_another = "/dts-v1/;\n/ { x { xen,passthrough; }; };\n"
    Path("p.dts").write_text(of_another)
    status, messages = audit(viommu, d_cfg='device_tree = "/boot/p.dtb"\n' + XL % ("d", 64))
    assert status == 1
    assert messages[0].startswith("d.cfg:1: error: [wrong] /boot/p.dtb has no /passthrough")
    Path("p.dts").write_text("/dts-v1/;\n/ { x = ; };\n")
    status, messages = audit(viommu, d_cfg='device_tree = "/boot/p.dtb"\n' + XL % ("d", 64))
    assert status == 1 and messages[0].startswith("p.dts:2: error: [malformed]")


def test_memory_of_all_domains(viommu: Run) -> None:
    two = {"a_cfg": XL % ("a", 600), "b_cfg": 'name = "b"\nmemory = 700\nvuart = "sbsa_uart"\n'}
    status, messages = audit(viommu, **two)
    assert status == 1
    assert messages == [
        "b.cfg: error: [domain-limits] the domains have more memory together than the host "
        "(expected less than 1024 MiB, found 1300 MiB) -- give them less: Xen itself and dom0 "
        "need some of it as well"
    ]


def test_a_device_in_the_way_of_the_memory(viommu: Run) -> None:
    moved = (XL % ("a", 600)).replace("10040,1", "10040,1@50000")
    status, messages = audit(viommu, a_cfg=moved)
    assert status == 1
    assert "[guest-overlap] a device of a is mapped where its memory would be" in messages[0]
    assert "expected at most 256 MiB, found 600 MiB" in messages[0]


def test_streams_of_two_domains(viommu: Run) -> None:
    """Two devices with one stream ID on one IOMMU, each right by itself."""
    host = (BOARD / "host.dts").read_text().replace("&smmu 0x150", "&smmu 0x110")
    Path("host.dts").write_text(host)
    dma = f'name = "b"\ndtdev = [ "{SOC}/dma@b0000" ]\nirqs = [ 102, 103 ]\niomem = [ "100b0,1" ]\n'
    Path("a.cfg").write_text(XL % ("a", 64))
    Path("b.cfg").write_text(dma)
    outcome = viommu("audit", "--host", "host.dts", "--profile", "xen", "a.cfg", "b.cfg")
    shared = [m for m in said(outcome.err) if "have the same stream ID" in m]
    assert outcome.status == 1 and len(shared) == 1
    assert shared[0].startswith("b.cfg:2: error: [shared-stream-id] ")
    assert "(a.cfg:3)" in shared[0]


def test_pages_of_two_domains_can_be_allowed(viommu: Run) -> None:
    syscon = (XL % ("a", 64)).replace('"10040,1"', '"10040,1", "10003,1"')
    other = 'name = "b"\niomem = [ "10003,1" ]\n'
    allow = ("--allow", f"shared-page:{SOC}/syscon@3000:one driver")
    status, messages = audit(viommu, a_cfg=syscon, b_cfg=other)
    assert status == 1 and sum("[shared-page]" in message for message in messages) == 3
    status, messages = audit(viommu, *allow, a_cfg=syscon, b_cfg=other)
    assert all("warning: [shared-page]" in m for m in messages if "page 0x10003 is of" in m)
    mac = 'name = "b"\niomem = [ "10040,1" ]\nirqs = [ 82 ]\n'
    status, messages = audit(viommu, a_cfg=XL % ("a", 64), b_cfg=mac)
    assert any("[duplicate-assignment]" in message for message in messages)


def test_a_line_of_the_device_of_another_domain(viommu: Run) -> None:
    other = 'name = "b"\nirqs = [ 82, 63 ]\niomem = [ "10011,1", "10040,1" ]\n'
    line = other.replace(', "10040,1"', "")
    status, messages = audit(viommu, a_cfg=XL % ("a", 64), b_cfg=line)
    assert status == 1
    assert messages[0].startswith(
        f"b.cfg:2: error: [extra] INTID 82 is of {MMC}, which a is given (found 82)"
    )
    page = other.replace("82, ", "")
    status, messages = audit(viommu, a_cfg=XL % ("a", 64), b_cfg=page)
    assert messages[0].startswith(
        f"b.cfg:3: error: [shared-page] page 0x10040 is of {MMC}, which a is given"
    )


def test_marks_at_labels_need_a_host_with_labels(viommu: Run, tmp_path: Path) -> None:
    subprocess.run(["dtc", "-q", "-o", "plain.dtb", BOARD / "host.dts"], check=True)
    Path("p.dts").write_text(ONE)
    Path("m.overlay").write_text("/dts-v1/;\n/plugin/;\n&sd0 { xen,passthrough; };\n")
    files = ("--profile", "xen", "p.dts", "m.overlay")
    assert viommu("audit", "--host", BOARD / "host.dts", *files).status == 0
    outcome = viommu("audit", "--host", "plain.dtb", *files)
    assert outcome.status == 0
    assert "the marks are not judged: they are at labels (&sd0)" in outcome.err
    Path("m.overlay").write_text("/dts-v1/;\n/plugin/;\n&sd9 { xen,passthrough; };\n")
    outcome = viommu("audit", "--host", BOARD / "host.dts", *files)
    assert outcome.status == 1 and "m.overlay:3: error: [unknown-host-node]" in outcome.err


def test_domains_in_chosen_whose_trees_are_not_named(viommu: Run) -> None:
    outcome = viommu(
        *("audit", "--host", BOARD / "host.dts", "--profile", "xen", BOARD / "xen.dts")
    )
    assert outcome.status == 0
    assert "/chosen has more domains (1) than the files have partial trees (0)" in outcome.err


def test_an_overlay_of_imagebuilder_is_read(viommu: Run) -> None:
    config = script('DOMU_PASSTHROUGH_DTB[0]="p.dtb"') + "DT_OVERLAY[0]=marks.dtbo\n"
    Path("p.dts").write_text(ONE)
    status, messages = audit(viommu, config=config)
    assert status == 0
    assert messages == ["note: the overlay marks.dtbo was not found: its marks are not judged"]
    marks = f"/dts-v1/;\n/plugin/;\n&{{{MMC}}} {{ xen,passthrough; }};\n"
    compiled = subprocess.run(
        ["dtc", "-@", "-q", "-O", "dtb"], input=marks.encode(), stdout=subprocess.PIPE, check=True
    )
    Path("marks.dtbo").write_bytes(compiled.stdout)
    assert audit(viommu, config=config) == (0, [])


def test_too_many_domains(viommu: Run) -> None:
    config = "\n".join(paths(number, MMC) for number in range(70))
    status, messages = audit(viommu, config=config)
    assert status == 1 and "these are too many domains" in messages[0]


def test_a_malformed_host_node_is_said(viommu: Run) -> None:
    host = (BOARD / "host.dts").read_text()
    Path("host.dts").write_text(host.replace("interrupts = <0 50 4>", "interrupts = <0 50>"))
    Path("a.cfg").write_text(XL % ("a", 64))
    outcome = viommu("audit", "--host", "host.dts", "--profile", "xen", "a.cfg")
    assert outcome.status == 1
    assert "a.cfg:3: error: [malformed] the host node is malformed" in outcome.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("xen,path", "// xen,path", "g.dts:8: error: [wrong] xen,reg without xen,path"),
        ("<0 50 4>", "<0 50>", ""),
        ('"/soc', '<1>; x = "/soc', "g.dts:9: error: [malformed]"),
        ("passthrough { #address-cells = <2>;", "passthrough { #address-cells = [02];", "g.dts:"),
        ("interrupt-parent = <0xfde8>;", "interrupt-parent = <9>;", ""),
    ],
)
def test_a_tree_that_is_malformed(old: str, new: str, message: str, viommu: Run) -> None:
    """Xen copies what it does not read itself; the guest is told by its own kernel."""
    assert old in ONE
    status, messages = audit(viommu, g_dts=ONE.replace(old, new, 1))
    assert status == bool(message), messages
    if message:
        assert messages[0].startswith(message), messages


def test_a_device_behind_an_iommu_that_is_off(viommu: Run) -> None:
    """It is given without one if its user says so; dtdev asks for one."""
    off = '#iommu-cells = <1>; status = "disabled";'
    host = (BOARD / "host.dts").read_text().replace("#iommu-cells = <1>;", off)
    Path("host.dts").write_text(host)
    Path("p.dts").write_text(ONE.replace("xen,path", "xen,force-assign-without-iommu; xen,path"))
    Path("q.dts").write_text(ONE)
    Path("a.cfg").write_text(XL % ("a", 64))
    Path("b.cfg").write_text((XL % ("a", 64)).replace("dtdev", "# dtdev"))
    for file, status in (("p.dts", 0), ("q.dts", 1), ("a.cfg", 1), ("b.cfg", 0)):
        outcome = viommu("audit", "--host", "host.dts", "--profile", "xen", file)
        word = "error" if status else "warning"
        assert (outcome.status, f"{word}: [iommu-disabled]" in outcome.err) == (status, True), file


def test_what_a_copied_tree_has_and_nobody_gives_is_one_note(viommu: Run) -> None:
    tree = (BOARD / "host.dts").read_text().replace("aliases {", "passthrough { }; aliases {")
    Path("n.dts").write_text(tree)
    names = f'device_tree = "n.dtb"\ndt_passthrough_nodes = [ "{SOC}", "/soc@1000000" ]\n'
    status, messages = audit(viommu, d_cfg=names + XL % ("d", 64))
    assert status == 1 and len(messages) == 3
    assert messages[0].startswith("d.cfg:2: error: [wrong] the file of device_tree has no /soc@10")
    assert f"did you mean {SOC}?" in messages[0]
    assert (
        messages[1] == "note: dt_passthrough_nodes is a key of EPAM's xl: a released one ignores it"
    )
    assert (
        "of which no page and no interrupt is given" in messages[2]
        and " more, of which" in messages[2]
    )
