# SPDX-License-Identifier: Apache-2.0
"""The time of the judgement grows as the domains do, and as the host does: no faster."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from tests.support import tree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.plan.sealed import (
    SealedCompatible,
    SealedDevice,
    SealedHost,
    SealedPlan,
    SealedRegion,
    SealedStream,
)
from west_viommu.problems import Where
from west_viommu.read.profiles import profile
from west_viommu.system.judge import judge
from west_viommu.system.records import Domain, Judged, SystemTerms

SMMU, BASE, SPIS = "/iommu@9000000", 0x20000000, 900


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
    plan = SealedPlan(
        profile="xen",
        vsid="identity",
        host=SealedHost(None, ""),
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


def device(i: int) -> SealedDevice:
    base = BASE + i * 0x1000
    regions = (SealedRegion(base, base, 0x1000),)
    return SealedDevice(
        node=f"/passthrough/dev@{base:x}",
        host=f"/dev@{base:x}",
        compatible=SealedCompatible((), ()),
        status="okay",
        regions=regions,
        pages=regions,
        intids=(i + 32,) if i < SPIS else (),
        streams=(SealedStream(SMMU, 0x9000000, i, i),),
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
