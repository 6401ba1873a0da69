# SPDX-License-Identifier: Apache-2.0
"""What Zephyr's binding of a device has and requires, by Zephyr's own edtlib."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from west_viommu.problems import refusal
from west_viommu.quick_typing import NamedTuple
from west_viommu.read.bindings import Bindings
from west_viommu.read.dtlib import dtlib


class Declared(NamedTuple):
    """A binding: its compatible, the properties that it has, and those that it requires, each with
    its type.
    """

    compatible: str
    properties: frozenset[str]
    required: tuple[tuple[str, str], ...]


def declared(compatibles: Iterable[str], directories: Sequence[str]) -> Declared | None:
    """The binding that Zephyr takes for a device with `compatibles`: that of the first that has
    one. None without any. Raises Refused where edtlib cannot read it.
    """
    wanted = list(compatibles)
    known = Bindings(directories, wanted)
    found = next(filter(None, (known.binding(each) for each in wanted)), None)
    if found is None:
        return None
    dtlib()
    from devicetree import edtlib

    try:
        binding = edtlib.Binding(
            found.path, known.paths(), require_compatible=False, require_description=False
        )
    except edtlib.EDTError as error:
        what = f"Zephyr's edtlib rejects it: {error}"
        raise refusal("malformed", what, file=found.path) from None
    specs = binding.prop2specs
    return Declared(
        found.compatible,
        frozenset(specs),
        tuple((name, spec.type) for name, spec in specs.items() if spec.required),
    )
