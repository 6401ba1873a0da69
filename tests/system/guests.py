# SPDX-License-Identifier: Apache-2.0
"""Guests of tests/hosts/system.dts, bound one by one, and the system of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.support import HOSTS, Outcome, Run

HOST = HOSTS / "system.dts"

GUEST = """\
/ {{
	passthrough {{
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
{nodes}	}};
}};
"""

NODE = """
		{name} {{
			compatible = "v,{kind}";
			reg = {reg};
			interrupts = <GIC_SPI {spi} IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>;
			xen,path = "{path}";
		}};
"""

RAW = """
		{name} {{
			xen,reg = <0x0 {base:#x} 0x0 0x1000 0x0 {at:#x}>;
			xen,force-assign-without-iommu;
		}};
"""


class Guest(NamedTuple):
    """What a guest asks for: host nodes by their paths, or `raw` pages by their addresses, with the
    `allow` of its viommu.yml (hazard: device). Of a device, only the first `regions` are mapped;
    raw pages are seen `at` an address, by default their own.
    """

    nodes: Sequence[str] = ()
    allow: Mapping[str, str] = {}
    raw: Sequence[int] = ()
    regions: int | None = None
    at: int | None = None
    has_dom0: bool = True


# The SPI of each device.
# The header of an arm64 Image, as far as Xen looks at it.
KERNEL = bytes(56) + b"ARMd" + bytes(4)
SPIS = {
    "net": 40,
    "dma": 41,
    "uart": 42,
    "spi": 43,
    "adc": 44,
    "dac": 44,
    "can": 45,
    "lin": 46,
    "usb": 47,
    "engine": 48,
    "unit": 49,
    "mac": 50,
    "pwm": 51,
    "gpu": 60,
    "vpu": 61,
    "isp": 62,
    "csi": 63,
}
SIZES = {"uart": [0x100], "spi": [0x100], "pwm": [0x100], "mac": [0x1000, 0x100]}


def source(guest: Guest) -> str:
    """The guest's overlay."""
    nodes = ""
    for path in guest.nodes:
        name = path.rpartition("/")[2]
        kind, _, address = name.partition("@")
        base, regions = int(address, 16), []
        for size in SIZES.get(kind, [0x1000])[: guest.regions]:
            regions.append(f"<0x0 {base:#x} 0x0 {size:#x}>")
            base += 0x1000
        nodes += NODE.format(
            name=name, kind=kind, reg=", ".join(regions), spi=SPIS[kind], path=path
        )
    for base in guest.raw:
        nodes += RAW.format(name=f"shm@{base:x}", base=base, at=guest.at or base)
    return GUEST.format(nodes=nodes)


def bound(
    viommu: Run, profile: str, guests: Mapping[str, Guest], host: str = HOST.read_text()
) -> None:
    """Bind each of the `guests` to the source of a `host`, by itself, into a folder of its name,
    with a kernel beside it.
    """
    Path("host.dts").write_text(host)
    for name, guest in guests.items():
        folder = Path(name)
        (folder / "zephyr").mkdir(parents=True)
        (folder / "guest.overlay").write_text(source(guest))
        (folder / "zephyr" / "zephyr.bin").write_bytes(KERNEL + name.encode())
        allow = [
            {"hazard": hazard, "device": device, "reason": "known"}
            for hazard, device in guest.allow.items()
        ]
        config: dict[str, object] = {"allow": allow}
        if not guest.has_dom0:
            config["dom0"] = "none"
        (folder / "viommu.yml").write_text(yaml.safe_dump(config))
        outcome = viommu(
            *("bind", "--host", "host.dts", "--profile", profile, "-o", folder / "viommu"),
            *("--config", folder / "viommu.yml", folder / "guest.overlay"),
        )
        assert outcome.status == 0, outcome.err


def host_with(kind: str) -> str:
    """The source of the host with IOMMUs of one `kind` that Xen uses, "" for SMMUv3; those of the
    other kinds are off. "shared": two devices have one stream ID.
    """
    if kind == "shared":
        return HOST.read_text().replace("<&smmu0 0x1b>", "<&smmu0 0x16>")
    compatible = {"SMMUv2": "arm,mmu-500", "IPMMU": "renesas,ipmmu-r8a7795"}.get(kind)
    if compatible is None:
        return HOST.read_text()
    of_all = f'"{compatible}"; #global-interrupts = <0>; interrupts = <0 83 4>'
    host = HOST.read_text().replace('"arm,smmu-v3"', of_all)
    before, node, behind = host.rpartition(f'compatible = "{compatible}";\n')
    return before + node + behind.replace('status = "disabled";', "", 1)


def judged(
    viommu: Run,
    profile: str,
    guests: Mapping[str, Guest],
    more: str = "",
    tail: str = "",
    kind: str = "",
) -> Outcome:
    """What `viommu system` says to these guests, and `more` of a system.yml; its `tail` is of the
    last domain. `kind`: of the host's IOMMUs.
    """
    bound(viommu, profile, guests, host_with(kind))
    domains = "".join(f"  {name}:\n    build: {name}\n" for name in guests)
    Path("system.yml").write_text(f"host: host.dts\n{more}domains:\n{domains}{tail}")
    return viommu("system", "system.yml")
