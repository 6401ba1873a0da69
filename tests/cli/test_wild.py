# SPDX-License-Identifier: Apache-2.0
"""Guest trees as people have them: of other tools, of compilers, of other hypervisors' users."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import CHECKOUT, Outcome, Run, blob
from west_viommu.read.dtb import tree_from_dtb
from west_viommu.tree.node import Tree

HOST = CHECKOUT / "tests" / "hosts" / "board.dts"
# The device of most guests here.
ETH = "/bus@40000000/ethernet@200000"
MAC = """ethernet@40200000 { compatible = "acme,mac"; reg = <0x0 0x40200000 0x0 0x1000>;
    interrupts = <0 40 4>; %s };"""
BUS = 'compatible = "simple-bus"; #address-cells = <2>; #size-cells = <2>; ranges; %s'
PARTIAL = "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; %s passthrough { %s }; };"
IDS = "iommus = <0x0 0x6>;"

OWN_GIC = (
    "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&irqs>; "
    'irqs: gic@1 { compatible = "arm,gic"; interrupt-controller; #interrupt-cells = <4>; '
    "reg = <0 1 0 1>; }; };"
)

Bind = Callable[..., Outcome]


@pytest.fixture
def bind(viommu: Run) -> Bind:
    """Binds source text, each a file, on the board."""

    def run(*sources: str | bytes, names: tuple[str, ...] = ("g.dts", "h.dts")) -> Outcome:
        files = names[: len(sources)]
        for name, source in zip(files, sources, strict=True):
            Path(name).write_bytes(source if isinstance(source, bytes) else source.encode())
        return viommu("bind", "--host", HOST, *files, "-o", "out")

    return run


def partial(toolstack: str = "dom0less") -> Tree:
    """The partial tree of the last run."""
    return tree_from_dtb(Path(f"out/passthrough-{toolstack}.dtb").read_bytes())


def numbers(tree: Tree, path: str, prop: str) -> list[int]:
    node = tree.node(path)
    assert node, path
    value = node.properties[prop]
    return [int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value), 4)]


NODE = "/passthrough/ethernet@40200000"


@pytest.mark.parametrize(
    ("at_root", "at_bus", "at_node"),
    [
        ("", "", "interrupt-parent = <0xfde8>;"),
        ("", "interrupt-parent = <65000>;", ""),
        ("interrupt-parent = <0xfde8>;", "", ""),
        # The stub of another tool, which the number does not name.
        ("interrupt-parent = <65000>; gic { interrupt-controller; #interrupt-cells = <3>; };",)
        + ("", ""),
        ("gic: gic { interrupt-controller; #interrupt-cells = <3>; phandle = <65000>; };",)
        + ("interrupt-parent = <65000>;", ""),
    ],
)
def test_the_number_of_xens_gic(at_root: str, at_bus: str, at_node: str, bind: Bind) -> None:
    source = PARTIAL % (at_root, BUS % at_bus + MAC % (IDS + at_node))
    outcome = bind(source)
    assert (outcome.status, "error" in outcome.err) == (0, False)
    tree = partial()
    assert numbers(tree, NODE, "interrupts") == [0, 40, 4]
    stub = tree.node("/gic")
    assert stub and [stub.number("phandle", 0)] == numbers(tree, NODE, "interrupt-parent")


def test_the_number_of_xens_gic_in_interrupts_extended(bind: Bind) -> None:
    mac = MAC.replace("interrupts = <0 40 4>", "interrupts-extended = <0xfde8 0 40 4>")
    assert bind(PARTIAL % ("", BUS % "" + mac % IDS)).status == 0
    assert numbers(partial(), NODE, "interrupts") == [0, 40, 4]


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("", "/delete-property/ interrupt-parent; /* Xen's number for the GIC */"),
        (OWN_GIC, "interrupt-parent = <&irqs>; /* in place of Xen's number for it */"),
    ],
)
def test_a_zephyr_overlay_gets_its_own_gic(base: str, says: str, bind: Bind) -> None:
    """Zephyr's devicetree scripts take no phandle that no node has."""
    mac = MAC.replace("<0 40 4>", "<0 40 2 0xa0>") % (IDS + "interrupt-parent = <0xfde8>;")
    overlay = f"/ {{ passthrough {{ {BUS % ''} {mac} }}; }};"
    sources = (base, overlay) if base else (overlay,)
    assert bind(*sources).status == 0
    assert f"\t{says}\n" in Path("out/viommu.overlay").read_text()


