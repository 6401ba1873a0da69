# SPDX-License-Identifier: Apache-2.0
"""Devicetree source, of a host or of a guest, as a tree: python-devicetree's dtlib parses it."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from types import MappingProxyType
from typing import Any

from west_viommu.diagnostics import Diagnostic, Refused, Where, close_matches
from west_viommu.guest.gic import LINUX_CELLS, ZEPHYR_CELLS
from west_viommu.guest.source import BASE, GuestTree, is_below_passthrough, links, without_source
from west_viommu.names import OVERLAY, VSMMU_LABEL
from west_viommu.read.decompiled import META, Fills, source_of
from west_viommu.read.dtb import DtbError, tree_from_dtb
from west_viommu.read.dtlib import END, UNCLOSED, bounded_dt, dtlib, references
from west_viommu.read.outline import Outline
from west_viommu.read.plain_file import content
from west_viommu.read.preprocess import (
    MARKER,
    decoded,
    line_marker,
    preprocessed,
    preprocessing,
    unescaped,
    unfit,
)
from west_viommu.read.programs import scratch_path
from west_viommu.read.rewrite import (
    BASE_NAME,
    KNOWN,
    about_macro,
    as_overlay,
    as_plain,
    base,
    prelude,
    with_macros,
    with_vsmmu_node,
)
from west_viommu.read.tree import fragments, is_blob, not_applied, not_valid, read_tree
from west_viommu.tree.node import Node, Tree
from west_viommu.tree.references import Reference, Source

# The name in place of a file if an overlay of fragments was rewritten.
_APPLIED = "the overlay, applied"
_GIVE = "give the guest's tree as source or as a blob"
# dtlib's message -> the remedy.
_HINTS = {
    "is not a number": "write decimal digits, or 0x and hexadecimal digits",
    "between the cells": "write blanks there: <1 2>; a comma is between lists: <1 2>, <3 4>",
    "without parentheses": "write it in parentheses: <(-1)>",
    "that is not closed": "close it, before the ;",
    "is not closed": "write `};` where it ends",
    END: "write what is missing, such as `};` or `>;`",
    "without a value": "remove the comma, or write the value",
    "of another kind": 'write it in double quotes: "..."',
    'is neither a "string"': 'write "text", <numbers> or [bytes]',
    "not begin a comment": "write /* comment */ or // comment",
    "labels cannot have": "a label has letters, digits and _ only, and begins with no digit",
    "a colon between": "write = there: a colon is behind a label",
    "without the { behind": "write NAME@ADDRESS {, at the end of the line before",
    "a } too many": "remove it, or look for a node that is closed too early",
    "expected number": "is it a macro of a file that is not included? Give the base .dts first, "
    "or -I and -D",
    "expected '/dts-v1/;'": "give the base .dts before its overlays",
    "expected ';'": "is a ; missing behind what stands before this? Else correct this line",
    "appears on": "give one of the two nodes another label; or remove it, if it is a copy",
    "label reference (&foo)": "write `/ { };` or `&label { };`; or is this no devicetree?",
    "expected": "correct this line, or the end of the one before it",
}
# One message names at most this many labels.
_MOST_LABELS = 3
# The message of our dtlib about a macro (read/dtlib.py). These are compiled only if there is an
# error.
_UNKNOWN_MACRO = r"(\w+) is neither a number nor a macro that is known here"
_NODE_PATH = r"/[\w,.+@/-]+"
_DTLIB_ERROR = r"(?s)(?P<file>.+?):(?P<line>\d+) \(column \d+\): parse error: (?P<what>.+)"


def host_tree(file: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()) -> Tree:
    """Return the tree of a host's .dts `file`. Raises Refused, also for an overlay."""
    text, is_plugin = as_plain(preprocessed([file], include_dirs, defines))
    if is_plugin:
        raise not_applied(file)
    outline = Outline(text, BASE)
    _check(outline)
    _check_complete(outline, "correct the label, or leave the property out")
    parsed = _parsed(text, file, outline)
    tree = _tree(parsed)
    numbered = frozenset(node.path for node in tree.nodes() if outline.sets(node.path, "phandle"))

    def of_node(path: str) -> dict[str, Reference]:
        return dict(_references(parsed, parsed.get_node(path)))

    return Tree(tree.root, Source(_labels(parsed), numbered, of_node), tree.memreserve)


