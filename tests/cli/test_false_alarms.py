# SPDX-License-Identifier: Apache-2.0
"""Every master of real hosts that lists IDs behind an enabled SMMUv3, copied with all its regions
and interrupts: what is refused, and each of those was looked at.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import Run, corpus_params
from west_viommu.host.devices import NodeIndex
from west_viommu.read.dtb import tree_from_dtb

# Host node -> what it is refused for, when it is assigned alone.
REFUSED = {
    # Its second region is 4 bytes on a page with those of the other controller's usbmisc.
    "/soc/bus@4c100000/usb@4c100000": {"shared-page"},
}
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough {
#address-cells = <2>; #size-cells = <2>; ranges; device { %s }; }; };
"""


def devices(listing: dict[str, Any]) -> list[dict[str, Any]]:
    """The masters with `iommus` whose SMMUs are all supported and enabled."""
    fit = {
        each["path"] for each in listing["iommus"] if each["supported"] and each["status"] == "okay"
    }
    return [
        each
        for each in listing["masters"]
        if each["streams"] and fit.issuperset(stream["iommu"] for stream in each["streams"])
    ]


def copied(master: dict[str, Any], blob: bytes) -> str:
    """The properties of a guest node for `master`."""
    tree = tree_from_dtb(blob)
    node = tree.node(master["path"])
    assert node
    regions = [f"<{cells(region['base'])} {cells(region['size'])}>" for region in master["regions"]]
    interrupts = [
        f"<0 {intid - 32} {flags & 0xF}>"
        for intid, flags in NodeIndex(tree).interrupts(node).by_gic
    ]
    properties = {"reg": regions, "interrupts": interrupts, "xen,path": [f'"{node.path}"']}
    return " ".join(f"{name} = {', '.join(v)};" for name, v in properties.items() if v)


def cells(number: int) -> str:
    return f"{number >> 32:#x} {number & 0xFFFFFFFF:#x}"


@pytest.mark.parametrize("file", corpus_params())
@pytest.mark.parametrize("profile", ["xen-rfc", "xen-v3-dom0less", "xen-v3-libxl"])
def test_what_real_boards_could_pass_through(
    profile: str, file: Path, viommu: Run, tmp_path: Path
) -> None:
    listing = json.loads(viommu("list", "--host", file, "--format", "json").out)
    for master in devices(listing):
        (tmp_path / "guest.dts").write_text(GUEST % copied(master, file.read_bytes()))
        outcome = viommu("bind", "--host", file, "--profile", profile, "guest.dts")
        errors = set(re.findall(r"error: \[([a-z-]+)\]", outcome.err))
        assert errors == REFUSED.get(master["path"], set()), outcome.err
