# SPDX-License-Identifier: Apache-2.0
"""What a guest's devices have that other nodes of the host have as well."""

from __future__ import annotations

import pytest

from tests.hypervisor.holders import BUS, devices_of, holder, raw
from west_viommu.hypervisor.assignment import RawMapping
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.profile import Profile
from west_viommu.hypervisor.sweep import (
    Conflict,
    Conflicts,
    conflicts,
    conflicts_of_each,
    routed,
)
from west_viommu.read.profiles import profile

DEFAULT = profile(None, None)


def found(body: str, *nodes: str, alone: bool = False, profile: Profile = DEFAULT) -> Conflicts:
    devices = devices_of(body)
    assigned = [holder(devices, path, path if alone else f"/passthrough{path}") for path in nodes]
    holdings = Holdings(devices, profile)
    search = conflicts_of_each if alone else conflicts
    return search(assigned, holdings)


def told(of: tuple[Conflict, ...]) -> list[tuple[str, str, str, tuple[int, ...]]]:
    """Of each conflict the device, the other node, its owner, and the IDs or numbers."""
    return [
        (
            each.host,
            each.other,
            each.standing.name if each.standing else "GUEST",
            each.ids or (each.first, each.last),
        )
        for each in of
    ]


A = "a { iommus = <1 0x10 1 0x11>; };"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"{A} b {{ iommus = <1 0x12>; }};", []),
        # The same number behind another SMMU is another stream.
        (f"{A} b {{ iommus = <2 0x10>; }};", []),
        (f"{A} b {{ iommus = <1 0x11>; }};", [("/a", "/b", "STAYS", (0x11,))]),
        (f"{A} b {{ iommus = <1 0x11 1 0x10>; }};", [("/a", "/b", "STAYS", (0x11, 0x10))]),
        (
            f'{A} b {{ iommus = <1 0x10>; status = "disabled"; }};'
            " c { iommus = <1 0x11>; xen,passthrough; };",
            [("/a", "/b", "OFF", (0x10,)), ("/a", "/c", "MARKED", (0x11,))],
        ),
        # A map that takes it in by its first ID, and by its last.
        (f"{A} b {{ iommu-map = <0 1 0x11 4>; }};", [("/a", "/b", "STAYS", (0x11,))]),
        (f"{A} b {{ iommu-map = <0 1 0xc 5>; }};", [("/a", "/b", "STAYS", (0x10,))]),
        (f"{A} b {{ iommu-map = <0 1 0xc 4>; }};", []),
        (f"{A} b {{ iommu-map = <0 1 0x12 4>; }};", []),
    ],
)
def test_streams(body: str, expected: list[object]) -> None:
    assert told(found(body, "/a").streams) == expected


def test_of_many_ids_sixteen_are_told() -> None:
    ids = " ".join(f"1 {i}" for i in range(17))
    (contest,) = found(f"a {{ iommus = <{ids}>; }}; b {{ iommus = <{ids}>; }};", "/a").streams
    assert contest.ids == tuple(range(16))


def test_of_an_interval_so_many_are_shown_as_are_left() -> None:
    body = (
        "a { iommus = <1 2>; iommu-map = <0 1 0x20 40>; }; b { iommus = <1 2>; iommu-map = %s; };"
    )
    maps = DEFAULT._replace(programs_maps=True)
    (conflict,) = found(body % "<0 1 0x22 60>", "/a", profile=maps).streams
    assert conflict.ids == (2, *range(0x22, 0x31))


def test_both_may_be_the_guests() -> None:
    body = "a { iommus = <1 0x10>; }; b { iommus = <1 0x10>; };"
    assert told(found(body, "/a", "/b").streams) == [
        ("/b", "/a", "GUEST", (0x10,)),
    ]


REG = "a { reg = <0x1000 0x1000>; };"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # The pages beside it, its first byte, its last.
        (f"{REG} b {{ reg = <0xfff 1>; }}; c {{ reg = <0x2000 1>; }};", []),
        (f"{REG} b {{ reg = <0xfff 2>; }};", [("/a", "/b", "STAYS", (0x1000, 0x1000))]),
        (f"{REG} b {{ reg = <0x1fff 1>; }};", [("/a", "/b", "STAYS", (0x1FFF, 0x1FFF))]),
        # Of several registers of one node, the first.
        (f"{REG} b {{ reg = <0x1000 4 0x1800 4>; }};", [("/a", "/b", "STAYS", (0x1000, 0x1003))]),
        # In the other half of the page.
        (
            "a { reg = <0x1000 0x800>; }; b { reg = <0x1800 0x800>; };",
            [("/a", "/b", "STAYS", (0x1800, 0x1FFF))],
        ),
        ("a { reg = <0x1000 0>; }; b { reg = <0x1000 4>; };", []),
        (
            f"{REG} memory@1000 {{ reg = <0x1000 4>; }};",
            [("/a", "/memory@1000", "OWN", (0x1000, 0x1003))],
        ),
    ],
)
def test_pages(body: str, expected: list[object]) -> None:
    assert told(found(body, "/a").pages) == expected


