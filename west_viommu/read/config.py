# SPDX-License-Identifier: Apache-2.0
"""viommu.yml: the choices of an application, each with the line where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from west_viommu.diagnostics import Refused, Where
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import Explicit, Extra, Permission
from west_viommu.names import DOMAIN, POLICIES
from west_viommu.read.yaml_reader import YamlReader, line_of, meant, number_of, shown
from west_viommu.tree.addresses import Region

_LARGEST_ID = (1 << 32) - 1
_LARGEST_ADDRESS = 1 << 64
_EXTRA = 'write - {device: "/path/of/host/node", region: [0xff5e0050, 0x4], reason: "what for"}'


class Config(NamedTuple):
    """What a viommu.yml says; None or empty where it does not. `lines`: where each key stands."""

    host: str | None = None
    profile: str | None = None
    vsid: str | None = None
    explicit: tuple[Explicit, ...] = ()
    domain: frozenset[str] = frozenset()
    permissions: tuple[Permission, ...] = ()
    has_dom0: bool = True
    extra: tuple[Extra, ...] = ()
    lines: Mapping[str, int] = MappingProxyType({})


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
            "regions": lambda node: tuple(self._extra(node)),
        }
        fields = {
            "vsids": "explicit",
            "allow": "permissions",
            "dom0": "has_dom0",
            "regions": "extra",
        }
        root = self._root()
        entries = list(self._entries(root, readers))
        values = {fields.get(key, key): readers[key](value) for key, value in entries}
        lines = {key: line_of(value) for key, value in entries}
        if self._problems:
            raise Refused(self._problems)
        return Config(**values, lines=lines)

    def _explicit(self, node: yaml.Node) -> Iterator[Explicit]:
        for device, value in self._entries(node, {}):
            ids = [self._stream_id(item) for item in self._items(value, f"vsids of {device}")]
            yield Explicit(device, tuple(ids), Where(self._file, line_of(value)))

    def _stream_id(self, node: yaml.Node) -> StreamId:
        number = number_of(node)
        if number is None or number > _LARGEST_ID:
            hint = "write numbers such as 0x10"
            self._wrong(line_of(node), "this is not a stream ID", hint, "32 bits", shown(node))
        return StreamId(number or 0)

    def _domain(self, node: yaml.Node) -> Iterator[str]:
        for item in self._items(node, "domain"):
            word = shown(item)
            if word not in DOMAIN:
                what = "a domain cannot have this"
                self._wrong(line_of(item), what, meant(word, DOMAIN), ", ".join(DOMAIN), word)
            yield word

    def _extra(self, node: yaml.Node) -> Iterator[Extra]:
        for item, found in self._mappings(node, "regions", Extra._fields[:3], _EXTRA):
            items = found["region"].value if isinstance(found["region"], yaml.SequenceNode) else []
            base, size = map(number_of, items) if len(items) == 2 else (None, None)
            if base is None or not size or base + size > _LARGEST_ADDRESS:
                what, expected = "this is not a region", "[ADDRESS, SIZE] of the host"
                self._wrong(line_of(found["region"]), what, _EXTRA, expected)
                continue
            device, reason = (self._text(key, found[key]) or "" for key in ("device", "reason"))
            yield Extra(device, Region(base, size), reason, Where(self._file, line_of(item)))
