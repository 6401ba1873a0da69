# SPDX-License-Identifier: Apache-2.0
"""What `viommu system` writes: one overlay for all, ImageBuilder's, xl's, and who has what."""

from __future__ import annotations

import doctest
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import DEMO, Run
from tests.system.guests import HOST, KERNEL, Guest, bound, judged
from west_viommu import api_system
from west_viommu.api_system import judged as judged_by_api
from west_viommu.api_system import read_system, render_system

GUESTS = {"net": Guest(["/net@10000000"]), "dma": Guest(["/dma@10001000", "/usb@10007000"])}
SYSTEM = """host: host.dts
domains:
  net:
    build: net
    cpus: 2
    memory: 128
    vpl011: true
    load: {kernel: 0x90000000, passthrough: 0x158000000}
  dma:
    build: dma
    load: {kernel: 0x91000000, passthrough: 0x99000000}
"""
FOLDER = Path("viommu-system")


def written(viommu: Run, profile: str = "xen-rfc", text: str = SYSTEM) -> Path:
    """The folder of the system of GUESTS."""
    bound(viommu, profile, GUESTS)
    Path("system.yml").write_text(text)
    outcome = viommu("system", "system.yml")
    assert (outcome.status, outcome.err) == (0, "")
    return FOLDER


def test_a_kernel_whose_path_is_no_text(viommu: Run) -> None:
    bound(viommu, "xen-rfc", GUESTS)
    odd = Path(os.fsdecode(b"\xff"))
    odd.mkdir()
    for name in GUESTS:
        shutil.move(name, odd)
        (odd / name / "zephyr/zephyr.bin").write_bytes(KERNEL)
    folders = [odd / name / "viommu" for name in GUESTS]
    outcome = viommu("system", "--host", "host.dts", *folders)
    assert (outcome.status, outcome.err) == (0, "")
    assert b"='\xff/net/zephyr/zephyr.bin'" in (FOLDER / "imagebuilder.config").read_bytes()
    assert b'kernel = "\xff/net/zephyr/zephyr.bin"' in (FOLDER / "net.cfg").read_bytes()


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def overlaid(name: str) -> Path:
    """The host's tree with that overlay applied."""
    run("dtc", "-q", "-I", "dts", "-O", "dtb", "-o", "host.dtb", "host.dts")
    run("dtc", "-I", "dts", "-O", "dtb", "-o", "o.dtbo", str(FOLDER / name))
    run("fdtoverlay", "-i", "host.dtb", "-o", "xen.dtb", "o.dtbo")
    return Path("xen.dtb")


def said(node: str, *properties: str) -> list[str]:
    return [run("fdtget", "-t", "x", "xen.dtb", node, name).strip() for name in properties]


def size_of(file: str) -> str:
    return f"{os.path.getsize(file):x}"


def test_host_overlay_has_the_marks_and_the_domains(viommu: Run) -> None:
    written(viommu)
    overlaid("host.overlay")
    for node in ("/net@10000000", "/dma@10001000", "/usb@10007000"):
        assert "xen,passthrough" in run("fdtget", "-p", "xen.dtb", node).split()
    # Xen creates them in this order.
    assert run("fdtget", "-l", "xen.dtb", "/chosen").split() == ["net", "dma"]
    assert said("/chosen/net", "cpus", "memory") == ["2", "0 20000"]
    assert "vpl011" in run("fdtget", "-p", "xen.dtb", "/chosen/net").split()
    assert "vpl011" not in run("fdtget", "-p", "xen.dtb", "/chosen/dma").split()
    assert said("/chosen/net/module@90000000", "reg") == [f"0 90000000 0 {size_of(IMAGE)}"]
    tree = size_of("net/viommu/passthrough-dom0less.dtb")
    assert said("/chosen/net/module@158000000", "reg") == [f"1 58000000 0 {tree}"]


def test_a_host_without_chosen_gets_one(viommu: Run) -> None:
    text = HOST.read_text()
    assert text.count("\tchosen {\n\t};\n") == 1
    bound(viommu, "xen-rfc", GUESTS, text.replace("\tchosen {\n\t};\n", ""))
    Path("system.yml").write_text(SYSTEM)
    assert viommu("system", "system.yml").status == 0
    run("dtc", "-q", "-I", "dts", "-O", "dtb", "-o", "host.dtb", "host.dts")
    run("dtc", "-q", "-I", "dts", "-O", "dtb", "-o", "o.dtbo", "viommu-system/host.overlay")
    run("fdtoverlay", "-i", "host.dtb", "-o", "xen.dtb", "o.dtbo")
    assert run("fdtget", "-l", "xen.dtb", "/chosen").split() == ["net", "dma"]


