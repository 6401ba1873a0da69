# SPDX-License-Identifier: Apache-2.0
"""The bindings that let each passthrough device have `iommus`, without a change to Zephyr.

Zephyr refuses a property that the binding of a node does not declare, and a second binding for a
compatible, unless it is for another bus. So /passthrough becomes a bus, and each device gets a
binding for that bus, which includes the one that the device has.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.hypervisor.profile import Viommu
from west_viommu.names import BINDING_FIRST_LINE, BINDINGS, VENDOR_PREFIXES
from west_viommu.read.bindings import PASSTHROUGH_BUS, Bindings, includes, mapping
from west_viommu.read.plain_file import shipped
from west_viommu.tree.node import Node
from west_viommu.write.smmu_binding import smmu_bindings

_DEVICE = "viommu,assigned-device.yaml"
_BASE = "base.yaml"
# What edtlib takes undeclared (Node._check_undeclared_props), beside #NAME and NAME-controller.
_FREE = frozenset(
    {
        "compatible",
        "status",
        "ranges",
        "phandle",
        "interrupt-parent",
        "interrupts-extended",
        "device_type",
    }
)
# edtlib's own rule for a compatible; others are for Zephyr to complain about.
_COMPATIBLE = r"[a-zA-Z][a-zA-Z0-9,+\-._]+"


class _Placed(NamedTuple):
    """A node below /passthrough and the bus that edtlib takes it to be on."""

    node: Node
    bus: str
    compatibles: tuple[str, ...]


def compatibles(passthrough: Node) -> list[str]:
    """Every compatible for which a binding may be looked up."""
    found = [each for node in _below(passthrough) for each in node.known_compatible]
    return [*dict.fromkeys(found), SMMUV3_COMPATIBLE]


def generated_bindings(
    passthrough: Node,
    requests: Iterable[str],
    known: Bindings,
    viommu: Viommu | None = None,
    of_vsmmu: Set[str] = frozenset(),
) -> dict[str, str]:
    """File name below the output folder -> text, for the nodes at the paths `requests` below
    /passthrough, in a build with `known` bindings, and for the node of `viommu`, if there is one.
    `of_vsmmu`: the properties that the guest's sources give that node.

    What is shipped in bindings/ is added where the build does not have it, as a module would.
    """
    files: dict[str, str] = {}
    if not known.has(_DEVICE):
        for own in sorted(Path(shipped("bindings", "bindings")).glob("*.yaml")):
            files[own.name] = f"{BINDING_FIRST_LINE}\n{own.read_text(encoding='utf-8')}"
    if viommu is not None:
        files |= smmu_bindings(known, viommu, of_vsmmu)
    placed = list(_placed(passthrough, PASSTHROUGH_BUS, known))
    wanted = set(requests)
    ours = _declared_by_us()
    for compatible, bus in _to_bind([each for each in placed if each.node.path in wanted], known):
        text = _device_binding(compatible, bus, placed, known, ours)
        if text:
            files[f"{bus}-{compatible}.yaml"] = text
    files[VENDOR_PREFIXES] = _vendors(placed, known)
    return {f"{BINDINGS}/{name}": text for name, text in files.items()}


def original_bindings(
    passthrough: Node, requests: Iterable[str], known: Bindings
) -> Iterator[tuple[Node, str]]:
    """Each node at one of the paths `requests` that the build has a binding for, and the file."""
    wanted = set(requests)
    for node, bus, valid in _placed(passthrough, PASSTHROUGH_BUS, known):
        if node.path in wanted:
            found = next(filter(None, (known.binding(each, bus) for each in valid)), None)
            if found:
                yield node, found.path


def _below(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield child
        yield from _below(child)


def _placed(parent: Node, bus: str, known: Bindings) -> Iterator[_Placed]:
    """The nodes below `parent`, whose children are on `bus`. A node whose binding has a `bus:`
    puts its own children on that.
    """
    for child in parent.children:
        valid = tuple(each for each in child.known_compatible if re.fullmatch(_COMPATIBLE, each))
        yield _Placed(child, bus, valid)
        bound = next(filter(None, (known.binding(each, bus) for each in valid)), None)
        yield from _placed(child, bound.bus if bound and bound.bus else bus, known)


def _to_bind(requested: Sequence[_Placed], known: Bindings) -> list[tuple[str, str]]:
    """(compatible, bus) for which a binding is to be generated: of each node, the first
    compatible that has one. A binding for an earlier compatible would hide that, one for a later
    would not be seen. A node without any gets one for its first compatible, unless that would
    hide the binding of another node.
    """
    bound: dict[tuple[str, str], None] = {}
    hiding: set[tuple[str, str]] = set()
    unbound: list[tuple[str, str]] = []
    for _, bus, valid in requested:
        first = next((i for i, each in enumerate(valid) if known.binding(each, bus)), None)
        if first is not None:
            bound[valid[first], bus] = None
            hiding.update((each, bus) for each in valid[:first])
        elif valid:
            unbound.append((valid[0], bus))
    return [*bound, *dict.fromkeys(each for each in unbound if each not in hiding)]


def _device_binding(
    compatible: str, bus: str, placed: Sequence[_Placed], known: Bindings, ours: frozenset[str]
) -> str | None:
    """The binding of `compatible` on `bus`; None where the build has one. `ours`: the properties
    that every device gets.
    """
    original = known.binding(compatible, bus)
    if original is None:
        nodes = [node for node, on, valid in placed if on == bus and compatible in valid]
        properties = _undeclared(nodes, known.declared(_BASE) | ours)
        return _text(compatible, bus, [_BASE, _DEVICE], properties)
    if original.on_bus == bus:
        return None
    file_name = os.path.basename(original.path)
    if not known.is_includable(original.path):
        return _inlined(known.content(original.path), bus, ours)
    twice = sorted(ours & known.declared(file_name))
    include = {"name": _DEVICE, "property-blocklist": twice} if twice else _DEVICE
    return _text(compatible, bus, [file_name, include], {})


def _inlined(content: Mapping[str, Any], bus: str, ours: frozenset[str]) -> str:
    """A binding that another file of its name keeps from being included, with our properties."""
    twice = sorted(ours & mapping(content.get("properties")).keys())
    device = {"name": _DEVICE, "property-blocklist": twice} if twice else _DEVICE
    merged = {**content, "on-bus": bus, "include": [*includes(content), device]}
    return f"{BINDING_FIRST_LINE}\n{json.dumps(merged, indent=2, default=str, skipkeys=True)}\n"


def _undeclared(devices: Sequence[Node], declared: frozenset[str]) -> dict[str, str]:
    """The type of each property of `devices` that nothing declares. Flags are boolean; of the
    rest Zephyr need not know the type, and compound is any.
    """
    found: dict[str, str] = {}
    for device in devices:
        for name, value in device.properties.items():
            free = name in _FREE or name.startswith("#") or name.endswith("-controller")
            if not free and name not in declared:
                kind = "compound" if value or found.get(name) == "compound" else "boolean"
                found[name] = kind
    return found


def _declared_by_us() -> frozenset[str]:
    """The properties that our own bindings give to a device."""
    return Bindings([shipped("bindings", "bindings")]).declared(_DEVICE)


def _vendors(placed: Sequence[_Placed], known: Bindings) -> str:
    """vendor-prefixes.txt with the prefixes that Zephyr does not know and would warn of."""
    prefixes = {
        compatible.partition(",")[0]
        for _, _, valid in placed
        for compatible in valid
        if "," in compatible
    }
    if not known.has(_DEVICE):
        prefixes.add("viommu")
    unknown = sorted(prefixes - known.vendors)
    return "".join(
        [f"{BINDING_FIRST_LINE}\n", *(f"{prefix}\tvendor of a host device\n" for prefix in unknown)]
    )


def _text(
    compatible: str,
    bus: str | None,
    include: Sequence[str | Mapping[str, object]],
    properties: Mapping[str, str],
) -> str:
    """A binding file. JSON is YAML, and quotes what must be quoted."""
    lines = [
        BINDING_FIRST_LINE,
        f"description: {json.dumps(f'{compatible} in a guest that west-viommu bound')}",
        f"compatible: {json.dumps(compatible)}",
    ]
    if bus:
        lines.append(f"on-bus: {json.dumps(bus)}")
    lines.append("include:")
    lines += [f"  - {json.dumps(each)}" for each in include]
    if properties:
        lines.append("properties:")
        lines += [f"  {json.dumps(name)}: {{type: {kind}}}" for name, kind in properties.items()]
    return "\n".join(lines) + "\n"
