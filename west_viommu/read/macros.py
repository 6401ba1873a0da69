# SPDX-License-Identifier: Apache-2.0
"""Macros that a source uses and nobody defines: what is meant."""

from __future__ import annotations

from west_viommu.diagnostics import close_matches
from west_viommu.read.stand_in import MACROS_OF_BASE

_GIC_HEADER = "zephyr/dt-bindings/interrupt-controller/arm-gic.h"
# Linux's <dt-bindings/interrupt-controller/irq.h>, as a host's source has them, and Zephyr's.
_OF_LINUX = {
    "IRQ_TYPE_EDGE_RISING": "IRQ_TYPE_EDGE",
    "IRQ_TYPE_EDGE_BOTH": "IRQ_TYPE_EDGE",
    "IRQ_TYPE_EDGE_FALLING": "IRQ_TYPE_EDGE",
    "IRQ_TYPE_LEVEL_HIGH": "IRQ_TYPE_LEVEL",
    "IRQ_TYPE_LEVEL_LOW": "IRQ_TYPE_LEVEL",
}


def about_macro(name: str) -> str:
    """What to do about the macro `name`, which the preprocessor did not know."""
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
