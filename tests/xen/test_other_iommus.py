# SPDX-License-Identifier: Apache-2.0
"""A released Xen and the IOMMUs beside SMMUv3: what its drivers do, and a device's way from the
host to the guest behind each.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import Run, blob
from tests.xen.by_hand import with_marks
from tests.xen.judged import marked_by
from tests.xen.nodes import tree
from tests.xen.one_nic import GIVEN, GUEST, HOST, NIC, PLAIN, SHARER, with_iommus
from tests.xen.whole import AtBoot, World, faults, whole
from tests.xen.xens import MASTER, V417

V2, IPMMU = "arm,mmu-500", "renesas,ipmmu-r8a7795"
BOTH = GIVEN + (
    ' dma { xen,path = "/dma@9001000"; xen,reg = <0 0x9001000 0 0x1000 0 0x9001000>; };'
)
ONE_ID = SHARER.replace("0x21", "0x20")


def world(iommu: str, host: str, guest: str = GIVEN) -> World:
    return whole(blob(with_iommus(HOST % host, iommu)), [AtBoot(blob(GUEST % guest))], V417)


@pytest.mark.parametrize(
    ("iommu", "host", "guest", "says"),
    [
        pytest.param(V2, PLAIN, GIVEN, [], id="SMMUv2"),
        pytest.param(IPMMU, PLAIN, GIVEN, [], id="IPMMU"),
        pytest.param(
            V2,
            PLAIN + ONE_ID % "",
            GIVEN,
            ["double stream: dom1 and dom0: stream 0x20 of /smmu@8000000"],
            id="SMMUv2, an ID of dom0: the last one that is attached has both",
        ),
        pytest.param(
            IPMMU,
            PLAIN + ONE_ID % "",
            GIVEN,
            [
                "refused: dom1: /nic@9000000 is not assigned: stream 0x20 of /smmu@8000000 is "
                "attached to dom0 by /dma@9001000; "
            ],
            id="IPMMU, an ID of dom0",
        ),
        pytest.param(V2, PLAIN + ONE_ID % "xen,passthrough;", BOTH, [], id="SMMUv2, one guest"),
        pytest.param(IPMMU, PLAIN + ONE_ID % "xen,passthrough;", BOTH, [], id="IPMMU, one guest"),
        pytest.param(
            IPMMU,
            f"{NIC} iommus = <&smmu 64>; }};",
            GIVEN,
            [
                "refused: dom1: Failed to add /nic@9000000 to the IOMMU: "
                "micro-TLB 64 is none of /smmu@8000000"
            ],
            id="IPMMU, an ID that it has not",
        ),
    ],
)
def test_what_xen_does(iommu: str, host: str, guest: str, says: list[str]) -> None:
    assert faults(world(iommu, host, guest)) == says


def assert_goes_through(
    viommu: Run, host: Path, paths: list[str], folder: Path, *, dom0: bool = True
) -> None:
    """extract, bind for a released Xen, dtc, and the model of Xen."""
    extracted = viommu("extract", "--host", host, "--profile", "xen", *paths)
    assert extracted.status == 0, extracted.err
    (folder / "guest.overlay").write_text(extracted.out)
    bound = viommu("bind", "--host", host, "--profile", "xen", "guest.overlay")
    assert bound.status == 0, bound.err
    out = folder / "viommu"
    partial = (out / "passthrough-dom0less.dtb").read_bytes()
    # A clock that stands in for one of the host's has no registers, on no bus.
    command = ["dtc", "-I", "dtb", "-O", "dts", "-W", "no-simple_bus_reg", "-o", str(folder / "o")]
    compiled = subprocess.run(command, input=partial, capture_output=True)
    assert (compiled.returncode, compiled.stderr) == (0, b"")
    marks = marked_by((out / "host.overlay").read_text())
    assert marks >= set(paths)
    for xen in (V417, MASTER):
        found = whole(with_marks(tree(host.read_bytes()), marks), [AtBoot(partial)], xen, dom0=dom0)
        assert faults(found) == []
        given = {path for path, hand in found.assigned.items() if hand not in ("Xen", "dom0")}
        assert given == set(paths)


@pytest.mark.parametrize("iommu", [V2, IPMMU])
def test_a_device_goes_through(iommu: str, viommu: Run, tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    nic = PLAIN.replace("xen,passthrough;", 'compatible = "acme,nic";')
    host.write_bytes(blob(with_iommus(HOST % nic, iommu)))
    assert_goes_through(viommu, host, ["/nic@9000000"], tmp_path)


def test_a_real_host_with_an_mmu_500(viommu: Run, corpus: Path, tmp_path: Path) -> None:
    host = corpus / "hamoa-iot-evk-el2.dtb"
    paths = ["/soc@0/mmc@8804000", "/soc@0/usb@a000000"]
    # This host's dom0 does not start: handle_device() finds no address of a cell of its NVRAM.
    assert_goes_through(viommu, host, paths, tmp_path, dom0=False)
