# SPDX-License-Identifier: Apache-2.0
"""Zephyr's devicetree bindings: which file binds a compatible, and what it declares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import yaml

from west_viommu.read.plain_file import content

# Zephyr's own choice (edtlib): the C loader where PyYAML has it.
FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Larger than any binding of Zephyr's.
_CHUNK = 1 << 16
_MOST_OF_A_BINDING = 1 << 20
PASSTHROUGH_BUS = "passthrough"


class Binding(NamedTuple):
    """A file with `compatible:`. `on_bus` is its `on-bus:`, None for a device on any bus; `bus`
    the first bus that its children are on, None for that of their parent.
    """

    path: str
    compatible: str
    on_bus: str | None
    bus: str | None


class Bindings:
    """The bindings below some directories, as edtlib finds them.

    A file named after the compatible is the rule. Only for a compatible without one is every
    file searched, once, as Zephyr has some bindings under other names.
    """

    def __init__(self, directories: Sequence[str], rare: Iterable[str] = ()):
        """`rare`: compatibles that will be asked for, searched for together where need be."""
        self._directories = directories
        self._rare = tuple(rare)
        self._declared: dict[str, frozenset[str]] = {}

    def binding(self, compatible: str, on_bus: str | None = None) -> Binding | None:
        """The binding of a `compatible` device on a bus: one for that bus, else one for any
        (edtlib, Node._init_binding).
        """
        candidates = self._candidates(compatible)
        for bus in (on_bus, None):
            for binding in candidates:
                if binding.on_bus == bus:
                    return binding
        return None

    def is_includable(self, path: str) -> bool:
        """Whether an `include:` of the file's name means this file: of two with one name, it
        means the later.
        """
        return self._by_name[os.path.basename(path)][-1] == path

    def content(self, path: str) -> dict[str, Any]:
        """The mapping in the binding file `path`."""
        return _content(path)

    def declared(self, file_name: str) -> frozenset[str]:
        """The properties that a binding file declares, itself or by what it includes."""
        if file_name not in self._declared:
            # What is included in a circle declares nothing more; Zephyr complains about it.
            self._declared[file_name] = frozenset()
            paths = self._by_name.get(file_name)
            content = _content(paths[-1]) if paths else {}
            names = set(content.get("properties") or {})
            for included in _included(content.get("include")):
                names |= self.declared(included)
            self._declared[file_name] = frozenset(names)
        return self._declared[file_name]

    def paths(self) -> dict[str, str]:
        """The file that an `include:` of each name means."""
        return {name: found[-1] for name, found in self._by_name.items()}

    def has(self, file_name: str) -> bool:
        """Whether a binding file of this name is there."""
        return file_name in self._by_name

    @cached_property
    def vendors(self) -> frozenset[str]:
        """The vendor prefixes that Zephyr knows."""
        found: set[str] = set()
        for directory in self._directories:
            try:
                with open(os.path.join(directory, "vendor-prefixes.txt"), encoding="utf-8") as file:
                    found.update(line.split("\t")[0] for line in file if line[:1] not in "#\n")
            except OSError:
                continue
        return frozenset(found)

    def _candidates(self, compatible: str) -> list[Binding]:
        named = (_binding(path) for path in self._by_name.get(f"{compatible}.yaml", ()))
        found = [binding for binding in named if binding and binding.compatible == compatible]
        if not any(binding.on_bus is None for binding in found):
            found += self._found_elsewhere.get(compatible, [])
        return found

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Paths by file name, in the order in which edtlib comes across them."""
        found: dict[str, list[str]] = {}
        for directory in self._directories:
            for entry in _files(directory):
                if entry.name.endswith((".yaml", ".yml")):
                    found.setdefault(entry.name, []).append(entry.path)
        return found

    @cached_property
    def _found_elsewhere(self) -> dict[str, list[Binding]]:
        """Bindings of the rare compatibles by a search through every file."""
        result: dict[str, list[Binding]] = {}
        contents = {path: _raw(path) for paths in self._by_name.values() for path in paths}
        everything = b"".join(contents.values())
        for compatible in self._rare:
            name = compatible.encode()
            # Most are nowhere, and one search says so.
            if name in everything:
                found = (_binding(path) for path, content in contents.items() if name in content)
                result[compatible] = [b for b in found if b and b.compatible == compatible]
        return result


def _files(directory: str) -> Iterator[os.DirEntry[str]]:
    """The files below `directory`, those of a folder before its folders, as os.walk has them. There
    are thousands, and os.walk takes twice the time.
    """
    folders = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir():
                    if not entry.is_symlink():
                        folders.append(entry.path)
                elif entry.is_file():
                    yield entry
    except OSError:
        # No folder: for Zephyr to complain about.
        return
    for folder in folders:
        yield from _files(folder)


def _raw(path: str) -> bytes:
    """The bytes of a file. Plain system calls, as there are thousands of bindings."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        # A dangling link: for Zephyr to complain about.
        return b""
    try:
        found = os.read(handle, _CHUNK)
        while len(found) < _MOST_OF_A_BINDING and (more := os.read(handle, _CHUNK)):
            found += more
        return found
    finally:
        os.close(handle)


def _binding(path: str) -> Binding | None:
    content = _content(path)
    compatible = content.get("compatible")
    if not isinstance(compatible, str):
        return None
    bus = content.get("bus")
    first = bus[0] if isinstance(bus, list) and bus else bus
    return Binding(path, compatible, content.get("on-bus"), str(first) if first else None)


def _content(path: str) -> dict[str, Any]:
    """The mapping in a YAML file; {} where it is none, which is for Zephyr to complain about."""
    try:
        text = content(path, _MOST_OF_A_BINDING).decode("utf-8")
        found = yaml.load(text, Loader=FAST_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _included(include: object) -> list[str]:
    """The file names in an `include:`: one, or a list of names and of maps with a name."""
    if isinstance(include, str):
        return [include]
    if not isinstance(include, list):
        return []
    return [item.get("name", "") if isinstance(item, dict) else str(item) for item in include]
