# SPDX-License-Identifier: Apache-2.0
"""`viommu check`: agreement, each kind of difference, and what it refuses to compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from tests.cli.mutations import with_value
from tests.cli.pair import AT_BOOT, BUILT, BY_XL, PLAN, PROFILE, compiled, make_pair, source_of
from tests.support import DEMO, PACKAGE, Outcome, Run, golden
from tests.xen.captured import capture
from tests.xen.nodes import Node, pack, tree
from tests.xen.rules import dom0less_guest_tree

HOST = DEMO / "host.dts"
ETHERNET = "/passthrough/ethernet@e0100000"
DMA = "/passthrough/dma-controller@e0200000"
KEEPS_IDS = ("--profile", "xen-rfc")
KEEPS_NOTE = (
    "note: no viommu.json and no --profile: this assumes a Xen that keeps stream IDs (RFC, v1), "
    "not one that renumbers (v2, v3)\n"
)
Row = tuple[str, str, str, str, str]


def rows(outcome: Outcome) -> list[Row]:
    """What a run with --format json found: against what, node, what, expected, found."""
    assert outcome.status == 1
    found = json.loads(outcome.out)["differences"]
    return [
        (each["with"], each["node"], each["what"], each["expected"], each["found"])
        for each in found
    ]


def write_host(*changes: tuple[str, str]) -> None:
    """host.dts of this folder, with the demo's text changed."""
    text = HOST.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    Path("host.dts").write_text(text)


@pytest.mark.parametrize("given", [AT_BOOT, BY_XL])
def test_agreement(given: str, viommu: Run) -> None:
    make_pair(viommu)
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--guest-dtb", given)
    agrees = f"{BUILT} agrees with host.dts and {given} (2 devices)\n"
    assert outcome == (0, agrees, "")
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert outcome == (0, '{\n  "schema": 1,\n  "differences": []\n}\n', "")


def test_one_difference_as_text_and_as_json(viommu: Run) -> None:
    make_pair(viommu)
    other = with_value(Path(AT_BOOT).read_bytes(), DMA, "iommus", pack(0xFDEA, 7))
    Path("other.dtb").write_bytes(other)
    for name, options in (("check.txt", ()), ("check.json", ("--format", "json"))):
        outcome = viommu("check", "-d", "build", "--guest-dtb", "other.dtb", *options)
        assert outcome == (1, golden(name, outcome.out), "")


def test_a_xen_without_vsmmu_has_a_hint(viommu: Run) -> None:
    make_pair(viommu)
    partial = Path("build/viommu/passthrough-dom0less.dtb").read_bytes()
    Path("given.dtb").write_bytes(dom0less_guest_tree(partial, vsmmu=False))
    outcome = viommu("check", "-d", "build", "--guest-dtb", "given.dtb")
    assert outcome.status == 1
    assert f"{ETHERNET}        iommus      a vSMMU in the tree  <0x2 0x40>" in outcome.out
    assert "  /iommu@4040000                        vSMMU       present   " in outcome.out
    assert (
        "hint: this Xen gives a guest a vSMMU only if it is switched on; dom0less: viommu=smmuv3 "
        "on Xen's own command line; xl: viommu=smmuv3 on Xen's own command line and "
        'viommu = "smmuv3" in xl.cfg\n'
    ) in outcome.out


