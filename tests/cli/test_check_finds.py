# SPDX-License-Identifier: Apache-2.0
"""`viommu check` finds every change of one field that is made to a pair that agrees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.mutations import as_json, found, mutants, plan_mutants, unrewritten, with_value
from tests.cli.pair import AT_BOOT, BUILT, BY_XL, PLAN, compiled, make_pair, source_of
from tests.support import Outcome, Run
from tests.xen.nodes import cells, pack, tree

HEAD = "#address-cells = <2>; #size-cells = <2>; ranges;"
ETHERNET = """
    ethernet@e0100000 {
        compatible = "cdns,zynqmp-gem", "cdns,gem";
        reg = <0x0 0xe0100000 0x0 0x1000>;
        interrupts = <GIC_SPI 56 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>;
        iommus = <0x0 0x40>;
    };"""
DMA = """
    dma-controller@e0200000 {
        compatible = "arm,pl330", "arm,primecell";
        reg = <0x0 0xe0200000 0x0 0x1000>;
        interrupts = <GIC_SPI 60 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>,
                     <GIC_SPI 61 IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>;
        interrupt-names = "a", "b";
        status = "okay";
        xen,path = "/soc@e0000000/dma-controller@200000";
    };"""
GUESTS = {
    # libxl numbers the direct children of /passthrough only.
    BY_XL: f"/ {{ passthrough {{ {HEAD} {ETHERNET} {DMA} }}; }};",
    AT_BOOT: f"/ {{ passthrough {{ {HEAD} bus {{ {HEAD} {ETHERNET} }}; {DMA} }}; }};",
}
VSMMU = "/iommu@4040000"
# What is deliberately not compared: the words are those of a mutant's name.
INHERITS = {f"{VSMMU} interrupt-parent removed"}  # The root has the same one.
DEFAULT = {"/passthrough/bus #address-cells removed"}  # 2, as it was.
NO_STATUS = {"/passthrough/dma-controller@e0200000 status removed"}  # "okay", as it was.
SILENT = {BY_XL: INHERITS | NO_STATUS, AT_BOOT: DEFAULT | NO_STATUS}
# The fourth cell of Zephyr's GIC is the priority, which Xen's tree does not have.
PRIORITIES = {
    f"{VSMMU} interrupts cell 3",
    "/passthrough/dma-controller@e0200000 interrupts cell 3",
    "/passthrough/dma-controller@e0200000 interrupts cell 7",
}
SILENT_BUILT = {
    BY_XL: INHERITS | NO_STATUS | PRIORITIES | {"/passthrough/ethernet@e0100000 interrupts cell 3"},
    AT_BOOT: INHERITS
    | DEFAULT
    | NO_STATUS
    | PRIORITIES
    | {"/passthrough/bus/ethernet@e0100000 interrupts cell 3"},
}


def check(viommu: Run, given: str) -> Outcome:
    options = ("--host", "host.dts", "--guest-dtb", given, "--format", "json")
    return viommu("check", "-d", "build", *options)


def is_silent(outcome: Outcome) -> bool:
    """Whether a run found nothing. It must not end in any other way than these two."""
    assert "Traceback" not in outcome.err
    if outcome.status == 0:
        assert json.loads(outcome.out)["differences"] == []
        return True
    assert outcome.status == 1
    assert outcome.err or json.loads(outcome.out)["differences"]
    return False


@pytest.mark.parametrize("given", [AT_BOOT, BY_XL])
def test_every_change_of_what_the_guest_was_given(given: str, viommu: Run) -> None:
    make_pair(viommu, guest=GUESTS[given])
    assert is_silent(check(viommu, given))
    good = Path(given).read_bytes()
    silent = set()
    changes = [*mutants(good, VSMMU), *unrewritten(good, VSMMU)]
    for name, changed in changes:
        Path("changed.dtb").write_bytes(changed)
        if is_silent(check(viommu, "changed.dtb")):
            silent.add(name)
    assert silent == SILENT[given]
    assert len(changes) > 90


@pytest.mark.parametrize("given", [AT_BOOT, BY_XL])
def test_every_change_of_what_was_built(given: str, viommu: Run) -> None:
    make_pair(viommu, guest=GUESTS[given])
    good = compiled(BUILT)
    silent = set()
    changes = [*mutants(good, VSMMU), *unrewritten(good, VSMMU)]
    for name, changed in changes:
        BUILT.write_text(source_of(changed))
        if is_silent(check(viommu, given)):
            silent.add(name)
    assert silent == SILENT_BUILT[given]


def test_every_change_of_the_plan(viommu: Run) -> None:
    make_pair(viommu, guest=GUESTS[AT_BOOT])
    good = json.loads(PLAN.read_text())
    for name, changed in plan_mutants(good):
        PLAN.write_text(as_json(changed))
        outcome = viommu("check", "-d", "build", "--host", "host.dts", "--format", "json")
        # For `viommu system`, whose guests must be of one tree, and which counts their CPUs in.
        assert is_silent(outcome) == (name in ("host.sha256", "tree_bytes")), name


@pytest.mark.parametrize(
    ("prop", "value"),
    [
        ("current-speed", pack(115200)),
        ("xen,path", b"/soc@e0000000/dma-controller@200000\0"),
        ("dma-coherent", b""),
    ],
)
@pytest.mark.parametrize("given", [AT_BOOT, BY_XL])
def test_properties_of_no_concern(given: str, prop: str, value: bytes, viommu: Run) -> None:
    make_pair(viommu, guest=GUESTS[given])
    good = Path(given).read_bytes()
    path = "/passthrough/dma-controller@e0200000"
    Path("changed.dtb").write_bytes(with_value(good, path, prop, value))
    assert is_silent(check(viommu, "changed.dtb"))


@pytest.mark.parametrize("mask", [0x0, 0x100, 0xFF00])
def test_the_cpu_mask_of_an_interrupt_is_no_difference(mask: int, viommu: Run) -> None:
    make_pair(viommu, guest=GUESTS[AT_BOOT])
    good = Path(AT_BOOT).read_bytes()
    for path in (VSMMU, "/passthrough/dma-controller@e0200000"):
        numbers = cells(found(tree(good), path).props["interrupts"])
        flags = [n & 0xFF | mask if i % 3 == 2 else n for i, n in enumerate(numbers)]
        Path("changed.dtb").write_bytes(with_value(good, path, "interrupts", pack(*flags)))
        assert is_silent(check(viommu, "changed.dtb"))
