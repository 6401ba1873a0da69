# SPDX-License-Identifier: Apache-2.0
"""The bindings that let each passthrough device have `iommus`, without a change to Zephyr.

Zephyr refuses a property that the binding of a node does not declare, and a second binding for a
compatible, unless it is for another bus. So /passthrough becomes a bus, and each device gets a
binding for that bus, which includes the one that the device has.

The binding of the generated vSMMU node: the build's own for arm,smmu-v3 where that fits the
node, else ours.

A Zephyr tree may have one, for a driver of its own. Zephyr refuses a second for the same
compatible, so where it does not fit, the node gets a compatible of ours before that one, and a
binding for it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.hypervisor.profile import Viommu
from west_viommu.names import BINDING_FIRST_LINE, BINDINGS, VENDOR_PREFIXES, VSMMU_COMPATIBLE
from west_viommu.read.bindings import PASSTHROUGH_BUS, Bindings, includes, mapping
from west_viommu.read.plain_file import shipped
from west_viommu.tree.node import Node

_COMMON = "arm,smmu-v3-common.yaml"
_CELLS = "iommu-cells"
_SETTINGS = "viommu,stage1-settings"
# What write/overlay.py gives the node and edtlib does not take undeclared.
_OURS = frozenset({"reg", "interrupts", "interrupt-names"})
# What edtlib takes undeclared.
_FREE_OF_VSMMU = frozenset({"compatible", "status", "phandle", "interrupt-parent", "#iommu-cells"})


def smmu_bindings(known: Bindings, viommu: Viommu, of_guest: Set[str]) -> dict[str, str]:
    """Return file name -> text of the binding that the node of `viommu` needs in a build with
    `known` bindings; {} if the build has a binding that fits. `of_guest`: the properties that the
    guest's sources give the node.
    """
    settings = {_SETTINGS: {"default": viommu.stage1_settings}}
    found = known.binding(SMMUV3_COMPATIBLE)
    if found is None:
        return {f"{SMMUV3_COMPATIBLE}.yaml": _vsmmu_text(SMMUV3_COMPATIBLE, settings)}
    specs = known.specs(found.path)
    if _fits(known, found.path, specs, of_guest | _OURS | set(viommu.flags)):
        return {}
    properties = settings | _taken_over(specs, known)
    return {f"{VSMMU_COMPATIBLE}.yaml": _vsmmu_text(VSMMU_COMPATIBLE, properties)}


def _fits(known: Bindings, path: str, specs: Mapping[str, Any], present: Set[str]) -> bool:
    """Return whether edtlib takes a vSMMU node with the properties `present` by the binding at
    `path`: one cell for the stream ID, whatever its name, and each property that is required is
    there, and each that is there is declared.
    """
    cells = known.setting(path, _CELLS)
    count = specs.get("#iommu-cells", {}).get("const", 1)
    required = {name for name, spec in specs.items() if spec.get("required")}
    is_there = present | {"compatible", "#iommu-cells"}
    return (
        isinstance(cells, list)
        and len(cells) == 1
        and count == 1
        and required <= is_there
        and specs.keys() | _FREE_OF_VSMMU >= present
    )


def _taken_over(specs: Mapping[str, Any], known: Bindings) -> dict[str, Any]:
    """The properties of the build's own binding that ours lacks, none of them required: a driver
    for it can be given them by the guest's overlay.
    """
    ours = known.declared(_COMMON) | known.declared("base.yaml")
    return {
        name: {key: value for key, value in spec.items() if key != "required"}
        for name, spec in specs.items()
        if name not in ours and not name.startswith("#") and "type" in spec
    }


def _vsmmu_text(compatible: str, properties: Mapping[str, Any]) -> str:
    """A binding file. JSON is YAML, and quotes what must be quoted."""
    lines = [
        BINDING_FIRST_LINE,
        'description: "the virtual SMMUv3 of a guest that west-viommu bound"',
        f"compatible: {json.dumps(compatible)}",
        f"include: {_COMMON}",
    ]
    if properties:
        lines.append("properties:")
        # A date of YAML has no form in JSON.
        lines += [
            f"  {json.dumps(name)}: {json.dumps(spec, default=str, skipkeys=True)}"
            for name, spec in properties.items()
        ]
    return "\n".join(lines) + "\n"


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


def undeclared(node: Node, path: str, known: Bindings) -> list[str]:
    """Return the properties of `node` that neither the binding at `path` declares nor ours for the
    bus: edtlib refuses each (Node._check_undeclared_props). A binding without base.yaml, which
    declares `reg`, is for Zephyr to complain about.
    """
    declared = known.specs(path).keys() | _declared_by_us()
    if "reg" not in declared:
        return []
    return [name for name in node.properties if not _is_free(name) and name not in declared]


def _is_free(name: str) -> bool:
    """Return whether edtlib takes the property undeclared."""
    return name in _FREE or name.startswith("#") or name.endswith("-controller")


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
            if not _is_free(name) and name not in declared:
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