CHANGED_HOSTS = [
    pytest.param(
        [("iommus = <&smmu0 0x40>", "iommus = <&smmu0 0x41>")],
        [
            (
                ETHERNET,
                "[stream-mismatch] this stream ID does not belong to /soc@e0000000/ethernet@100000",
                "0x41 behind /soc@e0000000/iommu@800000",
                "0x40 of /pcie@d0000000",
            )
        ],
        id="a stream ID has moved",
    ),
    pytest.param(
        [("iommu@800000", "iommu@840000"), ("reg = <0x800000", "reg = <0x840000")],
        [
            (node, f"streams[{i}].{key}", new, old)
            for node, i in ((ETHERNET, 0), (DMA, 0))
            for key, new, old in (
                ("iommu", "/soc@e0000000/iommu@840000", "/soc@e0000000/iommu@800000"),
                ("iommu_base", "0xe0840000", "0xe0800000"),
            )
        ],
        id="an SMMU has moved",
    ),
    pytest.param(
        [("reg = <0x100000 0x1000>", "reg = <0x110000 0x1000>")],
        [
            (
                ETHERNET,
                "[region-mismatch] this region does not belong to /soc@e0000000/ethernet@100000",
                "0xe0110000/0x1000",
                "0xe0100000/0x1000",
            )
        ],
        id="a region has moved",
    ),
    pytest.param(
        [("interrupts = <0 56 4>", "interrupts = <0 58 4>")],
        [
            (
                ETHERNET,
                "[interrupt-mismatch] this interrupt does not belong to "
                "/soc@e0000000/ethernet@100000",
                "INTID 90",
                "INTID 88",
            )
        ],
        id="an interrupt has moved",
    ),
    pytest.param(
        [("iommus = <&smmu1 0x20000>", "iommus = <&smmu0 0x40>")],
        [
            (
                ETHERNET,
                "[shared-stream-id] /soc@e0000000/ethernet@100000 and "
                "/soc@e0000000/ethernet@300000 share a stream ID on /soc@e0000000/iommu@800000",
                "IDs of this device alone",
                "0x40",
            )
        ],
        id="a master with the same ID",
    ),
    pytest.param(
        [("dma-controller@200000", "dma@200000")],
        [
            (
                DMA,
                "[unknown-host-node] the host tree has no such node",
                "/soc@e0000000/dma@200000, as the node has its stream IDs, reg and interrupts",
                "/soc@e0000000/dma-controller@200000",
            )
        ],
        id="a host node has another name",
    ),
]


@pytest.mark.parametrize("options", [PROFILE, KEEPS_IDS], ids=["renumbers", "keeps IDs"])
@pytest.mark.parametrize(("changes", "expected"), CHANGED_HOSTS)
def test_a_changed_host(
    changes: list[tuple[str, str]], expected: list[Any], options: tuple[str, str], viommu: Run
) -> None:
    make_pair(viommu, options=options)
    write_host(*changes)
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [("host", *each) for each in expected]


def test_a_host_node_that_was_disabled_is_a_warning_as_for_bind(viommu: Run) -> None:
    """Xen assigns it all the same."""
    make_pair(viommu)
    write_host(("reg = <0x100000 ", 'status = "disabled"; reg = <0x100000 '))
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    assert outcome.status == 0
    line = outcome.err.split(":")[1]
    assert f"zephyr.dts:{line}: warning: [device-disabled] " in outcome.err
    assert "\nhint: " in outcome.err


def test_a_device_by_its_path_alone_that_gained_an_id(viommu: Run) -> None:
    """To bind it again would give the guest all of them."""
    make_pair(viommu)
    write_host(("<&smmu0 0x48>", "<&smmu0 0x48>, <&smmu0 0x4a>"))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [
        (
            "host",
            "/passthrough/dma-controller@e0200000",
            "omitted",
            "iommu /soc@e0000000/iommu@800000, pmaster 0x4a",
            "none",
        )
    ]
    assert "warning: [streams-omitted] " in outcome.err


def test_a_host_node_of_another_compatible(viommu: Run) -> None:
    """At the same place, with the same IDs: another device all the same."""
    make_pair(viommu)
    write_host(('"arm,pl330", "arm,primecell"', '"arm,pl080", "arm,primecell"'))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [
        (
            "host",
            "/passthrough/dma-controller@e0200000",
            "host compatible[0]",
            "arm,pl080",
            "arm,pl330",
        )
    ]


@pytest.mark.parametrize(
    ("path", "prop", "value", "expected"),
    [
        ("/iommu@4040000", "#iommu-cells", pack(2), ("0x1", "0x2")),
        (ETHERNET, "status", b"disabled\0", ("okay", "disabled")),
        (ETHERNET, "compatible", b"cdns,macb\0", ("cdns,gem", "cdns,macb")),
    ],
)
def test_a_build_that_is_not_as_planned(
    path: str, prop: str, value: bytes, expected: tuple[str, str], viommu: Run
) -> None:
    make_pair(viommu)
    BUILT.write_text(source_of(with_value(compiled(BUILT), path, prop, value)))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [("build", path, prop, *expected)]


