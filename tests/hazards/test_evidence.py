# SPDX-License-Identifier: Apache-2.0
"""Which device of a host a request speaks for, and what of it no device has."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support import tree
from west_viommu.guest.gic import GuestInterrupt
from west_viommu.guest.regions import RegionPair
from west_viommu.guest.requests import Request
from west_viommu.hazards.evidence import Evidence
from west_viommu.hazards.wanted import Wanted
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId, inventory
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

HOST = """interrupt-parent = <9>; #address-cells = <1>; #size-cells = <1>;
    gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; phandle = <9>; };
    smmu { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; reg = <0x8000 0x1000>; };
    mac@10000 { compatible = "test,mac"; interrupts = <0 6 4>, <0 7 4>; iommus = <1 0x10 1 0x11>;
        reg = <0x10000 0x1000>; };
    dma@20000 { compatible = "test,dma"; interrupts = <0 8 4>; iommus = <1 0x20>;
        reg = <0x20000 0x1000 0x30000 0x1000>; };
    map@40000 { iommu-map = <0 1 0x40 0x10>; reg = <0x40000 0x1000>; };"""


class Said(NamedTuple):
    """What a guest's node says."""

    name: str = "x"
    path: str | None = None
    ids: tuple[int, ...] = ()
    reg: tuple[tuple[int, int], ...] = ()
    intids: tuple[int, ...] = ()
    compatible: tuple[str, ...] = ()
    iommu: str | None = None


def evidence(said: Said) -> Evidence:
    host = tree(HOST)
    regions = tuple(RegionPair(Region(*each), Region(*each)) for each in said.reg)
    interrupts = tuple(GuestInterrupt(Intid(each), False) for each in said.intids)
    request = Request(
        *("/passthrough/x", said.name, said.path, (), regions, (), interrupts, False, None)
    )._replace(compatible=said.compatible)
    wanted = [Wanted(StreamId(each), said.iommu) for each in said.ids]
    return Evidence(request, wanted, Devices("host.dts", host, inventory(host)[0]))


MAC, DMA = "/mac@10000", "/dma@20000"
MAC_REG, DMA_REG = (0x10000, 0x1000), (0x20000, 0x1000)


@pytest.mark.parametrize(
    ("said", "device", "rivals"),
    [
        (Said(), None, ()),
        # A path, all of the IDs or a region is enough.
        (Said(path=MAC), MAC, ()),
        (Said(ids=(0x10, 0x11)), MAC, ()),
        (Said(ids=(0x11,)), MAC, ()),
        (Said(ids=(0x11,), iommu="/smmu"), MAC, ()),
        (Said(ids=(0x11,), iommu="/gic"), None, ()),
        (Said(reg=(MAC_REG,)), MAC, ()),
        (Said(reg=((0x30000, 0x1000), DMA_REG)), DMA, ()),
        # A part of it is not: of the IDs, of the regions; an ID that a map gives out; a name.
        (Said(ids=(0x10, 0x12)), None, ()),
        (Said(reg=((0x10000, 0x2000),)), None, ()),
        (Said(reg=(MAC_REG, (0x50000, 0x1000))), None, ()),
        (Said(ids=(0x4F,)), None, ()),
        (Said(ids=(0x50,)), None, ()),
        (Said(name="mac", compatible=("test,mac",)), None, ()),
        # Two parts of it are, but for two IDs of two devices.
        (Said(name="mac@10000"), MAC, ()),
        (Said(name="map", ids=(0x4F,)), "/map@40000", ()),
        (Said(name="map", ids=(0x50,)), None, ()),
        (Said(ids=(0x10, 0x20)), None, ()),
        # The heavier side; where there is none, both are told.
        (Said(path=MAC, ids=(0x20,)), None, (MAC, DMA)),
        (Said(path=MAC, ids=(0x20,), reg=(DMA_REG,)), DMA, ()),
        (Said(path=MAC, ids=(0x20,), intids=(38,)), MAC, ()),
        (Said(path=MAC, ids=(0x20,), intids=(40,)), DMA, ()),
        (Said(path=MAC, ids=(0x20,), intids=(38, 40, 9)), None, (MAC, DMA)),
        (Said(name="dma", path=MAC, ids=(0x20,)), DMA, ()),
        (Said(path="/nothing", ids=(0x20,)), DMA, ()),
        (Said(path="/nothing"), None, ()),
    ],
)
def test_the_device_that_most_of_it_speaks_for(
    said: Said, device: str | None, rivals: tuple[str, ...]
) -> None:
    found = evidence(said).verdict()
    assert (found.device and found.device.path, found.rivals) == (device, rivals)


@pytest.mark.parametrize(
    ("said", "taken", "device"),
    [
        (Said(path=MAC, ids=(0x20,)), [MAC], DMA),
        (Said(path=MAC, ids=(0x20,), reg=(DMA_REG,)), [DMA], MAC),
        # Where nothing else is meant firmly, what is taken is.
        (Said(name="dma", path=MAC), [MAC], MAC),
        (Said(path=MAC, ids=(0x20,)), [MAC, DMA], None),
    ],
)
def test_of_two_the_one_that_is_not_taken(said: Said, taken: list[str], device: str | None) -> None:
    found = evidence(said).verdict(taken)
    assert (found.device and found.device.path) == device


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (Said(), 0),
        (Said(path=MAC, ids=(0x10,), reg=(MAC_REG,), intids=(38,)), 0),
        (Said(path="/nothing"), 1),
        (Said(reg=((0x50000, 0x1000),)), 1),
        # Numbers count where a path or an address is missing too.
        (Said(ids=(0x99,)), 0),
        (Said(ids=(0x99,), intids=(99,)), 0),
        (Said(path="/nothing", ids=(0x99,)), 2),
        (Said(path="/nothing", ids=(0x10,)), 1),
        (Said(path="/nothing", ids=(0x10, 0x99)), 2),
        (Said(path="/nothing", ids=(0x99,), reg=((0x50000, 1),), intids=(99,)), 4),
        (Said(path="/nothing", reg=((0x10000, 1),)), 1),
    ],
)
def test_parts_that_no_device_has(said: Said, missing: int) -> None:
    assert evidence(said).missing == missing


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        (Said(), False),
        (Said(path=MAC), True),
        (Said(path="/nothing"), False),
        # A number alone may be alike by chance, and so may one with a name that fits in part.
        (Said(ids=(0x10,)), False),
        (Said(reg=(MAC_REG,)), False),
        (Said(ids=(0x10,), name="mac"), True),
        (Said(ids=(0x10, 0x99), name="mac"), False),
        (Said(reg=((0x10000, 1),), name="mac"), True),
        (Said(name="mac", compatible=("test,mac",)), False),
        (Said(name="mac@10000", compatible=("test,mac",)), True),
    ],
)
def test_whether_some_of_it_is_of_this_host(said: Said, fits: bool) -> None:
    assert evidence(said).fits == fits
