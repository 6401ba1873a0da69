# SPDX-License-Identifier: Apache-2.0
"""system.yml: the guests of one host, each with the line of its name; or, without a system.yml, the
guests of a sysbuild, or of plans.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from west_viommu.diagnostics import Where, refusal
from west_viommu.hypervisor.assignment import Permission
from west_viommu.names import DOMAIN_NAME, PLAN, is_profile_path
from west_viommu.read.settings import permissions
from west_viommu.read.sysbuild import images
from west_viommu.system.records import Load


def read_built(build: str | os.PathLike[str]) -> SystemFile:
    """Return the images of the sysbuild in `build` that have a plan, as a system.yml would name
    them. Raises Refused if `build` is no sysbuild, or has no such image.
    """
    folder = Path(build)
    found = images(folder)
    if found is None:
        what, hint = "there is no domains.yaml", "name the build directory of a sysbuild"
        raise refusal("unreadable", what, hint, str(folder))
    entries = [
        Entry(_as_name(name), str(directory), Where(str(directory / "viommu" / PLAN)))
        for name, directory in found.directories.items()
        if os.path.isfile(directory / "viommu" / PLAN)
    ]
    if not entries:
        what, hint = "no image of this sysbuild has passthrough devices", "configure it again"
        raise refusal("malformed", what, hint, str(folder))
    return SystemFile(str(folder), domains=tuple(entries))


def read_folders(folders: Iterable[str]) -> SystemFile:
    """Return plans, each in its folder or in a build directory, as a system.yml would name them.
    Each domain is named after its folder, or after the folder above if its folder is `viommu`.
    """
    entries: dict[str, Entry] = {}
    for folder in folders:
        parts = [part for part in Path(os.path.abspath(folder)).parts if part != "viommu"]
        stem, number = _as_name(parts[-1]), 2
        name = stem
        while name in entries:
            name, number = f"{stem}-{number}", number + 1
        entries[name] = Entry(name, folder, Where(_plan_in(folder)))
    return SystemFile(os.curdir, domains=tuple(entries.values()))


def _as_name(text: str) -> str:
    """Return `text` as the name of a domain: for a node of /chosen, an xl guest and a file."""
    found = re.sub(r"[^A-Za-z0-9_-]", "-", text)[:24]
    return found if re.match(DOMAIN_NAME, found) else f"guest-{found}"


def _plan_in(folder: str) -> str:
    """Return the folder of the plan: `folder` itself, or the plan's folder in a build."""
    own = os.path.join(folder, PLAN)
    built = os.path.join(folder, "viommu", PLAN)
    return built if os.path.isfile(built) and not os.path.isfile(own) else own


# Keys that are paths, relative to the file.
_PATHS = ("build", "kernel", "ramdisk")


class Entry(NamedTuple):
    """A domain as its user describes it; None for a missing value. `build`: a build directory, or
    the folder of a plan; `places`: the lines of its keys.
    """

    name: str
    build: str
    where: Where
    kernel: str | None = None
    cpus: int | None = None
    memory: int | None = None
    vpl011: bool | None = None
    load: Load = Load()
    ramdisk: str | None = None
    bootargs: str = ""
    places: Mapping[str, Where] = {}


class OwnFiles(NamedTuple):
    """The files of dom0 as their user names them, and the line that names them."""

    kernel: str
    where: Where
    ramdisk: str | None = None
    bootargs: str = "console=hvc0"


class SystemFile(NamedTuple):
    """The content of a system.yml; its paths are relative to `base`, the file's folder. `file`: the
    system.yml itself; "" if plans were named in its place. `host_where`: the line that names the
    host.
    """

    base: str
    host: str | None = None
    profile: str | None = None
    has_dom0: bool = True
    permissions: tuple[Permission, ...] = ()
    domains: tuple[Entry, ...] = ()
    file: str = ""
    dom0: OwnFiles | None = None
    host_where: Where | None = None
    xen_version: str | None = None
    xen_version_where: Where | None = None
    has_hardware_domain: bool = False
    hardware_domain_where: Where | None = None


def system_file(file: str) -> SystemFile:
    """Return the content of `file`. Raises Refused, with all mistakes in it."""
    # Late, as assign has no system.yml, and yaml is slow to import.
    from west_viommu.read.yaml_reader import Hints, read_document

    hints = Hints("check its path", "write what docs/formats.md shows")
    document = read_document(file, "system-file", hints)
    found = document.value
    folder = os.path.dirname(file)

    def from_here(values: dict[str, Any]) -> dict[str, Any]:
        return values | {key: os.path.join(folder, values[key]) for key in _PATHS if key in values}

    def entry(name: str) -> Entry:
        values = from_here(found["domains"][name])
        places = {key: document.where("domains", name, key) for key in values}
        values["load"] = Load(**values.get("load", {}))
        return Entry(name, where=document.where("domains", name), places=places, **values)

    host, profile, dom0 = found.get("host"), found.get("profile"), found.get("dom0")
    return SystemFile(
        folder or os.curdir,
        host=os.path.join(folder, host) if host else None,
        host_where=document.where("host"),
        profile=os.path.join(folder or os.curdir, profile)
        if profile and is_profile_path(profile)
        else profile,
        has_dom0=dom0 != "none",
        permissions=permissions(document),
        domains=tuple(map(entry, found["domains"])),
        file=file,
        dom0=OwnFiles(where=document.where("dom0"), **from_here(dom0))
        if isinstance(dom0, dict)
        else None,
        xen_version=found.get("xen-version"),
        xen_version_where=document.where("xen-version") if "xen-version" in found else None,
        has_hardware_domain=found.get("hardware-domain", False),
        hardware_domain_where=document.where("hardware-domain")
        if "hardware-domain" in found
        else None,
    )