def test_a_node_in_the_build_that_asks_for_nothing(viommu: Run) -> None:
    make_pair(viommu)
    added = "/ { passthrough { rtc@9010000 { reg = <0 0x9010000 0 0x1000>; }; }; };\n"
    BUILT.write_text(BUILT.read_text() + added)
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [
        (
            "build",
            "/passthrough/rtc@9010000",
            "node",
            "none: the plan does not have it",
            "present",
        )
    ]


def test_an_unasked_node_that_is_there_no_more(viommu: Run) -> None:
    node = "rtc@9010000 { reg = <0 0x9010000 0 0x1000>; };"
    overlay = (DEMO / "guest.overlay").read_text()
    make_pair(viommu, guest=overlay + f"\n/ {{ passthrough {{ {node} }}; }};\n")
    assert json.loads(PLAN.read_text())["unasked"] == ["/passthrough/rtc@9010000"]
    assert viommu("check", "-d", "build", "--host", "host.dts").status == 0
    text = BUILT.read_text()
    first = text.index("rtc@9010000")
    BUILT.write_text(text[:first] + text[text.index("};", first) + 2 :])
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [
        (
            "build",
            "/passthrough/rtc@9010000",
            "node",
            "present, and asks for no device",
            "another, or none",
        )
    ]


def test_another_domain_in_viommu_yml(viommu: Run) -> None:
    make_pair(viommu)
    assert json.loads(PLAN.read_text())["domain"] == []
    Path("viommu.yml").write_text("domain: [vpl011, acpi]\n")
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert rows(outcome) == [("host", "/", "domain", "acpi; vpl011", "none")]


def test_a_refused_request_has_a_hint(viommu: Run) -> None:
    make_pair(viommu)
    write_host(("iommus = <&smmu0 0x40>", "iommus = <&smmu0 0x41>"))
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    assert outcome.out.endswith("\nhint: write iommus = <0x0 0x41>;\n")


def test_a_tree_alone(viommu: Run) -> None:
    make_pair(viommu)
    assert viommu("check", "--dts", BUILT, "--guest-dtb", BY_XL).status == 0
    # Numbered anew, the guest's IDs alone do not say which host device they stand for.
    command = ("check", "--dts", BUILT, "--host", "host.dts", "--format", "json")
    outcome = viommu(*command, *PROFILE)
    what = "its stream IDs are the guest's, and nothing says which host device they stand for"
    assert rows(outcome) == [("host", ETHERNET, f"[malformed] {what}", "", "")]
    hint = "give the build directory with its viommu.json (-d), or add xen,path to the node"
    assert json.loads(outcome.out)["differences"][0]["hint"] == hint


def test_a_tree_alone_whose_nodes_all_have_xen_path(viommu: Run) -> None:
    guest = (DEMO / "guest.overlay").read_text()
    path = 'xen,path = "/soc@e0000000/ethernet@100000";'
    make_pair(viommu, guest=guest.replace("iommus = <0x0 0x40>;", path))
    command = ("check", "--dts", BUILT, "--host", "host.dts", *PROFILE)
    assert viommu(*command, "--guest-dtb", AT_BOOT).status == 0
    source = BUILT.read_text()
    assert "&vsmmu 0x0 " in source
    BUILT.write_text(source.replace("&vsmmu 0x0 ", "&vsmmu 0x5 "))
    outcome = viommu(*command, "--format", "json")
    assert rows(outcome) == [("host", ETHERNET, "stream IDs", "0x0", "0x5")]


def test_a_tree_alone_of_a_xen_that_keeps_ids(viommu: Run) -> None:
    make_pair(viommu, options=KEEPS_IDS)
    outcome = viommu("check", "--dts", BUILT, "--host", "host.dts")
    assert (outcome.status, outcome.err) == (0, KEEPS_NOTE)
    assert viommu("check", "--dts", BUILT, "--host", "host.dts", *KEEPS_IDS).err == ""


