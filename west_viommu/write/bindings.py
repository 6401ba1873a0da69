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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.names import BINDING_FIRST_LINE, BINDINGS
from west_viommu.problems import Problem, Refused, Where
from west_viommu.read.bindings import PASSTHROUGH_BUS, Bindings
from west_viommu.tree.node import Node

_SHIPPED = Path(__file__).parent.parent / "bindings"
_DEVICE = "viommu,assigned-device.yaml"
_SMMU = "arm,smmu-v3-common.yaml"
_VENDORS = "vendor-prefixes.txt"
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
_COMPATIBLE = re.compile(r"[a-zA-Z][a-zA-Z0-9,+\-._]+")


def compatibles(devices: Iterable[Node]) -> list[str]:
    """Every compatible for which a binding may be looked up."""
    found = [compatible for device in devices for compatible in device.compatible]
    return [*dict.fromkeys(found), SMMUV3_COMPATIBLE]


def generated_bindings(devices: Sequence[Node], known: Bindings) -> dict[str, str]:
    """File name below the output folder -> text, for `devices` in a build with `known` bindings.

    What is shipped in bindings/ is added where the build does not have it, as a module would.
    """
    files: dict[str, str] = {}
    if not known.has(_DEVICE):
        for shipped in sorted(_SHIPPED.glob("*.yaml")):
            files[shipped.name] = f"{BINDING_FIRST_LINE}\n{shipped.read_text(encoding='utf-8')}"
    if known.binding(SMMUV3_COMPATIBLE) is None:
        files[f"{SMMUV3_COMPATIBLE}.yaml"] = _text(SMMUV3_COMPATIBLE, [_SMMU], {}, on_bus=False)
    ours = _declared_by_us()
    for compatible, of_compatible in _by_bound_compatible(devices, known).items():
        name = f"{PASSTHROUGH_BUS}-{compatible}.yaml"
        text = _device_binding(compatible, of_compatible, known, ours)
        if text:
            files[name] = text
    files[_VENDORS] = _vendors(devices, known)
    return {f"{BINDINGS}/{name}": text for name, text in files.items()}


def _by_bound_compatible(devices: Sequence[Node], known: Bindings) -> dict[str, list[Node]]:
    """The devices by the compatible whose binding Zephyr takes: the first that has one. A
    generated binding for an earlier one would hide it, one for a later would not be seen. Without
    any, the first compatible.
    """
    result: dict[str, list[Node]] = {}
    for device in devices:
        valid = [each for each in device.compatible if _COMPATIBLE.fullmatch(each)]
        bound = next((each for each in valid if known.binding(each)), valid[0] if valid else "")
        if bound:
            result.setdefault(bound, []).append(device)
    return result


def _device_binding(
    compatible: str, devices: Sequence[Node], known: Bindings, ours: frozenset[str]
) -> str | None:
    """The binding of `compatible` on the passthrough bus; None where the build has one. `ours`:
    the properties that every device gets.
    """
    original = known.binding(compatible)
    if original is None:
        declared = known.declared("base.yaml") | ours
        return _text(compatible, ["base.yaml", _DEVICE], _undeclared(devices, declared))
    if original.on_bus == PASSTHROUGH_BUS:
        return None
    file_name = os.path.basename(original.path)
    twice = sorted(ours & known.declared(file_name))
    include = {"name": _DEVICE, "property-blocklist": twice} if twice else _DEVICE
    return _text(compatible, [file_name, include], {})


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
    if not _SHIPPED.is_dir():
        what = "this must be a symbolic link to a folder, and the checkout made it a text file"
        hint = "git config core.symlinks true, and check out again"
        raise Refused([Problem("unreadable", what, hint, where=Where(str(_SHIPPED)))])
    return Bindings([str(_SHIPPED)]).declared(_DEVICE)


def _vendors(devices: Sequence[Node], known: Bindings) -> str:
    """vendor-prefixes.txt with the prefixes that Zephyr does not know and would warn of."""
    prefixes = {
        compatible.partition(",")[0]
        for device in devices
        for compatible in device.compatible
        if "," in compatible and _COMPATIBLE.fullmatch(compatible)
    }
    if not known.has(_DEVICE):
        prefixes.add("viommu")
    unknown = sorted(prefixes - known.vendors)
    return "".join(
        [f"{BINDING_FIRST_LINE}\n", *(f"{prefix}\tvendor of a host device\n" for prefix in unknown)]
    )


def _text(
    compatible: str,
    include: Sequence[str | Mapping[str, object]],
    properties: Mapping[str, str],
    *,
    on_bus: bool = True,
) -> str:
    """A binding file. JSON is YAML, and quotes what must be quoted."""
    lines = [
        BINDING_FIRST_LINE,
        f"description: {json.dumps(f'{compatible} in a guest that west-viommu bound')}",
        f"compatible: {json.dumps(compatible)}",
    ]
    if on_bus:
        lines.append(f"on-bus: {PASSTHROUGH_BUS}")
    lines.append("include:")
    lines += [f"  - {json.dumps(each)}" for each in include]
    if properties:
        lines.append("properties:")
        lines += [f"  {json.dumps(name)}: {{type: {kind}}}" for name, kind in properties.items()]
    return "\n".join(lines) + "\n"
