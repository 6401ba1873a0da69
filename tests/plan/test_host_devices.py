# SPDX-License-Identifier: Apache-2.0
"""What is said of a host device by itself, whatever guest it may get."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.profile import Profile
from west_viommu.plan.host_devices import as_driven, concerns, device_reports, unlisted
from west_viommu.read.profiles import profile

DEFAULT = profile(None, None)

HOST = """interrupt-parent = <9>; #address-cells = <1>; #size-cells = <1>;
    gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; phandle = <9>; };
    smmu { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>;
        reg = <0x800000 0x20000>; };
    edge { interrupts = <0 6 1>; iommus = <1 1>; reg = <0x10000 0x1000>; };
    level { interrupts = <0 2 4>; iommus = <1 2>; reg = <0x20000 0x1000>; };
    first { interrupts = <0 0 4>; iommus = <1 3>; reg = <0x30000 0x1000>; };
    again { interrupts = <0 0 4>; iommus = <1 4>; reg = <0x40000 0x1000>; };
    private { interrupts = <1 15 4>; iommus = <1 5>; reg = <0x50000 0x1000>; };
    coherent { dma-coherent; iommus = <1 6>; reg = <0x60000 0x1000>; };
    malformed { interrupts = <0>; iommus = <1 7>; reg = <0x70000 0x1000>; };
    sharing { iommus = <1 6>; reg = <0x80000 0x1000>; };
    third { interrupts = <0 8 4>; iommus = <1 8>; reg = <0x90000 0x1000>; };
    fourth { interrupts = <0 8 4>; iommus = <1 9>; reg = <0xa0000 0x1000>; };"""
# xl routes what its configuration lists; dom0less all of the host node.
BY_XL = DEFAULT._replace(toolstacks=("libxl",))


def devices() -> Devices:
    host = tree(HOST)
    return Devices("host.dts", host, inventory(host)[0])


@pytest.mark.parametrize("profile", [DEFAULT, BY_XL], ids=["dom0less", "xl"])
def test_what_refuses_a_device(profile: Profile) -> None:
    found = device_reports(devices(), Terms(profile))
    assert {path: each.refused for path, each in found.items() if each.refused} == {
        "/first": ("interrupt-clash",),
        "/again": ("interrupt-clash",),
        "/private": ("interrupt-private",),
        "/coherent": ("shared-stream-id",),
        "/malformed": ("malformed",),
        "/sharing": ("shared-stream-id",),
        "/third": ("interrupt-clash",),
        "/fourth": ("interrupt-clash",),
    }


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        # A copy is like its device: by its trigger, whether it is coherent, and whole.
        (["/edge"], []),
        (["/level"], []),
        (["/coherent"], [("/coherent", "shared-stream-id")]),
        (["/first"], [("/first", "interrupt-clash")]),
        # Together, nobody else has the line.
        (["/first", "/again"], []),
        (["/private"], [("/private", "interrupt-private")]),
    ],
)
def test_what_speaks_against_giving_devices_to_one_guest(
    paths: list[str], expected: list[tuple[str, str]]
) -> None:
    host = devices()
    together = [each for path in paths if (each := host.device(path))]
    found = concerns(together, host, Terms(DEFAULT))
    assert [(each.device, each.hazard) for each in found] == expected


def test_an_iommu_is_supported_where_its_driver_takes_its_cells() -> None:
    found = inventory(
        tree("""one { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };
            two { compatible = "arm,smmu-v3"; #iommu-cells = <2>; };
            other { compatible = "arm,mmu-500"; #iommu-cells = <1>; };""")
    )[0]
    driven = {iommu.path: iommu.supported for iommu in as_driven(found, DEFAULT).iommus}
    assert driven == {"/one": True, "/two": False, "/other": False}


def test_the_devices_that_are_no_masters() -> None:
    """Without nodes of Xen, masters, and nodes without registers or without a compatible."""
    host = tree(f"""{HOST} uart {{ compatible = "v,uart"; reg = <0xb0000 0x1000>; }};
        timer {{ compatible = "arm,armv8-timer"; reg = <0xc0000 0x1000>; }};
        master {{ compatible = "v,m"; reg = <0xd0000 0x1000>; iommus = <1 0x20>; }};
        empty {{ compatible = "v,e"; reg = <0xe0000 0>; }};
        bare {{ reg = <0xf0000 0x1000>; }};
        key {{ compatible = "v,key"; }};""")
    found = unlisted(Devices("host.dts", host, inventory(host)[0]), Terms(DEFAULT))
    assert [each.path for each in found] == ["/uart"]
