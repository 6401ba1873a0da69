# SPDX-License-Identifier: Apache-2.0
"""The bindings that let each passthrough device have `iommus`, without a change to Zephyr.

Zephyr refuses a property that the binding of a node does not declare, and a second binding for a
compatible, unless it is for another bus. So /passthrough becomes a bus, and each device gets a
binding for that bus, which includes the device's original binding.

The generated vSMMU node uses the build's own binding for arm,smmu-v3 if that fits the node, else
ours.

A Zephyr tree may have a binding for arm,smmu-v3, for a driver of its own. Zephyr refuses a second
one for the same compatible. So if it does not fit, the node gets a compatible of ours before
arm,smmu-v3, and a binding for our compatible.
"""

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
# The properties that write/overlay.py gives the node and that edtlib does not take undeclared.
_OURS = frozenset({"reg", "interrupts", "interrupt-names"})
# The properties that edtlib takes undeclared.
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
    `path`: the binding has one cell for the stream ID, whatever its name, declares each property
    that is present, and requires no other.
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
    """Return the properties of the build's own binding that ours lacks, none of them required: the
    guest's overlay can set them for a driver of the vSMMU.
    """
    ours = known.declared(_COMMON) | known.declared("base.yaml")
    return {
        name: {key: value for key, value in spec.items() if key != "required"}
        for name, spec in specs.items()
        if name not in ours and not name.startswith("#") and "type" in spec
    }


def _vsmmu_text(compatible: str, properties: Mapping[str, Any]) -> str:
    """Return a binding file. JSON is YAML, and quotes the text that needs quotes."""
    lines = [
        BINDING_FIRST_LINE,
        'description: "the virtual SMMUv3 of a guest that west-viommu bound"',
        f"compatible: {json.dumps(compatible)}",
        f"include: {_COMMON}",
    ]
    if properties:
        lines.append("properties:")
        # A YAML date has no form in JSON.
        lines += [
            f"  {json.dumps(name)}: {json.dumps(spec, default=str, skipkeys=True)}"
            for name, spec in properties.items()
        ]
    return "\n".join(lines) + "\n"


_DEVICE = "viommu,assigned-device.yaml"
_BASE = "base.yaml"
# The properties that edtlib takes undeclared (Node._check_undeclared_props), beside #NAME and
# NAME-controller.
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
# edtlib's own rule for a compatible; Zephyr complains about any other.
_COMPATIBLE = r"[a-zA-Z][a-zA-Z0-9,+\-._]+"


class _Placed(NamedTuple):
    """A node below /passthrough and the bus that it is on, as edtlib sees it."""

    node: Node
    bus: str
    compatibles: tuple[str, ...]


def compatibles(passthrough: Node) -> list[str]:
    """Return every compatible for which a binding may be looked up."""
    found = [each for node in _below(passthrough) for each in node.known_compatible]
    return [*dict.fromkeys(found), SMMUV3_COMPATIBLE]


def generated_bindings(
    passthrough: Node,
    requests: Iterable[str],
    known: Bindings,
    viommu: Viommu | None = None,
    of_vsmmu: Set[str] = frozenset(),
) -> dict[str, str]:
    """Return file name below the output folder -> text, for the nodes at the paths `requests` below
    /passthrough, in a build with `known` bindings, and for the node of `viommu`, if there is one.
    `of_vsmmu`: the properties that the guest's sources give that node.

    The files shipped in bindings/ are added if the build lacks them, as a module would add them.
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
    """Yield each node at one of the paths `requests` for which the build has a binding, and the
    file.
    """
    wanted = set(requests)
    for node, bus, valid in _placed(passthrough, PASSTHROUGH_BUS, known):
        if node.path in wanted:
            found = next(filter(None, (known.binding(each, bus) for each in valid)), None)
            if found:
                yield node, found.path


def undeclared(node: Node, path: str, known: Bindings) -> list[str]:
    """Return the properties of `node` that neither the binding at `path` nor our binding for the
    bus declares: edtlib refuses each (Node._check_undeclared_props). If a binding lacks base.yaml,
    which declares `reg`, Zephyr complains about it.
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
    """Yield the nodes below `parent`, which has its children on `bus`. A node with a `bus:` in its
    binding puts its own children on that bus.
    """
    for child in parent.children:
        valid = tuple(each for each in child.known_compatible if re.fullmatch(_COMPATIBLE, each))
        yield _Placed(child, bus, valid)
        bound = next(filter(None, (known.binding(each, bus) for each in valid)), None)
        yield from _placed(child, bound.bus if bound and bound.bus else bus, known)


def _to_bind(requested: Sequence[_Placed], known: Bindings) -> list[tuple[str, str]]:
    """Return each (compatible, bus) that needs a generated binding: for each node, the first
    compatible with a binding. A generated binding for an earlier compatible would hide that
    binding; one for a later compatible would not be seen. A node without any binding gets one for
    its first compatible, unless it would hide the binding of another node.
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
    """Return the binding of `compatible` on `bus`; None if the build has one. `ours`: the
    properties that every device gets.
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
    """Return a copy of the build's binding `content` with our properties: an include would find
    another file of the same name.
    """
    twice = sorted(ours & mapping(content.get("properties")).keys())
    device = {"name": _DEVICE, "property-blocklist": twice} if twice else _DEVICE
    merged = {**content, "on-bus": bus, "include": [*includes(content), device]}
    return f"{BINDING_FIRST_LINE}\n{json.dumps(merged, indent=2, default=str, skipkeys=True)}\n"


def _undeclared(devices: Sequence[Node], declared: frozenset[str]) -> dict[str, str]:
    """Return the type of each property of `devices` that is not `declared`. Flags are boolean;
    Zephyr does not need the types of the others, and compound fits any value.
    """
    found: dict[str, str] = {}
    for device in devices:
        for name, value in device.properties.items():
            if not _is_free(name) and name not in declared:
                kind = "compound" if value or found.get(name) == "compound" else "boolean"
                found[name] = kind
    return found


def _declared_by_us() -> frozenset[str]:
    """Return the properties that our own bindings give to a device."""
    return Bindings([shipped("bindings", "bindings")]).declared(_DEVICE)


def _vendors(placed: Sequence[_Placed], known: Bindings) -> str:
    """Return vendor-prefixes.txt with the prefixes that Zephyr does not know and would warn of."""
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
    """Return a binding file. JSON is YAML, and quotes the text that needs quotes."""
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
