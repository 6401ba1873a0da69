# SPDX-License-Identifier: Apache-2.0
"""An overlay to paste: the guest nodes for some host devices, below /passthrough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from west_viommu.extract.copy import Copied, Property
from west_viommu.guest.gic import LINUX_EDGE
from west_viommu.tree.cells import cells
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.write.dts import commented, value_text


def guest_nodes(
    nodes: Sequence[Copied], host: str, model: str | None, needed: Mapping[str, Sequence[str]]
) -> str:
    """The text. `host` is what to call the host; `needed`: by host path, what Zephyr's binding
    requires and the node does not have.
    """
    model_text = f" ({model})" if model else ""
    lines = [
        f"/* Copied from {commented(host + model_text)} by viommu extract: yours to change. */",
        "/ {",
        "\tpassthrough {",
        '\t\tcompatible = "simple-bus";',
        "\t\t#address-cells = <2>;",
        "\t\t#size-cells = <2>;",
        "\t\tranges;",
    ]
    for node in nodes:
        lines += ["", *_node(node, 2, needed.get(node.host, ()))]
    return "".join(f"{line}\n" for line in [*lines, "\t};", "};"])


def _node(node: Copied, depth: int, needed: Sequence[str] = ()) -> Iterator[str]:
    indent = "\t" * depth
    yield f"{indent}{node.name} {{"
    for prop in node.properties:
        yield from (f"{indent}\t{line}" for line in _property(prop))
        if prop.form == "interrupts" and depth == 2:
            yield f"{indent}\tinterrupt-parent = <&gic>;"
    for what in needed:
        yield f"{indent}\t/* Zephyr requires: {commented(what)} */"
    for names, why in node.left_out:
        what = f"{', '.join(names)}: {why}"
        yield f"{indent}\t/* left out: {commented(what)} */"
    for child in node.children:
        yield ""
        yield from _node(child, depth + 1)
    yield f"{indent}}};"


def _property(prop: Property) -> Iterator[str]:
    if prop.form == "interrupts":
        numbers = cells(prop.value, "", prop.name)
        rows = [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
        entries = [
            f"<GIC_SPI {number} IRQ_TYPE_{'EDGE' if flags == LINUX_EDGE else 'LEVEL'} "
            "IRQ_DEFAULT_PRIORITY>"
            for _, number, flags in rows
        ]
        lead = f"{prop.name} = "
        for i, (entry, (_, number, _)) in enumerate(zip(entries, rows, strict=True)):
            end = ";" if i == len(rows) - 1 else ","
            yield f"{lead}{entry}{end} /* INTID {number + FIRST_SPI} */"
            lead = "\t     "
    elif prop.form == "iommus":
        ids = cells(prop.value, "", prop.name)[1::2]
        yield f"{prop.name} = {', '.join(f'<0x0 {stream_id:#x}>' for stream_id in ids)};"
    else:
        yield f"{prop.name}{value_text(prop.value)};"
