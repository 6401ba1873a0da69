# SPDX-License-Identifier: Apache-2.0
"""The profiles that are shipped: data files with what one hypervisor gives its guests."""

from __future__ import annotations

from pathlib import Path

import yaml

from west_viommu.plan.records import Profile, ViommuInterrupt
from west_viommu.tree.interrupts import Intid

_FOLDER = Path(__file__).parent.parent / "profiles"


def profile(name: str) -> Profile:
    """The shipped profile `name`, one of arguments.PROFILES."""
    data = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    viommu = data["viommu"]
    return Profile(
        name=data["name"],
        about=data["about"],
        compatible=viommu["compatible"],
        base=viommu["base"],
        size=viommu["size"],
        phandle=viommu["phandle"],
        interrupts=tuple(
            ViommuInterrupt(
                name=each["name"],
                intid=Intid(each["intid"]),
                is_edge=each["trigger"] == "edge",
            )
            for each in viommu["interrupts"]
        ),
        policy=data["policy"],
        renumbers=data["renumbers"],
        programs_maps=data["programs-iommu-map"],
    )