def test_a_build_directory_without_plan(viommu: Run) -> None:
    make_pair(viommu, options=KEEPS_IDS)
    shutil.rmtree("build/viommu")
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    assert (outcome.status, outcome.err) == (0, KEEPS_NOTE)
    write_host(("iommus = <&smmu0 0x40>", "iommus = <&smmu0 0x41>"))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert [row[2].split()[0] for row in rows(outcome)] == ["[stream-mismatch]"]


EXPLICIT = """vsid: explicit
vsids:
  "/soc@e0000000/ethernet@100000": [5]
  "/soc@e0000000/dma-controller@200000": [9]
"""


def test_the_policy_explicit(viommu: Run) -> None:
    config = Path("viommu.yml")
    config.write_text(EXPLICIT)
    make_pair(viommu, options=KEEPS_IDS)
    command = ("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert viommu(*command).status == 0
    config.write_text(EXPLICIT.replace("[9]", "[7]"))
    assert rows(viommu(*command)) == [("host", DMA, "streams[0].vmaster", "0x7", "0x9")]
    # Without viommu.yml the plan still says the numbers; without the plan, xen,path the device.
    config.unlink()
    assert viommu(*command).status == 0
    config.write_text(EXPLICIT)
    PLAN.unlink()
    named = {each[1] for each in rows(viommu(*command))}
    assert named == {ETHERNET}


def test_another_profile_than_that_of_the_build(viommu: Run) -> None:
    make_pair(viommu)
    command = ("check", "-d", "build", "--host", "host.dts", "--format", "json")
    own = ("host", "/", "profile")
    outcome = viommu(*command, "--profile", "xen-v3-libxl")
    assert rows(outcome) == [(*own, "xen-v3-libxl", "xen-v3-dom0less")]
    outcome = viommu(*command, *KEEPS_IDS)
    assert rows(outcome) == [
        (*own, "xen-rfc", "xen-v3-dom0less"),
        ("host", "/", "vsid", "identity", "first-free"),
        ("host", ETHERNET, "streams[0].vmaster", "0x40", "0x0"),
        ("host", DMA, "streams[0].vmaster", "0x48", "0x1"),
    ]


def test_a_profile_of_its_users_own(viommu: Run) -> None:
    shipped = (PACKAGE / "profiles/xen-rfc.yaml").read_text()
    own = shipped.replace('"name": "xen-rfc"', '"name": "mine"').replace("0x04040000", "0x05040000")
    Path("mine.yaml").write_text(own)
    make_pair(viommu, options=("--profile", "./mine.yaml"))
    command = ("check", "-d", "build", "--host", "host.dts")
    assert viommu(*command, "--profile", "./mine.yaml").status == 0
    outcome = viommu(*command)
    assert outcome == (
        1,
        "",
        "error: [unreadable] the build uses a profile of the user's own, mine\n"
        "hint: name its file with --profile FILE\n",
    )
    Path("viommu.yml").write_text("profile: mine.yaml\n")
    assert viommu(*command).status == 0


def test_what_was_allowed_and_is_no_more(viommu: Run) -> None:
    allow = f"allow: [{{hazard: shared-stream-id, device: {ETHERNET}, reason: why}}]\n"
    Path("viommu.yml").write_text(allow)
    shares = HOST.read_text().replace("<&smmu1 0x20000>", "<&smmu0 0x40>")
    Path("sharing.dts").write_text(shares)
    make_pair(viommu, host=Path("sharing.dts"), options=KEEPS_IDS)
    command = ("check", "-d", "build", "--host", "host.dts", "--format", "json")
    outcome = viommu(*command)
    assert outcome.status == 0
    assert "warning: [shared-stream-id]" in outcome.err
    Path("viommu.yml").write_text(allow.replace("why", "because"))
    was = f"hazard shared-stream-id, device {ETHERNET}, reason why"
    now = was.replace("why", "because")
    assert rows(viommu(*command)) == [("host", "/", "allowed", now, was)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there is no build here: name what was built"),
        (("-d", "build", "--dts", BUILT), "name what was built"),
        (("-d", "build"), "name what to compare with"),
        (("--dts", BUILT), "name what to compare with"),
    ],
)
def test_the_command_line_is_wrong(arguments: tuple[object, ...], says: str, viommu: Run) -> None:
    make_pair(viommu)
    outcome = viommu("check", *arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(f"viommu check: error: {says}")
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("-d", "bild"),
            "bild: error: [unreadable] there is no such folder\nhint: did you mean build?",
        ),
        (("-d", "."), ".: error: [unreadable] there is no zephyr/zephyr.dts\nhint: build"),
        (("--dts", "other"), "other: error: [unreadable] No such file or directory\nhint: check"),
        (("-d", "build", "--guest-dtb", "x"), "x: error: [unreadable] No such file"),
        (("-d", "build", "--config", "x"), "x: error: [unreadable] "),
    ],
)
def test_a_file_that_is_missing(arguments: tuple[object, ...], says: str, viommu: Run) -> None:
    make_pair(viommu)
    outcome = viommu("check", "--host", "host.dts", *arguments)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(says)


