# SPDX-License-Identifier: Apache-2.0
"""One field that differs is one difference, with the value of each side."""

from __future__ import annotations

import pytest

from west_viommu.check.compare import between_plans, unasked, with_given, with_plan
from west_viommu.check.view import NodeView, View
from west_viommu.guest.gic import GuestInterrupt
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.plan.plan import (
    Plan,
    PlanCompatible,
    PlanDevice,
    PlanHost,
    PlanMap,
    PlanRegion,
    PlanViommu,
)
from west_viommu.read.profiles import profile
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

PATH, SMMU = "/passthrough/x", "/iommu@9050000"
VSMMU = NodeView(
    path=SMMU,
    compatible=("arm,smmu-v3",),
    status="okay",
    regions=(Region(0x9050000, 0x20000),),
    interrupts=(GuestInterrupt(Intid(106), is_edge=True),),
    interrupt_names=("combined",),
    iommu_cells=1,
)
NODE = NodeView(
    path=PATH,
    compatible=("v,x",),
    status="okay",
    regions=(Region(0x5000, 0x1000),),
    interrupts=(GuestInterrupt(Intid(88), is_edge=False),),
    interrupt_names=("rx",),
    streams=(0x40,),
    maps=((0, 8, 4),),
)
BUILT = View(VSMMU, {PATH: NODE}, ())
DEVICE = PlanDevice(
    node=PATH,
    host="/x",
    compatible=PlanCompatible(("v,host",), ("v,x",)),
    status="okay",
    regions=(PlanRegion(0x1000, 0x5000, 0x1000),),
    pages=(PlanRegion(0x1000, 0x5000, 0x1000),),
    intids=(88,),
    streams=(AssignedStream("/smmu", 0x8000, StreamId(0x80), StreamId(0x40)),),
    omitted=(),
    maps=(PlanMap("/smmu", 0, 8, 8, 4),),
)
PLAN = Plan(
    profile="xen-rfc",
    vsid="explicit",
    host=PlanHost("host", "0" * 64),
    domain=(),
    viommu=PlanViommu(SMMU, "arm,smmu-v3", 0x9050000, 0x20000, (106,)),
    devices=(DEVICE,),
    raw=(),
    extra=(),
    unasked=(),
    allowed=(),
    marks=(),
    memory_limit=None,
    files={},
)
ABSENT = "none: the plan does not have it"


def test_sides_that_agree() -> None:
    assert [*with_plan(BUILT, PLAN), *with_given(BUILT, BUILT, None)] == []
    assert list(between_plans(PLAN, PLAN, (), has_errors=False)) == []
    assert list(unasked(["/a"], ["/a"])) == []


@pytest.mark.parametrize(
    ("change", "what", "of_plan", "of_given"),
    [
        ({"compatible": ("v,y",)}, "compatible", ("v,x", "v,y"), ("v,x", "v,y")),
        ({"status": "disabled"}, "status", ("okay", "disabled"), ("okay", "disabled")),
        ({"regions": ()}, "regions", ("0x5000/0x1000", "none"), ("0x5000/0x1000", "none")),
        ({"interrupts": ()}, "interrupts", ("[88]", "[]"), ("INTID 88 level", "none")),
        (
            {"interrupts": (GuestInterrupt(Intid(88), is_edge=True),)},
            "interrupts",
            None,
            ("INTID 88 level", "INTID 88 edge"),
        ),
        ({"interrupt_names": ()}, "interrupt-names", None, ("rx", "none")),
        ({"streams": (0x41,)}, "stream IDs", ("0x40", "0x41"), ("0x40", "0x41")),
        ({"streams": ()}, "stream IDs", ("0x40", ""), ("0x40", "none")),
        ({"maps": ()}, "iommu-map", ("0x0; 0x8; 0x4", "none"), ("0x0, 0x8, 0x4", "none")),
    ],
)
def test_a_field_of_a_device(
    change: dict[str, object],
    what: str,
    of_plan: tuple[str, str] | None,
    of_given: tuple[str, str],
) -> None:
    other = View(VSMMU, {PATH: NodeView(**{**NODE._asdict(), **change})}, ())
    found = [(d.node, d.what, d.expected, d.found) for d in with_plan(other, PLAN)]
    assert found == ([(PATH, what, *of_plan)] if of_plan else [])
    found = [(d.node, d.what, d.expected, d.found) for d in with_given(BUILT, other, None)]
    assert found == [(PATH, what, *of_given)]


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (View(None, {PATH: NODE}, ()), [(SMMU, "vSMMU", "present", "none")]),
        (View(VSMMU, {}, ()), [(PATH, "node", "present", "none")]),
        (
            View(VSMMU._replace(iommu_cells=2), {PATH: NODE}, ()),
            [(SMMU, "#iommu-cells", "0x1", "0x2")],
        ),
        (
            View(VSMMU._replace(regions=(Region(0, 4),), interrupts=()), {PATH: NODE}, ()),
            [
                (SMMU, "region", "0x9050000/0x20000", "0x0/0x4"),
                (SMMU, "interrupts", "[106]", "[]"),
            ],
        ),
        (View(VSMMU, {PATH: NODE, "/p/y": NODE}, ()), [("/p/y", "stream IDs", ABSENT, "0x40")]),
    ],
)
def test_a_built_tree_and_its_plan(built: View, expected: list[tuple[str, str, str, str]]) -> None:
    assert [(d.node, d.what, d.expected, d.found) for d in with_plan(built, PLAN)] == expected


