# SPDX-License-Identifier: Apache-2.0
"""Files of ours that people write, by their composed YAML: that has the lines, so each mistake is
told with its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import yaml

from west_viommu.diagnostics import Diagnostic, Where, close_matches
from west_viommu.hypervisor.assignment import Permission
from west_viommu.names import PROFILES, is_profile_path
from west_viommu.read.plain_file import is_missing, near
from west_viommu.read.plain_yaml import Hints, composed

_TEXT = "tag:yaml.org,2002:str"
_NUMBER = "tag:yaml.org,2002:int"
_PERMISSION = 'write - {hazard: ID, device: "/path/of/host/node", reason: "why it is safe"}'


class YamlReader:
    """Reads one file, and collects what is wrong with it."""

    def __init__(self, file: str):
        self._file = file
        self._problems: list[Diagnostic] = []

    def _root(self) -> yaml.Node | None:
        hints = Hints("check its path", "write what docs/formats.md shows")
        root: yaml.Node | None = composed(self._file, hints)
        return root

    def _entries(
        self, node: yaml.Node | None, known: Mapping[str, object]
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Keys, all of them `known`, and values of a mapping."""
        for name, _, value in self._lines(node, known):
            yield name, value

    def _lines(
        self, node: yaml.Node | None, known: Mapping[str, object]
    ) -> Iterator[tuple[str, int, yaml.Node]]:
        """As `_entries`, with the line of each key."""
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            what = (
                "the file is not a mapping"
                if node.start_mark.index == 0
                else "this is not a mapping"
            )
            self._wrong(line_of(node), what, "write `key: value` lines")
            return
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(line_of(key), "this key is not text", "write `key: value` lines")
                continue
            name = str(key.value)
            if known and name not in known:
                hint = meant(name, known)
                self._wrong(line_of(key), f"unknown key {name}", hint, ", ".join(known), name)
            elif name in seen:
                self._wrong(line_of(key), f"{name} appears twice", "remove one")
            else:
                seen.add(name)
                yield name, line_of(key), value

    def _items(self, node: yaml.Node, what: str) -> Sequence[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self._wrong(line_of(node), f"{what} is not a list", "write [..., ...] or `- ` lines")
        return []

    def _text(self, key: str, node: yaml.Node) -> str | None:
        if node.tag == _TEXT and node.value:
            return str(node.value)
        hint = "quote the value" if isinstance(node, yaml.ScalarNode) else "write a single value"
        self._wrong(line_of(node), f"{key} is not text", hint, found=shown(node))
        return None

    def _choice(self, key: str, known: Sequence[str], node: yaml.Node) -> str | None:
        value = self._text(key, node)
        if value and value not in known:
            what, expected = f"no {key} has this name", " or ".join(known)
            self._wrong(line_of(node), what, meant(value, known), expected, value)
        return value

    def _profile(self, node: yaml.Node) -> str | None:
        if node.tag == _TEXT and is_profile_path(str(node.value)):
            file = os.path.join(os.path.dirname(self._file), str(node.value))
            if is_missing(file):
                hint = f"{near(file)}correct the path, which is relative to this file"
                what = "this names a profile that does not exist"
                self._wrong(line_of(node), what, hint, found=str(node.value))
            return str(node.value)
        return self._choice("profile", PROFILES, node)

    def _permissions(self, node: yaml.Node) -> Iterator[Permission]:
        for item, found in self._mappings(node, "allow", Permission._fields[:3], _PERMISSION):
            hazard, device, reason = (self._text(key, node) or "" for key, node in found.items())
            yield Permission(hazard, device, reason, Where(self._file, line_of(item)))

    def _mappings(
        self, node: yaml.Node, name: str, fields: Sequence[str], hint: str
    ) -> Iterator[tuple[yaml.Node, dict[str, yaml.Node]]]:
        """The entries of the list `name`, and the values in each, in the order of `fields`."""
        for item in self._items(node, name):
            if not isinstance(item, yaml.MappingNode):
                self._wrong(line_of(item), f"an entry of {name} is not a mapping", hint)
                continue
            found = dict(self._entries(item, dict.fromkeys(fields)))
            missing = [key for key in fields if key not in found]
            if missing:
                what = f"an entry of {name} lacks {' and '.join(missing)}"
                self._wrong(line_of(item), what, hint, ", ".join(fields))
            else:
                yield item, {key: found[key] for key in fields}

    def _dom0(self, node: yaml.Node) -> bool:
        if isinstance(node, yaml.ScalarNode) and node.value == "none":
            return False
        what, hint = (
            "dom0 can only be none",
            "write dom0: none where there is no dom0, or remove it",
        )
        self._wrong(line_of(node), what, hint, "none", shown(node))
        return True

    def _wrong(
        self,
        line: int | None,
        what: str,
        hint: str,
        expected: str = "",
        found: str = "",
    ) -> None:
        where = Where(self._file, line)
        self._problems.append(
            Diagnostic(
                id="malformed", what=what, hint=hint, expected=expected, found=found, where=where
            )
        )


def meant(name: str, known: Iterable[str]) -> str:
    """The hint for a name that is not one of `known`."""
    close = close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else "write one of those, or remove it"


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)[:80]
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def number_of(node: yaml.Node) -> int | None:
    """The number at `node`; None where there is none, or one below 0."""
    if not isinstance(node, yaml.ScalarNode) or node.tag != _NUMBER:
        return None
    try:
        number = int(yaml.SafeLoader("").construct_yaml_int(node))
    except ValueError:
        # "0x_", or a number of thousands of digits.
        return None
    return number if number >= 0 else None
