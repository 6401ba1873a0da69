# SPDX-License-Identifier: Apache-2.0
"""The binding of the generated vSMMU node: the build's own for arm,smmu-v3 where that fits the
node, else ours.

A Zephyr tree may have one, for a driver of its own. Zephyr refuses a second for the same
compatible, so where it does not fit, the node gets a compatible of ours before that one, and a
binding for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from west_viommu.host.inventory import SMMUV3_COMPATIBLE
from west_viommu.hypervisor.profile import Viommu
from west_viommu.names import BINDING_FIRST_LINE, VSMMU_COMPATIBLE
from west_viommu.read.bindings import Bindings

_COMMON = "arm,smmu-v3-common.yaml"
_CELLS = "iommu-cells"
_SETTINGS = "viommu,stage1-settings"
# What write/overlay.py gives the node and edtlib does not take undeclared.
_OURS = frozenset({"reg", "interrupts", "interrupt-names"})
# What edtlib takes undeclared.
_FREE = frozenset({"compatible", "status", "phandle", "interrupt-parent", "#iommu-cells"})


def smmu_bindings(known: Bindings, viommu: Viommu, of_guest: Set[str]) -> dict[str, str]:
    """Return file name -> text of the binding that the node of `viommu` needs in a build with
    `known` bindings; {} if the build has a binding that fits. `of_guest`: the properties that the
    guest's sources give the node.
    """
    settings = {_SETTINGS: {"default": viommu.stage1_settings}}
    found = known.binding(SMMUV3_COMPATIBLE)
    if found is None:
        return {f"{SMMUV3_COMPATIBLE}.yaml": _text(SMMUV3_COMPATIBLE, settings)}
    specs = known.specs(found.path)
    if _fits(known, found.path, specs, of_guest | _OURS | set(viommu.flags)):
        return {}
    properties = settings | _taken_over(specs, known)
    return {f"{VSMMU_COMPATIBLE}.yaml": _text(VSMMU_COMPATIBLE, properties)}


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
        and specs.keys() | _FREE >= present
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


def _text(compatible: str, properties: Mapping[str, Any]) -> str:
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
