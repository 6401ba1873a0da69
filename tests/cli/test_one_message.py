# SPDX-License-Identifier: Apache-2.0
"""One mistake makes one message, and that names the wrong thing and the right value.

The right guest is what `extract` writes for a device of a host. Each mistake is made in it, for
hosts that come with the project and for real ones, and `bind` may say one thing about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import CHECKOUT, CORPUS, NO_CORPUS, Outcome, Run

HOSTS = CHECKOUT / "tests" / "hosts"
MESSAGE = re.compile(r"^[^\n]+?: (?:error|warning): .*?\nhint: [^\n]*", re.MULTILINE | re.DOTALL)
# An ID, a path and a label that no host has.
NO_ID, NO_PATH = "0x7abcd", "/soc/nothing@1"


class Host(NamedTuple):
    """A host: its file, the device that is asked for, and another master, with the IDs of that."""

    file: str
    device: str
    other: str
    other_ids: str


class Right(NamedTuple):
    """A guest that binds, and the lines of its device."""

    host: Host
    text: str
    reg: str
    interrupts: str
    iommus: str
    path: str


class Mistake(NamedTuple):
    """How to make it, and what the message has of it: the wrong thing, and the right value."""

    name: str
    made: Callable[[Right], str]
    says: Callable[[Right], tuple[str, ...]]


BUNDLED = (
    Host(
        "samples/demo/host.dts",
        "/soc@e0000000/ethernet@100000",
        "/soc@e0000000/ethernet@300000",
        "<0x0 0x20000>",
    ),
    Host(
        "tests/hosts/board.dts",
        "/bus@40000000/ethernet@200000",
        "/bus@40000000/flash@300000",
        "<0x0 0x7>",
    ),
    Host(
        "tests/hosts/two-smmus.dts", "/ethernet@20000000", "/mmc@20010000", "<0x0 0x11>, <0x0 0x12>"
    ),
)
REAL = (
    Host(
        "versal-net-vn-x-b2197-01-revA.dtb",
        "/axi/ethernet@f19f0000",
        "/axi/mmc@f1050000",
        "<0x0 0x243>",
    ),
    Host(
        "imx95-19x19-evk-smmu-on.dtb",
        "/soc/usb@4c200000",
        "/soc/bus@4c100000/usb@4c100000",
        "<0x0 0xe>",
    ),
    Host("morello-sdp.dtb", "/display@2cc00000", "/pcie@4fc0000000", "<0x0 0x9>"),
)


def _replaced(pattern: str, new: str) -> Callable[[Right], str]:
    return lambda right: re.sub(pattern, new, right.text, count=1, flags=re.DOTALL)


def _without_path(text: str) -> str:
    return re.sub(r"\n\s*xen,path = [^\n]*", "", text)


def _with_ids(right: Right, ids: str) -> str:
    return right.text.replace(right.iommus, f"iommus = {ids};")


def _twice(right: Right) -> str:
    """The device's node again, with all that is in it but the labels."""
    node = right.text[right.text.rindex("\n\t\t" + _name(right)) : right.text.rindex("\n\t};")]
    copy = re.sub(r"(\n\s*)\w+: ", r"\1", node).replace("@", "@1", 1)
    return right.text.replace(node, node + copy)


def _name(right: Right) -> str:
    found = re.search(r"\n\t\t(?:\w+: )?(\S+@\w+) \{\n(?:\t\t\t[^\n]*\n)*?\t\t\treg = ", right.text)
    assert found
    return found[1]


