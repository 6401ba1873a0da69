# SPDX-License-Identifier: Apache-2.0
"""Zephyr's devicetree bindings: the file that binds a compatible, and the properties it
declares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from west_viommu.diagnostics import Refused, refusal
from west_viommu.read.plain_file import content

# Larger than any binding of Zephyr's.
_CHUNK = 1 << 16
_MOST_OF_A_BINDING = 1 << 20
PASSTHROUGH_BUS = "passthrough"


class Binding(NamedTuple):
    """A file with `compatible:`. `on_bus` is its `on-bus:`, None for a device on any bus; `bus` the
    first bus that its children are on, None for the bus of their parent.
    """

    path: str
    compatible: str
    on_bus: str | None
    bus: str | None


class Declared(NamedTuple):
    """A binding: its compatible, its properties, and its required properties, each with its
    type.
    """

    compatible: str
    properties: frozenset[str]
    required: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1)
def _bindings_in(directories: tuple[str, ...], rare: tuple[str, ...]) -> Bindings:
    return Bindings(directories, rare)


def bindings_in(directories: Sequence[str], rare: Sequence[str]) -> Bindings:
    """Return the bindings below `directories`, searched once for everything that a run needs."""
    return _bindings_in(tuple(directories), tuple(rare))


class Bindings:
    """The bindings below some directories, as edtlib finds them.

    Usually the file is named after the compatible. Only for a compatible without such a file, every
    file is searched, once, as Zephyr has some bindings under other names.
    """

    def __init__(self, directories: Sequence[str], rare: Iterable[str] = ()):
        """`rare`: compatibles that will be needed, to be searched for together if necessary."""
        self._directories = directories
        self._rare = tuple(rare)
        self._specs: dict[str, dict[str, dict[str, Any]]] = {}

    def binding(self, compatible: str, on_bus: str | None = None) -> Binding | None:
        """Return the binding of a `compatible` device on a bus: the one for that bus, else the one
        for any bus (edtlib, Node._init_binding).
        """
        candidates = self._candidates(compatible)
        for bus in (on_bus, None):
            for binding in candidates:
                if binding.on_bus == bus:
                    return binding
        return None

    def is_includable(self, path: str) -> bool:
        """Return whether an `include:` of the file's name means this file: of two files with the
        same name, it means the later.
        """
        return self._by_name[os.path.basename(path)][-1] == path

    def content(self, path: str) -> dict[str, Any]:
        """Return the mapping in the binding file `path`."""
        return _content(path)

    def declared(self, file_name: str) -> frozenset[str]:
        """Return the properties that a binding file declares, itself or by its includes."""
        return frozenset(self._specs_of(file_name))

    def specs(self, path: str) -> dict[str, dict[str, Any]]:
        """Return the specification of each property in the binding file at `path`, with its
        includes.
        """
        return self._merged(_content(path))

    def setting(self, path: str, key: str, above: Sequence[str] = ()) -> Any:
        """Return the value of top-level `key` in the binding file at `path`, or in its includes;
        `above`: the files that include it.
        """
        content = _content(path)
        if key in content:
            return content[key]
        for included in _included(content):
            paths = self._by_name.get(included)
            if not paths or paths[-1] in (path, *above):
                continue
            found = self.setting(paths[-1], key, (path, *above))
            if found is not None:
                return found
        return None

    def _specs_of(self, file_name: str) -> dict[str, dict[str, Any]]:
        if file_name not in self._specs:
            # A circular include declares nothing more; Zephyr complains about it.
            self._specs[file_name] = {}
            paths = self._by_name.get(file_name)
            self._specs[file_name] = self._merged(_content(paths[-1])) if paths else {}
        return self._specs[file_name]

    def _merged(self, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the properties in `content`, merged over the properties of its includes.
        `required` wins (edtlib, _merge_props).
        """
        found: dict[str, dict[str, Any]] = {}
        layers = [self._taken(each) for each in includes(content)]
        for properties in (*layers, mapping(content.get("properties"))):
            for name, spec in properties.items():
                earlier = found.get(name, {})
                found[name] = {**earlier, **(spec if isinstance(spec, dict) else {})}
                if earlier.get("required"):
                    found[name]["required"] = True
        return found

    def _taken(self, include: object) -> dict[str, dict[str, Any]]:
        """Return the properties that an item of `include:` adds: all, or those that its lists leave
        (edtlib, _filter_properties).
        """
        if not isinstance(include, dict):
            return self._specs_of(str(include))
        specs = self._specs_of(str(include.get("name", "")))
        only, without = include.get("property-allowlist"), include.get("property-blocklist")
        return {
            name: spec
            for name, spec in specs.items()
            if (name in _listed(only) if only is not None else name not in _listed(without))
        }

    def paths(self) -> dict[str, str]:
        """Return the file that an `include:` of each name means."""
        return {name: found[-1] for name, found in self._by_name.items()}

    def has(self, file_name: str) -> bool:
        """Return whether there is a binding file of this name."""
        return file_name in self._by_name

    @cached_property
    def vendors(self) -> frozenset[str]:
        """The vendor prefixes that Zephyr knows."""
        found: set[str] = set()
        for directory in self._directories:
            try:
                path = os.path.join(directory, "vendor-prefixes.txt")
                with open(path, encoding="utf-8", errors="replace") as file:
                    found.update(line.split("\t")[0] for line in file if line[:1] not in "#\n")
            except (OSError, ValueError):
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
        """Return the paths by file name, in the order in which edtlib finds them."""
        found: dict[str, list[str]] = {}
        for directory in self._directories:
            for entry in _files(directory):
                if entry.name.endswith((".yaml", ".yml")):
                    found.setdefault(entry.name, []).append(entry.path)
        return found

    @cached_property
    def _found_elsewhere(self) -> dict[str, list[Binding]]:
        """Return the bindings of the rare compatibles by a search through every file."""
        result: dict[str, list[Binding]] = {}
        contents = {path: _raw(path) for paths in self._by_name.values() for path in paths}
        everything = b"".join(contents.values())
        for compatible in self._rare:
            name = compatible.encode()
            # Most are in no file, and one search of the file shows it.
            if name in everything:
                found = (_binding(path) for path, content in contents.items() if name in content)
                result[compatible] = [b for b in found if b and b.compatible == compatible]
        return result


