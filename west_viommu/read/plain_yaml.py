# SPDX-License-Identifier: Apache-2.0
"""YAML as people write it by hand: no aliases, no tags, no numbers beyond measure.

A file of a few lines of aliases or merge keys stands for gigabytes, and a tag on a value that is
not of its kind ends PyYAML with any exception. Neither has a use in our files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import yaml

from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.read.plain_file import content, unreadable

# Ours have about 50 lines. PyYAML reads 200 KB in a second.
MOST_BYTES = 1 << 16
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# A 64-bit number in any notation, with room for underscores. Python refuses to print one of more
# than 4,300 digits.
_LONGEST_NUMBER = 100
_RESOLVED = ("bool", "float", "int", "null")


class PlainLoader(yaml.SafeLoader):
    """Composes and constructs text, numbers, truth values, lists and mappings, and refuses anything
    else as an error of the syntax.
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
        # "\0" or "\ud800", which no name of a file and no output can have.
        if _NO_TEXT.search(node.value):
            raise _refused("this has a character that is no text", node)
        return node


def _number_by(construct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """As `construct` of PyYAML's, which takes what looks like a number for one: 0x_ is none."""

    def number(loader: PlainLoader, node: Any) -> Any:
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
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number_by(_construct))


class Hints(NamedTuple):
    """What to do where a file cannot be read, is nested too deeply, or is no YAML."""

    missing: str
    deep: str
    syntax: str = "correct the syntax"


def composed(file: str, hints: Hints) -> Any:
    """The root node of `file`; None where it says nothing. Raises Refused."""
    with _refusing(file, hints):
        return yaml.compose(content(file, MOST_BYTES).decode("utf-8"), Loader=PlainLoader)


def constructed(file: str, root: Any, hints: Hints) -> Any:
    """The value of the `root` node of `file`. Raises Refused."""
    with _refusing(file, hints):
        return None if root is None else PlainLoader("").construct_document(root)


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
        what, hint = f"not valid YAML: {error.problem}", hints.syntax
        line = error.problem_mark.line + 1 if error.problem_mark else None
    except (yaml.YAMLError, UnicodeDecodeError):
        what, hint = "not valid YAML: no text", "write UTF-8 text"
    raise Refused([Diagnostic(id="malformed", what=what, hint=hint, where=Where(file, line))])


def _refused(what: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=at.start_mark)
