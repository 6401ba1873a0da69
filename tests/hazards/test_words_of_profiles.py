# SPDX-License-Identifier: Apache-2.0
"""Messages about streams and lines, as each Xen has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Run

HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
gic: gic@f9000000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
smmu: iommu@e0000000 { compatible = "%s"; reg = <0 0xe0000000 0 0x20000>; #iommu-cells = <1>;
    #global-interrupts = <0>; interrupts = <0 77 4>; interrupt-names = "eventq"; };
net@20000000 { reg = <0 0x20000000 0 0x1000>; interrupts = <%s>; iommus = <%s>; };
};"""
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
passthrough { #address-cells = <2>; #size-cells = <2>; ranges; interrupt-parent = <&gic>;
net@20000000 { reg = <0 0x20000000 0 0x1000>; interrupts = <%s>; iommus = <%s>; }; }; };
"""
PLACE = "guest.dts:4: "


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(
    viommu: Run, profile: str, host: str, guest: str, line: str = "0 20 4", kind: str = "smmu-v3"
) -> list[str]:
    Path("host.dts").write_text(HOST % (f"arm,{kind}", line, host))
    Path("guest.dts").write_text(GUEST % (line, guest))
    err = viommu("bind", "--host", "host.dts", "--profile", profile, "guest.dts").err
    said = [line for line in err.splitlines() if line[:4] != "    " and line[:5] != "note:"]
    return [line.removeprefix(PLACE) for line in said]


@pytest.mark.parametrize(
    ("profile", "has"), [("xen-amd", "has"), ("xen-v3-dom0less", "may have"), ("xen", "")]
)
def test_one_setting_for_a_device(profile: str, has: str, viommu: Run) -> None:
    all_of_it = told(viommu, profile, "&smmu 1 &smmu 2", "0 1>, <0 2")
    whole = f"and Xen {has} one setting of stage 1 for the whole device ("
    assert [whole in line for line in all_of_it] == ([True, False] if has else [])
    a_part = told(viommu, profile, "&smmu 1 &smmu 2", "0 1")
    assert a_part == [
        "warning: [streams-omitted] the host lists more stream IDs for /net@20000000 (node "
        "/passthrough/net@20000000, expected 0x1 0x2, found 0x1)",
        f"hint: leave the others out: Xen {has} one setting of stage 1 for the whole device, and "
        "a guest that sets up a second stream of it can stop Xen"
        if has
        else "hint: Xen attaches them too: list all, or none, as the guest has no vSMMU for them",
    ]


@pytest.mark.parametrize(
    ("profile", "wide", "kind"),
    [("xen-amd", 0x2000000, "smmu-v3"), ("xen", 0x8012, "mmu-500")],
)
def test_a_wide_id_is_one_mistake(profile: str, wide: int, kind: str, viommu: Run) -> None:
    host = f"&smmu {wide:#x}>; }}; b {{ iommus = <&smmu {wide & 0x7FFF:#x}"
    messages = told(viommu, profile, host, f"0 {wide:#x}", kind=kind)
    assert [line.split("]")[0] for line in messages if "error" in line] == [
        "error: [stream-id-range"
    ]


def test_a_line_of_xen_is_not_freed_by_disabling_its_smmu(viommu: Run) -> None:
    assert told(viommu, "xen", "&smmu 1", "0 1", "0 77 4") == [
        "error: [interrupt-clash] INTID 109 also belongs to /iommu@e0000000, an IOMMU (node "
        "/passthrough/net@20000000, expected an interrupt of this device alone, found INTID 109)",
        "hint: Xen gives an interrupt to one domain only: leave this device to the host; Xen "
        "itself has the line",
    ]