MISTAKES = (
    Mistake(
        "xen,path of another device",
        lambda right: right.text.replace(right.host.device, right.host.other),
        lambda right: ("[path-mismatch]", f"found {right.host.other})", right.path),
    ),
    Mistake(
        "xen,path of no device",
        lambda right: right.text.replace(right.host.device, NO_PATH),
        lambda right: ("[unknown-host-node]", f"found {NO_PATH})", right.path),
    ),
    Mistake(
        "a neighbour's IDs",
        lambda right: _without_path(_with_ids(right, right.host.other_ids)),
        lambda right: ("[stream-mismatch]", right.host.other, right.iommus),
    ),
    Mistake(
        "a neighbour's IDs, and the path",
        lambda right: _with_ids(right, right.host.other_ids),
        lambda right: ("[stream-mismatch]", right.host.other, right.iommus),
    ),
    Mistake(
        "an ID of nobody",
        lambda right: _without_path(_with_ids(right, f"<0x0 {NO_ID}>")),
        lambda right: ("[unknown-stream-id]", f"found {NO_ID})", right.iommus),
    ),
    Mistake(
        "a path and IDs of another device",
        lambda right: _with_ids(right, right.host.other_ids).replace(
            right.host.device, right.host.other
        ),
        lambda right: ("[path-mismatch]", f"found {right.host.other}", right.path, right.iommus),
    ),
    Mistake(
        "IDs as Lopper writes them, of nobody",
        lambda right: right.text.replace(right.iommus, f"xen,smmu-stream-ids = <{NO_ID}>;"),
        lambda right: (
            "[stream-mismatch]",
            f"found {NO_ID} of no master)",
            "xen,smmu-stream-ids = <" + " ".join(re.findall(r"<0x0 (\w+)>", right.iommus)) + ">;",
        ),
    ),
    Mistake(
        "a digit of reg",
        _replaced(r"reg = <0x0 0x(.).", r"reg = <0x0 0x\g<1>7"),
        lambda right: ("[region-mismatch]", "does not belong to", right.reg),
    ),
    Mistake(
        "the size of reg",
        _replaced(r"reg = <0x0 (\S+) 0x0 \w+>", r"reg = <0x0 \1 0x0 0x4000000>"),
        lambda right: ("[region-mismatch]", "/0x4000000)", right.reg),
    ),
    Mistake(
        "a PPI for an SPI",
        _replaced(r"GIC_SPI \d+", "GIC_PPI 9"),
        lambda right: ("[interrupt-mismatch]", "found PPI 9", right.interrupts),
    ),
    Mistake(
        "a PPI of the SPI's number",
        lambda right: right.text.replace("GIC_SPI", "GIC_PPI"),
        lambda right: ("[malformed]", "found type 1, PPI", "write GIC_SPI"),
    ),
    Mistake(
        "another interrupt",
        _replaced(r"GIC_SPI \d+", "GIC_SPI 555"),
        lambda right: ("[interrupt-mismatch]", "found INTID 587)", right.interrupts),
    ),
    Mistake(
        "INTIDs for the numbers of SPIs",
        lambda right: re.sub(
            r"GIC_SPI (\d+)", lambda found: f"GIC_SPI {int(found[1]) + 432}", right.text
        ),
        lambda right: ("[interrupt-mismatch]", "found INTID", right.interrupts),
    ),
    Mistake(
        "interrupts of three cells",
        lambda right: right.text.replace(" IRQ_DEFAULT_PRIORITY", ""),
        lambda right: ("[malformed]", "expected entries of 4 cells", "IRQ_DEFAULT_PRIORITY>"),
    ),
    Mistake(
        "Linux's macro",
        _replaced("IRQ_TYPE_LEVEL", "IRQ_TYPE_LEVEL_HIGH"),
        lambda right: ("[malformed] IRQ_TYPE_LEVEL_HIGH is neither a number", "IRQ_TYPE_LEVEL;"),
    ),
    Mistake(
        "#address-cells",
        _replaced("#address-cells = <2>", "#address-cells = <1>"),
        lambda right: ("[malformed] #address-cells of /passthrough", "#address-cells = <2>;"),
    ),
    Mistake(
        "#size-cells",
        _replaced("#size-cells = <2>", "#size-cells = <1>"),
        lambda right: ("[malformed] #size-cells of /passthrough", "#size-cells = <2>;"),
    ),
    Mistake(
        "both cells",
        _replaced(
            r"#address-cells = <2>;\n\t\t#size-cells = <2>",
            r"#address-cells = <1>;\n\t\t#size-cells = <1>",
        ),
        lambda right: ("#address-cells and #size-cells of /passthrough", "#size-cells = <2>;"),
    ),
    Mistake(
        "no ranges",
        _replaced("ranges;", ""),
        lambda right: ("[malformed] /passthrough has no `ranges`", "write `ranges;`"),
    ),
    Mistake(
        "labels of a file that is not included",
        lambda right: f"/dts-v1/;\n/ {{ }};\n&uart0 {{ }};\n&uart1 {{ }};\n{_numbers(right.text)}",
        lambda right: ("[malformed]", "&uart0, &uart1", "is there no #include of the file"),
    ),
    Mistake(
        "the base without its header",
        lambda right: "/dts-v1/;\n" + right.text.replace("interrupt-parent = <&gic>;", ""),
        lambda right: ("[malformed] GIC_SPI is neither a number", "arm-gic.h>"),
    ),
    Mistake(
        "a near miss of xen,path",
        lambda right: right.text.replace(right.iommus, "").replace("xen,path", "xen,pth"),
        lambda right: ("[malformed] nothing reads xen,pth", "did you mean xen,path?"),
    ),
    Mistake(
        "a near miss of iommus",
        lambda right: _without_path(right.text).replace("iommus", "iommu"),
        lambda right: ("[malformed] nothing reads iommu", "did you mean iommus?"),
    ),
    Mistake(
        "a node twice",
        _twice,
        lambda right: (
            "[duplicate-assignment]",
            f"{right.host.device} is assigned twice",
            f"/passthrough/{_name(right)}",
        ),
    ),
    Mistake(
        "a label that the guest does not have",
        lambda right: right.text.replace("iommus = <0x0 ", "iommus = <&smmu "),
        lambda right: ("[malformed] iommus refers to &smmu", right.iommus),
    ),
)


def _numbers(text: str) -> str:
    """`text` without macros."""
    for name, number in (
        ("GIC_SPI", "0"),
        ("IRQ_TYPE_LEVEL", "2"),
        ("IRQ_TYPE_EDGE", "4"),
        ("IRQ_DEFAULT_PRIORITY", "0xa0"),
    ):
        text = text.replace(name, number)
    return text


