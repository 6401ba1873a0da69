# SPDX-License-Identifier: Apache-2.0
"""What extract prints goes through Zephyr's own devicetree stage as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import DEMO, PACKAGE
from tests.zephyr.conftest import Workspace, needs_zephyr

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
                    ["/iommu@4040000", 0x49],
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
        PYTHONPATH=str(PACKAGE.parent),
    )
    assert extracted.status == 0, extracted.log
    overlay = extracted.log[extracted.log.index("/* Copied") :]
    (workspace.app / "app.overlay").write_text(overlay)
    (workspace.app / "viommu.yml").write_text("host: host.dts\n")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == expected
