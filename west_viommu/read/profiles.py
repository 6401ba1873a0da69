# SPDX-License-Identifier: Apache-2.0
"""The profiles that are shipped: data files with what one hypervisor gives its guests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from west_viommu.names import POLICIES, PROFILES
from west_viommu.plan.records import Profile, ViommuInterrupt
from west_viommu.problems import Problem, Refused, close_matches
from west_viommu.tree.interrupts import Intid

_FOLDER = Path(__file__).parent.parent / "profiles"


def profile_file(name: str | None) -> Path:
    """The data file of the shipped profile `name`, None for the default. Raises Refused."""
    return _FOLDER / f"{_known('profile', name or PROFILES[0], PROFILES)}.yaml"


def profile(name: str | None, policy: str | None) -> Profile:
    """The shipped profile `name` with its policy replaced; None keeps either's default. Raises
    Refused for a name that is not known.
    """
    data = yaml.safe_load(profile_file(name).read_text(encoding="utf-8"))
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
        policy=_known("vsid", policy or data["policy"], POLICIES),
        programs_maps=data["programs-iommu-map"],
    )


def _known(key: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`. Raises Refused."""
    if name in names:
        return name
    close = close_matches(name, names, 1) or names
    raise Refused(
        [
            Problem(
                "malformed",
                f"no {key} has this name",
                f"did you mean {' or '.join(close)}?",
                expected=" or ".join(names),
                found=name,
            )
        ]
    )
