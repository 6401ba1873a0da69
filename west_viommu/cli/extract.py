# SPDX-License-Identifier: Apache-2.0
"""`viommu extract`: the guest node to paste for a host device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.api import Host, read_host
from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import settings_of_host
from west_viommu.diagnostics import Diagnostic, Refused, Severity, Where, refusal
from west_viommu.extract.copy import Copied, copied
from west_viommu.extract.place import placed
from west_viommu.host.lookup import labels, node_called
from west_viommu.hypervisor.assignment import Terms
from west_viommu.names import BINDINGS
from west_viommu.plan.host_devices import concerns
from west_viommu.read.settings import terms_of_host
from west_viommu.read.tree import malformed_host
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node
from west_viommu.write.guest_node import apart, guest_nodes, stubs

if TYPE_CHECKING:
    from west_viommu.read.bindings import Declared

# Properties that a binding need not name (edtlib), or that our binding adds to every passthrough
# device.
_ALWAYS = frozenset({"compatible", "status", "reg", "interrupts", "ranges", "dma-coherent"})


class Options(NamedTuple):
    """The arguments of the command."""

    nodes: list[str]
    host: str | None
    zephyr_bindings: str | None
    config: str | None
    xen_version: str | None
    profile: str | None
    include: list[str]
    define: list[str]


def run(options: Options, console: Console) -> None:
    """Find the nodes, copy them, print. Hazards of passing one through go to stderr."""
    chosen = settings_of_host(options, options.nodes, console)
    host = chosen.host or ""
    agreed = terms_of_host(chosen)
    source = read_host(host, options.include, options.define)
    tree = source.devices.tree
    wanted = dict.fromkeys(node.path for node in _nodes(source, options.nodes))
    nodes = [node for path in wanted if (node := tree.node(path))]
    copies = [_copied(source, node, options.zephyr_bindings, list(wanted)) for node in nodes]
    made = placed(copies, source.devices, agreed.profile, chosen.domain)
    for before, after in zip(copies, made, strict=True):
        for move in after.remarks[len(before.remarks) :]:
            console.note(f"{after.host}: {move}")
    console.report(_concerns(source, list(wanted), agreed))
    name = os.path.basename(os.path.abspath(source.name))
    is_blob = tree.source is None
    together = apart([*stubs(made), *made])
    tell([guest_nodes(together, name, source.model, labels(tree), is_blob=is_blob)])


def _nodes(source: Host, names: list[str]) -> list[Node]:
    """Return the nodes named. Raises Refused with every name that matches no node."""
    found = [node_called(source.devices, name) for name in names]
    problems = [each for each in found if isinstance(each, Diagnostic)]
    if problems:
        raise Refused(problems)
    return [each for each in found if isinstance(each, Node)]


def _copied(source: Host, node: Node, bindings: str | None, along: Sequence[str]) -> Copied:
    """Return the guest node, with remarks on further properties that Zephyr's binding requires.
    `along`: the paths of all nodes of the run.
    """
    directories = _directories(bindings)
    known = None
    try:
        if directories:
            from west_viommu.read.bindings import declared

            known = declared(node.compatible, directories)
        made = copied(node, source.devices, known and known.properties | _ALWAYS, along)
    except TreeError as error:
        raise Refused([malformed_host(source.name, error)]) from None
    return made._replace(remarks=tuple(_of_binding(made, known))) if directories else made


def _of_binding(made: Copied, known: Declared | None) -> Iterator[str]:
    if known is None:
        yield "Zephyr has no binding for it, and so no driver: the properties are the host's"
        return
    yield f"Zephyr's binding: {known.compatible}"
    present = {prop.name for prop in made.properties} | {"compatible"}
    for name, kind in known.required:
        if name not in present:
            yield f"Zephyr requires: {name} ({kind}), by its binding of {known.compatible}"


def _directories(bindings: str | None) -> list[str]:
    base = os.environ.get("ZEPHYR_BASE")
    if bindings and not os.path.isdir(bindings):
        what, hint = "there is no such folder of bindings", "in Zephyr it is dts/bindings"
        raise refusal("unreadable", what, hint, bindings)
    if bindings:
        return [bindings]
    return [os.path.join(base, BINDINGS)] if base else []


def _concerns(source: Host, paths: list[str], agreed: Terms) -> Iterator[Diagnostic]:
    """Yield the problems that bind will have with the devices, for one guest, as warnings."""
    try:
        devices = [device for device in map(source.devices.device, paths) if device]
    except TreeError as error:
        raise Refused([malformed_host(source.name, error)]) from None
    for path, hazard, finding in concerns(devices, source.devices, agreed):
        yield finding._replace(
            id=hazard, node=path, where=Where(source.name), severity=Severity.WARNING
        )
