# SPDX-License-Identifier: Apache-2.0
"""Records as JSON: the keys are the names of the fields."""

from __future__ import annotations

from typing import Any


def as_json(value: Any) -> Any:
    """`value`, of records, tuples and what JSON knows, as what the module json writes."""
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        if fields is None:
            return [as_json(item) for item in value]
        return {name: as_json(item) for name, item in zip(fields, value, strict=True)}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return value
