# SPDX-License-Identifier: Apache-2.0
"""xenlib.h, read by a C compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import Run

# What zephyr-xenlib's domain.h declares, as far as it goes here.
PROGRAM = """#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
struct xen_domain_iomem { uint64_t first_gfn, first_mfn, nr_mfns; };
struct xen_domain_cfg {
	struct xen_domain_iomem *iomems; uint32_t nr_iomems;
	uint32_t *irqs; uint32_t nr_irqs;
	char **dtdevs; uint32_t nr_dtdevs;
};
#include "viommu/xenlib.h"
int main(void)
{
	struct xen_domain_cfg c = { VIOMMU_DEVICES, };
	for (uint32_t i = 0; i < c.nr_iomems; i++)
		printf("%x,%x@%x\\n", (unsigned)c.iomems[i].first_mfn, (unsigned)c.iomems[i].nr_mfns,
			(unsigned)c.iomems[i].first_gfn);
	for (uint32_t i = 0; i < c.nr_irqs; i++)
		printf("%u\\n", (unsigned)c.irqs[i]);
	for (uint32_t i = 0; i < c.nr_dtdevs; i++)
		printf("%s\\n", c.dtdevs[i]);
	return 0;
}
"""
HOST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
gic: gic { compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller; };
s: iommu@9000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0 0x9000000 0 0x20000>; };
dma@20000000 { reg = <0 0x20000000 0 0x2000>; iommus = <&s 1>; interrupts = <0 50 4>; };
clock { iommus = <&s 2>; };
};
"""
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough {
#address-cells = <2>; #size-cells = <2>; ranges; %s }; };
"""
DMA = """dma { xen,path = "/dma@20000000"; reg = <0 0x50000000 0 0x2000>; interrupts = <0 50 4>;
xen,reg = <0 0x20000000 0 0x2000 0 0x50000000>; };"""


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (DMA, ["20000,2@50000", "82", "/dma@20000000"]),
        ('clock { xen,path = "/clock"; };', ["/clock"]),
    ],
)
def test_a_compiler_reads_what_xl_cfg_says(
    devices: str, expected: list[str], viommu: Run, tmp_path: Path
) -> None:
    (tmp_path / "host.dts").write_text(HOST)
    (tmp_path / "guest.dts").write_text(GUEST % devices)
    outcome = viommu("bind", "--host", "host.dts", "guest.dts")
    assert outcome.status == 0, outcome.err
    (tmp_path / "x.c").write_text(PROGRAM)
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "x.c", "-o", "x"]
    subprocess.run(command, check=True, cwd=tmp_path)
    said = subprocess.run([tmp_path / "x"], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == expected