LOCAL = "pins: pins { interrupt-controller; #interrupt-cells = <1>; };"


@pytest.mark.parametrize(
    ("base", "entries", "says"),
    [
        (
            OWN_GIC,
            "<0xfde8 0 40 2 0xa0>",
            "interrupts-extended = <&irqs 0x0 0x28 0x2 0xa0>; ",
        ),
        (
            OWN_GIC,
            "<&pins 5>, <0xfde8 0 40 2 0xa0>",
            "interrupts-extended = <&{/passthrough/pins} 0x5>, <&irqs 0x0 0x28 0x2 0xa0>; ",
        ),
        (
            "",
            "<0xfde8 0 40 2 0xa0>",
            "/delete-property/ interrupts-extended; /* Xen's number for the GIC */\n"
            "\tinterrupts = <0x0 0x28 0x2 0xa0>;",
        ),
        (
            "",
            "<0xfde8 0 40 2 0xa0>, <&pins 5>",
            "interrupts-extended = <&gic 0x0 0x28 0x2 0xa0>, <&{/passthrough/pins} 0x5>; ",
        ),
    ],
)
def test_a_zephyr_overlay_gets_its_own_gic_in_interrupts_extended(
    base: str, entries: str, says: str, bind: Bind
) -> None:
    mac = MAC.replace("interrupts = <0 40 4>", f"interrupts-extended = {entries}") % IDS
    overlay = f"/ {{ passthrough {{ {BUS % ''} {LOCAL} {mac} }}; }};"
    sources = (base, overlay) if base else (overlay,)
    assert bind(*sources).status == 0
    assert f"\t{says}" in Path("out/viommu.overlay").read_text()


@pytest.mark.parametrize(
    ("ids", "status", "says"),
    [
        (f'xen,path = "{ETH}"; xen,smmu-stream-ids = <0x6>;', 0, "stream IDs  0x6"),
        ("xen,smmu-stream-ids = <0x6>;", 0, f"host        {ETH}"),
        (f"{IDS} xen,smmu-stream-ids = <0x6>;", 0, "stream IDs  0x6"),
        (
            f'xen,path = "{ETH}"; xen,smmu-stream-ids = <0x5>;',
            1,
            f"[stream-mismatch] this stream ID does not belong to {ETH} (node {NODE}, expected 0x6 "
            "behind /bus@40000000/iommu@0, found 0x5 of no master)",
        ),
        (f"{IDS} xen,smmu-stream-ids = <0x7>;", 1, "[stream-mismatch]"),
        ("xen,smmu-stream-ids = [06];", 1, "the length of xen,smmu-stream-ids is not"),
    ],
)
def test_stream_ids_as_lopper_writes_them(ids: str, status: int, says: str, bind: Bind) -> None:
    outcome = bind(PARTIAL % ("", BUS % "" + MAC % ids))
    assert outcome.status == status
    assert says in outcome.out + outcome.err


def test_iommus_by_number(bind: Bind) -> None:
    """A number that is the phandle of a node of the guest's tree means that node."""
    smmu = 'vsmmu: iommu@4040000 { compatible = "arm,smmu-v3"; reg = <0 0x4040000 0 0x40000>; '
    smmu += "#iommu-cells = <1>; phandle = <0x21>; };"
    bound = PARTIAL % (smmu, BUS % "" + MAC % "iommus = <0x21 0x6>;")
    assert "stream IDs  0x6" in bind(bound).out
    wrong = PARTIAL % ("other { phandle = <0x21>; };", BUS % "" + MAC % "iommus = <0x21 0x6>;")
    outcome = bind(wrong)
    assert outcome.status == 1
    assert "iommus refers to a node that is not a vSMMU" in outcome.err


