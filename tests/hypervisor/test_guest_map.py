# SPDX-License-Identifier: Apache-2.0
"""Free addresses of a guest for devices that cannot have the host's."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.pages import in_force, moved
from west_viommu.read.profiles import profile
from west_viommu.tree.addresses import Region

XEN = profile("xen", None)
AMD = profile("xen-amd", None)
MIB = 1 << 20


def host(gic: str) -> Devices:
    found = tree(
        "#address-cells = <2>; #size-cells = <2>; "
        f'gic@f9000000 {{ compatible = "{gic}"; interrupt-controller; #interrupt-cells = <3>; '
        "reg = <0 0xf9000000 0 0x10000>, <0 0xf9100000 0 0x20000>; };"
    )
    return Devices("host.dts", found, inventory(found)[0])


def placed(
    *regions: Region, memory: int = 512 * MIB, gic: str = "arm,gic-v3"
) -> dict[Region, Region]:
    return moved(regions, XEN, in_force(XEN, host(gic), ["vpl011"]), memory)


def test_a_region_that_is_free_stays() -> None:
    assert placed(Region(0xFF000000, 0x1000)) == {}


@pytest.mark.parametrize(
    ("region", "at"),
    [
        # The redistributors of a GICv3, of which a guest's tree announces 16 MiB.
        (Region(0x3100000, 0x10000), 0x5000000),
        (Region(0x3100200, 0x100), 0x5000200),
        (Region(0x22000000, 0x1000), 0x5000000),
        (Region(0x40000000, 0x1000), 0x5000000),
        (Region(0x5FFFF000, 0x1000), 0x5000000),
        (Region(0x3100000, 0x400000), 0x5000000),
    ],
)
def test_a_region_on_what_xen_uses_gets_the_lowest_free_place(region: Region, at: int) -> None:
    assert placed(region) == {region: Region(at, region.size)}


def test_a_region_above_the_guests_memory_stays() -> None:
    assert placed(Region(0x60000000, 0x1000)) == {}


def test_several_do_not_meet_each_other_nor_those_that_stay() -> None:
    first, second, stays = (
        Region(0x3100000, 0x1000),
        Region(0x3200000, 0x1000),
        Region(0x5000000, 1),
    )
    assert placed(first, second, stays) == {
        first: Region(0x5001000, 0x1000),
        second: Region(0x5002000, 0x1000),
    }


def test_the_redistributors_are_free_with_a_gicv2() -> None:
    assert placed(Region(0x3100000, 0x1000), gic="arm,gic-400") == {}


def test_the_vsmmu_counts() -> None:
    region = Region(0x4050000, 0x1000)
    places = moved([region], AMD, in_force(AMD, host("arm,gic-v3"), []), MIB)
    assert places[region].base == 0x5000000


def test_an_address_that_no_iommu_reaches_is_moved() -> None:
    region = Region(1 << 45, 0x1000)
    assert placed(region)[region].base < 1 << 40


def test_a_region_that_fits_nowhere_is_left_out() -> None:
    assert placed(Region(0x3100000, 1 << 40)) == {}


def test_with_direct_map_the_gic_of_the_host_is_taken() -> None:
    used = in_force(XEN, host("arm,gic-v3"), ["direct-map"])
    assert used == [Region(0xF9000000, 0x10000), Region(0xF9100000, 0x20000)]