@pytest.mark.parametrize(
    ("now", "refused", "has_errors", "expected"),
    [
        (PLAN._replace(profile="xen"), (), False, [("/", "profile", "xen", "xen-rfc")]),
        (PLAN._replace(memory_limit=16), (), False, [("/", "memory_limit", "0x10", "none")]),
        (PLAN._replace(memory_limit=16), (), True, []),
        (PLAN._replace(devices=()), (), False, [(PATH, "plan", "none", "present")]),
        (PLAN._replace(devices=()), (PATH,), True, []),
        (PLAN._replace(viommu=None), (), True, []),
        (
            PLAN._replace(devices=(DEVICE._replace(intids=(89,)),)),
            (),
            True,
            [(PATH, "intids[0]", "0x59", "0x58")],
        ),
        # The guest's node says that of itself: with_plan compares it.
        (PLAN._replace(devices=(DEVICE._replace(status="disabled"),)), (), False, []),
        (
            PLAN._replace(devices=(DEVICE._replace(compatible=PlanCompatible(("w",), ())),)),
            (),
            False,
            [(PATH, "host compatible[0]", "w", "v,host")],
        ),
    ],
)
def test_two_plans(
    now: Plan,
    refused: tuple[str, ...],
    has_errors: bool,
    expected: list[tuple[str, str, str, str]],
) -> None:
    found = between_plans(PLAN, now, refused, has_errors=has_errors)
    assert [(d.node, d.what, d.expected, d.found) for d in found] == expected


def test_nodes_that_ask_for_nothing() -> None:
    found = [(d.node, d.expected, d.found) for d in unasked(["/a"], ["/b"])]
    asks = "present, and asks for no device"
    assert found == [("/b", ABSENT, "present"), ("/a", asks, "another, or none")]


@pytest.mark.parametrize(("phandle", "is_other"), [(None, False), (0, False), (0xFDE9, True)])
def test_the_phandle_of_another_xen(phandle: int | None, is_other: bool) -> None:
    chosen = profile("xen-rfc", None)
    assert chosen.viommu
    other = chosen._replace(viommu=chosen.viommu._replace(phandle=phandle))
    found = [(d.node, d.what, d.expected, d.found) for d in with_given(BUILT, BUILT, other)]
    assert found == ([(SMMU, "phandle", "0xfde9", "0x0")] if is_other else [])


def test_a_vsmmu_that_is_not_switched_on() -> None:
    given, chosen = View(None, {PATH: NODE}, ()), profile("xen-rfc", None)
    (difference,) = with_given(BUILT, given, chosen)
    assert (difference.what, difference.expected, difference.found) == ("vSMMU", "present", "none")
    assert "only if it is switched on; " in difference.hint
    (difference,) = with_given(given, BUILT, chosen)
    assert (difference.expected, difference.found, difference.hint) == ("none", "present", "")