def _files(directory: str) -> Iterator[os.DirEntry[str]]:
    """Yield the files below `directory`, the files of a folder before its folders, in the order of
    os.walk, which takes twice the time for the thousands of files.
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
    except (OSError, ValueError):
        # No folder: Zephyr complains about it.
        return
    for folder in folders:
        yield from _files(folder)


def _raw(path: str) -> bytes:
    """Return the bytes of a file. Plain system calls, as there are thousands of bindings."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        # A dangling link: Zephyr complains about it.
        return b""
    try:
        found = more = os.read(handle, _CHUNK)
        while len(more) == _CHUNK and len(found) < _MOST_OF_A_BINDING:
            more = os.read(handle, _CHUNK)
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
    """Return the mapping in a YAML file; {} if it is no mapping: Zephyr complains about it."""
    # Late: a run without Zephyr reads no bindings, and yaml is a tenth of it.
    import yaml

    # Zephyr's own choice (edtlib): the C loader if PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = content(path, _MOST_OF_A_BINDING).decode("utf-8")
        found = yaml.load(text, Loader=loader)
    except (OSError, ArithmeticError, LookupError, RecursionError, ValueError, yaml.YAMLError):
        # Some errors are PyYAML's own: for a number such as 0x_, or a day that no month has.
        return {}
    return mapping(found)


def mapping(found: object) -> dict[str, Any]:
    """Return `found`, a YAML value, if it is a mapping, with only the keys that are names; else
    {}.
    """
    entries = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in entries if isinstance(name, str)}


def _listed(found: object) -> list[object]:
    """Return `found`, a YAML value, if it is a list; else []."""
    return found if isinstance(found, list) else []


def _included(content: Mapping[str, Any]) -> list[str]:
    """Return the file names in the `include:` of `content`: a list of names and of maps with a
    name.
    """
    return [
        str(item.get("name", "")) if isinstance(item, dict) else str(item)
        for item in includes(content)
    ]


def includes(content: Mapping[str, Any]) -> list[object]:
    """Return the items of the `include:` of `content`: one, or a list."""
    found = content.get("include")
    return [found] if isinstance(found, str) else _listed(found)


def declared(compatibles: Iterable[str], directories: Sequence[str]) -> Declared | None:
    """Return the binding that Zephyr takes for a device with `compatibles`: the binding of the
    first compatible that has one; None if none has. Raises Refused if edtlib cannot read it.
    """
    wanted = list(compatibles)
    known = Bindings(directories, wanted)
    found = next(filter(None, (known.binding(each) for each in wanted)), None)
    if found is None:
        return None
    from west_viommu.read.dtlib import UNFORESEEN, dtlib

    dtlib()
    import yaml
    from devicetree import edtlib

    try:
        binding = edtlib.Binding(
            found.path, known.paths(), require_compatible=False, require_description=False
        )
        specs = binding.prop2specs
        required = tuple((name, spec.type) for name, spec in specs.items() if spec.required)
    except RecursionError:
        raise _rejected(found.path, "it includes itself, or is nested too deeply") from None
    except (edtlib.EDTError, OSError, yaml.YAMLError, *UNFORESEEN) as error:
        raise _rejected(found.path, str(error)) from None
    return Declared(found.compatible, frozenset(specs), required)


def _rejected(file: str, why: str) -> Refused:
    what, hint = f"Zephyr's edtlib rejects it: {why}", "correct it, or what it includes"
    return refusal("malformed", what, hint, file)