def test_numbers_for_phandles_below_passthrough(bind: Bind) -> None:
    """What dtc makes of a partial tree, read again."""
    source = PARTIAL % (
        "outside { phandle = <0x9>; #reset-cells = <0>; };",
        BUS % ""
        + """rate { compatible = "fixed-clock"; #clock-cells = <0>; phandle = <0x4>; };
        regs { compatible = "syscon"; linux,phandle = <0x7>; phandle = <0x7>; };
        """
        + MAC
        % f"""{IDS} clocks = <0x4>, <0x4>; clock-names = "a", "b"; acme,glue-syscon = <0x7 0x30>;
        acme,table = <0x4 0x9>; acme,far = <0x9>; resets = <0x9>; phy-handle = <0x5>;
        power-domains = <0x77>; rx-queue-size = <0x9>;
        mdio {{ #address-cells = <1>; #size-cells = <0>;
          ethernet-phy@2 {{ reg = <2>; phandle = <0x5>; }}; }};""",
    )
    outcome = bind(source)
    assert outcome.status == 0
    assert [line for line in outcome.err.splitlines() if "left out" in line] == [
        f"note: left out of {NODE} for Xen, whose guest has no such nodes: acme,far (it may refer "
        "to /outside); resets (its reset lines; it must be out of reset already); power-domains "
        "(its power domain; it must be on already)"
    ]
    for toolstack in ("dom0less", "xl"):
        tree = partial(toolstack)
        for path, prop, target in (
            (NODE, "clocks", "/passthrough/rate"),
            (NODE, "acme,glue-syscon", "/passthrough/regs"),
            (NODE, "acme,table", "/passthrough/rate"),
            (NODE, "phy-handle", f"{NODE}/mdio/ethernet-phy@2"),
        ):
            found = tree.with_phandle(numbers(tree, path, prop)[0])
            assert found and found.path == target
        assert numbers(tree, NODE, "rx-queue-size") == [9]


def test_a_mixed_interrupts_extended(bind: Bind) -> None:
    mac = MAC.replace(
        "interrupts = <0 40 4>",
        "interrupts-extended = <&far 1>, <&gic 0 40 4>, <&near 7 8>, <&gic 0 41 4>; "
        'interrupt-names = "x", "rx", "near", "wake"',
    )
    source = PARTIAL % (
        "gic: gic { interrupt-controller; #interrupt-cells = <3>; }; "
        "far: far { interrupt-controller; #interrupt-cells = <1>; };",
        BUS % "" + "near: near { interrupt-controller; #interrupt-cells = <2>; };" + mac % IDS,
    )
    outcome = bind(source)
    assert outcome.status == 0
    assert "interrupts-extended (what goes to /far)" in outcome.err
    tree = partial()
    near, gic = tree.node("/passthrough/near"), tree.node("/gic")
    assert near and gic
    expected = [0, 40, 4, near.number("phandle", 0), 7, 8]
    gic_number = gic.number("phandle", 0)
    found = numbers(tree, NODE, "interrupts-extended")
    assert found == [gic_number, *expected, gic_number, 0, 41, 4]
    # libxl makes the GIC, under Xen's own number.
    assert numbers(partial("xl"), NODE, "interrupts-extended")[:4] == [65000, 0, 40, 4]


RAW = """shm@22001000 { compatible = "acme,shm"; reg = <0 0x22001000 0 0x1000>;
    xen,reg = <0 0x7fff0000 0 0x800 0 0x22001000>; xen,force-assign-without-iommu; };"""


def test_a_raw_mapping(bind: Bind) -> None:
    outcome = bind(PARTIAL % ("", BUS % "" + RAW + MAC % IDS))
    assert outcome.status == 0
    assert (
        "note: /passthrough/shm@22001000 maps host memory without a host device: 0x7fff0000/0x800\n"
        in outcome.err
    )
    shared = partial().node("/passthrough/shm@22001000")
    assert shared and shared.properties["xen,force-assign-without-iommu"] == b""
    # Xen maps whole pages, and none for less than one.
    found = numbers(partial(), "/passthrough/shm@22001000", "xen,reg")
    assert found == [0, 0x7FFF0000, 0, 0x1000, 0, 0x22001000]


def test_a_raw_mapping_is_in_the_plan_and_for_xl(bind: Bind) -> None:
    assert bind(PARTIAL % ("", BUS % "" + RAW + MAC % IDS)).status == 0
    assert json.loads(Path("out/viommu.json").read_text())["raw"] == [
        {
            "node": "/passthrough/shm@22001000",
            "regions": [{"host": 0x7FFF0000, "guest": 0x22001000, "size": 0x800}],
        }
    ]


