# SPDX-License-Identifier: Apache-2.0
"""A profile of the user's own: YAML that is not trusted, checked against schemas/profile.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from west_viommu.diagnostics import Diagnostic, Refused, Where, close_matches, refusal
from west_viommu.names import PROFILES
from west_viommu.read.plain_file import PACKAGE
from west_viommu.read.plain_yaml import Hints, composed, constructed

SCHEMA = os.path.join(PACKAGE, "schemas", "profile.json")
# Keywords of JSON schema -> what they ask for.
_WORDS = {
    "type": "",
    "const": "",
    "pattern": "text like",
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "minLength": "length at least",
    "minItems": "items at least",
}


def own_profile(file: str) -> Any:
    """What the profile in `file` says, as the schema has it. Raises Refused."""
    file = str(Path(file))
    hints = Hints(
        "correct the path; the shipped profiles (`viommu profiles`) go by name",
        "start from what `viommu profiles NAME` prints",
    )
    root = composed(file, hints)
    content = constructed(file, root, hints)
    problems = schema_problems(file, root, content)
    if problems:
        raise Refused(problems)
    if content["name"] in PROFILES:
        what, hint = "a shipped profile has this name", "give yours a name of its own"
        where = Where(file, _line(root, ["name"]))
        raise Refused([Diagnostic(id="malformed", what=what, hint=hint, where=where)])
    return content


def schema_problems(file: str, root: Any, content: object) -> list[Diagnostic]:
    """What of the profile `content`, of the composed YAML `root` of `file`, breaks the schema."""
    try:
        import jsonschema
    except ImportError:
        what = "a profile of your own needs the Python package jsonschema"
        raise refusal("unreadable", what, "pip install jsonschema") from None
    # JSON schema takes 33.0 for an integer, and it would be written as such.
    draft = jsonschema.Draft202012Validator
    checker = draft.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = jsonschema.validators.extend(draft, type_checker=checker)
    with open(SCHEMA, encoding="utf-8") as file_of_schema:
        validator = strict(json.load(file_of_schema))
    problems = [_schema_problem(file, root, error) for error in validator.iter_errors(content)]
    return sorted(problems, key=lambda problem: (problem.where or Where(file))[1] or 0)


def _schema_problem(file: str, root: Any, error: Any) -> Diagnostic:
    """One error of jsonschema's, with the key and the line that it is about."""
    path = list(error.absolute_path)
    key = ".".join(map(str, path)) or "the profile"
    expected = error.schema.get("description") or _expected(error)
    hint = "docs/profiles.md has the keys; `viommu profiles NAME` prints a profile to start from"
    what, found = f"{key} is not as a profile has it", "" if path == [] else _shown(error.instance)
    if error.validator == "required":
        what, found = f"{key} lacks {', '.join(_missing(error))}", ""
    elif error.validator == "additionalProperties":
        unknown = [name for name in error.instance if name not in error.schema["properties"]]
        what, found = f"{key} has an unknown key", ", ".join(map(str, unknown))
        close = close_matches(str(unknown[0]), error.schema["properties"], 1)
        hint = f"did you mean {close[0]}?" if close else hint
    return Diagnostic(
        id="malformed",
        what=what,
        hint=hint,
        expected=expected,
        found=found[:80],
        where=Where(file, _line(root, path)),
    )


def _shown(value: object) -> str:
    """A value for people, without what is in a list."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    return repr(value)


def _missing(error: Any) -> list[str]:
    return [name for name in error.validator_value if name not in error.instance]


def _expected(error: Any) -> str:
    if error.validator in ("required", "additionalProperties"):
        return ", ".join(error.schema["properties"])
    if error.validator == "enum":
        return " or ".join(json.dumps(value) for value in error.validator_value)
    words = _WORDS.get(error.validator, error.validator)
    return f"{words} {error.validator_value}".lstrip()


def _line(root: Any, path: Iterable[object]) -> int | None:
    """The line of what `path`, keys and indices, leads to in the composed YAML `root`."""
    node = root
    for step in path:
        if isinstance(node, yaml.MappingNode):
            # Of two keys, the later one counts.
            values = [value for key, value in node.value if key.value == str(step)]
            node = values[-1] if values else None
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            # Of a key that appears twice, this is the first and the content is the last.
            node = node.value[step] if step < len(node.value) else None
    return node.start_mark.line + 1 if node else None