def test_a_host_from_the_environment(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pair(viommu)
    monkeypatch.setenv("VIOMMU_HOST_DTB", "host.dts")
    assert viommu("check", "-d", "build").status == 0


def as_directory(node: Node, folder: Path) -> None:
    """`node` as /proc/device-tree has it."""
    folder.mkdir()
    for name, value in node.props.items():
        (folder / name).write_bytes(value)
    for child in node.children:
        as_directory(child, folder / child.name)


@pytest.mark.parametrize("given", [AT_BOOT, BY_XL])
def test_what_was_given_in_other_forms(given: str, viommu: Run) -> None:
    make_pair(viommu)
    blob = Path(given).read_bytes()
    as_directory(tree(blob), Path("device-tree"))
    Path("given.dts").write_text(source_of(blob))
    for form in ("device-tree", "given.dts"):
        outcome = viommu("check", "-d", "build", "--guest-dtb", form)
        assert outcome.status == 0, outcome.out + outcome.err
    Path("built.dtb").write_bytes(compiled(BUILT))
    assert viommu("check", "--dts", "built.dtb", "--guest-dtb", given).status == 0


def test_files_of_another_run(viommu: Run) -> None:
    make_pair(viommu)
    file = Path("build/viommu/xl.cfg")
    file.write_text("device_tree = 1\n")
    hint = "hint: build again, or run `viommu bind` again: its files belong together\n"
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    what = "not of the run of viommu.json"
    assert outcome == (1, "", f"{file}: error: [malformed] {what}\n{hint}")
    file.unlink()
    outcome = viommu("check", "-d", "build", "--guest-dtb", AT_BOOT)
    what = "missing beside viommu.json"
    assert outcome == (1, "", f"{file}: error: [malformed] {what}\n{hint}")
    file.mkdir()
    outcome = viommu("check", "-d", "build", "--guest-dtb", AT_BOOT)
    what = "this is a folder, and only plain files are read"
    assert outcome == (1, "", f"{file}: error: [unreadable] {what}\n{hint}")


NOT_OURS = "[malformed] west-viommu did not write this viommu.json"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", NOT_OURS),
        ("{", NOT_OURS),
        ("null", NOT_OURS),
        ("[" * 100000, NOT_OURS),
        ("9" * 5000, NOT_OURS),
        ('{"files": {}}', NOT_OURS),
    ],
    ids=["empty", "cut", "null", "deep", "long", "little"],
)
def test_a_plan_that_is_none(text: str, says: str, viommu: Run) -> None:
    make_pair(viommu)
    PLAN.write_text(text)
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    assert outcome.status == 1
    assert outcome.err.startswith(f"{PLAN}: error: {says}")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "schema",
            1,
            "another version of west-viommu wrote this viommu.json "
            "(expected schema 2, found schema 1)",
        ),
        ("schema", True, "west-viommu did not write this viommu.json"),
        ("devices", [1], "west-viommu did not write this viommu.json"),
        ("devices", [{"node": "/a"}], "west-viommu did not write this viommu.json"),
        ("viommu", {"node": "/a"}, "west-viommu did not write this viommu.json"),
        ("viommu", [], "west-viommu did not write this viommu.json"),
        ("files", {}, "west-viommu did not write this viommu.json"),
        ("files", {"viommu.overlay": 1}, "west-viommu did not write this viommu.json"),
        ("files", {"viommu.overlay": "1"}, "not of the run of viommu.json"),
        ("profile", None, "west-viommu did not write this viommu.json"),
        ("vsid", "nonsense", "no vsid has this name"),
        ("allowed", ["x"], "west-viommu did not write this viommu.json"),
    ],
)
def test_a_plan_of_another_form(key: str, value: object, says: str, viommu: Run) -> None:
    make_pair(viommu)
    PLAN.write_text(json.dumps({**json.loads(PLAN.read_text()), key: value}))
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    assert (outcome.status, outcome.out) == (1, "")
    assert f"[malformed] {says}" in outcome.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither a devicetree blob nor devicetree source"),
        (b"\xd0\x0d\xfe\xed", "not a valid devicetree blob: the header is cut off"),
        (b"\x89PNG\0", "neither a devicetree blob nor devicetree source"),
        (b"\x7fELF\0\0", "this is a program (ELF), not a devicetree"),
        (b"/dts-v1/; / {", "error: [malformed] the source ends inside a node or a value"),
        (b"/dts-v1/; / { x = <&nobody>; };", "&nobody is a label that the tree does not have"),
        (b"/dts-v1/; / { x { phandle = <1 2>; }; };", "phandle"),
        (b'/dts-v1/;\n#include "none.h"\n', "none.h"),
        (b'/dts-v1/; / { x = "\xff"; };', "not UTF-8"),
    ],
)
@pytest.mark.parametrize("option", ["--guest-dtb", "--dts"])
def test_what_is_no_tree(option: str, content: bytes, says: str, viommu: Run) -> None:
    make_pair(viommu)
    Path("given").write_bytes(content)
    other = ("-d", "build") if option == "--guest-dtb" else ("--guest-dtb", AT_BOOT)
    outcome = viommu("check", option, "given", *other)
    assert (outcome.status, outcome.out) == (1, "")
    assert says in outcome.err


