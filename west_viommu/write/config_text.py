# SPDX-License-Identifier: Apache-2.0
"""A viommu.yml to start from, with every key explained."""

from __future__ import annotations

import json
from collections.abc import Sequence

from west_viommu.hypervisor.profile import Profile
from west_viommu.names import DOMAIN


def config_text(
    host: str | None, profiles: Sequence[Profile], chosen: str | None, schema: str
) -> str:
    """The text. `host` and the profile `chosen` as they are to stand there, None where nobody named
    one; `profiles` are those to choose from; `schema` is where an editor finds that of the file.
    """
    widest = max(len(each.name) for each in profiles)
    lines = [
        f"# yaml-language-server: $schema={schema}",
        "# What west-viommu binds the guest of this application to. Every key is optional.",
        "",
        "# The devicetree that Xen is booted with: a blob, a .dts, or a directory in",
        "# /proc/device-tree form; relative to this file.",
        f"host: {json.dumps(host, ensure_ascii=False)}" if host else "# host: boards/host.dtb",
        "",
        "# What the hypervisor gives the guest (`viommu profiles`):",
        *(f"#   {each.name:{widest}}  {each.about}" for each in profiles),
        "# or the path of a profile of your own.",
        f"profile: {json.dumps(chosen, ensure_ascii=False)}"
        if chosen
        else f"# profile: {profiles[0].name}",
        "",
        "# How the guest's stream IDs are numbered; without, as the profile's hypervisor does:",
        "# identity (the host's), first-free (from 0), explicit (by vsids below).",
        "# vsid: identity",
        "# vsids:",
        '#   "/path/of/host/node": [0x10, 0x11]',
        "",
        f"# What else this domain has: {', '.join(DOMAIN)}. Each takes addresses and interrupts.",
        "# domain: [vpl011]",
        "",
        "# Where there is no dom0, nobody gets what no guest asks for.",
        "# dom0: none",
        "",
        "# Registers that a device's driver needs besides those of its host node, and what for",
        "# (`viommu explain region-mismatch`).",
        "# regions:",
        '#   - {device: "/path/of/host/node", region: [0xff5e0050, 0x4], reason: "..."}',
        "",
        "# Hazards that you take, each for one device, and why (`viommu explain`).",
        "# allow:",
        '#   - {hazard: shared-page, device: "/path/of/host/node", reason: "..."}',
    ]
    return "".join(f"{line}\n" for line in lines)
