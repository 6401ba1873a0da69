# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.diagnostics import Where
from west_viommu.guest.requests import Request
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.assignment import Permission, Terms
from west_viommu.plan.match import whole
from west_viommu.read.profiles import profile

DEFAULT = profile(None, None)


@pytest.mark.parametrize(
    ("hazard", "device", "is_allowed"),
    [
        ("shared-page", "/d", True),
        ("shared-page", "/passthrough/x", True),
        ("shared-page", "/e", False),
        ("a-hazard", "/d", False),
        ("unprotected", "/d", False),
    ],
)
def test_what_viommu_yml_allows_of_a_device(hazard: str, device: str, is_allowed: bool) -> None:
    host = tree("d { };")
    found = Devices("host.dts", host, inventory(host)[0]).device("/d")
    assert found
    request = Request("/passthrough/x", "x", "/d", (), (), (), (), False, None)
    entry = Permission(hazard, device, "a test", Where("viommu.yml", 1))
    terms = Terms(DEFAULT, permissions=(entry,))
    allowed = terms.permission("shared-page", whole(request, found))
    assert allowed == (entry if is_allowed else None)