def guest_tree(
    files: Sequence[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> GuestTree:
    """Return the tree of a guest's files, as in `reading_guest`. Raises Refused."""
    with reading_guest(files, include_dirs, defines) as tree:
        return tree()


@contextmanager
def reading_guest(
    files: Sequence[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Iterator[Callable[[], GuestTree]]:
    """Start the preprocessor, and yield the function that waits for it and returns the tree. Both
    raise Refused.

    The files are, in their order, a base (.dts or .dtb), a base and overlays (plain, with /plugin/,
    or .dtbo), or overlays alone, for a base that is not given.
    """
    problems = [problem for file in files if (problem := unfit(file))]
    if problems:
        raise Refused(problems)
    blobs = frozenset(filter(is_blob, files))
    if blobs and len(files) == 1:
        tree = read_tree(files[0], _GIVE)
        if not fragments(tree):
            yield lambda: without_source(tree, files[0])
            return
    with ExitStack() as running:
        # Each returns the text of some files, one after the other.
        texts: list[Callable[[], str]] = []
        for of_blobs, group in groupby(files, is_blob):
            if of_blobs:
                texts += [partial(_decompiled, file) for file in group]
            else:
                texts.append(
                    running.enter_context(preprocessing([*group], include_dirs, defines)).text
                )
        yield lambda: _guest_tree("\n".join(text() for text in texts), files[0], blobs)


def guest_tree_of(file: str) -> GuestTree:
    """Return the tree of a guest's source that is already preprocessed. Raises Refused."""
    return _guest_tree(decoded(content(file), file), file)


def _decompiled(file: str) -> str:
    try:
        text = source_of(tree_from_dtb(content(file)), file)
    except DtbError as error:
        raise not_valid(file, error) from None
    # One line, as a blob has no lines.
    return f"{line_marker(file, 1)}\n" + text.replace("\n", " ") + "\n"


def _guest_tree(text: str, name: str, blobs: Collection[str] = ()) -> GuestTree:
    """Return the tree of `text`; messages name `name` if no place is known. `blobs` have no
    lines.
    """
    text, has_plugin = as_plain(text)
    outline, parsed = _with_base(text, name, has_plugin or name in blobs)
    tree = _tree(parsed)
    if fragments(tree):
        # An overlay that dtc decompiled: its nodes go to the targets of its fragments.
        applied = _applied(tree, parsed, name)
        own = {BASE[1:], *META, *(fragment.name for fragment in fragments(tree))}
        is_alone = all(child.name in own for child in tree.root.children)
        text = (as_overlay(text) if is_alone else text) + applied
        outline, parsed = _with_base(text, name, True)
        tree = _tree(parsed)
        blobs = {*blobs, _APPLIED}
    written = {node.path: dict(_references(parsed, node)) for node in _that_count(parsed)}
    numbered = frozenset(node.path for node in tree.nodes() if outline.sets(node.path, "phandle"))

    def locate(path: str, prop: str) -> Where | None:
        where = outline.where(path, prop)
        if where and where.file in blobs:
            return Where(name if where.file == _APPLIED else where.file)
        return where

    of_iommus = {
        path: found["iommus"].cells for path, found in written.items() if "iommus" in found
    }
    tree = Tree(tree.root, Source(_labels(parsed), numbered, lambda path: written.get(path, {})))
    return GuestTree(tree, frozenset(outline.open_labels), links(tree, of_iommus), locate)


def _with_base(text: str, name: str, is_linux: bool) -> tuple[Outline, Any]:
    """Return the outline of `text`, and the dtlib.DT of it together with its base. `is_linux`: an
    overlay that Zephyr would refuse, so its GIC has three cells.
    """
    outline = Outline(text, BASE, KNOWN)
    _check(outline)
    if outline.is_complete:
        _check_complete(
            outline,
            "correct the label; or, if this is an overlay, take /dts-v1/ out of it, or write "
            "/plugin/ after it",
            frozenset({VSMMU_LABEL}),
        )
        text = with_vsmmu_node(text, f"{BASE}/{VSMMU_LABEL}", outline, OVERLAY)
        text += "\n" + base(outline.open_labels, ZEPHYR_CELLS)
    else:
        cells = LINUX_CELLS if is_linux else ZEPHYR_CELLS
        text = prelude(outline, cells) + with_macros(text)
    return outline, _parsed(text, name, outline)


def _applied(tree: Tree, parsed: Any, name: str) -> str:
    """Return the fragments of `tree` as source at their targets."""
    labels = {node.path: label for label, node in parsed.label2node.items()}
    written: Fills = {}
    for node in parsed.node_iter():
        for prop, reference in _references(parsed, node):
            for i, path in reference.cells.items():
                if path in labels:
                    written.setdefault(node.path, {}).setdefault(prop, {})[4 * i] = labels[path]
    gone = [*fragments(tree), *(child for child in tree.root.children if child.name in META)]
    text = "".join(f"/delete-node/ &{{{node.path}}}; " for node in gone)
    labels_inside = {path: label for path, label in labels.items() if not path.startswith(BASE)}
    text += source_of(tree, name, written, labels_inside).replace("\n", " ")
    return f"\n{line_marker(_APPLIED, 1)}\n{text}\n"


def _check(outline: Outline) -> None:
    """Raise Refused for source that neither cpp nor the outline follows."""
    if outline.includes:
        what, hint = "/include/ is not followed here", 'write #include "file", as Zephyr does'
        raise Refused(
            Diagnostic(id="malformed", what=what, hint=hint, where=where)
            for where in outline.includes
        )


def _check_complete(outline: Outline, hint: str, generated: Set[str] = frozenset()) -> None:
    """Raise Refused for content that a complete tree must not have and that dtlib would report
    without a place. `hint`: the remedy for a label. `generated`: labels that come later.

    Open labels in `iommus` are left to the requests, which have better messages for them.
    """
    open_labels = frozenset(outline.open_labels)
    undefined = {
        use.label: use.where
        for use in reversed(outline.uses)
        if use.label in open_labels and use.prop != "iommus" and use.label not in generated
    }
    problems = list(_undefined(dict(reversed(undefined.items())), hint, outline.labels))
    if outline.rootless:
        problems.append(
            Diagnostic(
                id="malformed",
                what="a node is referred to before there is a root node",
                hint="give the base tree (.dts) before its overlays",
                where=outline.rootless,
            )
        )
    if problems:
        raise Refused(problems)


def _undefined(
    labels: Mapping[str, Where], hint: str, known: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield a diagnostic for the labels that a tree lacks, by the first place that uses each.
    Several are one mistake: the file that has them is missing.
    """
    if not labels:
        return
    first, *others = labels
    if others:
        some = ", ".join(f"&{label}" for label in list(labels)[:_MOST_LABELS])
        dots = ", ..." if len(labels) > _MOST_LABELS else ""
        what = f"{len(labels)} labels that the tree does not have: {some}{dots}"
        hint = f"is there no #include of the file that has them? If there is, {hint}"
    else:
        what = f"&{first} is a label that the tree does not have"
        close = close_matches(first, known, 1)
        hint = f"did you mean &{close[0]}? If not, {hint}" if close else hint
    yield Diagnostic(id="malformed", what=what, hint=hint, where=labels[first])


def _parsed(text: str, name: str, outline: Outline) -> Any:
    """Return the dtlib.DT of `text`; messages name `name` if no place is known."""
    parser = dtlib()
    with scratch_path(text.encode()) as source:
        try:
            return bounded_dt(parser)(source, include_path=[os.path.dirname(name)])
        except parser.DTError as error:
            message = str(error).replace(source, name)
    raise Refused([_dtlib_problem(message, name, outline, text)]) from None


def _end(text: str, otherwise: Where) -> Where:
    """Return the last line of the source in `text`, which has line markers."""
    markers = [*MARKER.finditer(text), None]
    for marker, following in reversed([*zip(markers, markers[1:], strict=False)]):
        if marker and not marker[2].startswith(("<", BASE_NAME)):
            of_file = text[marker.end() + 1 : following.start() if following else len(text)]
            return Where(unescaped(marker[2]), int(marker[1]) + of_file.rstrip().count("\n"))
    return otherwise


def _dtlib_problem(message: str, name: str, outline: Outline, text: str) -> Diagnostic:
    """Return dtlib's message at the place that it names, or else at the node that it names."""
    match = re.fullmatch(_DTLIB_ERROR, message)
    if match:
        what, where = match["what"], Where(match["file"], int(match["line"]))
    else:
        nodes = (outline.where(path) for path in re.findall(_NODE_PATH, message))
        what, where = message, next((place for place in nodes if place), Where(name))
    if what == END or (what == UNCLOSED and where.file.startswith("<")):
        # What follows the user's source: nothing, or the nodes of the base tree.
        where = _end(text, where)
    hint = next((hint for words, hint in _HINTS.items() if words in what), "correct the source")
    macro = re.match(_UNKNOWN_MACRO, what)
    if macro:
        hint = about_macro(macro[1])
    return Diagnostic(id="malformed", what=what, hint=hint, where=where)


def _tree(parsed: Any) -> Tree:
    rows = tuple((address, size) for _, address, size in parsed.memreserves)
    return Tree(_node(parsed.root, "/"), memreserve=rows)


def _node(node: Any, path: str) -> Node:
    prefix = path.rstrip("/")
    return Node(
        path,
        node.name if prefix else "",
        MappingProxyType({name: prop.value for name, prop in node.props.items()}),
        tuple(_node(child, f"{prefix}/{name}") for name, child in node.nodes.items()),
    )


def _labels(parsed: Any) -> dict[str, str]:
    return {label: node.path for label, node in parsed.label2node.items()}


def _that_count(parsed: Any) -> list[Any]:
    """Return the nodes with references that count: all possible requests, wherever they are."""
    return [
        node
        for node in parsed.node_iter()
        if is_below_passthrough(node.path) or "iommus" in node.props
    ]


def _references(parsed: Any, node: Any) -> Iterator[tuple[str, Reference]]:
    """Yield each property of `node` that refers to nodes, and its references."""
    for name, prop in node.props.items():
        found = references(parsed, prop)
        if found.targets:
            yield name, found
