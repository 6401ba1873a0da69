# SPDX-License-Identifier: Apache-2.0
"""What stands in for the base tree of overlays that are given alone: what every base of a Zephyr
guest of Xen says, and each node or label that the overlays refer to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from west_viommu.guest.source import BASE, PASSTHROUGH
from west_viommu.read.outline import Outline
from west_viommu.read.preprocess import line_marker

# What every base tree of a Zephyr guest of Xen says, and an overlay relies on: the cells of the
# root, the GIC under its usual label, and the macros of zephyr/dt-bindings/
# interrupt-controller/arm-gic.h (boards/xen/xenvm, Zephyr 3.1 to 4.3).
_ROOT_OF_BASE = "#address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;"
_GIC_OF_BASE = (
    'compatible = "arm,gic"; interrupt-controller; #interrupt-cells = <{}>; #address-cells = <0>;'
)
_BUS_OF_BASE = "#address-cells = <2>; #size-cells = <2>; ranges;"
# Labels that a base has for a node that is known.
KNOWN = {"passthrough": PASSTHROUGH}
_BASE_NAME = "the base tree that is not given"
MACROS_OF_BASE = {
    "GIC_SPI": "0x0",
    "GIC_PPI": "0x1",
    "IRQ_TYPE_LEVEL": "0x2",
    "IRQ_TYPE_EDGE": "0x4",
    "IRQ_DEFAULT_PRIORITY": "0xa0",
}
_MACRO = re.compile(r"\b(?:" + "|".join(MACROS_OF_BASE) + r")\b")


def with_macros(text: str) -> str:
    """`text` with the numbers that the base's headers have for their macros."""
    return _MACRO.sub(lambda macro: MACROS_OF_BASE[macro[0]], text)


def base(labels: Iterable[str], gic_cells: int) -> str:
    """The node that holds every label the base tree is to bring."""
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
    """A base tree for overlays: what `_ROOT_OF_BASE` says, and every node that they refer to."""
    text = f"{line_marker(_BASE_NAME, 1)}\n/dts-v1/; / {{ {_ROOT_OF_BASE} }};\n"
    labels = outline.open_labels
    if "gic" not in outline.labels and "gic" not in labels:
        labels.append("gic")
    text += base(labels, gic_cells)
    for path in outline.open_paths:
        names = [name for name in path.split("/") if name]
        bus = _BUS_OF_BASE if path == PASSTHROUGH else ""
        text += f"/ {{ {' { '.join(names)} {{ {bus} {'}; ' * (len(names) + 1)}\n"
    return text
