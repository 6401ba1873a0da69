# SPDX-License-Identifier: Apache-2.0
"""JSON as the records that describe it: what does not fit them is refused in one place."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Reader = Callable[[object], Any]


class NotLike(ValueError):
    """The JSON is not what the record says."""


def as_record(value: object, kind: type[T]) -> T:
    """`value` of JSON as the NamedTuple `kind`. A key that the record does not have is ignored: it
    may be of a later version. Raises NotLike.
    """
    found: T = _reader(kind, {})(value)
    return found


def _reader(kind: Any, known: dict[Any, _Reader]) -> _Reader:
    """What reads a value of that type: each type is looked at once, whatever its number."""
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
    def read(value: object) -> object:
        if type(value) is not dict:
            _refuse()
        try:
            return kind._make([read_field(value[name]) for name, read_field in fields])
        except KeyError as error:
            raise NotLike(f"no {error}") from None

    return read


def _refuse() -> NoReturn:
    raise NotLike("another type")
