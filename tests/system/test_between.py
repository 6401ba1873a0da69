# SPDX-License-Identifier: Apache-2.0
"""Conflicts between two domains: which of the two each message is about, and each of them once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.hypervisor.holders import BUS, devices_of, holder, raw
from west_viommu.diagnostics import Where
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.assignment import Assigned, RawMapping
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.sweep import conflicts
from west_viommu.plan.plan import (
    Plan,
    PlanCompatible,
    PlanDevice,
    PlanHost,
    PlanPermission,
    PlanRegion,
)
from west_viommu.read.profiles import profile
from west_viommu.system.between import Holder, between, once
from west_viommu.system.judge import beyond_memory, judge, together
from west_viommu.system.records import Domain, SystemTerms, Unneeded
from west_viommu.tree.addresses import Region


def messages(
    devices: Devices, *holders: Holder, domains: str = "abc", name: str | None = "xen-rfc"
) -> list[tuple[str, str, str, str]]:
    """Return of each diagnostic its node, the other node, its id, and what was found."""
    holdings = Holdings(devices, profile(name, None))
    first = once(holders)
    swept = conflicts(
        [each for each in first if isinstance(each, Assigned)],
        holdings,
        [each for each in first if isinstance(each, RawMapping)],
    )
    places = {domain: place for place, domain in enumerate(domains)}
    return [
        (later.node, earlier.node, diagnostic.id, diagnostic.found)
        for later, earlier, diagnostic in between(holders, swept, places, holdings)
    ]


PAGE = devices_of("x { reg = <0x1000 4>; }; y { reg = <0x1100 4>; };")


@pytest.mark.parametrize(
    ("domains", "later", "earlier"), [("ab", "b:/y", "a:/x"), ("ba", "a:/x", "b:/y")]
)
@pytest.mark.parametrize("x_first", [True, False])
def test_the_later_domain_is_told(domains: str, later: str, earlier: str, x_first: bool) -> None:
    """By the order of the domains, whatever the order of their devices in the sweep."""
    both = [holder(PAGE, "/x", "a:/x", "a"), holder(PAGE, "/y", "b:/y", "b")]
    found = messages(PAGE, *(both if x_first else reversed(both)), domains=domains)
    assert found == [(later, earlier, "shared-page", "0x1000/0x1000")]


def test_memory_of_the_earlier_domain() -> None:
    """The sweep has all devices before memory without one."""
    found = messages(PAGE, raw("a:/m", 0x1000, guest="a"), holder(PAGE, "/x", "b:/x", "b"))
    assert found == [("b:/x", "a:/m", "shared-page", "0x1000/0x1000")]


STREAM = devices_of("x { iommus = <1 0x10>; }; y { iommus = <1 0x10>; };")


def test_a_stream_twice_in_one_domain() -> None:
    """An SMMUv3 has it once for a domain as well; the second node is told."""
    both = holder(STREAM, "/x", "a:/x", "a"), holder(STREAM, "/y", "a:/y", "a")
    assert messages(STREAM, *both) == [("a:/y", "a:/x", "shared-stream-id", "0x10")]


def test_an_id_that_a_device_has_twice_is_shown_once() -> None:
    host = devices_of(
        "x { iommus = <1 0x10>; iommu-map = <0 1 0x10 4>; }; y { iommus = <1 0x10>; };"
    )
    both = holder(host, "/x", "a:/x", "a"), holder(host, "/y", "b:/y", "b")
    found = messages(host, *both, name="qemu-virt")
    assert found == [("b:/y", "a:/x", "shared-stream-id", "0x10")]


NESTED = devices_of(
    f"""up {{ {BUS} reg = <0x1000 4>; iommus = <1 0x10>; interrupts = <0 5 4>;
        down {{ reg = <0x1100 4>; iommus = <1 0x11>; interrupts = <0 5 4>; }};
        plain {{ reg = <0x3000 4>; }};
        bridge {{ reg = <0x4000 4>; iommu-map = <0 1 0x20 4>; }}; }};"""
)


@pytest.mark.parametrize(
    ("up", "down", "later", "earlier"),
    [("a", "b", "b:/down", "a:/up"), ("b", "a", "b:/up", "a:/down")],
)
def test_a_nested_master_is_told_alone(up: str, down: str, later: str, earlier: str) -> None:
    """The page and the interrupt that the two share as well are the same mistake."""
    found = messages(
        NESTED,
        holder(NESTED, "/up", f"{up}:/up", up, intids=[37]),
        holder(NESTED, "/up/down", f"{down}:/down", down, intids=[37]),
    )
    assert found == [(later, earlier, "unassigned-child", f"{down}:/down")]


@pytest.mark.parametrize("below", ["/up/plain", "/up/bridge"])
def test_a_node_without_streams_is_no_nested_master(below: str) -> None:
    """This Xen programs none of the IDs of an iommu-map."""
    up, other = holder(NESTED, "/up", "a:/up", "a"), holder(NESTED, below, "b:/other", "b")
    assert messages(NESTED, up, other) == []


@pytest.mark.parametrize(("second", "other"), [("b", "c"), ("c", "b")])
def test_what_else_a_device_of_two_domains_shares_is_one_message(second: str, other: str) -> None:
    """The first domain gets the device, and with it the page."""
    holders = [
        holder(PAGE, "/x", "a:/x", "a"),
        holder(PAGE, "/x", f"{second}:/x", second),
        holder(PAGE, "/y", f"{other}:/y", other),
    ]
    assert messages(PAGE, *sorted(holders, key=lambda each: each.guest)) == [
        (f"{second}:/x", "a:/x", "duplicate-assignment", "a:/x as well"),
        (f"{other}:/y", "a:/x", "shared-page", "0x1000/0x1000"),
    ]


def lines_of(count: int) -> tuple[Devices, list[int]]:
    cells = " ".join(f"0 {5 + i} 4" for i in range(count))
    host = devices_of(f"x {{ interrupts = <{cells}>; }}; y {{ interrupts = <{cells}>; }};")
    return host, [37 + i for i in range(count)]


@pytest.mark.parametrize(("count", "shown"), [(2, 2), (16, 16), (17, 16)])
def test_the_interrupts_of_two_devices_make_one_message(count: int, shown: int) -> None:
    host, intids = lines_of(count)
    found = messages(
        host,
        holder(host, "/x", "a:/x", "a", intids=intids),
        holder(host, "/y", "b:/y", "b", intids=intids),
    )
    numbers = f"INTID {' '.join(map(str, intids[:shown]))}"
    assert found == [("b:/y", "a:/x", "interrupt-clash", numbers)]


@pytest.mark.parametrize("listed", ["both", "a", "b"])
def test_an_interrupt_that_a_guest_does_not_list(listed: str) -> None:
    """dom0less routes it all the same, and only then the hint says so."""
    host, intids = lines_of(1)
    holders = [
        holder(host, path, f"{guest}:{path}", guest, intids if listed in ("both", guest) else ())
        for path, guest in (("/x", "a"), ("/y", "b"))
    ]
    terms = profile("xen-v3-dom0less", None)
    holdings = Holdings(host, terms)
    swept = conflicts(holders, holdings)
    ((_, _, found),) = between(holders, swept, {"a": 0, "b": 1}, holdings)
    why = "" if listed == "both" else "; dom0less routes every interrupt of a host node"
    given = "Xen gives an interrupt to one domain: give both to one"
    assert found.hint == given + why + (", whatever the guest's node lists" if why else "")


PLACE = Where("system.yml", 3)


@pytest.mark.parametrize(
    ("memory", "limit", "found"),
    [
        (512, None, []),
        (512, 512 << 20, []),
        (512, (512 << 20) - 1, ["512 MiB"]),
        (513, 512 << 20, ["513 MiB"]),
    ],
)
def test_the_memory_of_a_domain(memory: int, limit: int | None, found: list[str]) -> None:
    wrong = beyond_memory("a", memory, limit, PLACE)
    assert [(each.found, each.where) for each in wrong] == [(each, PLACE) for each in found]


@pytest.mark.parametrize(
    ("ram", "found"),
    [
        ([], []),
        ([0x18000000], []),
        ([0x10000000, 0x8000000], []),
        ([0x10000000, 0x7000000], ["384 MiB"]),
    ],
)
def test_the_memory_of_all_domains(ram: list[int], found: list[str]) -> None:
    banks = [Region(0x40000000 * (i + 1), size) for i, size in enumerate(ram)]
    memory = [(128, Where("system.yml", 3)), (256, Where("system.yml", 5))]
    wrong = together(memory, banks)
    # The place of the largest.
    assert [(each.found, each.where) for each in wrong] == [
        (each, Where("system.yml", 5)) for each in found
    ]


def domain(
    name: str,
    *paths: str,
    allowed: Mapping[str, str] = {},
    intids: tuple[int, ...] = (),
    page: int = 0,
    features: tuple[str, ...] = (),
) -> Domain:
    """A domain whose plan has the devices at `paths`, each with these interrupts and a page, and
    allows hazards (each with its device).
    """
    pages = (PlanRegion(page, page, 0x1000),) if page else ()
    return Domain(
        name=name,
        plan=Plan(
            profile="xen-v3-libxl",
            vsid="first-free",
            host=PlanHost(None, ""),
            domain=features,
            viommu=None,
            devices=tuple(
                PlanDevice(
                    node=f"/passthrough{path}",
                    host=path,
                    compatible=PlanCompatible((), ()),
                    status="okay",
                    regions=pages,
                    pages=pages,
                    intids=intids,
                    streams=(),
                    omitted=(),
                    maps=(),
                )
                for path in paths
            ),
            raw=(),
            extra=(),
            unasked=(),
            allowed=tuple(PlanPermission(*entry, "known") for entry in allowed.items()),
            marks=(),
            memory_limit=None,
            files={},
        ),
        where=Where("system.yml", 1),
    )


@pytest.mark.parametrize(
    ("intids", "other", "is_needed"),
    [
        # The other domain's guest does not list the interrupt, so that xl routes it once.
        ((37,), "/y", False),
        # The other stays with dom0, which has the interrupt.
        ((37,), "/z", True),
        # Nobody else on the host has it: the guest's own tree may be the reason.
        ((38,), "/z", True),
    ],
)
def test_a_permission_for_an_interrupt(
    intids: tuple[int, ...], other: str, is_needed: bool
) -> None:
    host = devices_of(
        """x { interrupts = <0 5 4 0 6 4>; iommus = <1 0x10>; };
        y { interrupts = <0 5 4>; iommus = <1 0x11>; };
        z { interrupts = <0 7 4>; iommus = <1 0x12>; };"""
    )
    a, b = (
        domain("a", "/x", allowed={"interrupt-clash": "/x"}, intids=intids),
        domain("b", other),
    )
    judged = judge([a, b], host, SystemTerms(profile("xen-v3-libxl", None)))
    assert judged.problems == ()
    unneeded = [] if is_needed else [Unneeded("a", a.plan.allowed[0])]
    assert [*judged.unneeded] == unneeded


TWO_PAGES = """x { reg = <0x1000 4>; iommus = <1 0x10>; }; beside-x { reg = <0x1100 4>; };
    y { reg = <0x2000 4>; iommus = <1 0x11>; }; beside-y { reg = <0x2100 4>; };"""


@pytest.mark.parametrize(
    ("of_x", "of_y", "errors", "unneeded"),
    [
        # What each plan allows is needed, and not only the last.
        ("shared-page", "shared-page", [], []),
        # Another hazard of the device is no excuse. It may be of the guest's own tree or node.
        (
            "unprotected",
            "interrupt-clash",
            [("a:/passthrough/x", "shared-page"), ("b:/passthrough/y", "shared-page")],
            [],
        ),
        # Nothing of the host is in the way.
        (
            "host-memory",
            "shared-page",
            [("a:/passthrough/x", "shared-page")],
            [("a", "host-memory")],
        ),
    ],
)
def test_a_permission_counts_for_its_hazard(
    of_x: str, of_y: str, errors: list[tuple[str, str]], unneeded: list[tuple[str, str]]
) -> None:
    judged = judge(
        [
            domain("a", "/x", allowed={of_x: "/x"}, page=0x1000),
            domain("b", "/y", allowed={of_y: "/y"}, page=0x2000),
        ],
        devices_of(TWO_PAGES),
        SystemTerms(profile("xen-v3-libxl", None)),
    )
    assert [(each.node, each.id) for each in judged.errors] == errors
    assert [(each.domain, each.permission.hazard) for each in judged.unneeded] == unneeded


@pytest.mark.parametrize(
    ("intids", "features", "found"),
    [
        ((31,), (), []),
        ((32,), (), [("interrupt-clash", "INTID 32")]),
        ((45,), (), []),
        # The plan knows of it, and was judged with it.
        ((32,), ("vpl011",), []),
    ],
)
def test_the_interrupt_of_a_vpl011(
    intids: tuple[int, ...], features: tuple[str, ...], found: list[tuple[str, str]]
) -> None:
    host = devices_of("x { iommus = <1 0x10>; }; y { iommus = <1 0x11>; };")
    of_a = domain("a", "/x", intids=intids, features=features)._replace(has_vpl011=True)
    terms = SystemTerms(profile("xen-rfc", None))
    judged = judge([of_a, domain("b", "/y", intids=(32,))], host, terms)
    assert [(each.id, each.found) for each in judged.problems] == found


@pytest.mark.parametrize(("name", "marked"), [("xen-rfc", ["/x", "/y"]), ("qemu-virt", [])])
def test_marks_are_for_xen(name: str, marked: list[str]) -> None:
    host = devices_of("x { iommus = <1 0x10>; }; y { iommus = <1 0x11>; };")
    judged = judge([domain("a", "/x"), domain("b", "/y")], host, SystemTerms(profile(name, None)))
    assert [mark.node for mark in judged.marks] == marked
