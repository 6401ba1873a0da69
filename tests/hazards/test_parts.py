# SPDX-License-Identifier: Apache-2.0
"""Which devices of a host the parts of a request fit, and which parts fit none."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support import tree
from west_viommu.guest.gic import GuestInterrupt
from west_viommu.guest.regions import RegionPair
from west_viommu.guest.requests import Request
from west_viommu.hazards.parts import Table, Wanted, candidates, has_all, strange
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


def table(said: Said) -> Table:
    host = tree(HOST)
    regions = tuple(RegionPair(Region(*each), Region(*each)) for each in said.reg)
    interrupts = tuple(GuestInterrupt(Intid(each), False) for each in said.intids)
    request = Request(
        *("/passthrough/x", said.name, said.path, (), regions, (), interrupts, False, None)
    )._replace(compatible=said.compatible)
    wanted = [Wanted(StreamId(each), said.iommu) for each in said.ids]
    return Table(request, wanted, Devices("host.dts", host, inventory(host)[0]))


MAC, DMA = "/mac@10000", "/dma@20000"
MAC_REG, DMA_REG = (0x10000, 0x1000), (0x20000, 0x1000)


@pytest.mark.parametrize(
    ("said", "best"),
    [
        (Said(), ()),
        # One hard part is enough, also one that fits only in part, or two soft ones.
        (Said(path=MAC), (MAC,)),
        (Said(ids=(0x10, 0x11)), (MAC,)),
        (Said(ids=(0x11,)), (MAC,)),
        (Said(ids=(0x10, 0x12)), (MAC,)),
        (Said(ids=(0x11,), iommu="/smmu"), (MAC,)),
        (Said(ids=(0x11,), iommu="/gic"), ()),
        (Said(ids=(0x4F,)), ("/map@40000",)),
        (Said(ids=(0x50,)), ()),
        (Said(reg=(MAC_REG,)), (MAC,)),
        (Said(reg=((0x30000, 0x1000), DMA_REG)), (DMA,)),
        (Said(reg=((0x10000, 0x2000),)), (MAC,)),
        (Said(reg=(MAC_REG, (0x50000, 0x1000))), (MAC,)),
        (Said(name="mac@10000"), (MAC,)),
        (Said(name="mac", compatible=("test,mac",)), ()),
        (Said(name="x@10000"), ()),
        # Where several have as much for them: none, if no part fits wholly.
        (Said(ids=(0x10, 0x20)), ()),
        (Said(path=MAC, ids=(0x20,)), (MAC, DMA)),
        (Said(path=MAC, ids=(0x20,), intids=(38, 40, 9)), (MAC, DMA)),
        # What fits wholly counts before what fits in part, and that before nothing.
        (Said(path=MAC, ids=(0x20,), reg=(DMA_REG,)), (DMA,)),
        (Said(path=MAC, ids=(0x20,), intids=(38,)), (MAC,)),
        (Said(path=MAC, ids=(0x20,), intids=(40,)), (DMA,)),
        (Said(name="dma@20000", path=MAC, compatible=("test,dma",)), (MAC,)),
        (Said(name="dma", path=MAC, ids=(0x20,)), (DMA,)),
        (Said(path=MAC, ids=(0x20, 0x10)), (MAC,)),
        (Said(path=MAC, ids=(0x4F,), reg=((0x40000, 0x1000),)), ("/map@40000",)),
        (Said(path="/nothing", ids=(0x20,)), (DMA,)),
        (Said(path="/nothing"), ()),
    ],
)
def test_the_device_that_most_parts_fit(said: Said, best: tuple[str, ...]) -> None:
    assert table(said).best() == best


@pytest.mark.parametrize(
    ("said", "taken", "best"),
    [
        (Said(path=MAC, ids=(0x20,)), [MAC], (DMA,)),
        (Said(path=MAC, ids=(0x20,), reg=(DMA_REG,)), [DMA], (MAC,)),
        # If nothing else is likely, the one that is taken.
        (Said(name="dma", path=MAC), [MAC], (MAC,)),
        (Said(path=MAC, ids=(0x20,)), [MAC, DMA], (MAC, DMA)),
    ],
)
def test_of_two_the_one_that_is_not_taken(
    said: Said, taken: list[str], best: tuple[str, ...]
) -> None:
    assert table(said).best(taken) == best


@pytest.mark.parametrize(
    ("said", "odd", "agreeing"),
    [
        (Said(path=MAC), "", ("xen,path",)),
        (Said(path=MAC), "xen,path", ()),
        (Said(path=MAC, ids=(0x10,), name="mac"), "", ("xen,path", "stream IDs")),
        (Said(path=MAC, ids=(0x10,), name="mac"), "stream IDs", ("xen,path", "name")),
        # An address is named once.
        (Said(reg=(MAC_REG,), name="mac@10000"), "", ("reg", "name")),
        (Said(name="mac@10000"), "", ("unit address", "name")),
    ],
)
def test_the_parts_that_a_message_names(said: Said, odd: str, agreeing: tuple[str, ...]) -> None:
    assert table(said).agreeing(MAC, odd) == agreeing
    assert table(said).agreeing("/nothing") == ()


def test_the_other_devices_that_a_part_fits() -> None:
    parts = table(Said(path=MAC, ids=(0x10, 0x20), intids=(40,)))
    assert parts.others("stream IDs", MAC) == {DMA}
    assert parts.others("stream IDs", DMA) == {MAC}
    assert parts.others("interrupts", MAC) == {DMA}
    assert parts.others("xen,path", MAC) == set()


@pytest.mark.parametrize(
    ("said", "is_foreign"),
    [
        (Said(), False),
        (Said(path=MAC, ids=(0x10,), reg=(MAC_REG,), intids=(38,)), False),
        (Said(path="/nothing"), False),
        (Said(reg=((0x50000, 0x1000),)), False),
        # Numbers count if a path or an address fits nothing either.
        (Said(ids=(0x99,), intids=(99,)), False),
        (Said(path="/nothing", ids=(0x99,)), True),
        (Said(path="/nothing", intids=(99,)), True),
        (Said(reg=((0x50000, 0x1000),), ids=(0x99,)), True),
        (Said(path="/nothing", reg=((0x50000, 1),)), True),
        (Said(path="/nothing", ids=(0x10,)), False),
        (Said(path="/nothing", ids=(0x10, 0x99)), True),
        (Said(path="/nothing", reg=((0x10000, 1),)), False),
    ],
)
def test_parts_that_fit_no_device(said: Said, is_foreign: bool) -> None:
    assert table(said).is_of_another_host == is_foreign


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        (Said(), False),
        (Said(path=MAC), True),
        (Said(path="/nothing"), False),
        # A number alone may be equal by chance, and so may one with a name that fits in part.
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
    assert table(said).is_of_host == fits


SHARED = tree("""one { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <1>; };
    two { compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <2>; };
    a { iommus = <1 0x10 1 0x11>; };
    b { iommus = <2 0x10>; };
    c { iommus = <1 0x40>; iommu-map = <0 1 0x41 4>; };
    map { iommu-map = <0 1 0x40 0x10>; };
    masked { iommu-map = <0 2 0x80 4>; iommu-map-mask = <0xfffe>; };""")
DEVICES = Devices("host.dts", SHARED, inventory(SHARED)[0])


def wanted(*ids: int, iommu: str | None = None) -> list[Wanted]:
    return [Wanted(StreamId(each), iommu) for each in ids]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (wanted(), []),
        (wanted(0x10), ["/a", "/b"]),
        (wanted(0x10, iommu="/one"), ["/a"]),
        (wanted(0x10, iommu="/two"), ["/b"]),
        (wanted(0x10, 0x11), ["/a"]),
        (wanted(0x11, 0x10), ["/a"]),
        (wanted(0x10, 0x12), []),
        # The first and the last ID of a map, and beside it.
        (wanted(0x3F), []),
        (wanted(0x40), ["/c", "/map"]),
        (wanted(0x4F), ["/map"]),
        (wanted(0x50), []),
        # A mask lets every other requester ID through.
        (wanted(0x80), ["/masked"]),
        (wanted(0x81), []),
        (wanted(0x82), ["/masked"]),
    ],
)
def test_who_has_all_of_them(ids: list[Wanted], expected: list[str]) -> None:
    assert sorted(master.path for master in candidates(ids, DEVICES)) == expected


@pytest.mark.parametrize(
    ("path", "ids", "others"),
    [
        ("/a", wanted(0x10, 0x11), []),
        ("/a", wanted(0x10, iommu="/one"), []),
        ("/a", wanted(0x10, iommu="/two"), [0x10]),
        ("/a", wanted(0x10, 0x12), [0x12]),
        # A node that lists some gives out no others.
        ("/c", wanted(0x40), []),
        ("/c", wanted(0x41), [0x41]),
        ("/map", wanted(0x40, 0x4F), []),
        ("/map", wanted(0x40, 0x50), [0x50]),
        ("/masked", wanted(0x82), []),
        ("/masked", wanted(0x83), [0x83]),
    ],
)
def test_the_ids_that_a_master_does_not_have(
    path: str, ids: list[Wanted], others: list[int]
) -> None:
    master = DEVICES.master(path)
    assert master
    assert [entry.id for entry in strange(master, ids)] == others
    assert has_all(master, ids) == (not others)
    assert not has_all(None, ids)
