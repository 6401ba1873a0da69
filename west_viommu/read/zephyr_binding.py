# SPDX-License-Identifier: Apache-2.0
"""What Zephyr's binding of a device has and requires, by Zephyr's own edtlib."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Refused, refusal
from west_viommu.read.bindings import Bindings
from west_viommu.read.dtlib import UNFORESEEN, dtlib


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
