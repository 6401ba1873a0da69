# SPDX-License-Identifier: Apache-2.0
"""Profiles: data files with what one hypervisor gives its guests. Some are shipped; a user's own is
named by its path.

What is shipped is YAML with its reasons beside it, for people, and the same as JSON, to be read: to
import yaml and read one takes a seventh of `bind`. A test holds the two together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from west_viommu.diagnostics import close_matches, refusal
from west_viommu.hypervisor.profile import (
    SMMUV3,
    Driver,
    Profile,
    Reserved,
    ReservedInterrupts,
    Switch,
    Viommu,
    ViommuInterrupt,
)
from west_viommu.names import POLICIES, PROFILES, is_profile_path
from west_viommu.read.plain_file import PACKAGE
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

# The profiles that are shipped, by name.
SHIPPED = os.path.join(PACKAGE, "profiles", "shipped.json")
_LIST = "`viommu profiles` shows those that are shipped; a file of your own goes by its path"


def profile_file(name: str | None) -> str:
    """The data file of profile `name`: a shipped one, a path, or (None) the default. Raises
    Refused.
    """
    if name and is_profile_path(name):
        return name
    return os.path.join(PACKAGE, "profiles", f"{_shipped_name(name)}.yaml")


def profile(name: str | None, policy: str | None) -> Profile:
    """The profile `name` with its policy replaced; None keeps either's default. Raises Refused for
    a name that is not known, and for a file that is no profile.
    """
    data = _content(name)
    return Profile(
        name=data["name"],
        about=data["about"],
        source=data["source"],
        viommu=_viommu(data),
        policy=_known("vsid", policy or data["policy"], POLICIES),
        renumbers=data["renumbers"] or None,
        programs_maps=data["programs-iommu-map"],
        drivers=tuple(
            Driver(
                tuple(each["compatible"]),
                tuple(each["cells"]),
                each["shared-within-domain"],
                each.get("last-stream-id"),
                each.get("drops-masks", False),
            )
            for each in data["iommus"]
        )
        if "iommus" in data
        else (SMMUV3,),
        repeats_ids=data.get("repeated-stream-ids", False),
        toolstacks=tuple(data["toolstacks"]),
        ram=_ram(data.get("ram")),
        switches=tuple(Switch(**each) for each in data.get("switches", ())),
        reserved=tuple(
            Reserved(each["name"], Region(each["base"], each["size"]), each["if"])
            for each in data["reserved"]["regions"]
        ),
        reserved_interrupts=tuple(
            ReservedInterrupts(each["name"], each["first"], each["last"], each["if"])
            for each in data["reserved"]["interrupts"]
        ),
    )


def _ram(banks: Any) -> tuple[Region, ...]:
    """The `banks` of a guest's memory: a list, the only one, or None."""
    if isinstance(banks, dict):
        banks = [banks]
    return tuple(Region(each["base"], each["size"]) for each in banks or ())


def _viommu(data: Any) -> Viommu | None:
    """The vSMMU that the profile `data` describes; None where it says that there is none."""
    found = data["viommu"]
    if found is None:
        return None
    return Viommu(
        compatible=found["compatible"],
        base=found["base"],
        size=found["size"],
        phandle=found["phandle"],
        interrupts=tuple(
            ViommuInterrupt(
                name=each["name"],
                intid=Intid(each["intid"]),
                is_edge=each["trigger"] == "edge",
            )
            for each in found["interrupts"]
        ),
        flags=tuple(found.get("flags", ())),
        id_bits=data["stream-id-bits"],
    )


def _content(name: str | None) -> Any:
    """The data of profile `name`."""
    if name and is_profile_path(name):
        # Late: YAML and JSON schema cost more than a plan.
        from west_viommu.read.own_profile import own_profile

        return own_profile(name)
    with open(SHIPPED, encoding="utf-8") as file:
        return json.load(file)[_shipped_name(name)]


def _shipped_name(name: str | None) -> str:
    return _known("profile", name or PROFILES[0], PROFILES)


def _known(key: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`. Raises Refused."""
    if name in names:
        return name
    close = close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else "choose one of those"
    if key == "profile":
        hint = f"{hint} {_LIST}" if close else _LIST
    expected = " or ".join(names)
    raise refusal("malformed", f"no {key} has this name", hint, expected=expected, found=name)
