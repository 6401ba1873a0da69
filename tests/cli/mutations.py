# SPDX-License-Identifier: Apache-2.0
"""Every small change that can be made to a guest's tree, one at a time, and to a plan."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.xen.nodes import Node, blob_of, cells, pack, tree

CELLS = (
    "reg",
    "ranges",
    "interrupts",
    "interrupt-parent",
    "iommus",
    "phandle",
    "#iommu-cells",
    "#address-cells",
    "#size-cells",
)
STRINGS = ("compatible", "status", "interrupt-names")
# A name for the change, and the blob with it.
Mutant = tuple[str, bytes]


def changed(blob: bytes, path: str, change: Callable[[Node], None]) -> bytes:
    """`blob` with one node changed."""
    root = tree(blob)
    change(found(root, path))
    return blob_of(root)


def found(root: Node, path: str) -> Node:
    return next(node for node in root.below() if node.path == path)


def with_value(blob: bytes, path: str, prop: str, value: bytes) -> bytes:
    """`blob` with one property set."""

    def set_value(node: Node) -> None:
        node.props[prop] = value

    return changed(blob, path, set_value)


def mutants(blob: bytes, vsmmu: str) -> Iterator[Mutant]:
    """Every change of one field, and of one node, in the vSMMU and below /passthrough."""
    for node in tree(blob).below():
        path = node.path
        if path != vsmmu and not path.startswith("/passthrough/"):
            continue
        for prop, value in node.props.items():
            for what, other in _other_values(prop, value):
                yield f"{path} {prop} {what}", with_value(blob, path, prop, other)
            if prop in (*CELLS, *STRINGS):
                yield f"{path} {prop} removed", changed(blob, path, _without(prop))
        if "status" not in node.props:
            yield f"{path} disabled", with_value(blob, path, "status", b"disabled\0")
        yield f"{path} removed", changed(blob, path, _removed)
        yield f"{path} twice", changed(blob, path, _twice)


def unrewritten(blob: bytes, vsmmu: str) -> Iterator[Mutant]:
    """iommus as a hypervisor leaves it that does not virtualise it, and what it makes of
    specifiers that it does not understand.
    """
    for node in tree(blob).below():
        value = node.props.get("iommus")
        if value is None:
            continue
        numbers = cells(value)
        for phandle in (0, 2, 0xFFFFFFFF):
            other = list(numbers)
            other[::2] = [phandle] * (len(other) // 2)
            yield (
                f"{node.path} iommus of {phandle:#x}",
                with_value(blob, node.path, "iommus", pack(*other)),
            )
        for what, more in (("a cell", pack(0)), ("a pair", pack(0, 0)), ("2 bytes", b"\0\0")):
            yield (
                f"{node.path} iommus and {what} of zeroes",
                with_value(blob, node.path, "iommus", value + more),
            )
        yield f"{node.path} iommus empty", with_value(blob, node.path, "iommus", b"")
        zeroes = bytes(len(value))
        yield f"{node.path} iommus zeroed", with_value(blob, node.path, "iommus", zeroes)
        own = found(tree(blob), vsmmu).props["phandle"]
        yield (
            f"{node.path} has the phandle of the vSMMU",
            with_value(blob, node.path, "phandle", own),
        )
    yield "another phandle", with_value(blob, vsmmu, "phandle", pack(0x1234))
    root = tree(blob)
    root.add(Node("smmu@5000000", {"compatible": b"arm,smmu-v3\0", "reg": pack(0, 0, 0, 1)}))
    yield "a second vSMMU", blob_of(root)
    root = tree(blob)
    passthrough = found(root, "/passthrough")
    passthrough.props["iommus"] = pack(0, 1)
    yield "iommus on the bus", blob_of(root)


def plan_mutants(plan: Any) -> Iterator[tuple[str, Any]]:
    """Every change of one value in a plan, but for its seal."""
    for path in _leaves(plan):
        if path[0] == "files":
            continue
        other = copy.deepcopy(plan)
        holder = other
        for key in path[:-1]:
            holder = holder[key]
        value = holder[path[-1]]
        holder[path[-1]] = value + 1 if isinstance(value, int) else f"{value}x"
        yield ".".join(map(str, path)), other
    for i, device in enumerate(plan["devices"]):
        for key in ("streams", "regions", "intids"):
            if device[key]:
                other = copy.deepcopy(plan)
                other["devices"][i][key].pop()
                yield f"devices.{i}.{key} without the last", other
        other = copy.deepcopy(plan)
        other["devices"].pop(i)
        yield f"without device {i}", other
        other = copy.deepcopy(plan)
        other["devices"][i]["maps"] = [
            {"iommu": "/x", "rid": 0, "pmaster": 0, "vmaster": 0, "length": 1}
        ]
        yield f"devices.{i} with a map", other
    other = copy.deepcopy(plan)
    other["viommu"] = None
    yield "without vSMMU", other
    other = copy.deepcopy(plan)
    other["allowed"] = [{"hazard": "shared-page", "device": "/a", "reason": "b"}]
    yield "with a permission", other


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _leaves(each, (*path, i))
    elif value is not None:
        yield path


def _other_values(prop: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    if prop in CELLS:
        numbers = cells(value)
        for i, number in enumerate(numbers):
            other = [*numbers[:i], number + 1, *numbers[i + 1 :]]
            yield f"cell {i}", pack(*other)
    if prop in STRINGS:
        strings = value.split(b"\0")[:-1]
        for i, string in enumerate(strings):
            other_strings = [*strings[:i], string + b"x", *strings[i + 1 :]]
            yield f"string {i}", b"".join(each + b"\0" for each in other_strings)
        yield "without its end", value[:-1]


def _without(prop: str) -> Callable[[Node], None]:
    def remove(node: Node) -> None:
        del node.props[prop]

    return remove


def _removed(node: Node) -> None:
    assert node.parent
    node.parent.children.remove(node)


def _twice(node: Node) -> None:
    assert node.parent
    other = copy.deepcopy(node)
    other.name = f"x{node.name}"
    node.parent.add(other)


def as_json(plan: Any) -> str:
    return json.dumps(plan, indent=2) + "\n"
