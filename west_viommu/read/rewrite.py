# SPDX-License-Identifier: Apache-2.0
"""Changes to preprocessed source before dtlib, or Zephyr, reads it.

Overlays that are given alone get a base tree: the content that every base of a Zephyr guest of Xen
has, and each node or label that the overlays refer to. Overlays with /plugin/ become plain ones.
And `&vsmmu { ... };` gets a node to extend, as the generated overlay, which defines the label,
comes last: a value may refer to a later node, but a statement extends only a node that is already
there.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, close_matches
from west_viommu.guest.source import BASE, PASSTHROUGH
from west_viommu.names import OVERLAY_FIRST_LINE, VSMMU_LABEL
from west_viommu.read.outline import TOKEN, Outline
from west_viommu.read.preprocess import line_marker
from west_viommu.read.tree import OVERLAY_CONTENT

_VERSION, _PLUGIN = "/dts-v1/", "/plugin/"
# The content of every base tree of a Zephyr guest of Xen that an overlay relies on: the cells of
# the root, the GIC under its usual label, and the macros of
# zephyr/dt-bindings/interrupt-controller/arm-gic.h (boards/xen/xenvm, Zephyr 3.1 to 4.3).
_ROOT_OF_BASE = "#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;"
_GIC_OF_BASE = (
    'compatible = "arm,gic"; interrupt-controller; #interrupt-cells = <{}>; #address-cells = <0>;'
)
_BUS_OF_BASE = "#address-cells = <2>; #size-cells = <2>; ranges;"
# Labels that a base has for a known node.
KNOWN = {"passthrough": PASSTHROUGH}
BASE_NAME = "the base tree that is not given"
MACROS_OF_BASE = {
    "GIC_SPI": "0x0",
    "GIC_PPI": "0x1",
    "IRQ_TYPE_LEVEL": "0x2",
    "IRQ_TYPE_EDGE": "0x4",
    "IRQ_DEFAULT_PRIORITY": "0xa0",
}
_MACRO = re.compile(r"\b(?:" + "|".join(MACROS_OF_BASE) + r")\b")
_GIC_HEADER = "zephyr/dt-bindings/interrupt-controller/arm-gic.h"
# Macros of Linux's <dt-bindings/interrupt-controller/irq.h>, which a host's source uses ->
# Zephyr's.
_OF_LINUX = {
    "IRQ_TYPE_EDGE_RISING": "IRQ_TYPE_EDGE",
    "IRQ_TYPE_EDGE_BOTH": "IRQ_TYPE_EDGE",
    "IRQ_TYPE_EDGE_FALLING": "IRQ_TYPE_EDGE",
    "IRQ_TYPE_LEVEL_HIGH": "IRQ_TYPE_LEVEL",
    "IRQ_TYPE_LEVEL_LOW": "IRQ_TYPE_LEVEL",
}


def with_macros(text: str) -> str:
    """Return `text` with the macros of the base's headers replaced by their numbers."""
    return _MACRO.sub(lambda macro: MACROS_OF_BASE[macro[0]], text)


def base(labels: Iterable[str], gic_cells: int) -> str:
    """Return the node that holds every label which the base tree must have."""
    gic = _GIC_OF_BASE.format(gic_cells)
    children = (
        f"{label}: {label} {{ {gic if label == 'gic' else ''} }};"
        for label in labels
        if label not in KNOWN
    )
    known = (
        f"{label}: {KNOWN[label][1:]} {{ {_BUS_OF_BASE} }};" for label in labels if label in KNOWN
    )
    return f"/ {{ {BASE[1:]} {{ {' '.join(children)} }}; {' '.join(known)} }};\n"


def prelude(outline: Outline, gic_cells: int) -> str:
    """Return a base tree for overlays: `_ROOT_OF_BASE`, and every node that they refer to."""
    text = f"{line_marker(BASE_NAME, 1)}\n/dts-v1/; / {{ {_ROOT_OF_BASE} }};\n"
    labels = outline.open_labels
    if "gic" not in outline.labels and "gic" not in labels:
        labels.append("gic")
    text += base(labels, gic_cells)
    for path in outline.open_paths:
        names = [name for name in path.split("/") if name]
        bus = _BUS_OF_BASE if path == PASSTHROUGH else ""
        text += f"/ {{ {' { '.join(names)} {{ {bus} {'}; ' * (len(names) + 1)}\n"
    return text