OF_ANOTHER = "0x40100000"
ALLOW = """allow:
  - {hazard: shared-page, device: /passthrough/shm@22001000, reason: the guest may read it}
"""


@pytest.mark.parametrize(("region", "is_dom0s"), [("0x7fff0000 0 0x800", 0), ("%s 0 0x1000", 1)])
def test_what_xl_can_map(region: str, is_dom0s: int, bind: Bind) -> None:
    """Only what dom0 has a right to: the pages of a host node."""
    Path("viommu.yml").write_text(ALLOW if is_dom0s else "")
    raw = RAW.replace("0x7fff0000 0 0x800", region.replace("%s", OF_ANOTHER))
    outcome = bind(PARTIAL % ("", BUS % "" + raw + MAC % IDS))
    assert outcome.status == 0, outcome.err
    note = "nothing for libxl: Xen gives dom0 no right to the memory that /passthrough/shm@22001000"
    assert (note in outcome.err) == (not is_dom0s)
    if is_dom0s:
        page = OF_ANOTHER.removeprefix("0x").removesuffix("000")
        assert f'"{page},1@22001"' in Path("out/xl.cfg").read_text()
        mapping = f"{{.first_gfn = 0x22001, .first_mfn = 0x{page}, .nr_mfns = 0x1}}"
        assert mapping in Path("out/xenlib.h").read_text()
    else:
        assert not Path("out/xl.cfg").exists()


def test_a_malformed_raw_mapping(bind: Bind) -> None:
    outcome = bind(PARTIAL % ("", BUS % "" + RAW.replace("0 0x22001000>; xen", "1>; xen")))
    assert outcome.status == 1
    assert "xen,reg is not a list of triples" in outcome.err


@pytest.mark.parametrize(
    ("at_bus", "at_node"),
    [("", 'status = "disabled";'), ('status = "fail";', "")],
)
def test_a_disabled_request(at_bus: str, at_node: str, bind: Bind) -> None:
    """It asks for nothing, is not mapped, and is not what another device clashes with."""
    group = f"group {{ {BUS % at_bus} {MAC % ('iommus = <0x0 0x1234>;' + at_node)} }};"
    outcome = bind(PARTIAL % ("", BUS % "" + group + MAC % IDS))
    assert outcome.status == 0
    path = "/passthrough/group/ethernet@40200000"
    assert f"note: {path} is disabled: it asks for nothing, and Xen maps" in outcome.err
    node = partial().node(path)
    assert node and not {"iommus", "xen,path", "xen,reg"} & set(node.properties)
    overlay = Path("out/viommu.overlay").read_text()
    assert f"&{{{path}}} {{\n\t/delete-property/ iommus;\n}};\n" in overlay


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("xen,pth", "xen,path"),
        ("xen-path", "xen,path"),
        ("xen,ptah", "xen,path"),
        ("iommu", "iommus"),
        ("iommuss", "iommus"),
        ("xen,smmu-stream-id", "xen,smmu-stream-ids"),
    ],
)
def test_near_misses(name: str, meant: str, bind: Bind) -> None:
    outcome = bind(PARTIAL % ("", BUS % "" + MAC % f'{IDS}\n{name} = "/x";'))
    assert outcome.status == 0
    message, source, hint, *_ = outcome.err.splitlines()
    assert message == (
        f"g.dts:3: warning: [malformed] nothing reads {name} (node {NODE}, expected {meant}, found "
        f"{name})"
    )
    assert source == f'    3 | {name} = "/x"; }}; }}; }};'
    assert hint == f"hint: did you mean {meant}?"


def test_a_near_miss_alone_asks_for_nothing(bind: Bind) -> None:
    outcome = bind(PARTIAL % ("", BUS % "" + MAC % 'xen,pth = "/x";'))
    assert outcome.status == 1
    assert "error: [malformed] nothing reads xen,pth, so that the node asks for no" in outcome.err
    assert outcome.err.count("error:") == 1


