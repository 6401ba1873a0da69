# SPDX-License-Identifier: Apache-2.0
"""`viommu assign`: from a device to a folder that boots."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DEMO, Run
from tests.system.guests import KERNEL

ETHERNET = "/soc@e0000000/ethernet@100000"
# A host with devices where a guest of Xen has its redistributors, its RAM and its console.
HOST = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>; model = "h";
gic: gic@6000000 { compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller;
  reg = <0 0x6000000 0 0x10000>, <0 0x6100000 0 0x100000>; };
%s
clock: osc { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <1000000>; };
cpg: cpg@7000000 { reg = <0 0x7000000 0 0x1000>; #clock-cells = <1>; };
smmu: iommu@5000000 { compatible = "arm,smmu-v3"; reg = <0 0x5000000 0 0x40000>;
  #iommu-cells = <1>; };
usb@3100000 { compatible = "snps,dwc3"; reg = <0 0x3100000 0 0x10000>; interrupts = <0 80 4>;
  iommus = <&smmu 0x1>; clocks = <&cpg 5>; clock-names = "ref"; };
spi@40000000 { compatible = "t,spi"; reg = <0 0x40000000 0 0x100>, <0 0x8000000 0 0x1000>;
  interrupts = <0 81 4>; iommus = <&smmu 0x2>; clocks = <&clock>; };
uart@22000000 { compatible = "t,uart"; reg = <0 0x22000000 0 0x1000>; interrupts = <0 82 4>;
  iommus = <&smmu 0x3>; };
rtc@9000000 { compatible = "arm,pl031"; reg = <0 0x9000000 0 0x1000>; interrupts = <0 83 4>; };
};
"""
MEMORY = 'memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; };'


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = Path("host.dts")
    file.write_text(HOST % MEMORY)
    Path("Image").write_bytes(KERNEL)
    return file


def test_one_command_writes_all_that_boots(viommu: Run, host: Path) -> None:
    host.write_text((DEMO / "host.dts").read_text())
    outcome = viommu("assign", "--host", host, "--kernel", "Image", "ethernet@100000")
    assert outcome.status == 0
    assert outcome.err == "note: no --profile: xen, as no release of Xen has a vSMMU\n"
    assert outcome.out.splitlines() == [
        "guest  512 MiB, 1 CPU",
        "  /soc@e0000000/ethernet@100000",
        "      /soc@e0000000/iommu@800000  0x40",
        "      INTID 88  0xe0100000/0x1000",
        "Xen at 0x81000000, xen.dtb at 0x81200000",
        "the kernel of guest (Image) at 0x81400000",
        "the partial tree of guest (passthrough-dom0less.dtb) at 0x81600000",
        "wrote to viommu: passthrough-dom0less.dts, passthrough-dom0less.dtb, host.overlay, "
        "viommu.overlay, guest.overlay, xen.dtb, boot.cmd, viommu.json",
    ]
    plan = json.loads(Path("viommu/viommu.json").read_text())
    assert set(plan["files"]) == {file.name for file in Path("viommu").iterdir()} - {"viommu.json"}
    tree = ("fdtget", "-t", "x", "viommu/xen.dtb")
    memory = subprocess.run([*tree, "/chosen/guest", "memory"], capture_output=True, check=True)
    assert memory.stdout == b"0 80000\n"
    marks = subprocess.run(["fdtget", "-p", "viommu/xen.dtb", ETHERNET], capture_output=True)
    assert b"xen,passthrough" in marks.stdout.split()


def test_the_help_names_the_profile_that_is_taken(viommu: Run) -> None:
    for name, profile in (("assign", "xen"), ("bind", "xen-rfc")):
        text = "".join(viommu(name, "--help").out.split())
        assert f"byitspath(default:{profile})" in text


def test_bind_of_guest_overlay_gives_the_same_set(viommu: Run, host: Path) -> None:
    arguments = ("--host", host, "--profile", "xen-amd")
    assert viommu("assign", *arguments, "--kernel", "Image", "usb", "spi").status == 0
    Path("viommu.yml").write_text("dom0: none\ndomain: [vpl011]\n")
    assert viommu("bind", *arguments, "-o", "bound", "viommu/guest.overlay").status == 0
    for name in ("passthrough-dom0less.dts", "viommu.overlay"):
        assigned = Path("viommu", name).read_text()
        assert assigned == Path("bound", name).read_text()


