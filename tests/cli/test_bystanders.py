# SPDX-License-Identifier: Apache-2.0
"""Malformed host nodes that no request means: Xen reads them up to the mistake, and so do we."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Run

HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
gic: gic@f9000000 { compatible = "ARM,GIC-v3"; interrupt-controller; #interrupt-cells = <3>; };
smmu: iommu@e0000000 { compatible = "arm,SMMU-v3"; reg = <0 0xe0000000 0 0x20000>;
    #iommu-cells = <1>; };
net@20000000 { reg = <0 0x20000000 0 0x1000>; interrupts = <0 20 4>; iommus = <&smmu 0x40>; };
%s };"""
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
passthrough { #address-cells = <2>; #size-cells = <2>; ranges; interrupt-parent = <&gic>;
net@20000000 { reg = <0 0x20000000 0 0x1000>; interrupts = <0 20 4>; %s };
}; };
"""
BY_ID = "iommus = <0x0 0x40>;"
NOTE = "note: Xen reads a malformed node of the host only up to the mistake: "
OTHER = 'compatible = "arm,smmu-v3"; reg = <0 0xe1000000 0 0x20000>;'


def bound(viommu: Run, body: str, guest: str = BY_ID) -> tuple[int, str]:
    Path("host.dts").write_text(HOST % body)
    Path("guest.dts").write_text(GUEST % guest)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen", "guest.dts")
    return outcome.status, outcome.err


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("b { iommus = <&smmu>; };", "/b: iommus: the last entry of iommus is cut off"),
        ("b { iommus = <&smmu 0x41 &smmu>; };", "/b: iommus: the last entry of iommus is cut off"),
        ("b { iommus = <0x77 0x40>; };", "/b: iommus: a phandle that no node has"),
        (
            "b { iommus = <&gic 0x40>; };",
            "/b: iommus: iommus refers to a node that is not an IOMMU",
        ),
        (
            "b { iommus = [00 01]; };",
            "/b: iommus: the length of iommus is not a multiple of 4 bytes",
        ),
        ("b { iommu-map = <0 &smmu>; };", "/b: iommu-map: the last entry of iommu-map is cut off"),
        (
            "b { iommu-map = <0 &smmu 0 2>; iommu-map-mask = [07]; };",
            "/b: iommu-map-mask: iommu-map-mask is not one cell",
        ),
        (
            "b { iommus = <&smmu 0x41>; status = [ff]; };",
            "/b: status: status is not a list of strings",
        ),
        (
            'o: o { compatible = "vnd,iommu"; #iommu-cells = [01]; }; b { iommus = <&o 0x40>; };',
            "/o: #iommu-cells: #iommu-cells is not one cell",
        ),
    ],
)
def test_they_refuse_nothing(body: str, fault: str, viommu: Run) -> None:
    status, err = bound(viommu, body)
    assert status == 0
    notes = [line for line in err.splitlines() if not line.startswith(NOTE)]
    assert (notes, f"{NOTE}{fault}" in err.splitlines()) == ([], True)


@pytest.mark.parametrize(
    "body",
    [
        # dt_parse_phandle_with_args() reads whole cells, and stops silently.
        "o { mmu-masters = <&gic 0x40>; };",
        "o { mmu-masters = [00]; };",
        "b { iommu-map = <0 &smmu 0 0>; };",
    ],
)
def test_what_xen_does_not_read_is_no_mistake(body: str, viommu: Run) -> None:
    assert bound(viommu, body) == (0, "")


@pytest.mark.parametrize(
    "iommus", ["<&smmu 0x40 &smmu>", "<&smmu 0x40 0x77>", "<&smmu 0x40>, [00]"]
)
def test_an_id_before_the_mistake_counts(iommus: str, viommu: Run) -> None:
    status, err = bound(viommu, f"b {{ iommus = {iommus}; }};")
    assert status == 1
    assert "[shared-stream-id] /net@20000000 and /b share a stream ID on /iommu@e0000000" in err


def test_the_node_itself_is_refused(viommu: Run) -> None:
    body = "b@30000000 { reg = <0 0x30000000 0 0x1000>; iommus = <&smmu>; };"
    status, err = bound(viommu, body, 'xen,path = "/b@30000000";')
    assert status == 1
    assert err.startswith(
        "host.dts: error: [malformed] the host node is malformed: the last entry of iommus is cut "
        "off (node /b@30000000, expected 1 more cells, found the end)\n"
        "hint: correct the host tree, or remove /passthrough/net@20000000\n"
    )


def test_an_unknown_id_may_be_of_a_malformed_node(viommu: Run) -> None:
    entries = "iommus = <0x0 0x41>; }; mac@40000000 { iommus = <0x0 0x42>;"
    status, err = bound(viommu, "b { iommus = <0x77 0x41>; };", entries)
    assert status == 1
    assert "; or correct the host tree: /b: iommus: a phandle that no node has\n" in err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            f"o {{ {OTHER} #iommu-cells = <2>; }};",
            "Xen stops at boot for /o: its specifiers are not one cell (node /o, expected "
            "#iommu-cells = <1>, found <2>)",
        ),
        (
            'o { compatible = "arm,smmu-v3"; #iommu-cells = <1>; };',
            "Xen stops at boot for /o: it has no address (node /o, expected reg, and `ranges` on "
            "each bus above it)",
        ),
    ],
)
def test_an_iommu_for_which_xen_stops_is_warned_of(body: str, said: str, viommu: Run) -> None:
    hint = "hint: correct the node of the IOMMU in the host tree, or disable it\n"
    assert bound(viommu, body) == (0, f"host.dts: warning: [xen-stops] {said}\n{hint}")
    assert bound(viommu, body.replace("o {", 'o { status = "disabled";', 1)) == (0, "")
