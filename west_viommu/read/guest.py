# SPDX-License-Identifier: Apache-2.0
"""A guest's finished tree, as a run of ours or a hypervisor left it, and a sealed plan.

JSON is read as the records that describe it: values that do not fit them are refused in one place.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from west_viommu.diagnostics import refusal
from west_viommu.guest.source import GuestTree, without_source
from west_viommu.names import OVERLAY, PLAN, PLAN_SCHEMA
from west_viommu.plan.plan import Plan
from west_viommu.read.plain_file import content
from west_viommu.read.tree import is_blob, read_tree
from west_viommu.tree.digest import sha256

T = TypeVar("T")
_Reader = Callable[[object], Any]


class NotLike(ValueError):
    """JSON that does not match its record."""


def as_record(value: object, kind: type[T]) -> T:
    """Return `value` of JSON as the NamedTuple `kind`. A key that the record does not have is
    ignored: it may come from a later version. Raises NotLike.
    """
    found: T = _reader(kind, {})(value)
    return found


def _reader(kind: Any, known: dict[Any, _Reader]) -> _Reader:
    """Return the reader for values of type `kind`: each type is examined only once."""
    if kind not in known:
        known[kind] = _made(kind, known)
    return known[kind]


def _made(kind: Any, known: dict[Any, _Reader]) -> _Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "__supertype__"):
        return _reader(kind.__supertype__, known)
    if origin is tuple:
        return _list_reader(_reader(arguments[0], known))
    if origin is dict:
        return _dict_reader(_reader(arguments[1], known))
    if origin in (UnionType, Union):
        (one,) = (each for each in arguments if each is not NoneType)
        read = _reader(one, known)
        return lambda value: None if value is None else read(value)
    if hasattr(kind, "_fields"):
        hints = get_type_hints(kind)
        return _record_reader(kind, [(name, _reader(hints[name], known)) for name in kind._fields])
    return _plain_reader(kind)


def _plain_reader(kind: type) -> _Reader:
    def read(value: object) -> object:
        # Not isinstance: True is no number.
        if type(value) is not kind:
            _refuse()
        return value

    return read


def _list_reader(read_item: _Reader) -> _Reader:
    def read(value: object) -> tuple[object, ...]:
        if type(value) is not list:
            _refuse()
        return tuple([read_item(item) for item in value])

    return read


def _dict_reader(read_item: _Reader) -> _Reader:
    def read(value: object) -> dict[str, object]:
        if type(value) is not dict:
            _refuse()
        return {key: read_item(item) for key, item in value.items()}

    return read


def _record_reader(kind: Any, fields: list[tuple[str, _Reader]]) -> _Reader:
    defaults = kind._field_defaults

    def read(value: object) -> object:
        if type(value) is not dict:
            _refuse()
        try:
            return kind._make(
                [
                    # A key with a default may be newer than the file.
                    defaults[name]
                    if name in defaults and name not in value
                    else read_field(value[name])
                    for name, read_field in fields
                ]
            )
        except KeyError as error:
            raise NotLike(f"no {error}") from None

    return read


def _refuse() -> NoReturn:
    raise NotLike("another type")


_GIVE = "give the guest's tree as a blob, as source, or as a /proc/device-tree directory"
_NOT_OURS = "west-viommu did not write this viommu.json"
_AGAIN = "build again, or run `viommu bind` again: its files belong together"

# The most bytes of all files of a run together. One file can be named in many spellings.
_MOST_OF_A_RUN = 1 << 27


def finished_tree(file: str) -> GuestTree:
    """Return the guest's tree in `file`, in any form. Raises Refused."""
    found = read_tree(file, _GIVE)
    if os.path.isdir(file) or is_blob(file):
        return without_source(found, file)
    from west_viommu.read.source import guest_tree

    return guest_tree([file])


def sealed_plan(folder: Path) -> Plan | None:
    """Return the content of viommu.json in `folder`; None if there is no such file. Raises Refused
    if the sealed files have changed.
    """
    plan = folder / PLAN
    try:
        found = _plan(plan)
        if found is not None:
            _check_files(folder, found.files)
        return found
    except OSError as error:
        what = error.strerror or "cannot be read"
        raise refusal("unreadable", what, _AGAIN, str(error.filename)) from None


def _plan(file: Path) -> Plan | None:
    """Return the content of viommu.json, without checking the files that it names."""
    try:
        document = json.loads(content(str(file)))
        schema = document["schema"]
        # Another version has other keys.
        if type(schema) is int and schema != PLAN_SCHEMA:
            what = "another version of west-viommu wrote this viommu.json"
            expected, found = f"schema {PLAN_SCHEMA}", f"schema {schema}"
            raise refusal("malformed", what, _AGAIN, str(file), expected=expected, found=found)
        plan = as_record(document, Plan)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, KeyError, TypeError):
        raise refusal("malformed", _NOT_OURS, _AGAIN, str(file)) from None
    if type(schema) is not int or OVERLAY not in plan.files:
        raise refusal("malformed", _NOT_OURS, _AGAIN, str(file))
    return plan


def _check_files(folder: Path, sums: Mapping[str, str]) -> None:
    """Raise Refused if a file does not match its checksum in viommu.json."""
    left = _MOST_OF_A_RUN
    for name, digest in sums.items():
        if os.path.isabs(name) or ".." in Path(name).parts:
            what = f"viommu.json names {name}, which is not in its folder"
            raise refusal("malformed", what, _AGAIN, str(folder / PLAN))
        try:
            data = content(str(folder / name), left)
        except FileNotFoundError as error:
            what = "missing beside viommu.json"
            raise refusal("malformed", what, _AGAIN, str(error.filename)) from None
        except ValueError:
            # No file can have such a name.
            raise refusal("malformed", _NOT_OURS, _AGAIN, str(folder / PLAN)) from None
        left -= len(data)
        if sha256(data) != digest:
            what = "not of the run of viommu.json"
            raise refusal("malformed", what, _AGAIN, str(folder / name))