def test_a_device_moves_off_what_the_guest_has_there(viommu: Run, host: Path) -> None:
    outcome = viommu("assign", "--host", host, "--kernel", "Image", "usb", "spi", "uart")
    assert outcome.status == 0, outcome.err
    here = "here: the guest has something else at its own address"
    assert [line for line in outcome.out.splitlines() if "here:" in line] == [
        f"/usb@3100000: 0x3100000/0x10000 of the host is 0x5000000/0x10000 {here}",
        f"/spi@40000000: 0x40000000/0x100 of the host is 0x5010000/0x100 {here}",
        f"/uart@22000000: 0x22000000/0x1000 of the host is 0x5011000/0x1000 {here}",
    ]
    regions = {
        device["host"]: [(each["host"], each["guest"]) for each in device["regions"]]
        for device in json.loads(Path("viommu/viommu.json").read_text())["devices"]
    }
    assert regions == {
        "/usb@3100000": [(0x3100000, 0x5000000)],
        "/spi@40000000": [(0x40000000, 0x5010000), (0x8000000, 0x8000000)],
        "/uart@22000000": [(0x22000000, 0x5011000)],
    }


def test_what_a_device_needs_besides_is_named(viommu: Run, host: Path) -> None:
    outcome = viommu("assign", "--host", host, "--kernel", "Image", "usb", "spi")
    assert [line for line in outcome.out.splitlines() if "needs" in line] == [
        "      needs clocks 'ref': /cpg@7000000 <5> (registers), which stays behind",
        "      needs clocks: /osc (fixed), which nobody switches",
    ]


def test_by_xl_the_configuration_is_whole(viommu: Run, host: Path) -> None:
    outcome = viommu(
        *("assign", "--host", host, "--kernel", "Image", "--toolstack", "xl", "usb"),
        *("--dom0-kernel", "Image", "--memory", "64", "--cpus", "2"),
    )
    assert outcome.status == 0, outcome.err
    lines = Path("viommu/xl.cfg").read_text().splitlines()
    for line in ('kernel = "Image"', "memory = 64", "vcpus = 2", 'dtdev = [ "/usb@3100000" ]'):
        assert line in lines
    # xl gives this guest no vuart, so that it has no ttyAMA0.
    assert 'cmdline = "console=hvc0"' in lines
    assert not [line for line in lines if line.startswith("vuart")]
    chosen = subprocess.run(["fdtget", "-l", "viommu/xen.dtb", "/chosen"], capture_output=True)
    assert chosen.stdout == b"module@81400000\n"
    assert "passthrough" not in Path("viommu/boot.cmd").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["us"], "host.dts: error: [unknown-host-node] the host tree has no node of this path"),
        (["rtc"], "host.dts: error: [unprotected]"),
        (["usb", "--kernel", "Imag"], "Imag: error: [unreadable] No such file or directory"),
        (["usb", "--kernel", "host.dts"], "host.dts: error: [malformed] the kernel of guest is no"),
        (["usb", "--ramdisk", "none.gz"], "none.gz: error: [unreadable] No such file"),
        (["usb", "--memory", "3"], "Image: error: [domain-limits] guest has less memory than"),
        (["usb", "--memory", "2048"], "Image: error: [domain-limits] the domains have more"),
        (["usb", "--cpus", "129"], "Image: error: [domain-limits] guest has more CPUs"),
        (
            ["usb", "--xen", "host.dts"],
            "host.dts: error: [malformed] booti of U-Boot cannot boot this as a hyperv",
        ),
        (["usb", "--load", "kernel=0x1000"], "Image: error: [load-address] the kernel of guest"),
        (["usb", "--profile", "qemu-virt"], "error: [unwritable] the hypervisor of the profile"),
        (["usb", "--xen", "no/xen"], "no/xen: error: [unreadable] No such file or directory"),
        (
            ["usb", "--ram", "0:0x80000000"],
            "--ram: error: [load-address] the host's RAM cannot be there: /usb@3100000 has "
            "registers at 0x3100000/0x10000 (found 0x0/0x80000000)",
        ),
        (
            ["usb", "--ram", "0x80000000:0x20000000", "--ram", "0x90000000:0x20000000"],
            "--ram: error: [load-address] the host's RAM cannot be there: --ram gives "
            "0x80000000/0x20000000 as well (found 0x90000000/0x20000000)",
        ),
        (
            ["usb", "--ramdisk", "other/Image"],
            "other/Image: error: [load-address] two files would have the name Image on the board "
            "(expected another name than that of Image, found other/Image)",
        ),
        (
            ["usb", "--kernel", "other/xen"],
            "xen: error: [load-address] two files would have the name xen on the board "
            "(expected another name than that of other/xen, found xen)",
        ),
        (
            ["usb", "--kernel", "other/xen.dtb"],
            "other/xen.dtb: error: [load-address] two files would have the name xen.dtb on the "
            "board (expected another name than that of a file that is written here, found "
            "other/xen.dtb)",
        ),
        (
            ["usb", "--dom0-kernel", "other/Image"],
            "other/Image: error: [load-address] two files would have the name Image on the board",
        ),
    ],
)
def test_what_is_wrong_is_one_message_and_leaves_nothing(
    viommu: Run, host: Path, arguments: list[str], message: str
) -> None:
    kernel = [] if "--kernel" in arguments else ["--kernel", "Image"]
    Path("other").mkdir()
    for name in ("Image", "xen", "xen.dtb"):
        Path("other", name).write_bytes(KERNEL)
    outcome = viommu("assign", "--host", host, *kernel, *arguments)
    errors = [line for line in outcome.err.splitlines() if "error: [" in line]
    assert outcome.status == 1
    assert len(errors) == 1
    assert errors[0].startswith(message)
    assert not Path("viommu").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the devices: `viommu list --profile xen --passable`"),
        (["usb", "--toolstack", "xl"], "--toolstack xl needs a dom0"),
        (["usb", "--dom0-ramdisk", "Image"], "--dom0-ramdisk needs --dom0-kernel FILE"),
        (["usb", "--allow", "unprotected"], "write HAZARD:NODE:REASON"),
        (["usb", "--load", "kernal=1"], "write NAME=ADDRESS"),
        (["usb", "--ram", "1"], "write BASE:SIZE"),
        (["usb", "--name", "1"], "--name 1: write a letter"),
        (["usb", "--name", "Domain-0"], "--name Domain-0: write a letter"),
        (["usb", "--name", "dom0"], "31 characters at most, not dom0 or Domain-0"),
        (["usb", "--bootargs", "a\udcffb"], "--bootargs: write printable characters of UTF-8"),
        (["usb", "--bootargs", "a\nb"], "--bootargs: write printable characters of UTF-8"),
        (
            ["usb", "--load", "kernel=0x81000000", "--load", "kernel=1"],
            "--load kernel=1: kernel has the address 0x81000000: remove one",
        ),
        (["usb", "--memory", "512M"], "'512M' is not a whole number from 1 to 2097151"),
        (["usb", "--ram", "0x80000000:0"], "--ram 0x80000000:0: write BASE:SIZE, as 0x80000000"),
        (["usb", "--load", "ramdisk=0x81000000"], "--load ramdisk=ADDRESS needs --ramdisk FILE"),
        (
            ["usb", "--load", "kernel=0x81000000", "--toolstack", "xl", "--dom0-kernel", "Image"],
            "--load is for the files that the boot loader loads: xl loads the guest's",
        ),
    ],
)
def test_a_wrong_command_line(viommu: Run, host: Path, arguments: list[str], message: str) -> None:
    outcome = viommu("assign", "--host", host, "--kernel", "Image", *arguments)
    assert outcome.status == 2
    assert message in outcome.err


