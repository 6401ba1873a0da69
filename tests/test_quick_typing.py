# SPDX-License-Identifier: Apache-2.0
"""Records made by quick_typing are those that typing would make."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from west_viommu import quick_typing


class Ours(quick_typing.NamedTuple):
    """A record."""

    path: str
    size: int = 4
    names: tuple[str, ...] = ()

    @property
    def is_small(self) -> bool:
        return self.size < 8


class Theirs(typing.NamedTuple):
    """A record."""

    path: str
    size: int = 4
    names: tuple[str, ...] = ()

    @property
    def is_small(self) -> bool:
        return self.size < 8


class Extended(Ours):
    """One with more methods, and no more fields."""

    def longest(self) -> int:
        return max(map(len, self.names))


def test_an_instance_is_what_typing_makes() -> None:
    for values, named in [(("/a",), {}), (("/a", 8), {"names": ("b",)}), ((), {"path": "/a"})]:
        ours, theirs = Ours(*values, **named), Theirs(*values, **named)  # type: ignore[arg-type]
        assert tuple(ours) == tuple(theirs)
        assert hash(ours) == hash(theirs)
        assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
        assert (ours.path, ours.size, ours.names) == (theirs.path, theirs.size, theirs.names)
        assert ours.is_small == theirs.is_small
        assert ours._asdict() == theirs._asdict()
        assert tuple(ours._replace(size=16)) == tuple(theirs._replace(size=16))
        assert Ours._make(("/a", 16, ())) == Ours("/a", 16)
        assert not hasattr(ours, "__dict__")


def test_a_class_is_what_typing_makes() -> None:
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == Theirs._field_defaults
    assert Ours.__match_args__ == Theirs.__match_args__
    assert typing.get_type_hints(Ours) == typing.get_type_hints(Theirs)
    assert Ours.__doc__ == Theirs.__doc__


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("/a", 1, (), 2), {}), (("/a",), {"path": "/b"}), (("/a",), {"sise": 1})],
    ids=["missing", "too many", "twice", "mistyped"],
)
def test_what_typing_refuses_is_refused(
    values: tuple[object, ...], named: dict[str, object]
) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*values, **named)  # type: ignore[arg-type]


def test_fields_stay_as_they_are() -> None:
    with pytest.raises(AttributeError):
        Ours("/a").size = 5  # type: ignore[misc]


def test_a_record_that_extends_one_has_its_fields() -> None:
    extended = Extended("/a", names=("b", "ccc"))
    assert extended.longest() == 3
    assert extended == Extended("/a", 4, ("b", "ccc"))
    longer: Ours = extended._replace(size=5)
    assert (type(longer), longer.size) == (Extended, 5)
    assert not hasattr(extended, "__dict__")


def test_a_record_can_be_copied_and_kept() -> None:
    record = Ours("/a", 2)
    for same in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert (type(same), same) == (Ours, record)
