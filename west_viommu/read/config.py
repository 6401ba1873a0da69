# SPDX-License-Identifier: Apache-2.0
"""viommu.yml: the choices of an application, each with the line where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import yaml

from west_viommu.host.streams import StreamId
from west_viommu.hypervisor.assignment import Explicit, Permission
from west_viommu.names import DOMAIN, POLICIES
from west_viommu.problems import Refused, Where
from west_viommu.read.yaml_reader import YamlReader, line_of, meant, number_of, shown

_LARGEST_ID = (1 << 32) - 1


class Config(NamedTuple):
    """What a viommu.yml says; None or empty where it does not."""

    host: str | None = None
    profile: str | None = None
    vsid: str | None = None
    explicit: tuple[Explicit, ...] = ()
    domain: frozenset[str] = frozenset()
    permissions: tuple[Permission, ...] = ()
    has_dom0: bool = True


def config_of(file: str) -> Config:
    """What `file` says. Raises Refused, with all that is wrong with it."""
    return _Reader(file).config()


class _Reader(YamlReader):
    """Reads the composed YAML of one file, as that has the lines, and collects what is wrong."""

    def config(self) -> Config:
        """The content of the file. Raises Refused."""
        readers: dict[str, Callable[[yaml.Node], Any]] = {
            "host": partial(self._text, "host"),
            "profile": self._profile,
            "vsid": partial(self._choice, "vsid", POLICIES),
            "vsids": lambda node: tuple(self._explicit(node)),
            "domain": lambda node: frozenset(self._domain(node)),
            "dom0": self._dom0,
            "allow": lambda node: tuple(self._permissions(node)),
        }
        fields = {"vsids": "explicit", "allow": "permissions", "dom0": "has_dom0"}
        root = self._root()
        values = {
            fields.get(key, key): readers[key](value) for key, value in self._entries(root, readers)
        }
        if self._problems:
            raise Refused(self._problems)
        return Config(**values)

    def _explicit(self, node: yaml.Node) -> Iterator[Explicit]:
        for device, value in self._entries(node, {}):
            ids = [self._stream_id(item) for item in self._items(value, f"vsids of {device}")]
            yield Explicit(device, tuple(ids), Where(self._file, line_of(value)))

    def _stream_id(self, node: yaml.Node) -> StreamId:
        number = number_of(node)
        if number is None or number > _LARGEST_ID:
            hint = "write numbers such as 0x10"
            self._wrong(line_of(node), "this is no stream ID", hint, "32 bits", shown(node))
        return StreamId(number or 0)

    def _domain(self, node: yaml.Node) -> Iterator[str]:
        for item in self._items(node, "domain"):
            word = shown(item)
            if word not in DOMAIN:
                what = "this is nothing that a domain can have"
                self._wrong(line_of(item), what, meant(word, DOMAIN), ", ".join(DOMAIN), word)
            yield word