def test_nodes_on_both_sides_of_an_option(viommu: Run, host: Path) -> None:
    allow = ("--allow", "unprotected:/rtc@9000000:it does no DMA")
    outcome = viommu("assign", "usb", "--host", host, *allow, "rtc", "--kernel", "Image")
    assert outcome.status == 0, outcome.err
    # HOST without its option.
    outcome = viommu("assign", host, "--kernel", "Image", "usb")
    assert outcome.status == 2
    assert outcome.err == (
        f"viommu assign: error: {host} is a file: if it is the host's tree, write --host {host}\n"
    )


def test_a_ramdisk_that_is_empty(viommu: Run, host: Path) -> None:
    Path("initrd").touch()
    arguments = ("--kernel", "Image", "--ramdisk", "initrd", "usb")
    outcome = viommu("assign", "--host", host, "--profile", "xen", *arguments)
    assert (outcome.status, outcome.err) == (
        1,
        "Image: error: [malformed] the ramdisk of guest is an empty file (found initrd)\n"
        "hint: build it, or leave it out\n",
    )
    assert not Path("viommu").exists()


def test_more_memory_than_there_is_makes_one_message(viommu: Run, host: Path) -> None:
    host.write_text(HOST % "")
    arguments = ("--kernel", "Image", "--ram", "0x80000000:0x100000", "--profile", "xen", "usb")
    outcome = viommu("assign", "--host", host, *arguments)
    assert (outcome.status, outcome.err) == (
        1,
        "Image: error: [domain-limits] the domains have more memory together than the host "
        "(expected less than 1 MiB, found 512 MiB)\n"
        "hint: give them less: Xen itself and dom0 need some of it as well\n",
    )


