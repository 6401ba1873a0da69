# SPDX-License-Identifier: Apache-2.0
"""viommu.yml: the choices of an application, each with the line where it stands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from west_viommu.host.streams import StreamId
from west_viommu.hypervisor.assignment import Explicit, Extra, Permission
from west_viommu.names import DOMAIN, POLICIES, PROFILES, is_profile_path
from west_viommu.problems import Problem, Refused, Where, close_matches
from west_viommu.read.plain_file import near, unreadable
from west_viommu.read.plain_yaml import PlainLoader, plain_text
from west_viommu.tree.addresses import Region

_TEXT = "tag:yaml.org,2002:str"
_NUMBER = "tag:yaml.org,2002:int"
_LARGEST_ID = (1 << 32) - 1
_LARGEST_ADDRESS = 1 << 64
_EXTRA = 'write - {device: "/path/of/host/node", region: [0xff5e0050, 0x4], reason: "what for"}'
_PERMISSION = 'write - {hazard: ID, device: "/path/of/host/node", reason: "why it is safe"}'


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


class _Reader:
    """Reads the composed YAML of one file, as that has the lines, and collects what is wrong."""

    def __init__(self, file: str):
        self._file = file
        self._problems: list[Problem] = []

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
        lines = {key: _line(value) for key, value in entries}
        if self._problems:
            raise Refused(self._problems)
        return Config(**values, lines=lines)

    def _root(self) -> yaml.Node | None:
        try:
            root: yaml.Node | None = yaml.compose(plain_text(self._file), Loader=PlainLoader)
            return root
        except OSError as error:
            self._problems.append(unreadable(self._file, error, "check its path"))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            self._wrong(line, f"not valid YAML: {error.problem}", "correct the syntax")
        except RecursionError:
            self._wrong(None, "it is nested too deeply", "write what docs/formats.md shows")
        except (yaml.YAMLError, UnicodeDecodeError):
            self._wrong(None, "not valid YAML: no text", "write UTF-8 text")
        raise Refused(self._problems)

    def _entries(
        self, node: yaml.Node | None, known: Mapping[str, object]
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Keys, all of them `known`, and values of a mapping."""
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            what = (
                "the file is not a mapping"
                if node.start_mark.index == 0
                else "this is not a mapping"
            )
            self._wrong(_line(node), what, "write `key: value` lines")
            return
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(_line(key), "this key is not text", "write `key: value` lines")
                continue
            name = str(key.value)
            if known and name not in known:
                hint = _meant(name, known)
                self._wrong(_line(key), f"unknown key {name}", hint, ", ".join(known), name)
            elif name in seen:
                self._wrong(_line(key), f"{name} is there twice", "remove one")
            else:
                seen.add(name)
                yield name, value

    def _items(self, node: yaml.Node, what: str) -> Sequence[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self._wrong(_line(node), f"{what} is not a list", "write [..., ...] or `- ` lines")
        return []

    def _text(self, key: str, node: yaml.Node) -> str | None:
        if node.tag == _TEXT and node.value:
            return str(node.value)
        hint = "quote the value" if isinstance(node, yaml.ScalarNode) else "write a single value"
        self._wrong(_line(node), f"{key} is not text", hint, found=_shown(node))
        return None

    def _choice(self, key: str, known: Sequence[str], node: yaml.Node) -> str | None:
        value = self._text(key, node)
        if value and value not in known:
            what, expected = f"no {key} has this name", " or ".join(known)
            self._wrong(_line(node), what, _meant(value, known), expected, value)
        return value

    def _profile(self, node: yaml.Node) -> str | None:
        if node.tag == _TEXT and is_profile_path(str(node.value)):
            file = os.path.join(os.path.dirname(self._file), str(node.value))
            if not os.path.exists(file):
                hint = f"{near(file)}correct the path, which is relative to this file"
                what = "this names a profile that is not there"
                self._wrong(_line(node), what, hint, found=str(node.value))
            return str(node.value)
        return self._choice("profile", PROFILES, node)

    def _explicit(self, node: yaml.Node) -> Iterator[Explicit]:
        for device, value in self._entries(node, {}):
            ids = [self._stream_id(item) for item in self._items(value, f"vsids of {device}")]
            yield Explicit(device, tuple(ids), Where(self._file, _line(value)))

    def _stream_id(self, node: yaml.Node) -> StreamId:
        number = self._number(node)
        if number is None or number > _LARGEST_ID:
            hint = "write numbers such as 0x10"
            self._wrong(_line(node), "this is not a stream ID", hint, "32 bits", _shown(node))
        return StreamId(number or 0)

    def _number(self, node: yaml.Node) -> int | None:
        """The number at `node`; None where there is none, or one below 0."""
        if not isinstance(node, yaml.ScalarNode) or node.tag != _NUMBER:
            return None
        try:
            number = int(yaml.SafeLoader("").construct_yaml_int(node))
        except ValueError:
            # "0x_", or a number of thousands of digits.
            return None
        return number if number >= 0 else None

    def _domain(self, node: yaml.Node) -> Iterator[str]:
        for item in self._items(node, "domain"):
            word = _shown(item)
            if word not in DOMAIN:
                what = "a domain cannot have this"
                self._wrong(_line(item), what, _meant(word, DOMAIN), ", ".join(DOMAIN), word)
            yield word

    def _dom0(self, node: yaml.Node) -> bool:
        if isinstance(node, yaml.ScalarNode) and node.value == "none":
            return False
        what, hint = (
            "dom0 can only be none",
            "write dom0: none where there is no dom0, or remove it",
        )
        self._wrong(_line(node), what, hint, "none", _shown(node))
        return True

    def _permissions(self, node: yaml.Node) -> Iterator[Permission]:
        for item, found in self._mappings(node, "allow", Permission._fields[:3], _PERMISSION):
            hazard, device, reason = (self._text(key, node) or "" for key, node in found.items())
            yield Permission(hazard, device, reason, Where(self._file, _line(item)))

    def _extra(self, node: yaml.Node) -> Iterator[Extra]:
        for item, found in self._mappings(node, "regions", Extra._fields[:3], _EXTRA):
            items = found["region"].value if isinstance(found["region"], yaml.SequenceNode) else []
            base, size = map(self._number, items) if len(items) == 2 else (None, None)
            if base is None or not size or base + size > _LARGEST_ADDRESS:
                what, expected = "this is not a region", "[ADDRESS, SIZE] of the host"
                self._wrong(_line(found["region"]), what, _EXTRA, expected)
                continue
            device, reason = (self._text(key, found[key]) or "" for key in ("device", "reason"))
            yield Extra(device, Region(base, size), reason, Where(self._file, _line(item)))

    def _mappings(
        self, node: yaml.Node, name: str, fields: Sequence[str], hint: str
    ) -> Iterator[tuple[yaml.Node, dict[str, yaml.Node]]]:
        """The entries of the list `name`, and the values in each, in the order of `fields`."""
        for item in self._items(node, name):
            if not isinstance(item, yaml.MappingNode):
                self._wrong(_line(item), f"an entry of {name} is not a mapping", hint)
                continue
            found = dict(self._entries(item, dict.fromkeys(fields)))
            missing = [key for key in fields if key not in found]
            if missing:
                what = f"an entry of {name} lacks {' and '.join(missing)}"
                self._wrong(_line(item), what, hint, ", ".join(fields))
            else:
                yield item, {key: found[key] for key in fields}

    def _wrong(
        self,
        line: int | None,
        what: str,
        hint: str,
        expected: str = "",
        found: str = "",
    ) -> None:
        where = Where(self._file, line)
        self._problems.append(Problem("malformed", what, hint, "", expected, found, where))


def _meant(name: str, known: Iterable[str]) -> str:
    """The hint for a name that is not one of `known`."""
    close = close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else "write one of those, or remove it"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)[:80]
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
