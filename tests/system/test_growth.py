# SPDX-License-Identifier: Apache-2.0
"""The time of the judgement grows as the domains do, and as the host does: no faster. What
would not is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time

import pytest

from tests.support import Run, tree
from tests.system.guests import KERNEL, Guest, bound
from west_viommu.diagnostics import MOST_ALIKE, Refused, Where
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId, inventory
from west_viommu.hypervisor.assignment import AssignedStream
from west_viommu.plan.plan import (
    Plan,
    PlanCompatible,
    PlanDevice,
    PlanHost,
    PlanRaw,
    PlanRegion,
)
from west_viommu.read import plain_file
from west_viommu.read.profiles import profile
from west_viommu.system.judge import judge
from west_viommu.system.records import Domain, Judged, SystemTerms

SMMU, BASE, SPIS = "/iommu@9000000", 0x20000000, 900
# Where the host has nothing.
FREE = 0x70000000


def host(devices: int) -> Devices:
    """A host with as many devices behind one SMMU; the first ones have interrupts."""
    nodes = "".join(
        f"""dev@{BASE + i * 0x1000:x} {{
            reg = <0 {BASE + i * 0x1000:#x} 0 0x1000>;
            iommus = <&smmu {i:#x}>;
            {f"interrupts = <0 {i} 4>;" if i < SPIS else ""}
        }};"""
        for i in range(devices)
    )
    found = tree(
        f"""#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
        gic: interrupt-controller@8000000 {{ compatible = "arm,gic-v3"; interrupt-controller;
            #interrupt-cells = <3>; reg = <0 0x8000000 0 0x10000>; }};
        smmu: iommu@9000000 {{ compatible = "arm,smmu-v3"; reg = <0 0x9000000 0 0x20000>;
            #iommu-cells = <1>; }};
        {nodes}"""
    )
    return Devices("host.dtb", found, inventory(found)[0])


def domain(place: int, devices: range) -> Domain:
    """A domain with these devices of the host."""
    plan = Plan(
        profile="xen",
        vsid="identity",
        host=PlanHost(None, ""),
        domain=(),
        viommu=None,
        devices=tuple(map(device, devices)),
        raw=(),
        extra=(),
        unasked=(),
        allowed=(),
        marks=(),
        memory_limit=None,
        files={},
    )
    return Domain(f"d{place}", plan, Where("system.yml"))


def device(i: int) -> PlanDevice:
    base = BASE + i * 0x1000
    regions = (PlanRegion(base, base, 0x1000),)
    return PlanDevice(
        node=f"/passthrough/dev@{base:x}",
        host=f"/dev@{base:x}",
        compatible=PlanCompatible((), ()),
        status="okay",
        regions=regions,
        pages=regions,
        intids=(i + 32,) if i < SPIS else (),
        streams=(AssignedStream(SMMU, 0x9000000, StreamId(i), StreamId(i)),),
        omitted=(),
        maps=(),
    )


def system(domains: int, each: int, devices: int) -> Callable[[], Judged]:
    """The judgement of so many domains with so many devices each."""
    those = [domain(i, range(i * each, (i + 1) * each)) for i in range(domains)]
    terms = SystemTerms(profile("xen", None))
    of_host = host(devices)
    # A run of its own for each: look-ups are kept.
    return lambda: judge(
        those, Devices("host.dtb", of_host.tree, inventory(of_host.tree)[0]), terms
    )


def seconds(run: Callable[[], Judged]) -> float:
    """The least of three: what else runs here only adds to it."""
    found = []
    for _ in range(3):
        began = process_time()
        judged = run()
        found.append(process_time() - began)
        assert judged.problems == ()
    return min(found)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        pytest.param((10, 20, 1000), (40, 20, 1000), id="domains"),
        pytest.param((10, 20, 1000), (10, 80, 1000), id="devices of a domain"),
        pytest.param((10, 20, 1000), (10, 20, 4000), id="devices of the host"),
        pytest.param((10, 90, 1000), (40, 90, 4000), id="all"),
    ],
)
def test_it_is_linear(small: tuple[int, int, int], large: tuple[int, int, int]) -> None:
    """Four times as much takes four times as long; of the square, it would be 16."""
    assert seconds(system(*large)) < 8 * seconds(system(*small))


def test_many_domains_of_one_plan_are_told_of_their_devices_alone() -> None:
    of_host = host(4)
    those = [domain(0, range(4))._replace(name=f"d{i}") for i in range(60)]
    judged = judge(those, of_host, SystemTerms(profile("xen", None)))
    assert {each.id for each in judged.problems} == {"duplicate-assignment"}
    assert judged.problems[-1].more == 59 * 4 - MOST_ALIKE


@pytest.mark.parametrize(("domains", "more"), [(200, 200 * 199 // 2 - MOST_ALIKE), (300, None)])
def test_pairs_of_domains_on_one_page_are_told_or_too_many(domains: int, more: int | None) -> None:
    raw = (PlanRaw("/passthrough/r", (PlanRegion(FREE, FREE, 0x1000),)),)
    those = [
        made._replace(plan=made.plan._replace(raw=raw))
        for made in (domain(i, range(0)) for i in range(domains))
    ]
    terms = SystemTerms(profile("xen", None))
    if more is None:
        with pytest.raises(Refused, match="too many devices of this host have the same"):
            judge(those, host(1), terms)
    else:
        [rest] = [each for each in judge(those, host(1), terms).problems if each.more]
        assert (rest.id, rest.more) == ("shared-page", more)


@pytest.mark.parametrize(("domains", "is_refused"), [(16, False), (17, True)])
def test_a_plan_is_of_16_domains_at_most(domains: int, is_refused: bool, viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"a": Guest(raw=[FREE])})
    entries = "".join(f"  d{i}: {{build: {'./' * i}a}}\n" for i in range(domains))
    Path("system.yml").write_text(f"host: host.dts\ndomains:\n{entries}")
    outcome = viommu("system", "system.yml")
    assert outcome.status == 1
    says = (
        f"system.yml:{2 + domains}: error: [malformed] more than 16 domains have one plan (found "
    )
    assert (says in outcome.err) is is_refused


def test_a_kernel_of_several_domains_is_read_once(
    viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(viommu, "xen-rfc", {"a": Guest(raw=[FREE]), "b": Guest(raw=[FREE + 0x1000])})
    Path("kernel").write_bytes(KERNEL)
    Path("system.yml").write_text(
        "host: host.dts\ndomains: {a: {build: a, kernel: kernel}, b: {build: b, kernel: kernel}}\n"
    )
    read: list[str] = []

    def pieces(file: str, most: int) -> Iterator[bytes]:
        read.append(Path(file).name)
        return plain_file.pieces(file, most)

    monkeypatch.setattr("west_viommu.api_system.pieces", pieces)
    assert viommu("system", "system.yml").status == 0
    assert read.count("kernel") == 1
    # Of other names it is another kernel, and of all there is a bound.
    monkeypatch.setattr("west_viommu.api_system._MOST_OF_ALL", 5)
    text = Path("system.yml").read_text()
    Path("system.yml").write_text(text.replace("kernel: kernel", "kernel: ./kernel", 1))
    outcome = viommu("system", "system.yml")
    assert outcome.status == 1
    assert "[unreadable] the kernels before it have more than 5 bytes together" in outcome.err