@pytest.mark.parametrize(
    ("bus", "expected"),
    [
        # The registers of a bus are those of what is on it; of any other node above, its own.
        ('compatible = "simple-bus";', []),
        ('compatible = "vendor,bus", "simple-pm-bus";', []),
        ('compatible = "vendor,bus";', [("/bus/a", "/bus", "STAYS", (0x1000, 0x1FFF))]),
        ("", [("/bus/a", "/bus", "STAYS", (0x1000, 0x1FFF))]),
    ],
)
def test_a_bus_above(bus: str, expected: list[object]) -> None:
    body = f"bus {{ {bus} {BUS} reg = <0 0x10000>; {REG} }};"
    assert told(found(body, "/bus/a").pages) == expected
    # It is in the way of what is not on it.
    beside = f'bus {{ compatible = "simple-bus"; {BUS} reg = <0 0x10000>; }}; {REG}'
    assert told(found(beside, "/a").pages) == [("/a", "/bus", "STAYS", (0x1000, 0x1FFF))]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a { interrupts = <0 5 4>; }; b { interrupts = <0 6 4>; };", []),
        (
            "a { interrupts = <0 0 4 0 987 4>; }; b { interrupts = <0 0 4>; };"
            " c { interrupts = <0 987 4>; };",
            [("/a", "/b", "STAYS", (32, 32)), ("/a", "/c", "STAYS", (1019, 1019))],
        ),
        # Two lines of one node are two.
        (
            "a { interrupts = <0 5 4 0 6 4>; }; b { interrupts = <0 6 4 0 5 4>; };",
            [("/a", "/b", "STAYS", (37, 37)), ("/a", "/b", "STAYS", (38, 38))],
        ),
        ("a { interrupts = <1 5 4>; }; b { interrupts = <1 5 4>; };", []),
    ],
)
def test_lines(body: str, expected: list[object]) -> None:
    assert sorted(told(found(body, "/a").lines), key=lambda each: each[3]) == expected


def test_what_is_below_a_device() -> None:
    body = f"""a {{ {BUS} iommus = <1 0x10>; reg = <0x1000 0x3000>;
        part {{ reg = <0x2000 0x1000>; interrupts = <0 5 4>; }};
        plain {{ }};
        master {{ iommus = <1 0x10>; in {{ iommus = <1 0x11>; }}; }};
        off {{ iommus = <1 0x12>; status = "disabled"; }}; }};
        outside {{ reg = <0x3000 4>; status = "disabled"; }};"""
    result = found(body, "/a")
    assert [*result.children] == [
        ("/passthrough/a", "/a/master"),
        ("/passthrough/a", "/a/master/in"),
    ]
    # What dom0 would drive by itself is told as that, and not as having what the device has.
    assert (told(result.streams), told(result.pages)) == (
        [],
        [("/a", "/outside", "OFF", (0x3000, 0x3003))],
    )
    assert [(mark.node, mark.why) for mark in result.marks] == [
        ("/a", ""),
        ("/a/part", "below /a"),
        ("/a/off", "below /a"),
        ("/outside", "is on a page of /a"),
    ]


def test_of_devices_by_themselves_one_contest_of_a_kind_is_enough() -> None:
    body = """a { iommus = <1 0x10>; reg = <0x1000 4>; interrupts = <0 5 4>; };
        b { iommus = <1 0x10>; reg = <0x1800 4>; interrupts = <0 5 4>; };
        c { iommus = <1 0x10>; reg = <0x1900 4>; status = "disabled"; };
        d { iommus = <1 0x11>; reg = <0x2000 4>; };"""
    result = found(body, "/a", "/b", "/d", alone=True)
    assert told(result.streams) == [
        ("/a", "/b", "STAYS", (0x10,)),
        ("/b", "/a", "STAYS", (0x10,)),
    ]
    assert told(result.pages) == [
        ("/a", "/b", "STAYS", (0x1800, 0x1803)),
        ("/b", "/a", "STAYS", (0x1000, 0x1003)),
    ]
    assert told(result.lines) == [("/a", "/b", "STAYS", (37, 37)), ("/b", "/a", "STAYS", (37, 37))]
    assert result.marks == ()


