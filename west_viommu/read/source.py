# SPDX-License-Identifier: Apache-2.0
"""Devicetree source, of a host or of a guest, as a tree: python-devicetree's dtlib parses it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

from west_viommu.guest.source import BASE, PASSTHROUGH, GuestTree
from west_viommu.hypervisor.profile import VSMMU_LABEL
from west_viommu.names import OVERLAY
from west_viommu.problems import Problem, Refused, Where
from west_viommu.read.dtb import MAX_DEPTH, MAX_PATH
from west_viommu.read.dtlib import bounded_dt, dtlib
from west_viommu.read.outline import Outline
from west_viommu.read.plain_file import content
from west_viommu.read.preprocess import decoded, preprocessed
from west_viommu.read.vsmmu_label import with_vsmmu_node
from west_viommu.tree.node import Node, Tree

# What every base tree of a Zephyr guest of Xen says, and an overlay relies on: the cells of the
# root, the GIC under its usual label, and the macros of zephyr/dt-bindings/
# interrupt-controller/arm-gic.h (boards/xen/xenvm, Zephyr 3.1 to 4.3).
_ROOT_OF_BASE = "#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;"
_GIC_OF_BASE = (
    'compatible = "arm,gic"; interrupt-controller; #interrupt-cells = <4>; #address-cells = <0>;'
)
_BUS_OF_BASE = "#address-cells = <2>; #size-cells = <2>; ranges;"
_BASE_NAME = "the base tree that is not given"
_MACROS_OF_BASE = {
    "GIC_SPI": "0x0",
    "GIC_PPI": "0x1",
    "IRQ_TYPE_LEVEL": "0x2",
    "IRQ_TYPE_EDGE": "0x4",
    "IRQ_DEFAULT_PRIORITY": "0xa0",
}
_MACRO = re.compile(r"\b(?:" + "|".join(_MACROS_OF_BASE) + r")\b")
# What dtlib says -> what to do about it.
_HINTS = {
    "expected number": "is it a macro of a file that is not included? Give the base .dts first, "
    "or -I and -D",
    "/plugin/": "leave /plugin/ out: this is read as plain source, like an overlay of Zephyr",
    "expected '/dts-v1/;'": "give the base .dts before its overlays",
    "expected": "correct this line, or the end of the one before it",
}
# More labels than these are not each a slip.
_MANY_LABELS = 5
# The types of dtlib whose values may refer to nodes, and how its text then shows that.
_REFERRING = ("PHANDLE", "PHANDLES", "PHANDLES_AND_NUMS", "PATH", "COMPOUND")
_REFERENCE = re.compile(r"&(?:([A-Za-z_][A-Za-z0-9_]*)|\{([^}]*)\})")
_STRING = re.compile(r'"[^\\"]*(?:\\.[^\\"]*)*"')
_NODE_PATH = re.compile(r"/[\w,.+@/-]+")
_DTLIB_ERROR = re.compile(r"(?P<file>.+?):(?P<line>\d+) \(column \d+\): parse error: (?P<what>.+)")


def host_tree(file: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()) -> Tree:
    """The tree of a host's .dts `file`. Raises Refused."""
    text = preprocessed([file], include_dirs, defines)
    outline = Outline(text, BASE)
    _check(outline)
    _check_complete(outline, "correct the label, or leave the property out")
    return _tree(_parsed(text, file, outline), outline)


