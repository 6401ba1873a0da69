# SPDX-License-Identifier: Apache-2.0
"""An overlay to paste: the guest nodes for some host devices, below /passthrough."""

import re
from collections.abc import Iterator, Mapping, Sequence

from west_viommu.extract.copy import Copied, Property
from west_viommu.guest.gic import ZEPHYR_CELLS, interrupt_entry
from west_viommu.names import COPIED_FIRST_LINE
from west_viommu.tree.cells import cells
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.write.dts import commented, value_text

_FROM_A_BLOB = (
    "From a blob, which does not say what is a phandle: that is judged by the names of properties."
)
# Labels of the guest's own tree, and characters that a label must not have.
_TAKEN = frozenset({"gic", "vsmmu", "passthrough"})
_UNFIT = re.compile(r"[^A-Za-z0-9_]")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A longer label is not kept: the label may replace a cell of four bytes.
_LONGEST_LABEL = 64
# The most characters of reasons why parts are left out; after that, only their names are listed.
_MOST_OF_REASONS = 1 << 17


def guest_nodes(
    nodes: Sequence[Copied],
    host: str,
    model: str | None,
    labels: Mapping[str, str],
    *,
    is_blob: bool,
) -> str:
    """Return the text. `host` is the name of the host, and `labels` has the labels of its nodes, by
    path. `is_blob`: the host's tree has no source.
    """
    origin = commented(f"{host} ({model})" if model else host)
    lines = [f"{COPIED_FIRST_LINE}{origin} by viommu extract: yours to change. */"]
    lines += [f"/* {_FROM_A_BLOB} */"] if is_blob else []
    lines += [
        "/ {",
        "\tpassthrough {",
        '\t\tcompatible = "simple-bus";',
        "\t\t#address-cells = <2>;",
        "\t\t#size-cells = <2>;",
        "\t\tranges;",
    ]
    writer = _Writer(_labels(nodes, labels))
    for node in nodes:
        lines += ["", *writer.node(node, 2)]
    return "".join(f"{line}\n" for line in [*lines, "\t};", "};"])


def _labels(nodes: Sequence[Copied], known: Mapping[str, str]) -> dict[str, str]:
    """Return a label for each node that another node refers to, by the path of its host node: the
    host's label, if there is one.
    """
    names = {each.host: each.name for node in nodes for each in node.nodes()}
    found: dict[str, str] = {}
    taken = {*_TAKEN}
    for path in dict.fromkeys(path for node in nodes for path in node.targets):
        label = known.get(path, "")
        if not _LABEL.fullmatch(label) or len(label) > _LONGEST_LABEL or label in taken:
            label = base = _UNFIT.sub("_", f"host_{names[path]}")[:_LONGEST_LABEL]
            count = 1
            while label in taken:
                count += 1
                label = f"{base}_{count}"
        taken.add(label)
        found[path] = label
    return found


class _Writer:
    """Writes nodes, with `labels` by the path of the host node."""

    def __init__(self, labels: Mapping[str, str]):
        self._labels = labels
        self._room = _MOST_OF_REASONS

    def node(self, node: Copied, depth: int) -> Iterator[str]:
        """Yield the lines of `node`."""
        indent = "\t" * depth
        label = self._labels.get(node.host)
        yield f"{indent}{label}: {node.name} {{" if label else f"{indent}{node.name} {{"
        for prop in node.properties:
            yield from (f"{indent}\t{line}" for line in self._property(prop))
            if prop.form == "interrupts" and depth == 2:
                yield f"{indent}\tinterrupt-parent = <&gic>;"
        for remark in node.remarks:
            yield f"{indent}\t/* {commented(remark)} */"
        for left_out in node.left_out:
            what = ", ".join(left_out.names)
            if self._room > 0:
                what += f": {left_out.why}"
                self._room -= len(left_out.why)
            yield f"{indent}\t/* left out: {commented(what)} */"
        for child in node.children:
            yield ""
            yield from self.node(child, depth + 1)
        yield f"{indent}}};"

    def _property(self, prop: Property) -> Iterator[str]:
        if prop.form == "interrupts":
            yield from _interrupts(prop)
        elif prop.form == "iommus":
            ids = cells(prop.value, "", prop.name)[1::2]
            yield f"{prop.name} = {', '.join(f'<0x0 {stream_id:#x}>' for stream_id in ids)};"
        else:
            references = {i: self._labels[path] for i, path in prop.cells.items()}
            yield f"{prop.name}{value_text(prop.value, references)};"


def _interrupts(prop: Property) -> Iterator[str]:
    numbers = cells(prop.value, "", prop.name)
    rows = [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
    entries = [interrupt_entry(ZEPHYR_CELLS, number, flags) for _, number, flags in rows]
    lead = f"{prop.name} = "
    for i, (entry, (_, number, _)) in enumerate(zip(entries, rows, strict=True)):
        end = ";" if i == len(rows) - 1 else ","
        yield f"{lead}{entry}{end} /* INTID {number + FIRST_SPI} */"
        lead = "\t     "


def stubs(made: Sequence[Copied]) -> list[Copied]:
    """Return the stubs that the nodes `made` refer to, each once."""
    targets = {path for node in made for path in node.targets}
    by_clock = {each.host: each for node in made for each in node.stubs}
    return [each for clock, each in by_clock.items() if clock in targets]


def apart(nodes: Sequence[Copied]) -> list[Copied]:
    """Return `nodes` with distinct names, as two nodes with the same name would be one node."""
    taken: set[str] = set()
    result = []
    for node in nodes:
        name, count = node.name, 1
        while name in taken:
            count += 1
            base, at, address = node.name.partition("@")
            name = f"{base}-{count}{at}{address}"
        taken.add(name)
        result.append(node._replace(name=name))
    return result
