# SPDX-License-Identifier: Apache-2.0
"""Profiles: data files that describe what one hypervisor gives its guests. Some are shipped; a
user's own profile is named by its path.

Importing yaml and reading a profile would take a seventh of `bind`, and importing json as much of
`list` as the profile itself. So the shipped files are YAML in flow style with quotes, which is also
a Python expression.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from west_viommu.diagnostics import Diagnostic, Refused, meant, refusal
from west_viommu.hypervisor.profile import (
    SMMUV3,
    CellLimit,
    Driver,
    Profile,
    Reserved,
    ReservedInterrupts,
    Switch,
    TreeRoom,
    Versions,
    Viommu,
    ViommuInterrupt,
)
from west_viommu.names import POLICIES, PROFILES, is_profile_path
from west_viommu.read.plain_file import PACKAGE
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

if TYPE_CHECKING:
    from west_viommu.read.yaml_reader import Document

_NAMES: dict[str, Any] = {"__builtins__": {}, "null": None, "true": True, "false": False}
_LIST = "`viommu profiles` shows those that are shipped; a file of your own goes by its path"


def profile_file(name: str | None) -> str:
    """Return the data file of profile `name`: a shipped one, a path, or (None) the default. Raises
    Refused.
    """
    if name and is_profile_path(name):
        return name
    return os.path.join(PACKAGE, "profiles", f"{_shipped_name(name)}.yaml")


def profile(name: str | None, policy: str | None) -> Profile:
    """Return the profile `name` with its policy replaced; None means the default of either. Raises
    Refused for an unknown name, and for a file that is no profile.
    """
    data = content_of(name)
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
                _drops_masks(each.get("drops-masks", False)),
                each.get("ids-per-master"),
                each.get("address-bits"),
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
        versions=tuple(data.get("versions", ())),
        tree_rooms=tuple(
            TreeRoom(each["bytes"], each.get("adds-module", False), _versions(each))
            for each in data.get("tree-bytes", ())
        ),
        cell_limits=tuple(
            CellLimit(each["cells"], _versions(each)) for each in data.get("max-cells", ())
        ),
        redistributor_bytes=data.get("redistributor-bytes-per-vcpu", 0),
        vpl011_by_name=data.get("vpl011-by-name", False),
        hardware_domain=_versions(data["hardware-domain"]) if "hardware-domain" in data else None,
    )


def _drops_masks(data: Any) -> Versions | None:
    if isinstance(data, dict):
        return _versions(data)
    return Versions() if data else None


def _versions(data: Any) -> Versions:
    return Versions(data.get("from"), data.get("until"))


def _ram(banks: Any) -> tuple[Region, ...]:
    """Return the memory `banks` of a guest as regions: a list, a single bank, or None."""
    if isinstance(banks, dict):
        banks = [banks]
    return tuple(Region(each["base"], each["size"]) for each in banks or ())


def _viommu(data: Any) -> Viommu | None:
    """Return the vSMMU that the profile `data` describes; None if the profile has no vSMMU."""
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
        stage1_settings=data.get("stage1-settings", "device"),
        is_stage1_known="stage1-settings" in data,
    )


def content_of(name: str | None) -> Any:
    """Return the data of profile `name`, by the keys of its file. Raises Refused."""
    file = profile_file(name)
    if name and is_profile_path(name):
        return _own(file)
    with open(file, encoding="utf-8") as shipped:
        return eval(shipped.read(), dict(_NAMES))


def _own(file: str) -> Any:
    """Return the data of a user's own profile. Raises Refused."""
    # Late: YAML costs more than a plan.
    from west_viommu.read.yaml_reader import Hints, read_document

    shipped = os.path.basename(file).rpartition(".")[0]
    hints = Hints(
        f"did you mean {shipped}, a shipped profile, which goes by its name?"
        if shipped in PROFILES
        else "correct the path; the shipped profiles (`viommu profiles`) go by name",
        "start from what `viommu profiles NAME` prints",
    )
    document = read_document(os.path.normpath(file), "profile", hints)
    if document.value["name"] in PROFILES:
        what, hint = "a shipped profile has this name", "give yours a name of its own"
        where = document.where("name")
        raise Refused([Diagnostic(id="malformed", what=what, hint=hint, where=where)])
    _check_versions(document)
    return document.value


def _check_versions(document: Document) -> None:
    """Raise Refused if an entry names a version that the profile does not cover."""
    found = document.value
    known = found.get("versions", [])
    places: list[tuple[Any, Any]] = [(("hardware-domain",), found.get("hardware-domain", {}))]
    for key in ("tree-bytes", "max-cells"):
        places += [((key, i), entry) for i, entry in enumerate(found.get(key, ()))]
    for i, driver in enumerate(found.get("iommus", ())):
        if isinstance(driver.get("drops-masks"), dict):
            places.append((("iommus", i, "drops-masks"), driver["drops-masks"]))
    for place, entry in places:
        for end in ("from", "until"):
            version = entry.get(end)
            if version is not None and version not in known:
                key = place[-1] if place[0] == "iommus" else place[0]
                what = f"{key} names a version that the profile does not cover"
                hint = "write one of `versions`, or add it there"
                where = document.where(*place, end)
                raise Refused(
                    [
                        Diagnostic(
                            id="malformed",
                            what=what,
                            hint=hint,
                            expected=" or ".join(known) or "no version",
                            found=version,
                            where=where,
                        )
                    ]
                )


def _shipped_name(name: str | None) -> str:
    return _known("profile", name or PROFILES[0], PROFILES)


def _known(key: str, name: str, names: Sequence[str]) -> str:
    """Return `name` if it is one of `names`. Raises Refused."""
    if name in names:
        return name
    hint = meant(name, names) or ("" if key == "profile" else "choose one of those")
    if key == "profile":
        hint = f"{hint} {_LIST}".lstrip()
    expected = " or ".join(names)
    raise refusal("malformed", f"no {key} has this name", hint, expected=expected, found=name)