@pytest.mark.parametrize("name", ["reg", "iommus", "iommu-map", "xen,reg", "xen,paths-of-mine"])
def test_what_is_no_near_miss(name: str, bind: Bind) -> None:
    assert "nothing reads" not in bind(PARTIAL % ("", BUS % "" + MAC % f"{IDS} {name}-x;")).err


BASE = PARTIAL % (
    "interrupt-parent = <&gic>; gic: gic@1 { interrupt-controller; #interrupt-cells = <3>; "
    'compatible = "arm,gic-v3"; reg = <0 1 0 1>; };',
    BUS % "",
)
BASE = BASE.replace("passthrough {", "passthrough: passthrough {")
PLUGIN = f"/dts-v1/;\n/plugin/;\n&passthrough {{ {MAC % (IDS + 'interrupt-parent = <&gic>;')} }};"
PLUGIN_BY_PATH = PLUGIN.replace("&passthrough", "&{/passthrough}")


def symbols(source: str) -> bytes:
    """`source` compiled with symbols."""
    command = ["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=True).stdout


def source_again(binary: bytes) -> bytes:
    command = ["dtc", "-q", "-I", "dtb", "-O", "dts", "-"]
    return subprocess.run(command, input=binary, capture_output=True, check=True).stdout


WHOLE = BASE.replace("ranges;  }", f"ranges; {MAC % IDS} }}")
FORMS = {
    "plugin": (PLUGIN,),
    "plugin without version": (PLUGIN.replace("/dts-v1/;\n", ""),),
    "plugin by path": (PLUGIN_BY_PATH,),
    "plugin after a base": (BASE, PLUGIN),
    "plugin after a blob": (symbols(BASE), PLUGIN),
    "overlay blob": (symbols(PLUGIN),),
    "overlay blob by path": (symbols(PLUGIN_BY_PATH),),
    "overlay blob without symbols": (blob(PLUGIN_BY_PATH),),
    "overlay blob after a base": (BASE, symbols(PLUGIN)),
    "overlay blob after a blob": (symbols(BASE), symbols(PLUGIN)),
    "overlay blob as source": (source_again(symbols(PLUGIN)),),
    "overlay blob as source, after a base": (BASE, source_again(symbols(PLUGIN))),
    "whole blob": (blob(WHOLE),),
    "whole blob with symbols": (symbols(WHOLE),),
    "whole blob as source": (source_again(blob(WHOLE)),),
    "blob before an overlay": (blob(BASE), f"&{{/passthrough}} {{ {MAC % IDS} }};"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_guest(form: str, bind: Bind) -> None:
    outcome = bind(*FORMS[form])
    assert (outcome.status, "error" in outcome.err) == (0, False), outcome.err
    assert "stream IDs  0x6" in outcome.out
    assert numbers(partial(), NODE, "interrupts") == [0, 40, 4]


def test_references_of_an_overlay_blob(bind: Bind) -> None:
    inside = """&{/passthrough} { rate: rate { #clock-cells = <0>; };
        regs: regs { #clock-cells = <0>; }; """
    mac = MAC % f'{IDS} clocks = <&rate>, <&regs>; acme,mixed = "x", <&regs>; resets = <&far 1>;'
    overlay = symbols(f"/dts-v1/; /plugin/; {inside} {mac} }};")
    for sources in ((overlay,), (source_again(overlay),)):
        outcome = bind(*sources)
        assert outcome.status == 0, outcome.err
        tree = partial()
        first, second = (tree.with_phandle(n) for n in numbers(tree, NODE, "clocks"))
        assert first and second
        assert (first.name, second.name) == ("rate", "regs")
        assert "resets (its reset lines" in outcome.err


def test_what_is_wrong_with_a_blob_has_its_name(bind: Bind) -> None:
    wrong = symbols(PLUGIN.replace("<0x0 0x6>", "<0x0 0x666>"))
    assert bind(wrong, names=("a.dtbo",)).err.startswith("a.dtbo: error: [unknown-stream-id]")
    fragment = "/dts-v1/; / { fragment@0 { target = <5>; __overlay__ { x; }; }; };"
    assert "the target of a fragment is not known" in bind(blob(fragment)).err


FAR = """far@4100000000 { compatible = "acme,far"; reg = <0x41 0x0 %s>;
    xen,path = "/far@4100000000"; };"""


@pytest.mark.parametrize(
    ("cells", "sizes", "host"),
    [
        ("#address-cells = <2>; #size-cells = <1>;", "0x1000", 0x1000),
        ("#address-cells = <2>; #size-cells = <1>;", "0xfffff000", 0xFFFFF000),
        ("#address-cells = <2>; #size-cells = <2>;", "0x3 0x0", 3 << 32),
    ],
)
def test_ranges_cover_every_device(cells: str, sizes: str, host: int, viommu: Run) -> None:
    Path("host.dts").write_text(
        "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; smmu: iommu@10000 "
        '{ compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0 0x10000 0 0x20000>; }; '
        f'far@4100000000 {{ compatible = "acme,far"; reg = <0x41 0 {host >> 32:#x} '
        f"{host & 0xFFFFFFFF:#x}>; iommus = <&smmu 1>; }}; }};"
    )
    bus = f"{cells} ranges; {FAR % sizes}"
    source = PARTIAL % ("", bus)
    Path("guest.dts").write_text(source.replace("#size-cells = <2>;", "#size-cells = <1>;", 1))
    outcome = viommu("bind", "--host", "host.dts", "guest.dts", "-o", "out")
    assert outcome.status == 0, outcome.err
    from west_viommu.tree.addresses import AddressMap, Region

    tree = partial()
    node = tree.node("/passthrough/far@4100000000")
    assert node
    assert AddressMap(tree).regions(node) == (Region(0x41 << 32, host),)


@pytest.mark.parametrize("prop", ["", "reg = <0x40200000>;"])
def test_a_bus_without_sizes(prop: str, bind: Bind) -> None:
    bus = "#address-cells = <1>; #size-cells = <0>; ranges;"
    device = f'd@40200000 {{ compatible = "x"; {prop} xen,path = "{ETH}"; }};'
    outcome = bind(PARTIAL % ("", bus + device))
    assert "Traceback" not in outcome.err
    assert outcome.status == bool(prop)
    if prop:
        assert "reg has no size" in outcome.err


@pytest.mark.parametrize(
    "beside",
    [
        "odd { interrupt-controller; compatible = [ff]; };",
        "odd { status = [ff]; reg = <1>; };",
        "passthrough { odd { interrupts = <1 2>; interrupt-names = [ff]; }; };",
        "passthrough { odd { interrupt-parent = <1 2 3>; interrupts = <1>; }; };",
        "passthrough { odd { interrupts-extended = <7 7>; reg = <1 2 3>; clocks = [00]; }; };",
        "passthrough { odd { compatible = [ff]; ranges = <1 2>; odd { reg = <1>; }; }; };",
    ],
)
def test_what_is_malformed_beside_a_request_is_nobodys(beside: str, bind: Bind) -> None:
    outcome = bind(PARTIAL % (beside, BUS % "" + MAC % IDS))
    assert (outcome.status, "error" in outcome.err) == (0, False), outcome.err


def test_what_is_malformed_in_a_blob_beside_a_request_is_nobodys(bind: Bind) -> None:
    odd = "odd { phandle = [00]; odd { linux,phandle = [00 01]; }; };"
    assert bind(blob(PARTIAL % (odd, BUS % odd + MAC % IDS))).status == 0


@pytest.mark.parametrize(
    ("prop", "says"),
    [
        ("status = [ff];", "status"),
        ("interrupt-parent = <1 2>;", "interrupt-parent"),
        ("interrupt-names = [ff];", ""),
        ("reg = <1>;", "reg does not fit"),
        ("xen,path = [ff];", "xen,path is not a list of strings"),
    ],
)
def test_what_is_malformed_in_a_request_is_its_own(prop: str, says: str, bind: Bind) -> None:
    outcome = bind(PARTIAL % ("", BUS % "" + MAC % f"{IDS} {prop}"))
    assert "Traceback" not in outcome.err
    assert says in outcome.err
    assert outcome.status == bool(says)


def test_an_interrupt_beyond_the_last(bind: Bind) -> None:
    mac = MAC.replace("<0 40 4>", "<0 1000 4>")
    outcome = bind(PARTIAL % ("", BUS % "" + mac % IDS))
    assert "an interrupt is beyond the last SPI" in outcome.err
    assert "expected a number up to 987, found 1000" in outcome.err