def _hosts(named: tuple[Host, ...]) -> list[object]:
    return [pytest.param(host, id=Path(host.file).stem) for host in named]


def _params() -> list[object]:
    """The hosts of the project, and real ones where there is a corpus."""
    if CORPUS:
        return _hosts(BUNDLED) + _hosts(REAL)
    skipped = pytest.param(REAL[0], marks=pytest.mark.skip(reason=NO_CORPUS), id="real hosts")
    return [*_hosts(BUNDLED), skipped]


def _file(host: Host) -> Path:
    return CHECKOUT / host.file if host in BUNDLED else Path(CORPUS or "") / host.file


def _right(host: Host, viommu: Run) -> Right:
    outcome = viommu("extract", "--host", _file(host), host.device)
    assert outcome.status == 0, outcome.err
    text = outcome.out

    def line(name: str) -> str:
        found = re.search(rf"\n\t\t\t({name} = .*?;)(?: /\*[^\n]*)?\n", text, re.DOTALL)
        assert found
        return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", found[1]))

    return Right(
        host, text, line("reg"), line("interrupts"), line("iommus"), f'xen,path = "{host.device}";'
    )


def _told(outcome: Outcome) -> list[str]:
    """The messages, each with its line of the source and its hint; not the notes."""
    told = MESSAGE.findall(outcome.err)
    assert outcome.err.count("\nhint: ") == len(told), outcome.err
    return told


@pytest.mark.parametrize("host", _params())
def test_one_message(host: Host, viommu: Run) -> None:
    right = _right(host, viommu)
    guest = Path("guest.overlay")
    guest.write_text(right.text)
    outcome = viommu("bind", "--host", _file(host), "guest.overlay")
    assert outcome.status == 0
    # What is to be warned of is no mistake.
    warnings = _told(outcome)
    for mistake in MISTAKES:
        guest.write_text(mistake.made(right))
        assert guest.read_text() != right.text, mistake.name
        outcome = viommu("bind", "--host", _file(host), "guest.overlay")
        told = [each for each in _told(outcome) if each not in warnings]
        assert (outcome.status, len(told)) == (1, 1), f"{mistake.name}: {outcome.err}"
        assert re.match(r"guest\.overlay:\d+: error: ", told[0]), f"{mistake.name}: {told[0]}"
        for part in mistake.says(right):
            assert part in told[0], f"{mistake.name}: no {part} in {told[0]}"


@pytest.mark.parametrize("with_path", [True, False], ids=["path", "no path"])
@pytest.mark.parametrize("host", _params())
def test_the_tree_of_another_board(host: Host, with_path: bool, viommu: Run) -> None:
    text = _right(host, viommu).text
    Path("guest.overlay").write_text(text if with_path else _without_path(text))
    for other in (*BUNDLED, *(REAL if host in REAL else ())):
        if other != host:
            told = _told(viommu("bind", "--host", _file(other), "guest.overlay"))
            assert len(told) == 1, told
            assert re.match(r"guest\.overlay:\d+: error: \[wrong-host\] ", told[0])
            assert "is it the right host?" in told[0]
            assert Path(other.file).name in told[0]


@pytest.mark.parametrize(
    ("variable", "value"), [("CPP", "/nonexistent"), ("CPP", "'"), ("CPP", "false"), ("PATH", "")]
)
def test_a_preprocessor_that_is_wrong_for_both_sides(
    variable: str, value: str, viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    demo = CHECKOUT / "samples/demo"
    outcome = viommu("bind", "--host", demo / "host.dts", demo / "guest.overlay")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 2
    assert outcome.err.startswith("error: [unreadable] ")


@pytest.mark.parametrize("text", [None, "#error no\n", "/ { x = <08>; };\n"])
def test_a_guest_that_is_named_twice(text: str | None, viommu: Run, tmp_path: Path) -> None:
    if text:
        (tmp_path / "a.overlay").write_text(text)
    host = CHECKOUT / "samples/demo/host.dts"
    outcome = viommu("bind", "--host", host, "a.overlay", "a.overlay")
    assert (outcome.status, len(_told(outcome))) == (1, 1)


def test_two_devices_one_bus(viommu: Run) -> None:
    """What is wrong for all is said once; what is wrong in one, of that one."""
    host = BUNDLED[2]
    text = viommu("extract", "--host", _file(host), host.device, host.other).out
    guest = Path("guest.overlay")
    for wrong, right, says in (
        ("#address-cells = <1>", "#address-cells = <2>", "#address-cells of /passthrough"),
        ("#size-cells = <1>", "#size-cells = <2>", "#size-cells of /passthrough"),
        ("", "ranges;", "has no `ranges`"),
        ("", " IRQ_DEFAULT_PRIORITY", "the same goes for /passthrough/mmc@20010000"),
    ):
        count = -1 if right.startswith(" ") else 1
        guest.write_text(text.replace(right, wrong, count))
        told = _told(viommu("bind", "--host", _file(host), "guest.overlay"))
        assert len(told) == 1, told
        assert says in told[0]
