# SPDX-License-Identifier: Apache-2.0
"""The old binding, in which an SMMU lists its masters."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.inventory import inventory, mmu_masters

A = "a: a { #stream-id-cells = <2>; phandle = <10>; };"
B = "b: b { #stream-id-cells = <1>; phandle = <11>; };"
MANY = " ".join(map(str, range(17)))


@pytest.mark.parametrize(
    ("masters", "expected"),
    [
        ("<10 5 6 11 7>", {"/a": [5, 6], "/b": [7]}),
        ("<11 7 10 5 6>", {"/b": [7], "/a": [5, 6]}),
        # One master in two entries.
        ("<11 7 11 8>", {"/b": [7, 8]}),
        # The list ends where Xen stops reading it.
        ("<11 7 0 10 5 6>", {"/b": [7]}),
        ("<11 7 99 10 5 6>", {"/b": [7]}),
        ("<11 7 10 5>", {"/b": [7]}),
        ("<11 7 12 1>", {"/b": [7]}),
        (f"<13 {MANY} 11 7>", {"/many": list(range(16)), "/b": [7]}),
        ("[00 00 00 0b 00 00 00 07 00]", {"/b": [7]}),
        ("<>", {}),
    ],
)
def test_the_masters_of_an_smmu(masters: str, expected: dict[str, list[int]]) -> None:
    host = tree(
        f"smmu {{ mmu-masters = {masters}; }}; {A} {B} plain {{ phandle = <12>; }};"
        "many { #stream-id-cells = <17>; phandle = <13>; };"
    )
    found = mmu_masters(host)
    assert {path: [stream.id for stream in streams] for path, streams in found.items()} == expected
    assert {stream.iommu for streams in found.values() for stream in streams} <= {"/smmu"}


def test_what_an_smmu_lists_replaces_iommus() -> None:
    """iommu_add_dt_device() returns before it reads them, as the device is registered already."""
    host = tree(
        'smmu { compatible = "arm,mmu-401"; mmu-masters = <11 7>; };'
        "other: other { #iommu-cells = <1>; phandle = <20>; };"
        "b { #stream-id-cells = <1>; phandle = <11>; iommus = <20 9>; };"
        "c { iommus = <20 9>; };"
    )
    found, errors = inventory(host)
    assert errors == ()
    assert [(master.path, master.iommus, master.stream_ids) for master in found.masters] == [
        ("/b", ("/smmu",), (7,)),
        ("/c", ("/other",), (9,)),
    ]
    assert [(iommu.path, iommu.cells) for iommu in found.iommus] == [("/smmu", 1), ("/other", 1)]