def guest_tree(
    files: Sequence[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> GuestTree:
    """The tree of a guest's source files, in their order: a .dts, a .dts and overlays, or only
    overlays for a base that is not given. Raises Refused.
    """
    return _guest_tree(preprocessed(files, include_dirs, defines), files[0])


def guest_tree_of(file: Path) -> GuestTree:
    """The tree of a guest's source that the preprocessor has been over. Raises Refused."""
    return _guest_tree(decoded(content(str(file)), str(file)), str(file))


def _guest_tree(text: str, name: str) -> GuestTree:
    """The tree of `text`; `name` is named where no place is known."""
    outline = Outline(text, BASE)
    _check(outline)
    if outline.is_complete:
        _check_complete(
            outline,
            "correct the label; or, if this is an overlay, take /dts-v1/ and /plugin/ out of it",
            frozenset({VSMMU_LABEL}),
        )
        text = with_vsmmu_node(text, f"{BASE}/{VSMMU_LABEL}", outline, OVERLAY)
        text += "\n" + _base(outline.open_labels)
    else:
        text = _MACRO.sub(lambda macro: _MACROS_OF_BASE[macro[0]], text)
        text = _prelude(outline) + text
    parsed = _parsed(text, name, outline)
    return GuestTree(
        _tree(parsed, outline),
        {label: node.path for label, node in parsed.label2node.items()},
        frozenset(outline.open_labels),
        {node.path: _links(parsed, node.props["iommus"]) for node in _with_iommus(parsed)},
        {node.path: dict(_references(parsed, node)) for node in _below_passthrough(parsed)},
        outline.is_complete,
        outline.where,
    )


def _check(outline: Outline) -> None:
    """Raises Refused for what neither cpp nor the outline follows."""
    if outline.includes:
        what, hint = "/include/ is not followed here", 'write #include "file", as Zephyr does'
        raise Refused(Problem("malformed", what, hint, where=where) for where in outline.includes)


def _check_complete(outline: Outline, hint: str, generated: Set[str] = frozenset()) -> None:
    """Raises Refused for what a complete tree must not have and dtlib would tell without place.
    `hint`: what to do about a label. `generated`: labels that come later.

    Open labels in `iommus` are left to the requests, which know what to say about them.
    """
    undefined = {
        use.label: use.where
        for use in reversed(outline.uses)
        if use.label in outline.open_labels and use.prop != "iommus" and use.label not in generated
    }
    problems = list(_undefined(dict(reversed(undefined.items())), hint))
    if outline.rootless:
        problems.append(
            Problem(
                "malformed",
                "a node is referred to before there is a root node",
                "give the base tree (.dts) before its overlays",
                where=outline.rootless,
            )
        )
    if problems:
        raise Refused(problems)


def _undefined(labels: Mapping[str, Where], hint: str) -> Iterator[Problem]:
    """Labels that a tree does not have, by the first place that uses each. Many at once are one
    mistake.
    """
    if len(labels) > _MANY_LABELS:
        some = ", ".join(f"&{label}" for label in list(labels)[:3])
        what = f"{len(labels)} labels that the tree does not have: {some}, ..."
        many = "is there no #include of the file that has them?"
        yield Problem("malformed", what, many, where=next(iter(labels.values())))
        return
    for label, where in labels.items():
        what = f"&{label} is a label that the tree does not have"
        yield Problem("malformed", what, hint, where=where)


def _base(labels: Iterable[str]) -> str:
    """The node that holds every label the base tree is to bring."""
    children = (
        f"{label}: {label} {{ {_GIC_OF_BASE if label == 'gic' else ''} }};" for label in labels
    )
    return f"/ {{ {BASE[1:]} {{ {' '.join(children)} }}; }};\n"


def _prelude(outline: Outline) -> str:
    """A base tree for overlays: what `_ROOT_OF_BASE` says, and every node that they refer to."""
    text = f'# 1 "{_BASE_NAME}"\n/dts-v1/; / {{ {_ROOT_OF_BASE} }};\n'
    labels = outline.open_labels
    if "gic" not in outline.labels and "gic" not in labels:
        labels.append("gic")
    text += _base(labels)
    for path in outline.open_paths:
        names = [name for name in path.split("/") if name]
        bus = _BUS_OF_BASE if path == PASSTHROUGH else ""
        text += f"/ {{ {' { '.join(names)} {{ {bus} {'}; ' * (len(names) + 1)}\n"
    return text


def _parsed(text: str, name: str, outline: Outline) -> Any:
    """The dtlib.DT of `text`; `name` is named where no place is known."""
    parser = dtlib()
    with tempfile.TemporaryDirectory(prefix="viommu-") as folder:
        source = Path(folder, "source.dts")
        source.write_text(text, encoding="utf-8")
        try:
            return bounded_dt(parser)(str(source), include_path=[os.path.dirname(name)])
        except (parser.DTError, ValueError, OverflowError, RecursionError) as error:
            message = str(error).replace(str(source), name)
    raise Refused([_dtlib_problem(message, name, outline)]) from None


def _dtlib_problem(message: str, name: str, outline: Outline) -> Problem:
    """What dtlib says, at the place that it names, or else at that of a node that it names."""
    match = _DTLIB_ERROR.fullmatch(message)
    if match:
        what, where = match["what"], Where(match["file"], int(match["line"]))
    else:
        nodes = (outline.where(path) for path in _NODE_PATH.findall(message))
        what, where = message, next((place for place in nodes if place), Where(name))
    hint = next((hint for words, hint in _HINTS.items() if words in what), "correct the source")
    return Problem("malformed", what, hint, where=where)


def _tree(parsed: Any, outline: Outline) -> Tree:
    return Tree(_node(parsed.root, "/", outline, 0))


def _node(node: Any, path: str, outline: Outline, depth: int) -> Node:
    what = ""
    if depth == MAX_DEPTH:
        what = f"nodes are nested deeper than {MAX_DEPTH}"
    elif len(path) > MAX_PATH:
        what = f"a path is longer than {MAX_PATH} characters"
    if what:
        raise Refused([Problem("malformed", what, node=path, where=outline.where(path))])
    prefix = path.rstrip("/")
    return Node(
        path,
        node.name if depth else "",
        MappingProxyType({name: prop.value for name, prop in node.props.items()}),
        tuple(
            _node(child, f"{prefix}/{name}", outline, depth + 1)
            for name, child in node.nodes.items()
        ),
    )


def _with_iommus(parsed: Any) -> list[Any]:
    return [node for node in parsed.node_iter() if "iommus" in node.props]


def _below_passthrough(parsed: Any) -> list[Any]:
    return [node for node in parsed.node_iter() if node.path.startswith(f"{PASSTHROUGH}/")]


def _references(parsed: Any, node: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each property of `node` that refers to nodes, and their paths. dtlib's public interface tells
    them only in the text that it writes a property as.
    """
    for name, prop in node.props.items():
        if prop.type.name in _REFERRING:
            references = _REFERENCE.findall(_STRING.sub("", str(prop)))
            if references:
                nodes = (
                    parsed.get_node(path) if path else parsed.label2node[label]
                    for label, path in references
                )
                yield name, tuple(node.path for node in nodes)


def _links(parsed: Any, prop: Any) -> Mapping[int, str]:
    """Cells of `prop` that were written as a reference, and the node of each.

    dtlib types a property without references NUMS. In one that mixes both, a cell counts as a
    reference if a node has that phandle: a number that passes for one then has to pass as one.
    """
    if "PHANDLE" not in prop.type.name:
        return {}
    numbers = [int.from_bytes(prop.value[i : i + 4], "big") for i in range(0, len(prop.value), 4)]
    return {
        i: parsed.phandle2node[number].path
        for i, number in enumerate(numbers)
        if i % 2 == 0 and number in parsed.phandle2node
    }
