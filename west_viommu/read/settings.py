# SPDX-License-Identifier: Apache-2.0
"""Settings, from options first, then west's configuration, then viommu.yml."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from west_viommu.diagnostics import Diagnostic, Refused, Where, close_matches, refusal
from west_viommu.names import VARIABLES, is_profile_path
from west_viommu.read.plain_file import is_missing, near

if TYPE_CHECKING:
    from west_viommu.hypervisor.assignment import Explicit, Extra, Permission, Terms
    from west_viommu.hypervisor.profile import Profile
    from west_viommu.read.yaml_reader import Document

FILE_NAME = "viommu.yml"
# Other names that people give viommu.yml.
_NEAR_MISSES = ("viommu.yaml", ".viommu.yml", "viommu.yml.txt", "west-viommu.yml")
# Beginnings of mistyped variables. The variables of our tests have other beginnings.
_NEAR_VARIABLES = tuple(
    f"VIOMMU_{word}"
    for word in ("HOST", "DTB", "DTS", "PROFIL", "VSID", "CONF", "YML", "YAML", "ERROR")
)
# Key of viommu.yml -> key of west's section [viommu].
_KEYS = {"host": "host-dtb", "profile": "profile", "vsid": "vsid"}


class Settings(NamedTuple):
    """The settings of an application; None for a setting that is not made. `files`: the files that
    the settings came from. `host_where`: the line that names the host. The other fields are those
    in viommu.yml (docs/formats.md).
    """

    host: str | None
    profile: str | None
    vsid: str | None
    files: tuple[str, ...] = ()
    domain: frozenset[str] = frozenset()
    permissions: tuple[Permission, ...] = ()
    explicit: tuple[Explicit, ...] = ()
    has_dom0: bool = True
    extra: tuple[Extra, ...] = ()
    host_where: Where | None = None
    xen_version: str | None = None
    xen_version_where: Where | None = None
    cpus: int = 1
    has_hardware_domain: bool = False
    hardware_domain_where: Where | None = None


def check_host(host: str | None, where: Where | None) -> None:
    """Raise Refused if the file of `where` names the `host` tree, and it is not there."""
    if host and where and is_missing(host):
        from west_viommu.read.west import WEST_FILES

        is_own = not where.file.endswith(WEST_FILES)
        of = "this file" if is_own else "the application: west config viommu.host-dtb PATH"
        hint = f"{near(host)}correct the path, which is relative to {of}"
        what = "this names a host tree that does not exist"
        raise Refused([Diagnostic(id="unreadable", what=what, hint=hint, found=host, where=where)])


def settings(
    options: Mapping[str, str | None],
    app: str,
    config: str | None = None,
    workspace: str | None = None,
) -> Settings:
    """Return the settings for the application in folder `app`, which is in the west `workspace`, or
    else in the workspace above `app`.

    `options` come first, then `west config viommu.*` (a relative host is relative to `app`), then
    `config` or viommu.yml in `app` (relative to that file). Raises Refused.
    """
    _check_variables()
    west, west_files = _of_west(app, workspace)
    own = _of_file(app, config)
    host, profile, vsid = (options.get(key) or west.get(key) or getattr(own, key) for key in _KEYS)
    if options.get("xen_version"):
        own = own._replace(xen_version=options["xen_version"], xen_version_where=None)
    where = own.host_where
    if options.get("host") or west.get("host"):
        where = None if options.get("host") else _host_place(west_files)
    return own._replace(
        host=host,
        profile=profile,
        vsid=vsid,
        files=(*west_files, *own.files),
        host_where=where,
    )


def terms(chosen: Settings) -> Terms:
    """Return the terms of a plan, with the profile read. Raises Refused."""
    from west_viommu.hypervisor.assignment import Terms
    from west_viommu.read.profiles import profile

    known = profile(chosen.profile, chosen.vsid)
    check_hardware_domain(chosen, known)
    return Terms(
        known,
        chosen.domain,
        chosen.permissions,
        chosen.explicit,
        chosen.has_dom0,
        chosen.extra,
        version_of(chosen, known),
        chosen.cpus,
        chosen.has_hardware_domain,
    )


class OfHypervisor(Protocol):
    """The keys of viommu.yml and system.yml that say which hypervisor it is."""

    @property
    def xen_version(self) -> str | None: ...
    @property
    def xen_version_where(self) -> Where | None: ...
    @property
    def has_dom0(self) -> bool: ...
    @property
    def has_hardware_domain(self) -> bool: ...
    @property
    def hardware_domain_where(self) -> Where | None: ...


def version_of(chosen: OfHypervisor, known: Profile) -> str | None:
    """Return the version of the profile that was chosen; "4.20.4" belongs to "4.20". Raises
    Refused.
    """
    wanted = chosen.xen_version
    if not wanted:
        return None
    for version in known.versions:
        if wanted == version or wanted.startswith(f"{version}."):
            return version
    what = f"the profile {known.name} knows no version {wanted}"
    expected = " or ".join(known.versions)
    hint = "write one of those; `viommu profiles --from DIR` makes a profile of another source"
    number = re.search(r"\d+\.\d+", wanted)
    if number and number[0] in known.versions:
        hint = f"did you mean {number[0]}?"
    if not known.versions:
        hint = f"remove it: the profile {known.name} is for one version alone"
    raise Refused(
        [
            Diagnostic(
                id="malformed",
                what=what,
                hint=hint,
                expected=expected,
                found=wanted,
                where=chosen.xen_version_where or Where("--xen-version"),
            )
        ]
    )


def check_hardware_domain(chosen: OfHypervisor, known: Profile) -> None:
    """Raise Refused if there is a hardware domain, and the profile allows none."""
    if not chosen.has_hardware_domain:
        return
    what = ""
    if chosen.has_dom0:
        what = "hardware-domain says that another domain than dom0 gets the rest of the host"
        hint = "write dom0: none as well, or remove hardware-domain"
    elif known.hardware_domain is None:
        what = f"the hypervisor of the profile {known.name} creates no hardware domain at boot"
        hint = "remove hardware-domain; Xen has it from 4.21 on (the profile xen)"
    elif (version := version_of(chosen, known)) and not known.covers(
        known.hardware_domain, version
    ):
        what = f"{version} creates no hardware domain at boot"
        hint = f"remove hardware-domain, or take {known.hardware_domain.first} or later"
    if what:
        place = chosen.hardware_domain_where
        raise Refused([Diagnostic(id="malformed", what=what, hint=hint, where=place)])


def terms_of_host(chosen: Settings) -> Terms:
    """Return the terms by which the devices of a host are judged for a guest that is not known: if
    nothing names a profile and there is a dom0, the terms of the default profile alone. Raises
    Refused.
    """
    if chosen.profile or not chosen.has_dom0:
        return terms(chosen)
    return terms(Settings(None, None, None))


def config_of(file: str) -> Settings:
    """Return the settings of the viommu.yml `file`. Raises Refused, with all mistakes in it."""
    # Late: YAML takes a tenth of a run, and most runs have no such file.
    from west_viommu.hypervisor.assignment import Explicit, Extra
    from west_viommu.read.yaml_reader import Hints, read_document
    from west_viommu.tree.addresses import Region

    hints = Hints("check its path", "write what docs/formats.md shows")
    document = read_document(file, "config", hints)
    found = document.value
    return Settings(
        host=found.get("host"),
        profile=found.get("profile"),
        vsid=found.get("vsid"),
        files=(file,),
        domain=frozenset(found.get("domain", ())),
        permissions=permissions(document),
        explicit=tuple(
            Explicit(device, tuple(ids), document.where("vsids", device))
            for device, ids in found.get("vsids", {}).items()
        ),
        has_dom0="dom0" not in found,
        extra=tuple(
            Extra(
                each["device"],
                Region(*each["region"]),
                each["reason"],
                document.where("regions", number),
            )
            for number, each in enumerate(found.get("regions", ()))
        ),
        host_where=document.where("host") if "host" in found else None,
        xen_version=found.get("xen-version"),
        xen_version_where=document.where("xen-version") if "xen-version" in found else None,
        cpus=found.get("cpus", 1),
        has_hardware_domain=found.get("hardware-domain", False),
        hardware_domain_where=document.where("hardware-domain")
        if "hardware-domain" in found
        else None,
    )


def permissions(document: Document) -> tuple[Permission, ...]:
    """Return the permissions of a viommu.yml or system.yml."""
    from west_viommu.hypervisor.assignment import Permission

    return tuple(
        Permission(each["hazard"], each["device"], each["reason"], document.where("allow", number))
        for number, each in enumerate(document.value.get("allow", ()))
    )


def _of_west(app: str, workspace: str | None) -> tuple[dict[str, str | None], list[str]]:
    """Return the settings of west's configuration, and its files."""
    from west_viommu.read.west import west_configs

    values: dict[str, str] = {}
    files = []
    for parser, file in west_configs(app, workspace):
        files.append(file)
        if parser.has_section("viommu"):
            for key, name in _KEYS.items():
                if name in parser["viommu"]:
                    values.setdefault(key, parser["viommu"][name])
    return {key: placed(key, value, app) for key, value in values.items()}, files


