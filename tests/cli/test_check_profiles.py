# SPDX-License-Identifier: Apache-2.0
"""`viommu check` agrees with what bind wrote, under each profile, and finds what has changed since.
Under a profile without a vSMMU the built tree has no stream IDs that could be compared.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.mutations import mutants, with_value
from tests.cli.pair import BUILT, PLAN, compiled, make_pair, source_of
from tests.support import DEMO, Outcome, Run
from tests.xen.nodes import pack
from west_viommu.names import PROFILES

RELEASED = ("--profile", "xen")
ETHERNET = "/passthrough/ethernet@e0100000"
DMA = "/passthrough/dma-controller@e0200000"
HOST_ETHERNET = "/soc@e0000000/ethernet@100000"


def found(outcome: Outcome) -> list[tuple[str, str]]:
    """What a run with --format json found: the node and what."""
    assert outcome.status == 1, outcome
    return [(each["node"], each["what"]) for each in json.loads(outcome.out)["differences"]]


def edit_host(old: str, new: str) -> None:
    text = Path("host.dts").read_text()
    assert text.count(old) == 1
    Path("host.dts").write_text(text.replace(old, new))


def given_tree() -> str:
    """The tree that a Xen without vSMMU gives the guest: what was built, without our properties."""
    Path("given.dtb").write_bytes(compiled(BUILT))
    return "given.dtb"


@pytest.mark.parametrize("name", PROFILES)
def test_agreement_under_each_profile(name: str, viommu: Run) -> None:
    make_pair(viommu, options=("--profile", name))
    assert json.loads(PLAN.read_text())["profile"] == name
    outcome = viommu("check", "-d", "build", "--host", "host.dts")
    assert outcome == (0, f"{BUILT} agrees with host.dts (2 devices)\n", "")
    outcome = viommu("check", "-d", "build", "--guest-dtb", given_tree())
    assert outcome == (0, f"{BUILT} agrees with given.dtb (2 devices)\n", "")


@pytest.mark.parametrize("name", ["xen-rfc", "xen-amd", "xen", "qemu-virt"])
def test_a_tree_alone_under_each_profile_that_keeps_ids(name: str, viommu: Run) -> None:
    make_pair(viommu, options=("--profile", name))
    outcome = viommu("check", "--dts", BUILT, "--host", "host.dts", "--profile", name)
    assert outcome == (0, f"{BUILT} agrees with host.dts (2 devices)\n", "")
    edit_host("interrupts = <0 56 4>", "interrupts = <0 58 4>")
    outcome = viommu(
        "check", "--dts", BUILT, "--host", "host.dts", "--profile", name, "--format", "json"
    )
    what = f"[interrupt-mismatch] this interrupt does not belong to {HOST_ETHERNET}"
    assert found(outcome) == [(ETHERNET, what)]


def test_a_tree_without_vsmmu_is_of_a_released_xen(viommu: Run) -> None:
    make_pair(viommu, options=RELEASED)
    outcome = viommu("check", "--dts", BUILT, "--host", "host.dts")
    assert (outcome.status, outcome.out) == (0, f"{BUILT} agrees with host.dts (2 devices)\n")
    assert "no vSMMU in the tree: this assumes a released Xen" in outcome.err
    # Nothing of bind is in this one: by default, it should have a vSMMU.
    Path("plain.dts").write_text(Path("board.dts").read_text() + Path("guest.overlay").read_text())
    assert viommu("check", "--dts", "plain.dts", "--host", "host.dts").status == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "iommus = <&smmu0 0x40>",
            "iommus = <&smmu0 0x41>",
            (ETHERNET, f"[stream-mismatch] this stream ID does not belong to {HOST_ETHERNET}"),
        ),
        (
            "reg = <0x100000 0x1000>",
            "reg = <0x110000 0x1000>",
            (ETHERNET, f"[region-mismatch] this region does not belong to {HOST_ETHERNET}"),
        ),
        (
            "interrupts = <0 56 4>",
            "interrupts = <0 58 4>",
            (ETHERNET, f"[interrupt-mismatch] this interrupt does not belong to {HOST_ETHERNET}"),
        ),
    ],
    ids=["an ID", "a page", "a line"],
)
@pytest.mark.parametrize("by", [("-d", "build"), ("--dts", str(BUILT), *RELEASED)])
def test_a_host_that_has_changed(
    by: tuple[str, ...], old: str, new: str, expected: tuple[str, str], viommu: Run
) -> None:
    make_pair(viommu, options=RELEASED)
    edit_host(old, new)
    outcome = viommu("check", *by, "--host", "host.dts", "--format", "json")
    assert found(outcome) == [expected]


def test_a_mark_that_the_host_needs_now(viommu: Run) -> None:
    make_pair(viommu, options=RELEASED)
    node = 'twin@300800 { compatible = "t,dev"; reg = <0x100800 0x100>; status = "disabled"; };'
    edit_host("ethernet@300000 {", f"{node}\n\t\tethernet@300000 {{")
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert ("/", "marks") in found(outcome)


def test_every_change_of_what_was_built(viommu: Run) -> None:
    make_pair(viommu, options=RELEASED)
    good = compiled(BUILT)
    Path("given.dtb").write_bytes(good)
    silent = set()
    changes = list(mutants(good, "/none"))
    for name, changed in changes:
        BUILT.write_text(source_of(changed))
        outcome = viommu("check", "-d", "build", "--host", "host.dts", "--guest-dtb", "given.dtb")
        assert "Traceback" not in outcome.err
        silent |= {name} if outcome.status == 0 else set()
    # The root has the same interrupt-parent, and the fourth cell of Zephyr's GIC is the priority.
    inherited = {f"{node} interrupt-parent removed" for node in (ETHERNET, DMA)}
    priorities = {f"{ETHERNET} interrupts cell 3"} | {f"{DMA} interrupts cell {i}" for i in (3, 7)}
    assert silent == inherited | priorities
    assert len(changes) > 30


def test_an_id_that_comes_back(viommu: Run) -> None:
    make_pair(viommu, options=RELEASED)
    changed = with_value(compiled(BUILT), ETHERNET, "iommus", pack(0, 0x40))
    BUILT.write_text(source_of(changed))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert found(outcome) == [(ETHERNET, "iommus")]
    outcome = viommu("check", "-d", "build", "--guest-dtb", given_tree(), "--format", "json")
    assert {what for _, what in found(outcome)} == {"iommus"}


def test_a_raw_mapping_that_has_changed(viommu: Run) -> None:
    raw = """raw@e0a00000 { reg = <0x0 0xe0a00000 0x0 0x1000>; xen,force-assign-without-iommu;
        xen,reg = <0x0 0xe0a00000 0x0 0x1000 0x0 0xe0a00000>; };"""
    overlay = (DEMO / "guest.overlay").read_text() + f"\n/ {{ passthrough {{ {raw} }}; }};\n"
    make_pair(viommu, guest=overlay, options=RELEASED)
    assert viommu("check", "-d", "build", "--host", "host.dts").status == 0
    path = "/passthrough/raw@e0a00000"
    moved = pack(0, 0xE0A01000, 0, 0x1000, 0, 0xE0A00000)
    BUILT.write_text(source_of(with_value(compiled(BUILT), path, "xen,reg", moved)))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
    assert found(outcome) == [(path, "xen,reg")]


def test_a_tree_of_which_nothing_can_be_compared(viommu: Run) -> None:
    make_pair(viommu, options=RELEASED)
    shutil.rmtree("build/viommu")
    text = BUILT.read_text()
    lines = [
        each for each in text.splitlines() if "xen,path" not in each and "xen,smmu" not in each
    ]
    BUILT.write_text("\n".join(lines))
    outcome = viommu("check", "-d", "build", "--host", "host.dts", *RELEASED)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "build: error: [malformed] nothing was compared: no node below /passthrough names a host "
        "device\nhint: give the build directory with its viommu.json (-d), or give each node "
        'xen,path = "HOST-NODE"\n'
    )


def test_a_node_that_could_not_be_compared_is_named(viommu: Run) -> None:
    make_pair(viommu, options=RELEASED)
    rtc = "/ { passthrough { rtc@9010000 { reg = <0 0x9010000 0 0x1000>; }; }; };\n"
    BUILT.write_text(BUILT.read_text() + rtc)
    outcome = viommu("check", "--dts", BUILT, "--host", "host.dts", *RELEASED)
    note = "note: /passthrough/rtc@9010000 was not compared with the host: it names no host device"
    assert (outcome.status, outcome.err) == (0, f"{note}\n")
