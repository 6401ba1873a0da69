# SPDX-License-Identifier: Apache-2.0
"""extract of several devices of a host whose addresses, clocks and parts a guest cannot have as
they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import Run, blob

HOST = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>; model = "h";
gic: gic@6000000 { compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller;
  reg = <0 0x6000000 0 0x10000>, <0 0x6100000 0 0x100000>; };
memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; };
osc: osc { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <1000000>; };
cpg: cpg@7000000 { reg = <0 0x7000000 0 0x1000>; #clock-cells = <1>;
  assigned-clocks = <&cpg 5>; assigned-clock-rates = <200000000>; };
smmu: iommu@5000000 { compatible = "arm,smmu-v3"; reg = <0 0x5000000 0 0x40000>;
  #iommu-cells = <1>; };
usb@3100000 { compatible = "t,usb"; reg = <0 0x3100000 0 0x10000>; interrupts = <0 80 4>;
  iommus = <&smmu 1>; clocks = <&cpg 5>, <&cpg 6>, <&osc>; clock-names = "ref", "susp", "bus";
  phys = <&phy 3>; };
phy: phy@8000000 { compatible = "t,phy"; #phy-cells = <1>; reg = <0 0x8000000 0 0x1000>;
  iommus = <&smmu 2>; clocks = <&cpg 5>; };
mmc@8100000 { compatible = "t,mmc"; reg = <0 0x8100000 0 0x1000>; iommus = <&smmu 4>;
  clocks = <&cpg 5>, <&cpg 6>; };
pcie@9000000 { compatible = "t,pcie"; reg = <0 0x9000000 0 0x1000>; interrupts = <0 81 4>;
  iommus = <&smmu 3>; #address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>;
  interrupt-map-mask = <0 0 0 7>; interrupt-map = <0 0 0 1 &intc 0>, <0 0 0 2 &intc 1>;
  intc: legacy { interrupt-controller; #interrupt-cells = <1>; #address-cells = <0>;
    interrupt-parent = <&gic>; interrupts = <0 81 4>; }; };
nic@9100000 { compatible = "t,nic"; reg = <0 0x9100000 0 0x1000>; iommus = <&smmu 5>;
  #address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>;
  interrupt-map = <0 0 0 1 &gic 0 90 4>; };
mfd@9200000 { compatible = "t,mfd"; reg = <0 0x9200000 0 0x1800>; iommus = <&smmu 6>;
  #address-cells = <1>; #size-cells = <1>; ranges = <0 0 0x9200000 0x10000>;
  inside@1000 { reg = <0x1000 0x100>; peer-gpios = <&beyond 1>; };
  rest@1900 { reg = <0x1900 0x100>; };
  beyond: beyond@2000 { reg = <0x2000 0x100>; #gpio-cells = <1>; gpio-controller;
    clocks = <&osc>; };
  both@1f00 { reg = <0x1f00 0x200>; };
  without { }; };
};
"""
MOVED = (
    "0x3100000/0x10000 of the host is 0x5000000/0x10000 here: the guest has something else at its "
    "own address"
)


@pytest.fixture(params=["host.dts", "host.dtb"])
def host(request: pytest.FixtureRequest) -> Path:
    """As source, whose labels tell what is a phandle, and as a blob, whose numbers do not."""
    file = Path(request.param)
    file.write_bytes(HOST.encode() if file.suffix == ".dts" else blob(HOST))
    return file


def extracted(viommu: Run, host: Path, *nodes: str) -> list[str]:
    """The lines of the overlay, which binds to these nodes."""
    outcome = viommu("extract", "--host", host, "--profile", "xen", *nodes)
    assert outcome.status == 0
    Path("guest.overlay").write_text(outcome.out)
    bound = viommu("bind", "--host", host, "--profile", "xen", "guest.overlay")
    assert bound.status == 0, bound.err
    devices = json.loads(Path("viommu/viommu.json").read_text())["devices"]
    assert [device["host"].split("@")[0][1:] for device in devices] == [*nodes]
    return [line.strip() for line in outcome.out.splitlines()]


def of_partial_tree() -> str:
    return Path("viommu/passthrough-dom0less.dts").read_text()


def test_a_device_moves_out_of_what_the_guest_has_there(viommu: Run, host: Path) -> None:
    lines = extracted(viommu, host, "usb")
    assert f"/* {MOVED} */" in lines
    assert "xen,reg = <0x0 0x3100000 0x0 0x10000 0x0 0x5000000>;" in lines
    outcome = viommu("extract", "--host", host, "--profile", "xen", "usb", "mmc")
    assert f"note: /usb@3100000: {MOVED}\n" in outcome.err
    assert "0x8100000/0x1000" not in outcome.err