def test_what_zephyrs_binding_does_not_have_is_left_out(viommu: Run, host: Path) -> None:
    Path("bindings").mkdir()
    Path("bindings/snps,dwc3.yaml").write_text(
        "description: d\ncompatible: snps,dwc3\nproperties:\n  speed: {type: int, required: true}\n"
    )
    host.write_text(host.read_text().replace('clock-names = "ref";', "dr-mode = <1>;"))
    arguments = ("assign", "--host", host, "--kernel", "Image", "usb")
    assert viommu(*arguments).status == 0
    assert "dr-mode" in Path("viommu/guest.overlay").read_text()
    outcome = viommu(*arguments, "--zephyr-bindings", "bindings")
    assert "/usb@3100000: Zephyr requires: speed (int), by its binding of snps,dwc3" in outcome.out
    overlay = Path("viommu/guest.overlay").read_text()
    assert "left out: dr-mode: Zephyr's binding does not have it" in overlay
    assert "dr-mode =" not in overlay
    outcome = viommu(*arguments, "--zephyr-bindings", "bindigs")
    assert (outcome.status, outcome.err.splitlines()[1:]) == (
        1,
        [
            "bindigs: error: [unreadable] there is no such folder of bindings",
            "hint: in Zephyr it is dts/bindings",
        ],
    )
    assert not any(Path("viommu").iterdir())


def test_a_hazard_is_allowed_on_the_command_line(viommu: Run, host: Path) -> None:
    allow = "unprotected:/rtc@9000000:it does no DMA"
    outcome = viommu("assign", "--host", host, "--kernel", "Image", "rtc", "--allow", allow)
    assert outcome.status == 0, outcome.err
    assert "allowed by --allow" in outcome.err


def test_a_host_without_ram(viommu: Run, host: Path) -> None:
    host.write_text(HOST % "")
    arguments = ("assign", "--host", host, "--kernel", "Image", "usb")
    outcome = viommu(*arguments)
    assert outcome.status == 1
    assert "[load-address] the host tree states no RAM" in outcome.err
    assert "--ram BASE:SIZE" in outcome.err
    outcome = viommu(*arguments, "--ram", "0x80000000:0x40000000")
    assert outcome.status == 0, outcome.err
    assert "Xen at 0x81000000, xen.dtb at 0x81200000" in outcome.out


def test_an_address_of_the_users_own(viommu: Run, host: Path) -> None:
    arguments = ("--kernel", "Image", "usb", "--load", "kernel=0x90000000")
    outcome = viommu("assign", "--host", host, *arguments)
    assert "the kernel of guest (Image) at 0x90000000" in outcome.out


@pytest.mark.parametrize("toolstack", ["dom0less", "xl"])
def test_a_second_run_replaces_the_first(viommu: Run, host: Path, toolstack: str) -> None:
    more = ("--toolstack", toolstack, "--dom0-kernel", "Image")
    for node in ("usb", "spi"):
        outcome = viommu("assign", "--host", host, "--kernel", "Image", *more, node)
        assert outcome.status == 0, outcome.err
    assert viommu("assign", "--host", host, "--kernel", "Image", "rtc").status == 1
    assert not any(Path("viommu").iterdir())


def at_a_terminal(host: Path, answer: str) -> tuple[int, str]:
    """The status of assign without NODE, and what a terminal shows of it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "west_viommu", "assign", "--host", str(host), "--kernel"]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen([*command, "Image"], **streams) as run:  # type: ignore[call-overload]
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    return run.returncode, shown.decode().replace("\r\n", "\n")


def test_without_a_node_a_terminal_is_asked(host: Path) -> None:
    status, shown = at_a_terminal(host, "1, 3")
    assert status == 0, shown
    assert "   2  /spi@40000000  t,spi\n" in shown
    assert "devices of the guest, by their numbers: " in shown
    plan = json.loads(Path("viommu/viommu.json").read_text())
    assert [device["host"] for device in plan["devices"]] == ["/usb@3100000", "/uart@22000000"]


@pytest.mark.parametrize("answer", ["", "0", "4", "usb"])
def test_an_answer_that_means_no_device(host: Path, answer: str) -> None:
    status, shown = at_a_terminal(host, answer)
    assert status == 2
    assert "write numbers from 1 to 3, with blanks between them" in shown
    assert not Path("viommu").exists()
