# SPDX-License-Identifier: Apache-2.0
"""A small host, and guests that get its devices whole."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support import tree
from west_viommu.guest.regions import Mapped
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.hypervisor.assignment import Assigned, RawMapping
from west_viommu.hypervisor.pages import in_pages
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

BASE = """interrupt-parent = <9>; #address-cells = <1>; #size-cells = <1>;
    gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; phandle = <9>; };
    one { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>;
        reg = <0x40000000 0x20000>; };
    two { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <2>;
        reg = <0x41000000 0x20000>; };"""
BUS = "#address-cells = <1>; #size-cells = <1>; ranges;"


def devices_of(body: str) -> Devices:
    """The devices of a host with two SMMUv3, and `body`."""
    host = tree(f"{BASE} {body}")
    return Devices("host.dts", host, inventory(host)[0])


def holder(
    devices: Devices, path: str, node: str, guest: str = "", intids: Sequence[int] = ()
) -> Assigned:
    """The whole device at `path`, which `guest` gets by its `node`; the node lists `intids`."""
    device = devices.device(path)
    assert device
    regions = [in_pages(region) for region in device.regions if region and region.size]
    return Assigned(
        guest=guest,
        node=node,
        device=device,
        pages=tuple(Mapped(region, region) for region in regions),
        intids=tuple(map(Intid, intids)),
        ids=(),
        streams=(),
    )


def raw(node: str, *bases: int, guest: str = "") -> RawMapping:
    """The pages at `bases`, which `guest` maps by its `node` without a device."""
    regions = [Region(base, 0x1000) for base in bases]
    return RawMapping(guest, node, tuple(Mapped(region, region) for region in regions))
