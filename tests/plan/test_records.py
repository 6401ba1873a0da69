# SPDX-License-Identifier: Apache-2.0
"""A plan, and a device of it, as viommu.json has them."""

from __future__ import annotations

import pytest

from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.plan.plan import (
    Plan,
    PlanCompatible,
    PlanDevice,
    PlanExtra,
    PlanHost,
    PlanMap,
    PlanRaw,
    PlanRegion,
)
from west_viommu.tree.addresses import Region

SMMU = "/smmu"
STREAM = AssignedStream(SMMU, 0x8000, StreamId(3), StreamId(3))
MAP = PlanMap(SMMU, 0, 8, 8, 4)
ONE = PlanMap(SMMU, 4, 0x10, 0x10, 1)


@pytest.mark.parametrize(
    ("streams", "maps", "is_protected", "ids"),
    [
        ((), (), False, {}),
        ((STREAM,), (), True, {SMMU: ["0x3"]}),
        ((), (MAP, ONE), True, {SMMU: ["0x8-0xb", "0x10"]}),
    ],
)
def test_what_confines_a_device(
    streams: tuple[AssignedStream, ...],
    maps: tuple[PlanMap, ...],
    is_protected: bool,
    ids: dict[str, list[str]],
) -> None:
    compatible = PlanCompatible((), ())
    device = PlanDevice("/x", "/d", compatible, "okay", (), (), (), streams, (), maps)
    assert (device.is_protected, device.ids_by_iommu) == (is_protected, ids)


def plan(*devices: PlanDevice, raw: tuple[PlanRaw, ...] = ()) -> Plan:
    return Plan(
        profile="xen-rfc",
        vsid="identity",
        host=PlanHost(None, "0" * 64),
        domain=(),
        viommu=None,
        devices=devices,
        raw=raw,
        extra=(PlanExtra("/d", 0x50, 4, "its clock"),),
        unasked=(),
        allowed=(),
        marks=(),
        memory_limit=None,
        files={},
    )


def device(pages: tuple[PlanRegion, ...], intids: tuple[int, ...]) -> PlanDevice:
    return PlanDevice("/x", "/d", PlanCompatible((), ()), "okay", (), pages, intids, (), (), ())


def test_what_is_mapped_is_whole_pages_once_each() -> None:
    page = PlanRegion(0x1000, 0x5000, 0x1000)
    raw = PlanRaw("/r", (PlanRegion(0x1FF8, 0x5FF8, 0x10), PlanRegion(0x1010, 0x5010, 8)))
    made = plan(device((page,), (40, 41)), device((page,), (41, 39)), raw=(raw,))
    assert made.pages == (page, PlanRegion(0x1000, 0x5000, 0x2000))
    assert made.intids == (40, 41, 39)
    assert made.added == ("0x50/0x4 for /d, because: its clock",)
    assert (page.on_host, page.in_guest) == (Region(0x1000, 0x1000), Region(0x5000, 0x1000))
