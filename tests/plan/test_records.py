# SPDX-License-Identifier: Apache-2.0
"""A device as viommu.json has it."""

from __future__ import annotations

import pytest

from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.plan.plan import PlanCompatible, PlanDevice, PlanMap

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