IMAGE = "net/zephyr/zephyr.bin"


def test_marks_overlay_has_the_marks_alone(viommu: Run) -> None:
    written(viommu)
    overlaid("marks.overlay")
    assert "xen,passthrough" in run("fdtget", "-p", "xen.dtb", "/usb@10007000").split()
    assert run("fdtget", "-l", "xen.dtb", "/chosen") == ""
    run("fdtoverlay", "-i", "host.dtb", "-o", "again.dtb", str(FOLDER / "marks.dtbo"))
    assert Path("again.dtb").read_bytes() == Path("xen.dtb").read_bytes()


@pytest.mark.parametrize(
    ("profile", "in_the_node", "in_the_header"),
    [
        ("xen-rfc", False, "Xen's own command line has viommu=on."),
        ("xen-v3-dom0less", False, "Xen's own command line has viommu=smmuv3."),
        ("xen-amd", True, ""),
        ("xen", False, ""),
    ],
)
def test_the_switch_is_that_of_the_profile(
    profile: str, in_the_node: bool, in_the_header: str, viommu: Run
) -> None:
    written(viommu, profile)
    overlaid("host.overlay")
    for domain in ("net", "dma"):
        properties = run("fdtget", "-p", "xen.dtb", f"/chosen/{domain}").split()
        assert ("viommu" in properties) == in_the_node
    text = (FOLDER / "host.overlay").read_text()
    assert in_the_header in text
    assert ("command line has" in text) == bool(in_the_header)


def without_ram(host: str) -> str:
    """The host whose memory node has no reg."""
    lines = host.splitlines(keepends=True)
    return "".join(line for line in lines if "reg = <0x0 0x80000000" not in line)


def test_addresses_are_chosen_and_the_tree_and_script_agree_with_them(viommu: Run) -> None:
    text = """host: host.dts
dom0: none
domains:
  net: {build: net, ramdisk: rd.gz, bootargs: console=ttyAMA0}
  dma: {build: dma}
"""
    Path("rd.gz").write_bytes(b"ramdisk")
    written(viommu, text=text)
    assert run("fdtget", "-l", str(FOLDER / "xen.dtb"), "/chosen").split() == ["net", "dma"]
    modules = sorted(run("fdtget", "-l", str(FOLDER / "xen.dtb"), "/chosen/net").split())
    assert modules == ["module@81400000", "module@81600000", "module@81800000"]
    kernel = ("fdtget", str(FOLDER / "xen.dtb"), "/chosen/net/module@81400000")
    assert run(*kernel, "bootargs") == "console=ttyAMA0\n"
    kind = ("fdtget", str(FOLDER / "xen.dtb"), "/chosen/net/module@81600000", "compatible")
    assert run(*kind) == "multiboot,ramdisk multiboot,module\n"
    load = "load ${devtype} ${devnum}:${distro_bootpart}"
    size = os.path.getsize
    trees = [f"{name}/viommu/passthrough-dom0less.dtb" for name in GUESTS]
    assert (FOLDER / "boot.cmd").read_text().splitlines()[2:] == [
        f"if {load} 0x81400000 ${{prefix}}net/zephyr/zephyr.bin \\",
        "&& test 0x${filesize} -eq 0x43 \\",
        f"&& {load} 0x81600000 ${{prefix}}rd.gz \\",
        "&& test 0x${filesize} -eq 0x7 \\",
        f"&& {load} 0x81800000 ${{prefix}}{trees[0]} \\",
        f"&& test 0x${{filesize}} -eq {size(trees[0]):#x} \\",
        f"&& {load} 0x81a00000 ${{prefix}}dma/zephyr/zephyr.bin \\",
        "&& test 0x${filesize} -eq 0x43 \\",
        f"&& {load} 0x81c00000 ${{prefix}}{trees[1]} \\",
        f"&& test 0x${{filesize}} -eq {size(trees[1]):#x} \\",
        f"&& {load} 0x81200000 ${{prefix}}viommu-system/xen.dtb \\",
        f"&& {load} 0x81000000 ${{prefix}}xen",
        "then",
        "\tsetenv fdt_high 0xffffffffffffffff",
        "\tbooti 0x81000000 - 0x81200000",
        "else",
        '\techo "boot.cmd: a file is missing, or has another size than xen.dtb says"',
        "fi",
    ]


