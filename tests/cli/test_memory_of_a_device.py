# SPDX-License-Identifier: Apache-2.0
"""Memory that the host reserves for a device (memory-region), given to its guest or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import Run

HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x10000000>; };
reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
a: a@84000000 { reg = <0 0x84000000 0 0x10000>; no-map; };
b: b@85000000 { reg = <0 0x85000000 0 0x20000>; no-map; };
other@86000000 { reg = <0 0x86000000 0 0x1000>; no-map; };
cma: cma { size = <0 0x1000>; reusable; }; };
gic: gic@f9000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
smmu: iommu@e0000000 { compatible = "arm,smmu-v3"; reg = <0 0xe0000000 0 0x20000>;
    #iommu-cells = <1>; };
vpu@20000000 { reg = <0 0x20000000 0 0x1000>; iommus = <&smmu 1>; memory-region = <%s>; };
};"""
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
%s
vpu@20000000 { reg = <0 0x20000000 0 0x1000>; xen,path = "/vpu@20000000";
xen,reg = <0 0x20000000 0 0x1000 0 0x20000000 %s>; };
}; };
"""
A, B = "0 0x84000000 0 0x10000 0 0x84000000", "0 0x85000000 0 0x20000 0 0x85000000"
RAW = "%s@84000000 { xen,reg = <%s>; xen,force-assign-without-iommu; };"
ALLOWED = "profile: xen\nallow: [{hazard: shared-page, device: %s, reason: its own}]\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def bound(viommu: Run, own: str, raw: str = "", config: str = "", of: str = "&a &b") -> list[str]:
    """Bind, and return the messages without the lines of the source."""
    Path("host.dts").write_text(HOST % of)
    Path("guest.dts").write_text(GUEST % (raw, own))
    Path("viommu.yml").write_text(config or "profile: xen\n")
    err = viommu("bind", "--host", "host.dts", "guest.dts").err
    return [line for line in err.splitlines() if not line.startswith("    ")]


def test_by_xen_reg_of_the_device(viommu: Run) -> None:
    assert bound(viommu, f"{A} {B}") == [
        "guest.dts:5: error: [shared-page] xen,reg maps reserved memory of /vpu@20000000, "
        "/reserved-memory/a@84000000 and /reserved-memory/b@85000000 (node "
        "/passthrough/vpu@20000000, expected memory that nobody else has, found "
        "0x84000000/0x10000, 0x85000000/0x20000)",
        "hint: the firmware of the device may use that memory too; if the guest is to have it: "
        'allow: [{hazard: shared-page, device: "/vpu@20000000", reason: "..."}]',
    ]
    allowed = bound(viommu, f"{A} {B}", config=ALLOWED % "/vpu@20000000")
    assert [line for line in allowed if "needs-memory" in line] == []
    assert allowed[1:] == [
        "hint: allowed by viommu.yml:2, because: its own",
        "note: nothing for libxl: Xen gives dom0 no right to the memory that is reserved for "
        "/vpu@20000000",
    ]
    pages = json.loads(Path("viommu/viommu.json").read_text())["devices"][0]["pages"]
    assert [page["host"] for page in pages] == [0x20000000, 0x84000000, 0x85000000]


def test_by_nodes_of_their_own(viommu: Run) -> None:
    raw = RAW % ("a", A) + RAW.replace("84", "85") % ("b", B)
    config = "profile: xen\nallow:\n" + "".join(
        f"  - {{hazard: shared-page, device: /passthrough/{node}, reason: its own}}\n"
        for node in ("a@84000000", "b@85000000")
    )
    messages = bound(viommu, "", raw, config)
    assert [line for line in messages if "needs-memory" in line or "error" in line] == []


def test_a_part_of_it(viommu: Run) -> None:
    messages = bound(viommu, A, config=ALLOWED % "/vpu@20000000")
    assert [line for line in messages if "shared-page" not in line and "allowed" not in line] == [
        "guest.dts:4: warning: [needs-memory] the guest gets a part of the memory that is reserved "
        "for /vpu@20000000 (node /passthrough/vpu@20000000, expected all of its memory, found none "
        "of /reserved-memory/b@85000000)",
        "hint: map all of it, or make sure that its driver can do without "
        "/reserved-memory/b@85000000",
        "note: nothing for libxl: Xen gives dom0 no right to the memory that is reserved for "
        "/vpu@20000000",
    ]


@pytest.mark.parametrize("of", ["&a &b", "&cma", "&a", "0x77"])
def test_none_of_it(of: str, viommu: Run) -> None:
    assert [line for line in bound(viommu, "", of=of) if "[needs-memory]" in line] == [
        "guest.dts:4: warning: [needs-memory] /vpu@20000000 has memory of its own on the host "
        "(node /passthrough/vpu@20000000, expected a device without reserved memory, found "
        "memory-region)"
    ]


@pytest.mark.parametrize(
    "foreign",
    [
        "0 0x86000000 0 0x1000 0 0x86000000",
        "0 0x87000000 0 0x1000 0 0x87000000",
        "0 0x84000000 0 0x11000 0 0x84000000",
    ],
)
def test_other_memory_does_not_belong_to_it(foreign: str, viommu: Run) -> None:
    messages = bound(viommu, foreign, config=ALLOWED % "/vpu@20000000")
    assert ["region-mismatch" in line for line in messages if "error" in line] == [True]
