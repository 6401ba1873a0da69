# SPDX-License-Identifier: Apache-2.0
"""What extract prints goes through Zephyr's own devicetree stage as it is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT, DEMO, PACKAGE
from tests.zephyr.workspace import Workspace, needs_zephyr

# A device that Zephyr has a binding for, with more than that has, and one that it does not know.
SERIAL = """
	serial@e1000000 {
		compatible = "arm,pl011", "arm,primecell";
		reg = <0x0 0xe1000000 0x0 0x1000>;
		interrupts = <0 70 4>;
		iommus = <&smmu0 0x60>;
		current-speed = <115200>;
		label = "for Zephyr 3.1";
		vendor,unknown-to-zephyr = "text";
		vendor,flag;
	};
"""


@needs_zephyr
@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("serial", {"/passthrough/serial@e1000000": [["/iommu@4040000", 0x60]]}),
        (
            "dma-controller",
            {
                "/passthrough/dma-controller@e0200000": [
                    ["/iommu@4040000", 0x48],
                ]
            },
        ),
    ],
)
def test_an_extracted_node_compiles(
    node: str, expected: dict[str, list[list[object]]], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    host = (DEMO / "host.dts").read_text()
    (workspace.app / "host.dts").write_text(host.replace("\tpcie@", f"{SERIAL}\n\tpcie@"))
    extracted = workspace.run(
        *(sys.executable, "-m", "west_viommu", "extract", "--host", "host.dts", node),
        variables={"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert extracted.status == 0, extracted.log
    overlay = extracted.log[extracted.log.index("/* Copied") :]
    (workspace.app / "app.overlay").write_text(overlay)
    (workspace.app / "viommu.yml").write_text("host: host.dts\n")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == expected


BOARD = CHECKOUT / "tests" / "hosts" / "board.dts"


@needs_zephyr
def test_a_device_with_children_labels_and_a_stub_compiles(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    # Where the memory of Zephyr's board is not.
    host = BOARD.read_text().replace("40000000", "60000000")
    (workspace.app / "host.dts").write_text(host)
    command = (sys.executable, "-m", "west_viommu", "extract", "--host", "host.dts", "eth", "flash")
    extracted = workspace.run(*command, variables={"PYTHONPATH": str(PACKAGE.parent)})
    assert extracted.status == 0, extracted.log
    assert "Zephyr has no binding for it, and so no driver" in extracted.log
    overlay = extracted.log[extracted.log.index("/* Copied") :]
    assert "osc: oscillator {" in overlay and "phy-handle = <&phy>;" in overlay
    (workspace.app / "app.overlay").write_text(overlay)
    (workspace.app / "viommu.yml").write_text("host: host.dts\n")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == {
        "/passthrough/ethernet@60200000": [["/iommu@4040000", 6]],
        "/passthrough/flash@60300000": [["/iommu@4040000", 7]],
    }


@needs_zephyr
@pytest.mark.parametrize(
    "interrupts",
    [
        "",
        "interrupt-parent = <0xfde8>; interrupts = <0 42 2 0xa0>;",
        "interrupts-extended = <0xfde8 0 42 2 0xa0>;",
    ],
)
def test_a_disabled_request_and_the_number_of_xens_gic_compile(
    interrupts: str, tmp_path: Path
) -> None:
    """Zephyr's devicetree scripts take neither a phandle 0 nor one that no node has."""
    workspace = Workspace(tmp_path / "workspace")
    shutil.copy(BOARD, workspace.app / "host.dts")
    off = (
        'eth { compatible = "acme,mac"; status = "disabled"; iommus = <0x0 0x6>; '
        "xen,smmu-stream-ids = <0x6>; };"
    )
    on = f'flash {{ compatible = "acme,flash"; iommus = <0x0 0x7>; {interrupts} }};'
    (workspace.app / "app.overlay").write_text(
        "/ { passthrough { #address-cells = <2>; #size-cells = <2>; ranges; "
        f"{off} {on if interrupts else ''} }}; }};"
    )
    (workspace.app / "viommu.yml").write_text("host: host.dts\n")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    found = {"/passthrough/flash": [["/iommu@4040000", 7]]} if interrupts else {}
    assert workspace.iommus() == found