def test_dom0_is_loaded_as_well_if_its_kernel_is_named(viommu: Run) -> None:
    text = """host: host.dts
dom0: {kernel: Image, ramdisk: rd.gz}
domains:
  net: {build: net}
  dma: {build: dma}
"""
    Path("rd.gz").write_bytes(b"ramdisk")
    Path("Image").write_bytes(KERNEL)
    written(viommu, text=text)
    tree = str(FOLDER / "xen.dtb")
    nodes = run("fdtget", "-l", tree, "/chosen").split()
    # Xen takes the first domain first.
    assert [node for node in nodes if "@" not in node] == ["net", "dma"]
    kernel, ramdisk = sorted(node for node in nodes if "@" in node)
    assert run("fdtget", tree, f"/chosen/{kernel}", "bootargs") == "console=hvc0\n"
    assert "multiboot,ramdisk" in run("fdtget", tree, f"/chosen/{ramdisk}", "compatible")
    script = (FOLDER / "boot.cmd").read_text()
    for node, name in ((kernel, "Image"), (ramdisk, "rd.gz")):
        assert f"0x{node.partition('@')[2]} ${{prefix}}{name} \\\n" in script


@pytest.mark.parametrize(
    ("dom0", "message"),
    [
        ("kernel: nowhere", "system.yml:2: error: [unreadable] No such file or directory"),
        ("kernel: host.dts", "[malformed] the kernel of dom0 is none that Xen takes"),
        ("kernel: Image, ramdisk: gone", "system.yml:2: error: [unreadable] No such file"),
    ],
)
def test_what_is_wrong_with_dom0(viommu: Run, dom0: str, message: str) -> None:
    Path("Image").write_bytes(KERNEL)
    written(viommu)
    Path("system.yml").write_text(
        f"host: host.dts\ndom0: {{{dom0}}}\ndomains: {{net: {{build: net}}}}\n"
    )
    outcome = viommu("system", "system.yml")
    assert outcome.status == 1
    assert outcome.err.count("error: [") == 1
    assert message in outcome.err
    assert not any(FOLDER.iterdir())


def test_the_system_yml_here_is_taken(viommu: Run) -> None:
    written(viommu)
    before = (FOLDER / "system.json").read_bytes()
    shutil.rmtree(FOLDER)
    assert viommu("system").status == 0
    assert (FOLDER / "system.json").read_bytes() == before
    Path("system.yml").unlink()
    outcome = viommu("system")
    assert (outcome.status, outcome.out) == (2, "")
    assert "name one of these: a system.yml" in outcome.err


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (
            "load: {kernel: 0x50000000}",
            "[load-address] the kernel of net does not lie in the host's RAM (expected "
            "0x80000000/0x80000000 or 0x140000000/0x40000000, found 0x50000000/0x43)",
        ),
        (
            "load: {kernel: 0x90000000, passthrough: 0x90000000}",
            "[load-address] the partial tree of net overlaps the kernel of net",
        ),
        ("memory: 3", "[domain-limits] net has less memory than its kernel and its tree take"),
        ("memory: 4096", "[domain-limits] the domains have more memory together than the host"),
        (
            "load: {ramdisk: 0x48000000}",
            "[malformed] net has an address of a ramdisk, and no ramdisk\n",
        ),
        ("cpus: 129", "[malformed] cpus does not fit"),
        ("kernel: system.yml", "[malformed] the kernel of net is none that Xen takes"),
        ("ramdisk: rd.none", "[unreadable] No such file or directory"),
        ('bootargs: "\\x07"', "[malformed] bootargs has other characters"),
    ],
)
def test_what_xen_would_not_boot_is_one_message(viommu: Run, domain: str, message: str) -> None:
    bound(viommu, "xen", GUESTS)
    Path("system.yml").write_text(
        f"host: host.dts\ndomains:\n  net:\n    build: net\n    {domain}\n"
    )
    outcome = viommu("system", "system.yml")
    assert outcome.status == 1
    assert outcome.err.count("error: [") == 1
    assert outcome.err.startswith("system.yml:") and f": error: {message}" in outcome.err
    assert not FOLDER.exists()


def test_two_kernels_of_one_name_are_noted_if_no_script_can_load_them(viommu: Run) -> None:
    bound(viommu, "xen", GUESTS)
    Path("a").mkdir()
    Path("b").mkdir()
    text = "host: ../host.dts\ndom0: none\ndomains:\n"
    for folder, name in zip("ab", GUESTS, strict=False):
        Path(folder, "Image").write_bytes(KERNEL)
        text += f"  {name}: {{build: ../{name}, kernel: ../{folder}/Image}}\n"
    Path("here").mkdir()
    Path("here/system.yml").write_text(text)
    outcome = viommu("system", "here/system.yml")
    note = "note: no boot.cmd: two files would have the name Image on the board: rename one\n"
    assert (outcome.status, outcome.err) == (0, note)
    assert not (FOLDER / "boot.cmd").exists()


