# SPDX-License-Identifier: Apache-2.0
"""What Zephyr's own binding of a device requires and the guest's node does not have.

Zephyr would say so too, but name the generated binding, which only includes that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from west_viommu.api import Guest
from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.read.bindings import Bindings, bindings_in
from west_viommu.tree.node import Node
from west_viommu.write.bindings import compatibles, original_bindings


def lacking(guest: Guest, binding_dirs: Sequence[str]) -> Iterator[Diagnostic]:
    """One problem for each device that lacks a property which its binding requires."""
    bus = guest.tree.tree.node(PASSTHROUGH)
    if not bus:
        return
    known = bindings_in(binding_dirs, compatibles(bus))
    asking = [request.path for request in guest.asked.requests]
    for node, path in original_bindings(bus, asking, known):
        missing = list(_missing(node, path, known))
        if missing:
            yield Diagnostic(
                id="malformed",
                what=f"Zephyr's binding of the device requires {' and '.join(missing)}",
                hint=f"see {path}: copy what is of the host, choose the rest; or leave out the "
                "compatible of that binding",
                node=node.path,
                where=guest.tree.locate(node.path, ""),
            )


def _missing(node: Node, path: str, known: Bindings) -> Iterator[str]:
    """By edtlib's rule (Node._prop_val): a node whose own status is okay must have it."""
    if node.properties.get("status", b"okay\0") in (b"okay\0", b"ok\0"):
        for name, spec in known.specs(path).items():
            if spec.get("required") and name not in node.properties:
                yield name
