# SPDX-License-Identifier: Apache-2.0
"""Good inputs, of which the damaged ones are made."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

import west_viommu

CHECKOUT = Path(__file__).resolve().parents[2]
DEMO = CHECKOUT / "samples" / "demo"
HOSTS = CHECKOUT / "tests" / "hosts"
BOARD = CHECKOUT / "tests" / "audit" / "board"
PARTIAL_TREE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
%s}; };
"""


def compiled(source: str) -> bytes:
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=True).stdout


def cases() -> list[dict[str, str]]:
    files = sorted((CHECKOUT / "tests" / "refused").glob("*.yml"))
    return [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]


def host_blobs(corpus: str | None) -> list[bytes]:
    sources = [DEMO / "host.dts", *sorted(HOSTS.glob("*.dts"))]
    blobs = [compiled(file.read_text()) for file in sources]
    return blobs + [
        file.read_bytes() for file in sorted(Path(corpus or "").glob("*.dtb")) if corpus
    ]


def guest_sources() -> list[str]:
    overlays = sorted(CHECKOUT.glob("samples/*/*.overlay"))
    found = [file.read_text(encoding="utf-8") for file in overlays]
    # Those of the demo's own host get furthest.
    found += [(DEMO / "guest.overlay").read_text(encoding="utf-8")] * 60
    for case in cases():
        found.append(case.get("guest") or PARTIAL_TREE % case["passthrough"])
    return found


def configs() -> list[str]:
    found = [case["viommu.yml"] for case in cases() if "viommu.yml" in case]
    found.append("host: host.dtb\nprofile: xen-rfc\nvsid: identity\ndomain: [vpl011, vpci]\n")
    found.append(
        'vsid: explicit\nvsids: {"/passthrough/ethernet@e0100000": [0x10], '
        '"/passthrough/dma-controller@e0200000": [1, 2, 3]}\n'
        'allow: [{hazard: shared-page, device: "/a", reason: "it is safe"}]\n'
    )
    return found


def profiles() -> list[str]:
    found = []
    for file in sorted((Path(west_viommu.__file__).parent / "profiles").glob("*.yaml")):
        found.append(
            re.sub('^  "name": ".*"', '  "name": "mine"', file.read_text(), count=1, flags=re.M)
        )
    return found


def built_blob() -> bytes:
    """A guest's tree as a build leaves it: that of the demo, bound into viommu/."""
    text = (DEMO / "guest.overlay").read_text() + Path("viommu/viommu.overlay").read_text()
    for name, value in (("GIC_SPI", "0"), ("LEVEL", "2"), ("IRQ_DEFAULT_PRIORITY", "0xa0")):
        text = re.sub(rf"\b(IRQ_TYPE_)?{name}\b", value, text)
    base = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
    gic: gic@3001000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <4>;
    reg = <0 0x3001000 0 0x10000>, <0 0x3020000 0 0x1000000>; }; };
    """
    return compiled(base + text)


def given_blob(built: bytes) -> bytes:
    """The same with Linux's three cells for an interrupt, as a hypervisor writes it."""
    text = subprocess.run(
        ["dtc", "-q", "-f", "-I", "dtb", "-O", "dts", "-"],
        input=built,
        capture_output=True,
        check=True,
    ).stdout.decode()
    text = text.replace("#interrupt-cells = <0x04>", "#interrupt-cells = <0x03>")
    text = re.sub(r"0x02 0xa0\b", "0x04", text)
    return compiled(text)


def sets() -> list[str]:
    """The files of sets: configurations of xl and ImageBuilder, partial trees, trees with marks."""
    return [file.read_text() for file in sorted(BOARD.iterdir()) if file.name != "host.dts"]