def test_without_a_place_in_memory_the_node_is_a_comment(viommu: Run) -> None:
    """A host whose boot loader fills in the RAM has none in its tree, so none can be chosen."""
    bound(viommu, "xen-rfc", GUESTS, without_ram(HOST.read_text()))
    Path("system.yml").write_text("host: host.dts\ndomains: {net: {build: net}}\n")
    assert viommu("system", "system.yml").status == 0
    overlaid("host.overlay")
    assert run("fdtget", "-l", "xen.dtb", "/chosen") == ""
    lines = (FOLDER / "host.overlay").read_text().splitlines()
    first = lines.index(
        " * net is not created here (its files have no addresses). Its node would be:"
    )
    assert lines[first + 1 : first + 9] == [
        " *",
        " * net {",
        ' *         compatible = "xen,domain";',
        " *         #address-cells = <2>;",
        " *         #size-cells = <2>;",
        " *         cpus = <1>;",
        " *         memory = <0x0 0x10000>;",
        " *",
    ]


def test_what_imagebuilder_sources(viommu: Run) -> None:
    written(viommu)
    names = [
        *("NUM_DOMUS", "DOMU_KERNEL[0]", "DOMU_PASSTHROUGH_DTB[1]", "DOMU_MEM[0]"),
        *("DOMU_VCPUS[0]", "DOMU_VCPUS[1]", "NUM_DT_OVERLAY", "DT_OVERLAY[0]"),
    ]
    script = "source viommu-system/imagebuilder.config\n"
    script += "\n".join(f'echo "${{{name}}}"' for name in names)
    values = run("bash", "-c", script).splitlines()
    assert values == [
        *("2", IMAGE, "dma/viommu/passthrough-dom0less.dtb", "128", "2", "1", "1"),
        "viommu-system/marks.dtbo",
    ]
    assert all(Path(each).is_file() for each in values if "/" in each)


def test_xl_gets_a_whole_configuration(viommu: Run) -> None:
    folder = written(viommu)
    assert (folder / "dma.cfg").read_text().splitlines()[2:] == [
        'name = "dma"',
        'kernel = "dma/zephyr/zephyr.bin"',
        "memory = 64",
        "vcpus = 1",
        'device_tree = "dma/viommu/passthrough-xl.dtb"',
        "dtdev = [",
        '    "/dma@10001000",',
        '    "/usb@10007000",',
        "]",
        "irqs = [",
        "    73,",
        "    79,",
        "]",
        "# Pages of the host, their number, and where the guest sees them, in hexadecimal.",
        "iomem = [",
        '    "10001,1@10001",',
        '    "10007,1@10007",',
        "]",
        "# Under this SMMUv3 Xen keeps translations of a domain that is gone: the devices of one "
        "that",
        "# restarts would write into freed memory (docs/xen.md, Restarts).",
        'on_reboot = "destroy"',
        "# and on Xen's own command line: viommu=on",
        'viommu = "smmuv3"',
    ]
    assert 'vuart = "sbsa_uart"\n' in (folder / "net.cfg").read_text()


@pytest.mark.parametrize("form", ["json", "dot", "svg"])
def test_who_has_what(form: str, viommu: Run) -> None:
    folder = written(viommu)
    outcome = viommu("system", "system.yml", "--format", form)
    assert (outcome.status, outcome.err) == (0, "")
    if form == "json":
        assert outcome.out == (folder / "system.json").read_text()
    for name in ("net", "dma", "dom0", "/usb@10007000", "/iommu@9100000"):
        assert name in outcome.out


def test_a_refused_run_leaves_nothing(viommu: Run) -> None:
    folder = written(viommu)
    Path("system.yml").write_text("host: host.dts\ndomains: {a: {build: net}, b: {build: net}}\n")
    assert viommu("system", "system.yml").status == 1
    assert list(folder.iterdir()) == []


def test_what_an_earlier_run_wrote_goes_and_what_is_somebody_elses_stays(viommu: Run) -> None:
    folder = written(viommu)
    (folder / "mine.cfg").write_text("name = 'mine'\n")
    Path("system.yml").write_text("host: host.dts\ndomains: {other: {build: dma}}\n")
    assert viommu("system", "system.yml").status == 0
    assert sorted(file.name for file in folder.glob("*.cfg")) == ["mine.cfg", "other.cfg"]
    Path("system.yml").write_text("host: host.dts\ndomains: {mine: {build: dma}}\n")
    outcome = viommu("system", "system.yml")
    assert outcome.status == 1
    assert "mine.cfg: error: [unwritable] a file of this name exists" in outcome.err
    assert (folder / "mine.cfg").read_text() == "name = 'mine'\n"