def test_a_cut_off_dump(viommu: Run) -> None:
    make_pair(viommu)
    Path("cut.dtb").write_bytes(Path(AT_BOOT).read_bytes()[:300])
    outcome = viommu("check", "-d", "build", "--guest-dtb", "cut.dtb")
    assert outcome.status == 1
    assert "the file has 300: cut off at byte 0x12c" in outcome.err


@pytest.mark.parametrize("name", ["A", "B", "B_aliases_first"])
def test_what_a_real_xen_gave_has_no_fault(name: str, viommu: Run) -> None:
    Path("given.dtb").write_bytes(capture(name))
    outcome = viommu("check", "--dts", "given.dtb", "--guest-dtb", "given.dtb")
    assert outcome.status == 0, outcome.out


def test_a_vsmmu_that_came_in_with_passthrough(viommu: Run) -> None:
    Path("given.dtb").write_bytes(capture("E1"))
    command = ("check", "--dts", "given.dtb", "--guest-dtb", "given.dtb", "--format", "json")
    own, other = "/iommu@4040000", "/passthrough/iommu@4040000"
    assert ("guest-dtb", other, "a second vSMMU", f"one, {own}", other) in rows(viommu(*command))


@settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@hypothesis_given(st.data())
def test_a_damaged_dump_is_compared_or_refused(viommu: Run, data: st.DataObject) -> None:
    if not BUILT.is_file():
        make_pair(viommu)
    damaged = bytearray(Path(AT_BOOT).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(40, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    Path("damaged.dtb").write_bytes(damaged)
    outcome = viommu("check", "-d", "build", "--guest-dtb", "damaged.dtb")
    assert outcome.status in (0, 1)
    assert bool(outcome.out) is not bool(outcome.err)


def test_names_cannot_drive_a_terminal(viommu: Run) -> None:
    make_pair(viommu)
    source = source_of(Path(AT_BOOT).read_bytes())
    evil = source.replace('"cdns,gem"', '"cdns,gem\\x1b[2J"')
    assert evil != source
    Path("evil.dts").write_text(evil)
    outcome = viommu("check", "-d", "build", "--guest-dtb", "evil.dts")
    assert "cdns,gem\\x1b[2J" in outcome.out
    assert "\x1b" not in outcome.out
