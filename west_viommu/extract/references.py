# SPDX-License-Identifier: Apache-2.0
"""What the properties of a host device refer to, and whether that can come along to a guest."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from west_viommu.extract.records import Copied, LeftOut, Property
from west_viommu.tree.cells import cells
from west_viommu.tree.node import Node, Tree, is_at_or_below
from west_viommu.tree.providers import companions, meaning
from west_viommu.tree.references import Reading, reading_of

_CLOCK = "fixed-clock"
_OF_A_CLOCK = ("clock-frequency", "clock-accuracy")


def kept_property(tree: Tree, device: Node, node: Node, name: str) -> Property | LeftOut:
    """Property `name` of `node`, which is `device` or below it: as it is where it refers to
    nothing, or to what comes along; else why it is left out, with what belongs to it.
    """
    reading = reading_of(tree, node, name)
    targets = reading.reference.targets
    if not targets and not reading.is_open:
        return Property(name, node.properties[name])
    is_whole = not (reading.is_open or reading.is_guess or reading.reference.others)
    if is_whole and all(_comes_along(tree, device, name, path) for path in targets):
        return Property(name, node.properties[name], cells=reading.reference.cells)
    names = (name, *(n for n in companions(name) if n in node.properties))
    return _left_out(node, names, reading)


def stub(tree: Tree, path: str) -> Copied | None:
    """A node that stands in a guest for that of the host at `path`: a clock of a fixed frequency,
    which is no more than a number. None where nothing can.
    """
    node = tree.node(path)
    if node is None or not _is_fixed_clock(node):
        return None
    properties = [
        Property("compatible", f"{_CLOCK}\0".encode()),
        Property("#clock-cells", pack(">I", 0)),
        *(Property(n, node.properties[n]) for n in _OF_A_CLOCK if n in node.properties),
    ]
    remark = f"stands for the host's {path}, which runs at this rate whatever the guest does"
    return Copied(node.name.split("@")[0], path, tuple(properties), (), (), (remark,))


def _comes_along(tree: Tree, device: Node, name: str, path: str) -> bool:
    if is_at_or_below(path, device.path):
        return True
    target = tree.node(path)
    return name == "clocks" and target is not None and _is_fixed_clock(target)


def _is_fixed_clock(node: Node) -> bool:
    compatibles = node.properties.get("compatible", b"").split(b"\0")
    is_plain = node.properties.get("#clock-cells", b"\0" * 4) == b"\0" * 4
    rate = node.properties.get("clock-frequency", b"")
    return _CLOCK.encode() in compatibles and is_plain and len(rate) == 4


def _left_out(node: Node, names: tuple[str, ...], reading: Reading) -> LeftOut:
    name, targets = names[0], reading.reference.targets
    if reading.is_guess:
        numbers = " ".join(map(hex, _numbers(node, name)))
        return LeftOut(names, f"<{numbers}> may refer to {{}}; copy it if it does not", targets[:1])
    words = meaning(name)
    return LeftOut(names, words) if words else LeftOut(names, "it refers to {}", targets)


def _numbers(node: Node, name: str) -> Iterator[int]:
    yield from cells(node.properties[name], node.path, name)[:16]