def test_the_folder_of_a_guest_is_not_taken(viommu: Run) -> None:
    written(viommu)
    before = sorted(os.listdir("net/viommu"))
    outcome = viommu("system", "system.yml", "-o", "net/viommu")
    assert outcome.status == 1
    assert "[unwritable] this is the folder of a guest, with files of the same" in outcome.err
    assert sorted(os.listdir("net/viommu")) == before


def test_check_tells_what_has_changed(viommu: Run) -> None:
    written(viommu)
    outcome = viommu("check", "--system", "system.yml")
    assert outcome == (0, "2 guests of host.dts with 3 devices, as viommu-system has it\n", "")
    Path(IMAGE).write_bytes(KERNEL + b"a longer one")
    outcome = viommu("check", "--system", "system.yml")
    assert (outcome.status, outcome.out) == (1, "")
    assert [line.split(": error")[0] for line in outcome.err.splitlines()[::2]] == [
        "viommu-system/host.overlay",
        "viommu-system/xen.dtb",
        "viommu-system/system.json",
    ]
    assert viommu("check", "--host", "host.dts", "--system", "net", "dma").status == 0


def test_plans_on_the_command_line(viommu: Run) -> None:
    bound(viommu, "xen-rfc", GUESTS)
    outcome = viommu("system", "--host", "host.dts", "net", "dma/viommu")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("net  64 MiB, 1 CPU, a vSMMU\n  /net@10000000\n")
    assert "\ndma  64 MiB, 1 CPU, a vSMMU\n  /dma@10001000\n" in outcome.out


@pytest.mark.parametrize(
    "arguments", [("system.yml", "net"), ("net", "-d", "build"), ("system.yml", "other.yml")]
)
def test_one_system_is_named(arguments: Sequence[str], viommu: Run) -> None:
    folder = written(viommu)
    before = sorted(folder.iterdir())
    Path("other.yml").write_text(SYSTEM)
    outcome = viommu("system", *arguments)
    assert outcome.status == 2
    # What an earlier run wrote is still that.
    assert sorted(folder.iterdir()) == before
    assert outcome.err == (
        "viommu system: error: name one of these: a system.yml, the folders of plans, or a "
        "sysbuild with -d\n"
    )


def test_the_files_are_the_same_wherever_they_are_made(viommu: Run, tmp_path: Path) -> None:
    written(viommu)
    files = {file.name: file.read_bytes() for file in FOLDER.iterdir()}
    os.chdir("net")
    outcome = viommu("system", "../system.yml", "-o", "../viommu-system")
    assert outcome.status == 0
    assert {file.name: file.read_bytes() for file in Path("..", FOLDER).iterdir()} == files
    system = read_system("../system.yml")
    assert render_system(system, judged_by_api(system), "../viommu-system") == files


def test_the_sums_are_those_of_the_files(viommu: Run) -> None:
    from hashlib import sha256

    folder = written(viommu)
    document = json.loads((folder / "system.json").read_text())
    names = {file.name for file in folder.iterdir()} - {"system.json"}
    assert document["files"] == {
        name: sha256((folder / name).read_bytes()).hexdigest() for name in names
    }


def test_the_example_of_the_api(viommu: Run) -> None:
    """docs/api.md shows it."""
    shutil.copy(DEMO / "host.dts", "host.dts")
    for name, node in (("net", "ethernet@100000"), ("dma", "dma-controller@200000")):
        overlay = viommu("extract", "--host", "host.dts", f"/soc@e0000000/{node}").out
        Path(f"{name}.overlay").write_text(overlay)
        outcome = viommu(
            "bind", "--host", "host.dts", "--profile", "xen-rfc", "-o", name, f"{name}.overlay"
        )
        assert outcome.status == 0, outcome.err
    Path("system.yml").write_text(
        "host: host.dts\ndomains:\n  net: {build: net}\n  dma: {build: dma}\n"
    )
    Path("clash.yml").write_text(
        "host: host.dts\ndomains:\n  one: {build: net}\n\n  two: {build: net}\n"
    )
    found = doctest.testmod(api_system)
    assert (found.attempted > 6, found.failed) == (True, 0)


def test_a_clash_is_told_with_its_line(viommu: Run) -> None:
    outcome = judged(viommu, "xen-rfc", GUESTS)
    assert outcome.status == 0
    Path("system.yml").write_text(SYSTEM.replace("build: dma", "build: net"))
    outcome = viommu("system", "system.yml")
    assert outcome.err.startswith("system.yml:9: error: [duplicate-assignment] ")