BRIDGE = 'device_type = "pci"; #address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>;'


@pytest.mark.parametrize(
    ("below", "marked"),
    [
        ("uart { reg = <0x1100 0x10>; };", ["/a/uart"]),
        # Xen drives these itself, and would not if they were marked.
        ('iommu { compatible = "arm,smmu-v3"; reg = <0x1100 0x10>; };', []),
        ("console { reg = <0x1100 0x10>; };", []),
        # Of a port dom0 gets the windows and the targets of its map.
        (f"port {{ {BRIDGE} reg = <0 0 0 0 0>; }};", []),
        (f"port {{ {BRIDGE} interrupt-map = <0 0 0 1 9 0 8 4>; }};", ["/a/port"]),
        (f"port {{ {BRIDGE} ranges = <0 0 0 0x3000 0 0x100>; }};", ["/a/port"]),
    ],
)
def test_what_is_marked_below_a_device(below: str, marked: list[str]) -> None:
    body = f"""chosen {{ stdout-path = "/a/console"; }};
        a {{ {BUS} reg = <0x1000 0x1000>; iommus = <1 0x10>; {below} }};"""
    assert [mark.node for mark in found(body, "/a").marks][1:] == marked


@pytest.mark.parametrize("state", ['status = "disabled";', ""])
def test_a_line_that_a_function_behind_a_bridge_has(state: str) -> None:
    body = f"""a {{ interrupts = <0 8 4>; iommus = <1 0x10>; }};
        pcie {{ {BRIDGE} {state} interrupt-map-mask = <0 0 0 7>;
            interrupt-map = <0 0 0 1 9 0 8 4>;
            wifi {{ reg = <0 0 0 0 0>; interrupts = <1>; }}; }};"""
    lines = found(body, "/a").lines
    assert sorted(contest.other for contest in lines) == ["/pcie", "/pcie/wifi"]


def of_guests(
    body: str, *holders: tuple[str, str, str], mapped: RawMapping | None = None
) -> Conflicts:
    """Return the conflicts of guests that get devices: each a guest, its node, the host node."""
    devices = devices_of(body)
    assigned = [holder(devices, path, node, guest) for guest, node, path in holders]
    return conflicts(assigned, Holdings(devices, DEFAULT), [mapped] if mapped else [])


def test_the_first_of_two_nodes_of_one_device_is_named() -> None:
    body = f"a {{ {BUS} iommus = <1 0x10>; master {{ iommus = <1 0x11>; }}; }};"
    result = of_guests(body, ("", "/x", "/a"), ("", "/y", "/a"))
    assert [*result.children] == [("/x", "/a/master")]
    assert (result.streams, result.pages) == ((), ())


def test_two_devices_of_one_guest_may_be_on_a_page() -> None:
    body = "a { reg = <0x1000 4>; }; b { reg = <0x1100 4>; };"
    assert of_guests(body, ("", "/x", "/a"), ("", "/y", "/b")).pages == ()


def test_a_device_of_two_guests_has_no_conflict_with_itself() -> None:
    body = "a { reg = <0x1000 4>; iommus = <1 0x10>; interrupts = <0 5 4>; };"
    result = of_guests(body, ("g", "g:/x", "/a"), ("h", "h:/x", "/a"))
    assert (result.streams, result.pages, result.lines) == ((), (), ())


def test_each_region_below_memory_without_a_device_is_a_conflict() -> None:
    mapped = raw("/m", 0x1000, 0x3000)
    result = of_guests("b { reg = <0x1000 4 0x1800 4 0x3000 4>; };", mapped=mapped)
    assert [(each.other, each.first) for each in result.raw] == [
        ("/b", 0x1000),
        ("/b", 0x1800),
        ("/b", 0x3000),
    ]
    assert result.pages == ()


def test_memory_on_a_page_of_a_node_that_is_marked() -> None:
    """A node that dom0 does not get is no conflict."""
    body = f"""a {{ {BUS} reg = <0x1000 4>; iommus = <1 0x10>; }};
        off {{ reg = <0x1100 0x1000>; status = "disabled"; }}; b {{ reg = <0x2200 4>; }};"""
    result = of_guests(body, ("", "/x", "/a"), mapped=raw("/m", 0x2000))
    assert [mark.node for mark in result.marks] == ["/a", "/off"]
    assert [each.other for each in result.raw] == ["/b"]