def about_macro(name: str) -> str:
    """Return the hint for the macro `name`, which the preprocessor did not know."""
    if name in _OF_LINUX:
        return (
            f"it is Linux's: write Zephyr's, {_OF_LINUX[name]}; in a partial tree for Xen alone, "
            "#include Linux's <dt-bindings/interrupt-controller/irq.h>"
        )
    if name in MACROS_OF_BASE:
        return f"write #include <{_GIC_HEADER}>, or give the base .dts first"
    close = close_matches(name, MACROS_OF_BASE, 1)
    meant = f"did you mean {close[0]}? Else " if close else ""
    return f"{meant}#include the file that defines it, or give the base .dts first, or -I and -D"


class _Directive(NamedTuple):
    """A /dts-v1/ or /plugin/ from `start` to `end`. `is_next`: it directly follows the previous
    directive.
    """

    word: str
    start: int
    end: int
    is_next: bool


def as_plain(text: str) -> tuple[str, bool]:
    """Return preprocessed `text` with each /plugin/ blanked, and the /dts-v1/ that belongs to it;
    and whether there was a /plugin/. Lines keep their numbers.

    dtc decompiles an overlay blob without /plugin/: after a base, its /dts-v1/ is blanked as well.
    """
    if _PLUGIN not in text and OVERLAY_CONTENT not in text:
        return text, False
    found = list(_directives(text))
    gone = []
    for i, each in enumerate(found):
        if each.word == _PLUGIN:
            gone.append(each)
            if each.is_next and i and found[i - 1].word == _VERSION:
                gone.append(found[i - 1])
        elif i and OVERLAY_CONTENT in text:
            gone.append(each)
    return _blank(text, gone), any(each.word == _PLUGIN for each in found)


def as_overlay(text: str) -> str:
    """Return `text` with each /dts-v1/ blanked."""
    return _blank(text, (each for each in _directives(text) if each.word == _VERSION))


def _directives(text: str) -> Iterator[_Directive]:
    statement: tuple[int, str] | None = None
    is_next = False
    for token in TOKEN.finditer(text):
        kind, value = token.lastgroup, token.group()
        if kind == "name" and value in (_VERSION, _PLUGIN):
            statement = token.start(), value
        elif value == ";" and statement:
            yield _Directive(statement[1], statement[0], token.end(), is_next)
            statement, is_next = None, True
        elif kind in ("name", "ref", "mark", "label") and value != "\n":
            statement, is_next = None, False


def _blank(text: str, spans: Iterable[_Directive]) -> str:
    for each in spans:
        blank = "".join(c if c == "\n" else " " for c in text[each.start : each.end])
        text = text[: each.start] + blank + text[each.end :]
    return text


def with_vsmmu_node(text: str, path: str, outline: Outline, file: str) -> str:
    """Return `text`, which has that `outline`, with an empty node at `path` for the vSMMU's label
    if the text extends the label and does not define it. Line markers attribute the node to `file`,
    our overlay, and keep the lines of the rest.
    """
    found = outline.extended.get(VSMMU_LABEL)
    if VSMMU_LABEL in outline.labels or not found:
        return text
    at, where = found
    *parents, name = path.strip("/").split("/")
    opened = "".join(f"{parent} {{ " for parent in parents)
    node = f"/ {{ {opened}{VSMMU_LABEL}: {name} {{ }}; {'}; ' * len(parents)}}};"
    stub = f"{line_marker(file, 1)}\n{OVERLAY_FIRST_LINE} */\n{node}\n"
    return f"{text[:at]}\n{stub}{line_marker(where.file, where.line or 1)}\n{text[at:]}"


def without_vsmmu(outline: Outline) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each reference to the vSMMU of a guest that gets no vSMMU."""
    if VSMMU_LABEL not in outline.labels:
        for use in outline.uses:
            if use.label == VSMMU_LABEL:
                what = f"&{VSMMU_LABEL} is used, and this guest gets no vSMMU"
                hint = "none of its devices is behind an SMMU of the host: leave it out"
                yield Diagnostic(id="malformed", what=what, hint=hint, where=use.where)