def test_what_the_domain_has_besides_counts(viommu: Run, host: Path) -> None:
    overlay = HOST.replace("mmc@8100000", "mmc@22000000").replace("0x8100000 0", "0x22000000 0")
    host.write_bytes(overlay.encode() if host.suffix == ".dts" else blob(overlay))
    assert "xen,reg" not in viommu("extract", "--host", host, "--profile", "xen", "mmc").out
    Path("viommu.yml").write_text("profile: xen\ndomain: [vpl011]\n")
    assert "xen,reg" in viommu("extract", "--host", host, "mmc").out


def test_a_reference_between_two_devices_of_a_run_stays(viommu: Run, host: Path) -> None:
    alone = extracted(viommu, host, "usb")
    assert "/* left out: phys: its PHY; it must be set up already */" in alone
    together = extracted(viommu, host, "usb", "phy")
    label = "phy" if host.suffix == ".dts" else "host_phy_8000000"
    assert f"phys = <&{label} 0x3>;" in together
    assert f"{label}: phy@8000000 {{" in together
    assert "phys = <&passthrough_phy_8000000_" in of_partial_tree()


def test_an_interrupt_map_to_a_child_of_the_device_stays(viommu: Run, host: Path) -> None:
    lines = extracted(viommu, host, "pcie")
    label = "intc" if host.suffix == ".dts" else "host_legacy"
    rows = f"<0x0 0x0 0x0 0x1>, <&{label} 0x0 0x0 0x0 0x0 0x2>, <&{label} 0x1>"
    assert f"interrupt-map = {rows};" in lines
    assert "interrupt-map-mask = <0x0 0x0 0x0 0x7>;" in lines
    legacy = "&passthrough_pcie_9000000_legacy_"
    assert f"interrupt-map = <0x0 0x0 0x0 0x1 {legacy}" in of_partial_tree()
    # To the GIC, by the host's numbers, it would mean nothing.
    assert not any(line.startswith("interrupt-map") for line in extracted(viommu, host, "nic"))


def test_a_node_below_whose_registers_the_guest_does_not_get_is_left_out(
    viommu: Run, host: Path
) -> None:
    """Xen maps the pages of the device: of 0x9200000/0x1800, those below 0x9202000."""
    lines = extracted(viommu, host, "mfd")
    assert [line for line in lines if line.endswith("{")] == [
        *("/ {", "passthrough {", "mfd@9200000 {", "inside@1000 {", "rest@1900 {", "without {"),
    ]
    why = "Xen maps the registers of the device alone; extract such a node as well"
    assert f"/* left out: beyond@2000, both@1f00: {why} */" in lines
    assert not any(line.startswith("peer-gpios") for line in lines)
    # Given as well, it stands beside the device, and what refers to it stays.
    outcome = viommu("extract", "--host", host, "--profile", "xen", "mfd", "beyond")
    lines = [line.strip() for line in outcome.out.splitlines()]
    label = "beyond" if host.suffix == ".dts" else "host_beyond_9202000"
    opened = [line for line in lines if line.endswith("{")]
    assert opened[-2:] == ["without {", f"{label}: beyond@9202000 {{"]
    assert "/* left out: beyond@2000: beside, as a device of its own */" in lines
    assert any(line.startswith("peer-gpios = <&") for line in lines)


def test_a_clock_of_known_rate_comes_along_as_a_stub(viommu: Run, host: Path) -> None:
    lines = extracted(viommu, host, "usb", "phy")
    osc = "osc" if host.suffix == ".dts" else "host_osc"
    assert f"clocks = <&host_cpg_5>, <&{osc}>;" in lines
    assert 'clock-names = "ref", "bus";' in lines
    assert (
        "/* left out: clocks: susp, /cpg@7000000 <6>: the host tree states no rate; it must be "
        "running already */" in lines
    )
    at = lines.index("host_cpg_5: cpg-5 {")
    assert lines[at + 1 : at + 4] == [
        'compatible = "fixed-clock";',
        "#clock-cells = <0x0>;",
        "clock-frequency = <0xbebc200>;",
    ]
    # One stub for all users.
    assert lines.count("host_cpg_5: cpg-5 {") == 1
    assert "clocks = <&host_cpg_5>;" in lines


def test_of_clocks_without_names_all_are_known_or_none_is_kept(viommu: Run, host: Path) -> None:
    lines = extracted(viommu, host, "mmc")
    assert not any("clock" in line for line in lines if not line.startswith("/*"))
    assert "/* left out: clocks: its clocks; they must be running already */" in lines
