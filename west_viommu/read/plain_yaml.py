# SPDX-License-Identifier: Apache-2.0
"""YAML as people write it by hand: no aliases, no tags, no numbers beyond measure.

A file of a few lines of aliases or merge keys stands for gigabytes, and a tag on a value that is
not of its kind ends PyYAML with any exception. Neither has a use in our files.
"""

from __future__ import annotations

import yaml

from west_viommu.quick_typing import Any
from west_viommu.read.plain_file import content

# Ours have about 50 lines. PyYAML reads 200 KB in a second.
MOST_BYTES = 1 << 16
# A 64-bit number in any notation, with room for underscores. Python refuses to print one of more
# than 4,300 digits.
_LONGEST_NUMBER = 100
_NUMBER = "tag:yaml.org,2002:int"
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

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > _LONGEST_NUMBER:
            raise _refused("this number is too long", node)
        return int(super().construct_yaml_int(node))


PlainLoader.add_constructor(_NUMBER, PlainLoader.construct_yaml_int)


def plain_text(file: str) -> str:
    """The text of `file`. Raises OSError, also where it is too long, and UnicodeDecodeError."""
    return content(file, MOST_BYTES).decode("utf-8")


def _refused(what: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=at.start_mark)
