# SPDX-License-Identifier: Apache-2.0
"""What a system looks like where its devices are of kinds that other tests do not have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import PACKAGE, Run
from tests.system.guests import HOST, Guest, bound, judged

# A root complex, and a disabled device on the page of net.
MORE = """
	pcie@40000000 {
		compatible = "pci-host-ecam-generic";
		device_type = "pci";
		reg = <0x0 0x40000000 0x0 0x1000000>;
		#address-cells = <3>;
		#size-cells = <2>;
		iommu-map = <0x0 &smmu1 0x100 0x80>, <0x80 &smmu1 0x300 0x80>;
	};

	twin@10000800 {
		compatible = "v,twin";
		reg = <0x0 0x10000800 0x0 0x100>;
		status = "disabled";
	};
"""
PCI = """/ { passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
pcie@40000000 { reg = <0x0 0x40000000 0x0 0x1000000>; xen,path = "/pcie@40000000"; }; }; };
"""
NET_AND_RAW = {"net": Guest(["/net@10000000"]), "raw": Guest(raw=[0x20000000])}


def host(more: str) -> str:
    return HOST.read_text().replace("\tchosen {", f"{more}\n\tchosen {{", 1)


def test_what_is_kept_from_dom0_and_what_has_no_device(viommu: Run) -> None:
    bound(viommu, "xen-rfc", NET_AND_RAW, host(MORE))
    table = viommu("system", "--host", "host.dts", "net", "raw").out
    assert table.split("/iommu@9200000")[0] == (
        "net  64 MiB, 1 CPU, a vSMMU\n"
        "  /net@10000000\n"
        "      /iommu@9000000  0x10\n"
        "      INTID 72  0x10000000/0x1000\n"
        "  kept from dom0 as well: /twin@10000800 (is on a page of /net@10000000)\n"
        "raw  64 MiB, 1 CPU\n"
        "  /passthrough/shm@20000000, without a host device\n"
        "      0x20000000/0x1000\n"
        "dom0  17 masters, and what is behind no IOMMU\n"
        "  /iommu@9100000\n"
        "      /pcie@40000000  0x100-0x17f 0x300-0x37f\n"
        "      /usb@10007000  0x10\n"
        "  /iommu@9000000\n"
        "      /dma@10001000  0x11\n"
        "      /uart@10002000  0x12\n"
        "      /spi@10002100  0x13\n"
        "      /adc@10003000  0x14\n"
        "      /dac@10004000  0x15\n"
        "      /can@10005000  0x16\n"
        "      /lin@10006000  0x1b\n"
        "      /engine@10008000  0x17\n"
        "      /engine@10008000/unit@10009000  0x18\n"
        "      /mac@1000a000  0x19\n"
        "      /pwm@1000b100  0x1a\n"
        "  "
    )
    picture = viommu("system", "--host", "host.dts", "net", "raw", "--format", "dot").out
    assert '    r1_0 [label="/passthrough/shm@20000000\\nwithout a host device"];\n' in picture


def test_many_devices_of_dom0_are_counted(viommu: Run) -> None:
    many = "".join(f"m{i} {{ iommus = <&smmu1 {0x1000 + i}>; }};\n" for i in range(70))
    bound(viommu, "xen-rfc", {"net": Guest(["/net@10000000"])}, host(many))
    table = viommu("system", "--host", "host.dts", "net").out
    assert "\n  /iommu@9100000  71 masters\n  /iommu@9000000\n      /dma@10001000  0x11\n" in table


def test_a_root_complex_has_the_ids_of_its_map(viommu: Run) -> None:
    Path("pci").mkdir()
    Path("pci/guest.overlay").write_text(PCI)
    Path("host.dts").write_text(host(MORE))
    by_qemu = ("--host", "host.dts", "--profile", "qemu-virt", "-o", "pci/viommu")
    assert viommu("bind", *by_qemu, "pci/guest.overlay").status == 0
    outcome = viommu("system", "--host", "host.dts", "pci")
    # QEMU takes no configuration and no partial tree that could be missing.
    assert outcome.err == ""
    assert outcome.out.startswith(
        "pci  64 MiB, 1 CPU, a vSMMU\n"
        "  /pcie@40000000\n"
        "      /iommu@9100000  0x100-0x17f 0x300-0x37f\n"
        "      0x40000000/0x1000000\n"
    )
    picture = viommu("system", "--host", "host.dts", "pci", "--format", "dot").out
    assert '  d0_0 -> i0 [label="0x100-0x17f 0x300-0x37f"];\n' in picture


def test_folders_of_one_name_are_numbered(viommu: Run) -> None:
    bound(viommu, "xen-rfc", NET_AND_RAW)
    Path("other").mkdir()
    Path("raw").rename("other/net")
    table = viommu("system", "--host", "host.dts", "net", "other/net").out
    assert [line.split()[0] for line in table.splitlines() if " MiB, " in line] == ["net", "net-2"]


def test_without_dtc_there_is_no_blob_of_it(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cpp").symlink_to(str(shutil.which("cpp")))
    monkeypatch.setenv("PATH", str(tools))
    bound(viommu, "xen-rfc", NET_AND_RAW)
    outcome = viommu("system", "--host", "host.dts", "net", "raw")
    assert outcome.status == 0
    assert outcome.err == (
        "note: net has no partial tree that is a blob: bind it where there is dtc\n"
        "note: raw has no partial tree that is a blob: bind it where there is dtc\n"
        "note: no dtc: marks.dtbo and what needs it are missing; install device-tree-compiler\n"
    )
    text = Path("viommu-system/host.overlay").read_text()
    assert " * net is not created here: it has no partial tree for Xen.\n" in text


def test_plans_by_a_profile_of_ones_own(viommu: Run) -> None:
    """viommu.json has its name, and not its file."""
    own = (
        (PACKAGE / "profiles" / "xen-rfc.yaml")
        .read_text()
        .replace('"name": "xen-rfc"', '"name": "mine"')
    )
    Path("mine.yaml").write_text(own)
    bound(viommu, "./mine.yaml", {"net": Guest(["/net@10000000"])})
    outcome = viommu("system", "--host", "host.dts", "net")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "net/viommu/viommu.json: error: [unreadable] the plans use a profile of the user's own, "
        "mine\n"
        "hint: name its file: profile: FILE in viommu.yml, or --profile FILE\n"
    )
    Path("system.yml").write_text("domains: {net: {build: net}}\n")
    outcome = viommu("system", "--host", "host.dts", "system.yml")
    assert outcome.err.endswith("name its file: profile: FILE in system.yml, or --profile FILE\n")
    outcome = viommu("system", "--host", "host.dts", "--profile", "./mine.yaml", "net")
    assert (outcome.status, outcome.err) == (0, "")


def test_a_host_that_nobody_names(viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"net": Guest(["/net@10000000"])})
    Path("system.yml").write_text("domains: {net: {build: net}}\n")
    outcome = viommu("system", "system.yml")
    assert outcome == (
        1,
        "",
        "system.yml:1: error: [no-host] no host tree is named\n"
        "    1 | domains: {net: {build: net}}\n"
        "hint: write host: FILE into system.yml, give --host HOST, or set VIOMMU_HOST_DTB\n",
    )
    outcome = viommu("system", "net")
    assert outcome == (
        1,
        "",
        "net/viommu/viommu.json: error: [no-host] no host tree is named\n"
        "hint: give --host HOST, or name it in viommu.yml\n",
    )


def test_the_environment_names_the_host_and_the_profile(
    viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for other commands: after the options, before the file."""
    bound(viommu, "xen-rfc", {"net": Guest(["/net@10000000"])})
    file = Path("system.yml")
    file.write_text("domains: {net: {build: net}}\n")
    monkeypatch.setenv("VIOMMU_HOST_DTB", "host.dts")
    monkeypatch.setenv("VIOMMU_PROFILE", "xen-rfc")
    assert viommu("system", "system.yml").status == 0
    file.write_text("host: none.dts\nprofile: xen\ndomains: {net: {build: net}}\n")
    assert viommu("system", "system.yml").status == 0
    assert viommu("check", "--system", "system.yml").status == 0
    assert (
        "was bound with another profile (expected xen, found"
        in viommu("system", "system.yml", "--profile", "xen").err
    )
    assert viommu("system", "system.yml", "--host", "other.dts").err.startswith("other.dts: error")


def test_what_was_written_is_gone(viommu: Run) -> None:
    assert judged(viommu, "xen-rfc", NET_AND_RAW).status == 0
    Path("viommu-system/marks.overlay").unlink()
    outcome = viommu("check", "--system", "system.yml")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "viommu-system/marks.overlay: error: [malformed] this is not what the system is now\n"
        "hint: run `viommu system` again\n"
    )
