# SPDX-License-Identifier: Apache-2.0
"""YAML files that people write, checked against the schema of each.

A schema (west_viommu/schemas) is the one table of the keys of a file, and editors use it as well.
Beside keywords of JSON schema it has texts for messages: `errorMessage`, the mistake in a value or
anything in it; `patternErrorMessage`; `lacks`, the message if a required key is missing;
`expected`; and `hint`. The composed YAML has the lines, so each mistake is reported with its own.

The files are plain. A file of a few lines of aliases or merge keys expands to gigabytes, and a tag
on a value of another kind ends PyYAML with any exception. Our files need neither.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import yaml

from west_viommu.diagnostics import Diagnostic, Refused, Where, meant
from west_viommu.names import PROFILES, is_profile_path
from west_viommu.read.plain_file import PACKAGE, content, is_missing, near, unreadable

# Ours have about 50 lines. PyYAML reads 200 KB in a second.
_MOST_BYTES = 1 << 16
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# A 64-bit number in any notation, with room for underscores. Python refuses to print a number of
# more than 4,300 digits.
_LONGEST_NUMBER = 100
_LONGEST_SHOWN = 80
# PyYAML's words for frequent mistakes -> what is wrong, and the remedy.
_FREQUENT = (
    ("found character '\\t'", "a tab before a key or a value", "indent with blanks"),
    ("found character", "a value with a first character that YAML keeps for itself", "quote it"),
    (
        "mapping values are not allowed here",
        "a second colon in a line, or a line that is indented too far",
        "quote a value that has a colon and a blank, or indent the line as its neighbours",
    ),
    (
        "could not find expected ':'",
        "a key without a colon, or a quote that is not closed, here or in the line before",
        "write `key: value` lines",
    ),
    (
        "expected <block end>",
        "a line that is indented otherwise than its neighbours, or an unclosed bracket",
        "indent the keys of one mapping alike, and close each bracket",
    ),
    (
        "expected ',' or ",
        "a list or mapping that is not closed, or lacks a comma",
        "write , between entries, and close the bracket",
    ),
    (
        "expected the node content, but found '<stream end>'",
        "a list or mapping that is not closed",
        "close the bracket",
    ),
    ("found unexpected end of stream", "a quote that is not closed", "close the quote"),
)
_CHOOSE = "write one of those, or remove it"
_LAST_ADDRESS = (1 << 64) - 1
_RESOLVED = ("bool", "float", "int", "null")
_LINES = "write `key: value` lines"
# Type of JSON schema -> the test of a value, the message if it fails, and the text to write.
_TYPES: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "string": (lambda value: isinstance(value, str), "{key} is not text", "quote the value"),
    "integer": (
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        "{key} is not a number",
        "write a number, such as 1 or 0x50000000",
    ),
    "boolean": (
        lambda value: isinstance(value, bool),
        "{key} is neither true nor false",
        "write true or false",
    ),
    "null": (lambda value: value is None, "{key} is not null", "write null"),
    "array": (
        lambda value: isinstance(value, list),
        "{key} is not a list",
        "write [..., ...] or `- ` lines",
    ),
    "object": (lambda value: isinstance(value, dict), "{key} is not a mapping", _LINES),
}


class Hints(NamedTuple):
    """The remedies if a file cannot be read, is nested too deeply, or is not YAML."""

    missing: str
    deep: str
    syntax: str = "correct the syntax"


class Document(NamedTuple):
    """The content of a file, and the line of each value by the keys and indices that lead to it."""

    file: str
    value: Any
    lines: Mapping[tuple[object, ...], int]

    def where(self, *path: object) -> Where:
        """Return the place of the value at `path`."""
        return Where(self.file, self.lines.get(path))


def read_document(file: str, schema: str, hints: Hints) -> Document:
    """Return the content of `file`, as the schema of that name has it. Raises Refused, with all
    mistakes.
    """
    with open(os.path.join(PACKAGE, "schemas", f"{schema}.json"), encoding="utf-8") as of_schema:
        table = json.load(of_schema)
    with _refusing(file, hints):
        root = yaml.compose(content(file, _MOST_BYTES).decode("utf-8"), Loader=_PlainLoader)
        if root is None:
            root = yaml.MappingNode("", [], yaml.Mark(file, 0, 0, 0, None, 0))
        reader = _Reader(file, table)
        value = reader.value(root, table, (), "the file")
    if reader.problems:
        raise Refused(reader.problems)
    return Document(file, value, reader.lines)


def read_plain(file: str, hints: Hints) -> Any:
    """Return the content of a `file` that another program wrote. Raises Refused."""
    with _refusing(file, hints):
        return yaml.load(content(file, _MOST_BYTES).decode("utf-8"), Loader=_PlainLoader)


class _PlainLoader(yaml.SafeLoader):
    """Composes and constructs text, numbers, truth values, lists and mappings, and refuses anything
    else as a syntax error.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] in _RESOLVED]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None):
            raise _refused("anchors and aliases are not read here: write the value out", event)
        if getattr(event, "tag", None):
            raise _refused("tags are not read here: leave it out", event)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        # "\0" or "\ud800", which cannot be in file names or output.
        if _NO_TEXT.search(node.value):
            raise _refused("this has a character that is not text", node)
        return node


