# SPDX-License-Identifier: Apache-2.0
"""system.yml: the guests of one host, each with the line where it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import yaml

from west_viommu.diagnostics import Refused, Where
from west_viommu.hypervisor.assignment import Permission
from west_viommu.names import is_profile_path
from west_viommu.read.yaml_reader import YamlReader, line_of, number_of, shown
from west_viommu.system.records import Load

_MOST_CPUS = 128
# 1 TiB: no guest's RAM is larger (GUEST_RAM0_SIZE and GUEST_RAM1_SIZE of Xen's arch-arm.h).
_MOST_MEMORY = 1 << 20
_LAST_ADDRESS = (1 << 64) - 1
_BOOL = "tag:yaml.org,2002:bool"
# As YAML 1.1 has them.
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# A node of /chosen, the name of an xl guest and of a file. Xen truncates nothing of it.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")


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
    """What `file` says. Raises Refused, with all that is wrong with it."""
    return _Reader(file).system()


class _Reader(YamlReader):
    def system(self) -> SystemFile:
        base = os.path.dirname(self._file) or os.curdir
        readers: dict[str, Callable[[yaml.Node], Any]] = {
            "host": lambda node: self._path("host", node),
            "profile": self._profile,
            "dom0": self._dom0,
            "allow": lambda node: tuple(self._permissions(node)),
            "domains": lambda node: tuple(self._domains(node)),
        }
        fields = {"allow": "permissions", "dom0": "has_dom0"}
        values = {
            fields.get(key, key): readers[key](value)
            for key, value in self._entries(self._root(), readers)
        }
        if not values.get("domains") and not self._problems:
            self._wrong(None, "no domain is named", "write domains: {NAME: {build: DIR}}")
        if self._problems:
            raise Refused(self._problems)
        profile = values.get("profile")
        if profile and is_profile_path(profile):
            values["profile"] = os.path.join(base, profile)
        return SystemFile(base, file=self._file, **values)

    def _domains(self, node: yaml.Node) -> Iterator[Entry]:
        for name, line, value in self._lines(node, {}):
            if not _NAME.fullmatch(name):
                hint = "write a letter, then letters, digits, - and _: 31 characters at most"
                self._wrong(line, "this cannot be the name of a domain", hint, found=name[:80])
            else:
                yield from self._domain(name, line, value)

    def _domain(self, name: str, line: int, node: yaml.Node) -> Iterator[Entry]:
        readers: dict[str, Callable[[yaml.Node], Any]] = {
            "build": partial(self._path, "build"),
            "kernel": partial(self._path, "kernel"),
            "cpus": partial(self._number, "cpus", 1, _MOST_CPUS),
            "memory": partial(self._number, "memory", 1, _MOST_MEMORY),
            "vpl011": partial(self._switch, "vpl011"),
            "load": self._load,
            "ramdisk": partial(self._path, "ramdisk"),
            "bootargs": self._bootargs,
        }
        values = {key: readers[key](value) for key, value in self._entries(node, readers)}
        values = {key: value for key, value in values.items() if value is not None}
        where = Where(self._file, line)
        if values.get("build"):
            yield Entry(name, where=where, **values)
        elif not self._problems:
            hint = "write build: DIR, a build directory or the folder with its viommu.json"
            self._wrong(line, f"{name} has no build", hint)

    def _path(self, key: str, node: yaml.Node) -> str | None:
        """A path, which is relative to the file."""
        text = self._text(key, node)
        return os.path.join(os.path.dirname(self._file), text) if text else None

    def _number(self, key: str, first: int, last: int, node: yaml.Node) -> int | None:
        number = number_of(node)
        if number is not None and first <= number <= last:
            return number
        unit = " of MiB" if key == "memory" else ""
        what, hint = f"{key} is not a number{unit}", "write a number, such as 1 or 0x50000000"
        self._wrong(line_of(node), what, hint, f"{first} to {last}", shown(node))
        return None

    def _switch(self, key: str, node: yaml.Node) -> bool | None:
        value = _SWITCHES.get(shown(node).lower()) if node.tag == _BOOL else None
        if value is None:
            what, hint = f"{key} is neither true nor false", "write true or false"
            self._wrong(line_of(node), what, hint, found=shown(node))
        return value

    def _load(self, node: yaml.Node) -> Load:
        return Load(
            **{
                key: self._number(key, 0, _LAST_ADDRESS, value)
                for key, value in self._entries(node, dict.fromkeys(Load._fields))
            }
        )

    def _bootargs(self, node: yaml.Node) -> str | None:
        text = self._text("bootargs", node)
        if text and not (text.isascii() and text.isprintable()):
            hint = "write printable ASCII: it becomes a property of a devicetree"
            self._wrong(line_of(node), "bootargs has other characters", hint, found=text[:80])
            return None
        return text