def test_the_search_for_a_device_alone_goes_on_after_a_syscon() -> None:
    """Several drivers share a syscon, so it does not refuse the device; the UART does."""
    body = """a { reg = <0x1000 4>; }; s { compatible = "syscon"; reg = <0x1400 4>; };
        uart { reg = <0x1800 4>; };"""
    assert told(found(body, "/a", alone=True).pages) == [
        ("/a", "/s", "STAYS", (0x1400, 0x1403)),
        ("/a", "/uart", "STAYS", (0x1800, 0x1803)),
    ]


def test_a_node_of_xen_is_in_conflict_with_a_device_alone() -> None:
    body = "a { reg = <0x1000 4>; }; memory@1000 { reg = <0x1000 0x1000>; };"
    assert told(found(body, "/a", alone=True).pages) == [
        ("/a", "/memory@1000", "OWN", (0x1000, 0x1FFF))
    ]


@pytest.mark.parametrize(
    ("nodes", "part_of", "is_marked"),
    [(["/a", "/w"], "/w", True), (["/w", "/a"], "/w", True), (["/a"], "", False)],
)
def test_a_part_of_another_assigned_device(nodes: list[str], part_of: str, is_marked: bool) -> None:
    """The part goes with the only device that names it, and is marked."""
    body = """a { reg = <0x1000 4>; }; part: part { reg = <0x1100 4>; };
        w { reg = <0x5000 4>; iommus = <1 0x10>; phys = <&part>; };"""
    result = found(body, *nodes)
    assert [(each.host, each.other, each.part_of) for each in result.pages] == [
        ("/a", "/part", part_of)
    ]
    assert ("/part" in {mark.node for mark in result.marks}) is is_marked


def test_an_smmu_below_an_assigned_device_is_xens() -> None:
    """The other part below the device is marked, and no conflict; Xen keeps its SMMU."""
    body = f"""a {{ {BUS} iommus = <1 0x10>;
            smmu {{ compatible = "arm,smmu-v3"; reg = <0x1000 4>; }};
            part {{ reg = <0x1200 4>; }}; }};
        b {{ reg = <0x1100 4>; }};"""
    assert told(found(body, "/a", "/b").pages) == [("/b", "/a/smmu", "OWN", (0x1000, 0x1003))]


def test_a_name_that_begins_like_another_is_not_below_it() -> None:
    body = "a { reg = <0x1000 4>; }; ab { reg = <0x1100 4>; };"
    assert told(found(body, "/a").pages) == [("/a", "/ab", "STAYS", (0x1100, 0x1103))]
    body = 'b { compatible = "simple-bus"; reg = <0x1000 0x1000>; }; ba { reg = <0x1000 4>; };'
    assert told(found(body, "/ba").pages) == [("/ba", "/b", "STAYS", (0x1000, 0x1FFF))]


@pytest.mark.parametrize(("has_dom0", "marks"), [(True, ["/a", "/a/part"]), (False, ["/a"])])
def test_nothing_below_a_device_is_marked_without_dom0(has_dom0: bool, marks: list[str]) -> None:
    devices = devices_of(f"a {{ {BUS} iommus = <1 0x10>; part {{ reg = <0x1000 4>; }}; }};")
    holdings = Holdings(devices, DEFAULT, has_dom0=has_dom0)
    result = conflicts([holder(devices, "/a", "/x")], holdings)
    assert [mark.node for mark in result.marks] == marks


@pytest.mark.parametrize(("programs_maps", "expected"), [(False, []), (True, ["/a/b"])])
def test_a_child_with_an_iommu_map_alone(programs_maps: bool, expected: list[str]) -> None:
    """It is a DMA master if the hypervisor programs maps."""
    body = f"a {{ {BUS} iommus = <1 0x10>; b {{ iommu-map = <0 1 0x20 4>; }}; }};"
    result = found(body, "/a", profile=DEFAULT._replace(programs_maps=programs_maps))
    assert [path for _, path in result.children] == expected


@pytest.mark.parametrize(
    ("name", "listed", "expected"),
    [
        # The guest's node lists one twice, one that is not the device's, and a private one.
        ("xen-v3-libxl", [37, 37, 99, 21], [37]),
        ("xen-v3-libxl", [], []),
        # dom0less takes all of the host node, once.
        ("xen-v3-dom0less", [38], [38, 37]),
    ],
)
def test_the_interrupts_that_xen_routes(name: str, listed: list[int], expected: list[int]) -> None:
    devices = devices_of("a { interrupts = <0 5 4 0 6 4 1 5 4>; };")
    assigned = holder(devices, "/a", "/x", intids=listed)
    assert routed(assigned, Holdings(devices, profile(name, None))) == expected
