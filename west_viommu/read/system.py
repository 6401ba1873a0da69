# SPDX-License-Identifier: Apache-2.0
"""system.yml: the guests of one host, each with the line of its name."""

from __future__ import annotations

import os
from typing import NamedTuple

from west_viommu.diagnostics import Where
from west_viommu.hypervisor.assignment import Permission
from west_viommu.names import is_profile_path
from west_viommu.read.settings import permissions
from west_viommu.read.yaml_reader import Hints, read_document
from west_viommu.system.records import Load

# Keys that are paths, relative to the file.
_PATHS = ("build", "kernel", "ramdisk")


class Entry(NamedTuple):
    """A domain as its user names it; None where that does not say. `build`: a build directory, or
    the folder of a plan.
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


class SystemFile(NamedTuple):
    """What a system.yml says; its paths are those of the file's folder. `base`: that folder.
    `file`: the system.yml itself; "" where plans were named in its place (read/named_plans.py).
    """

    base: str
    host: str | None = None
    profile: str | None = None
    has_dom0: bool = True
    permissions: tuple[Permission, ...] = ()
    domains: tuple[Entry, ...] = ()
    file: str = ""


def system_file(file: str) -> SystemFile:
    """Return what `file` says. Raises Refused, with all that is wrong with it."""
    hints = Hints("check its path", "write what docs/formats.md shows")
    document = read_document(file, "system-file", hints)
    found = document.value
    folder = os.path.dirname(file)

    def entry(name: str) -> Entry:
        values = dict(found["domains"][name])
        values |= {key: os.path.join(folder, values[key]) for key in _PATHS if key in values}
        values["load"] = Load(**values.get("load", {}))
        return Entry(name, where=document.where("domains", name), **values)

    host, profile = found.get("host"), found.get("profile")
    return SystemFile(
        folder or os.curdir,
        host=os.path.join(folder, host) if host else None,
        profile=os.path.join(folder or os.curdir, profile)
        if profile and is_profile_path(profile)
        else profile,
        has_dom0="dom0" not in found,
        permissions=permissions(document),
        domains=tuple(map(entry, found["domains"])),
        file=file,
    )