def _number_by(construct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `construct` of PyYAML without text that only looks like a number: 0x_ is no number."""

    def number(loader: _PlainLoader, node: Any) -> Any:
        if len(node.value) > _LONGEST_NUMBER:
            raise _refused("this number is too long", node)
        try:
            return construct(loader, node)
        except (ValueError, LookupError):
            raise _refused("this is not a number", node) from None

    return number


for _kind, _construct in (
    ("int", yaml.SafeLoader.construct_yaml_int),
    ("float", yaml.SafeLoader.construct_yaml_float),
):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number_by(_construct))


@contextmanager
def _refusing(file: str, hints: Hints) -> Iterator[None]:
    line = None
    try:
        yield
        return
    except OSError as error:
        raise Refused([unreadable(file, error, hints.missing)]) from None
    except RecursionError:
        what, hint = "it is nested too deeply", hints.deep
    except yaml.MarkedYAMLError as error:
        what, hint = _syntax(error.problem or "", hints.syntax)
        is_unclosed = "end" in (error.problem or "") and error.context_mark
        mark = error.context_mark if is_unclosed else error.problem_mark
        line = mark.line + 1 if mark else None
    except (yaml.YAMLError, UnicodeDecodeError):
        what, hint = "not valid YAML: no text", "write UTF-8 text"
    raise Refused([Diagnostic(id="malformed", what=what, hint=hint, where=Where(file, line))])


def _syntax(problem: str, otherwise: str) -> tuple[str, str]:
    """Return the message and the hint for PyYAML's `problem`."""
    for beginning, what, hint in _FREQUENT:
        if problem.startswith(beginning):
            return f"not valid YAML: {what}", hint
    return f"not valid YAML: {problem}", otherwise


def _refused(what: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=at.start_mark)


class _Reader:
    """Reads the composed YAML of one file by its schema, and collects the problems."""

    def __init__(self, file: str, table: Mapping[str, Any]):
        self.problems: list[Diagnostic] = []
        self.lines: dict[tuple[object, ...], int] = {}
        self._file = file
        self._definitions = table.get("$defs", {})
        self._hint = table.get("hint", "write all that is expected")
        self._scalars = _PlainLoader("")

    def value(self, node: Any, schema: Mapping[str, Any], path: Any, key: str) -> Any:
        """Return the value of `node`, at that path, which messages call `key`."""
        if "$ref" in schema:
            schema = {**self._definitions[schema["$ref"].rpartition("/")[2]], **schema}
        self.lines[path] = _line_of(node)
        before = len(self.problems)
        value = self._value(node, schema, path, key)
        if len(self.problems) > before and "errorMessage" in schema:
            # One message for all mistakes in it.
            found = self.problems[before]
            hint = schema.get("hint", found.hint)
            numbers = re.findall(r"\b0x[0-9A-Fa-f]+|\b\d+", _shown(node))
            if schema.get("format") == "region" and len(numbers) == 2:
                hint = f"write {key}: [{', '.join(numbers)}]"
            self.problems[before:] = [
                found._replace(
                    what=schema["errorMessage"],
                    hint=hint,
                    expected=schema.get("expected", found.expected),
                    where=Where(self._file, _line_of(node)),
                )
            ]
        return value

    def _value(self, node: Any, schema: Mapping[str, Any], path: Any, key: str) -> Any:
        kinds = schema.get("type", ())
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if isinstance(node, yaml.MappingNode) and "object" in kinds:
            return self._mapping(node, schema, path, key)
        if isinstance(node, yaml.SequenceNode) and "array" in kinds:
            return self._list(node, schema, path, key)
        value: Any = None
        if isinstance(node, yaml.CollectionNode):
            value = [] if isinstance(node, yaml.SequenceNode) else {}
        else:
            value = self._scalar(node)
        if "const" in schema:
            if value != schema["const"]:
                what, expected = f"{key} can only be {schema['const']}", str(schema["const"])
                self._wrong(
                    node, what, schema.get("hint", f"write {expected}"), expected, _shown(node)
                )
        elif kinds and not any(_TYPES[kind][0](value) for kind in kinds):
            self._wrong_type(node, schema, kinds, key)
        elif "enum" in schema:
            self._check_choice(node, schema, value, key)
        elif isinstance(value, str):
            self._check_text(node, schema, value, key)
        elif isinstance(value, int) and not _is_in_range(value, schema):
            self._wrong_type(node, schema, ["integer"], key, "{key} does not fit")
        return value

    def _scalar(self, node: Any) -> Any:
        try:
            return self._scalars.construct_object(node)
        except yaml.MarkedYAMLError:
            # Only PyYAML takes it for a number, and it is no text either.
            return float("nan")

    def _wrong_type(
        self,
        node: Any,
        schema: Mapping[str, Any],
        kinds: Iterable[str],
        key: str,
        what: str = "",
    ) -> None:
        kind, *others = kinds
        if others and "patternErrorMessage" in schema:
            # A word, or something else: one message for both.
            what = schema["patternErrorMessage"]
            self._wrong(node, what, schema["hint"], found=_shown(node))
            return
        _, of_type, hint = _TYPES[kind]
        found = _shown(node)
        expected = schema.get("expected", "")
        if kind == "integer" and not expected and "maximum" in schema:
            expected = f"{schema.get('minimum', 0)} to {schema['maximum']}"
        if kind == "string":
            is_single = isinstance(node, yaml.ScalarNode)
            hint = f'quote the value: "{found}"' if is_single else "write a single value"
        if kind == "object":
            hint = schema.get("hint", hint)
            as_set = re.fullmatch(r"([\w-]+)\s*=\s*(\S.*)", found)
            hint = f"write {as_set[1]}: {as_set[2]}" if as_set else hint
        elif kind == "array":
            items = schema.get("items", {})
            is_single = isinstance(node, yaml.ScalarNode) and "properties" not in items
            hint = (
                f"write {key.rpartition(' of ')[2]}: [{found}]"
                if found and is_single
                else items.get("hint", hint)
            )
        elif what and not schema.get("expected") and expected:
            hint = f"write a number from {expected}"
        self._wrong(node, (what or of_type).format(key=key), hint, expected, found)

    def _check_choice(self, node: Any, schema: Mapping[str, Any], value: Any, key: str) -> None:
        known = schema["enum"]
        names = [each if isinstance(each, str) else json.dumps(each) for each in known]
        if not isinstance(value, str) and all(isinstance(each, str) for each in known):
            self._wrong_type(node, schema, ["string"], key)
        elif not any(each == value and type(each) is type(value) for each in known):
            joint = ", " if "errorMessage" in schema else " or "
            self._no_such(node, key.removeprefix("an entry of "), names, joint)

    def _no_such(self, node: Any, key: str, names: Sequence[str], joint: str = " or ") -> None:
        hint = meant(_shown(node), names, _CHOOSE)
        self._wrong(node, f"no {key} has this name", hint, joint.join(names), _shown(node))

    def _check_text(self, node: Any, schema: Mapping[str, Any], value: str, key: str) -> None:
        if len(value) < schema.get("minLength", 0):
            self._wrong_type(node, schema, ["string"], key)
        elif not re.search(schema.get("pattern", ""), value):
            what = schema.get("patternErrorMessage", f"{key} has other characters")
            hint = schema.get("hint", f"write text like {schema['pattern']}")
            self._wrong(node, what, hint, found=_shown(node))
        elif schema.get("format") == "profile":
            file = os.path.join(os.path.dirname(self._file), value)
            if not is_profile_path(value):
                if value not in PROFILES:
                    self._no_such(node, key, PROFILES)
            elif is_missing(file):
                hint = f"{near(file)}correct the path, which is relative to this file"
                what = "this names a profile that does not exist"
                self._wrong(node, what, hint, found=value)

    def _list(self, node: Any, schema: Mapping[str, Any], path: Any, key: str) -> list[Any]:
        entry = f"an entry of {key}"
        values = [
            self.value(item, schema.get("items", {}), (*path, i), entry)
            for i, item in enumerate(node.value)
        ]
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(values))
        if not least <= len(values) <= most:
            hint = "write as many entries as are expected"
            self._wrong(node, f"{key} has {len(values)} entries", hint, f"at least {least}")
        elif schema.get("uniqueItems") and len({repr(each) for each in values}) < len(values):
            self._wrong(node, f"{key} has an entry twice", "remove one")
        elif schema.get("format") == "region" and all(map(_TYPES["integer"][0], values)):
            base, size = values
            if size == 0 or base + size - 1 > _LAST_ADDRESS:
                self._wrong(node, f"{key} is not a region", "write [ADDRESS, SIZE]")
        return values

    def _mapping(self, node: Any, schema: Mapping[str, Any], path: Any, key: str) -> dict[str, Any]:
        known = schema.get("properties", {})
        more = schema.get("additionalProperties")
        before = len(self.problems)
        names = self._names(node, schema, known if more is False else ())
        is_clean = len(self.problems) == before
        missing = [name for name in schema.get("required", ()) if name not in names]
        if "lacks" in schema:
            if (missing or len(names) < schema.get("minProperties", 0)) and not self.problems:
                of = schema["lacks"]
                where = node if path else None
                self._wrong(where, of["what"].format(*path[-1:]), of["hint"])
        elif missing and is_clean:
            hint = schema.get("hint", self._hint)
            what = f"{key} lacks {' and '.join(missing)}"
            shown = (re.search(rf'\b{name}: ("[^"]*"|\[.*?\])', hint) for name in missing)
            lines = [each[0] for each in shown if each]
            hint = f"add {', '.join(lines)}" if len(lines) == len(missing) else hint
            self._wrong(node, what, hint, ", ".join(known))
        values = {}
        for name, value in names.items():
            of = name if name in known or len(path) != 1 else f"{key} of {name}"
            values[name] = self.value(value, known.get(name, more or {}), (*path, name), of)
        return values

    def _names(
        self, node: Any, schema: Mapping[str, Any], known: Mapping[str, Any] | tuple[()]
    ) -> dict[str, Any]:
        """Return the values of a mapping by their keys; an unknown key is a problem, unless `known`
        is empty.
        """
        names: dict[str, Any] = {}
        of_names = schema.get("propertyNames", {})
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, "this key is not text", _LINES)
                continue
            name = str(key.value)
            if known and name not in known:
                hint = meant(name, list(known), _CHOOSE)
                self._wrong(key, f"unknown key {name}", hint, ", ".join(known), name)
            elif name in names:
                self._wrong(key, f"{name} appears twice", "remove one")
            elif not re.search(of_names.get("pattern", ""), name):
                what, hint = of_names["patternErrorMessage"], of_names["hint"]
                self._wrong(key, what, hint, found=name[:_LONGEST_SHOWN])
            else:
                # A mapping or a list may begin below its key, and people look for the key.
                value.start_mark = key.start_mark
                names[name] = value
        return names

    def _wrong(self, node: Any, what: str, hint: str, expected: str = "", found: str = "") -> None:
        self.problems.append(
            Diagnostic(
                id="malformed",
                what=what,
                hint=hint,
                expected=expected,
                found=found,
                where=Where(self._file, None if node is None else _line_of(node)),
            )
        )


def _is_in_range(value: int, schema: Mapping[str, Any]) -> bool:
    return bool(
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and value > schema.get("exclusiveMinimum", value - 1)
        and value % schema.get("multipleOf", 1) == 0
    )


def _line_of(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _shown(node: Any) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)[:_LONGEST_SHOWN]
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
