# SPDX-License-Identifier: Apache-2.0
"""The places in preprocessed source at which nodes open and properties are set; the labels it uses.

dtlib parses; this module only finds places. PyPI's dtlib keeps no line numbers, and no dtlib reads
an overlay without the base tree that defines its labels: both need a look at the text itself.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.read.dtb import MAX_DEPTH, MAX_NAME, MAX_PATH, room_for_paths
from west_viommu.read.preprocess import MARKER, unescaped

# The tokens of source, as far as places need them.
TOKEN = re.compile(
    rf"(?P<marker>{MARKER.pattern})"
    r'|(?P<skip>"[^\\"]*(?:\\.[^\\"]*)*"|/\*.*?\*/|//[^\n]*)'
    r"|(?P<label>[A-Za-z_][A-Za-z0-9_]*):"
    r"|&(?P<ref>[A-Za-z_][A-Za-z0-9_]*|\{[^}\n]*\})"
    r"|(?P<name>[A-Za-z0-9,._+*#?@/\\-]+)"
    r"|(?P<mark>[{};=\n])",
    re.MULTILINE | re.DOTALL,
)
_DIRECTIVE = re.compile(r"/[a-z0-9-]+/")


class LabelUse(NamedTuple):
    """A reference `&label`; `prop` is the property with the reference, "" outside of values."""

    label: str
    prop: str
    where: Where


class Outline:
    """The places in one preprocessed text. Labels that it uses and does not define are `open`.

    `is_complete`: it has /dts-v1/, so it is meant to stand alone. `labels`: label -> path of its
    node. `uses`: every reference by label. `extended`: label -> offset and place of the first
    statement `&label { ... };`. `rootless`: the first place that refers to a node before there is a
    root node, if any. `includes`: each /include/.

    Raises Refused, at the line, for nodes that no blob may have either: nested too deeply, or with
    too long a name or path.
    """

    def __init__(self, text: str, base: str, known: Mapping[str, str] | None = None):
        """`base`: the node that stands for the base tree; open labels are its children, except
        labels of a `known` node.
        """
        self.is_complete = False
        self.uses: list[LabelUse] = []
        self.labels: dict[str, str] = {}
        self.extended: dict[str, tuple[int, Where]] = {}
        self.rootless: Where | None = None
        self.includes: list[Where] = []
        self._base = base
        self._known = known or {}
        self._paths_used: list[str] = []
        self._defined: set[str] = set()
        self._nodes: dict[str, Where] = {}
        self._properties: dict[tuple[str, str], Where] = {}
        self._room = room_for_paths(len(text))
        self._scan(text)

    @property
    def open_labels(self) -> list[str]:
        """The labels that are used but not defined, in order of first use."""
        used = dict.fromkeys(use.label for use in self.uses)
        return [label for label in used if label not in self.labels]

    @property
    def open_paths(self) -> list[str]:
        """The paths that `&{/path}` refers to and that no node definition makes, in order."""
        known = {*self._defined, "/"}
        return [path for path in dict.fromkeys(self._paths_used) if path not in known]

    def where(self, path: str, prop: str = "") -> Where | None:
        """Return the place at which property `prop` of the node was last set; else the place at
        which the node first opens.
        """
        return self._properties.get((path, prop)) or self._nodes.get(path)

    def sets(self, path: str, prop: str) -> bool:
        """Return whether the text sets property `prop` of the node."""
        return (path, prop) in self._properties

    def _scan(self, text: str) -> None:
        file, line = "", 1
        stack: list[str] = []
        labels: list[str] = []
        # The statement so far: its first word, and the word before the current token.
        head, last = "", ""
        head_where = Where("")
        begin = 0
        in_value = False
        for token in TOKEN.finditer(text):
            kind, value = token.lastgroup, token.group()
            if value == "\n":
                line += 1
            elif kind == "marker":
                number, quoted = MARKER.fullmatch(value).groups()  # type: ignore[union-attr]
                file, line = unescaped(quoted), int(number) - 1
            elif kind == "skip":
                line += value.count("\n")
            elif kind == "label":
                if not in_value:
                    begin = begin if labels else token.start()
                    labels.append(token["label"])
            elif kind in ("ref", "name"):
                where = Where(file, line)
                if kind == "ref":
                    self._use(token["ref"], head if in_value else "", where)
                    if not stack and "/" not in self._defined and not self.rootless:
                        self.rootless = where
                if not in_value:
                    if kind == "name" and len(value) > MAX_NAME:
                        raise _unbounded(f"a name is longer than {MAX_NAME} characters", where)
                    if not head:
                        head, head_where = value, where
                        begin = begin if labels else token.start()
                    last = value
                    self.is_complete = self.is_complete or value == "/dts-v1/"
                    if value == "/include/":
                        self.includes.append(where)
            elif value == "=":
                in_value = True
            elif value == "{":
                path = self._path(stack, last)
                if not stack and last.startswith("&"):
                    self.extended.setdefault(last[1:], (begin, head_where))
                stack.append(path)
                if path not in self._nodes:
                    self._keep(path, head_where)
                self.labels.update(dict.fromkeys(labels, path))
                head, last, labels = "", "", []
            else:
                if value == "}" and stack:
                    stack.pop()
                elif value == ";" and head and stack and not _DIRECTIVE.match(head):
                    self._properties[stack[-1], head] = head_where
                head, last, labels, in_value = "", "", [], False

    def _keep(self, path: str, where: Where) -> None:
        self._nodes[path] = _bounded(path, where)
        self._room -= len(path)
        if self._room < 0:
            raise _unbounded("the paths of the nodes are much longer than the source", where)

    def _use(self, ref: str, prop: str, where: Where) -> None:
        if ref.startswith("{"):
            _bounded(ref[1:-1], where)
            self._paths_used.append(ref[1:-1])
        else:
            self.uses.append(LabelUse(ref, prop, where))

    def _path(self, stack: list[str], name: str) -> str:
        if stack or not name.startswith("&"):
            path = f"{stack[-1].rstrip('/')}/{name}" if stack else "/"
            self._defined.add(path)
            return path
        if name.startswith("&{"):
            return name[2:-1]
        label = name[1:]
        return self.labels.get(label) or self._known.get(label) or f"{self._base}/{label}"


def _bounded(path: str, where: Where) -> Where:
    """Return `where`. Raises Refused if a tree must not have a node at `path`."""
    if path.count("/") >= MAX_DEPTH:
        raise _unbounded(f"nodes are nested deeper than {MAX_DEPTH}", where, path)
    if len(path) > MAX_PATH:
        raise _unbounded(f"a path is longer than {MAX_PATH} characters", where, path)
    return where


def _unbounded(what: str, where: Where, path: str = "") -> Refused:
    return Refused([Diagnostic(id="malformed", what=what, node=path, where=where)])