def _of_file(app: str, config: str | None) -> Settings:
    """Return the settings of viommu.yml, with paths relative to the current folder."""
    file = config or os.path.normpath(os.path.join(app, FILE_NAME))
    if not config and not os.path.exists(file):
        _check_no_other(os.path.dirname(file))
        return Settings(None, None, None)
    own = config_of(file)
    folder = os.path.dirname(file)
    return own._replace(
        host=placed("host", own.host, folder), profile=placed("profile", own.profile, folder)
    )


def _check_variables() -> None:
    """Raise Refused if a variable of the environment is nearly one of ours: it would be ignored,
    and another host or profile would be used.
    """
    for name in os.environ:
        if name.startswith(_NEAR_VARIABLES) and name not in VARIABLES:
            hint = f"the variables are {', '.join(VARIABLES)}; unset the other"
            if close := close_matches(name, VARIABLES, 1):
                hint = f"did you mean {close[0]}? If not, unset it"
            raise refusal("malformed", f"nothing reads the variable {name}", hint)


def _check_no_other(folder: str) -> None:
    """Raise Refused if `folder` has a viommu.yml under another name, which would be ignored."""
    for name in _NEAR_MISSES:
        file = os.path.join(folder, name)
        if os.path.exists(file):
            what = f"nothing reads {name}"
            hint = f"rename it to {FILE_NAME}, or name it with --config or VIOMMU_CONFIG"
            raise refusal("malformed", what, hint, file, expected=FILE_NAME, found=name)


def _host_place(west_files: list[str]) -> Where | None:
    """Return the line of west's configuration that names the host."""
    from west_viommu.read.west import line_in

    for file in west_files:
        line = line_in(file, _KEYS["host"])
        if line:
            return Where(file, line)
    return None


def placed(key: str, value: str | None, folder: str) -> str | None:
    """Return the value of a key; if it is a path, relative to `folder`."""
    if value and (key == "host" or (key == "profile" and is_profile_path(value))):
        path = os.path.normpath(os.path.join(folder, value))
        # Without its ./ it would be the name of a shipped profile.
        return path if key == "host" or is_profile_path(path) else os.path.join(os.curdir, path)
    return value
