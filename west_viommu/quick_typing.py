# SPDX-License-Identifier: Apache-2.0
"""What this package needs of `typing`, without importing it: that takes longer than re and
argparse need from it, 16 of the 260 million instructions of `viommu list` on a typical host.

And its NamedTuple compiles a constructor and six methods whenever a record is defined, for another
30 million: a command defines 70 to 120 records and makes instances of half of them. Here they have
their methods in common, and the constructor is compiled with the first instance.

A type checker sees `typing` itself. bench/README.md has what that gains in time.
"""

from __future__ import annotations

import sys

# Type checkers take a constant of this name for true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import Final as Final
    from typing import Generic as Generic
    from typing import NamedTuple as NamedTuple
    from typing import NewType as NewType
    from typing import NoReturn as NoReturn
    from typing import TextIO as TextIO
    from typing import TypeVar as TypeVar
    from typing import cast as cast
else:
    # In annotations, which nothing evaluates.
    Any = BinaryIO = Final = NoReturn = TextIO = object

    def NewType(name, kind):
        return kind

    def TypeVar(name):
        return name

    def cast(kind, value):
        return value

    class Generic:
        def __class_getitem__(kind, of):
            return kind

    if sys.version_info >= (3, 14):
        # A class that is being made does not have its annotations yet.
        from typing import NamedTuple as NamedTuple
    else:
        from _collections import _tuplegetter

        class _Fields(type):
            """Makes the annotated names of a class its fields."""

            def __new__(kind, name, bases, namespace):
                fields = tuple(namespace.get("__annotations__", ()))
                if fields:
                    defaults = {field: namespace[field] for field in fields if field in namespace}
                    namespace |= {field: _tuplegetter(i, "") for i, field in enumerate(fields)}
                    namespace |= {"_fields": fields, "_field_defaults": defaults}
                    namespace["__match_args__"] = fields
                return super().__new__(kind, name, bases, {"__slots__": (), **namespace})

        class NamedTuple(tuple, metaclass=_Fields):
            def __new__(kind, *values, **named):
                made = _constructor(kind)
                kind.__new__ = staticmethod(made)
                return made(kind, *values, **named)

            @classmethod
            def _make(kind, values):
                return kind(*values)

            def _asdict(self):
                return dict(zip(self._fields, self, strict=True))

            def _replace(self, **changes):
                return type(self)(**(self._asdict() | changes))

            def __repr__(self):
                values = (f"{field}={value!r}" for field, value in self._asdict().items())
                return f"{type(self).__name__}({', '.join(values)})"

            def __getnewargs__(self):
                return tuple(self)

        def _constructor(kind):
            """As quick as that of `collections.namedtuple`, which is made like this."""
            fields = ", ".join(kind._fields)
            source = f"lambda _kind, {fields}: _new(_kind, ({fields},))"
            made = eval(source, {"_new": tuple.__new__, "__builtins__": {}})
            made.__defaults__ = tuple(kind._field_defaults.values())
            made.__name__ = "__new__"
            return made
