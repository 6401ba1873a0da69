# SPDX-License-Identifier: Apache-2.0
"""`viommu extract`: the guest node to paste for a host device."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.api import Host, binding_directories, copied_node, read_host
from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import settings_of_host
from west_viommu.diagnostics import Diagnostic, Refused, Severity, Where
from west_viommu.extract.place import placed
from west_viommu.host.lookup import labels, node_called
from west_viommu.hypervisor.assignment import Terms
from west_viommu.plan.host_devices import concerns
from west_viommu.read.settings import terms_of_host
from west_viommu.read.tree import malformed_host
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node
from west_viommu.write.guest_node import apart, guest_nodes, stubs

# The properties of which a device has one.
_OF_A_DEVICE = frozenset(
    ("reg", "iommus", "iommu-map", "interrupts", "interrupts-extended", "memory-region")
)


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
    bindings = binding_directories(options.zephyr_bindings, os.environ.get("ZEPHYR_BASE"))
    copies = [copied_node(source, node, bindings, list(wanted)) for node in nodes]
    made = placed(copies, source.devices, agreed.profile, chosen.domain)
    for before, after in zip(copies, made, strict=True):
        for move in after.remarks[len(before.remarks) :]:
            console.note(f"{after.host}: {move}")
    problems = list(_concerns(source, list(wanted), agreed))
    # No guest can have an IOMMU, a CPU or the like under any terms.
    if owned := [each for each in problems if each.id == "hypervisor-owned" and not each.prop]:
        hint = "`viommu list --passable` shows what a guest can have"
        raise Refused([each._replace(severity=Severity.ERROR, hint=hint) for each in owned])
    console.report(problems)
    name = os.path.basename(os.path.abspath(source.name))
    is_blob = tree.source is None
    together = apart([*stubs(made), *made])
    tell([guest_nodes(together, name, source.model, labels(tree), is_blob=is_blob)])


def _nodes(source: Host, names: list[str]) -> list[Node]:
    """Return the nodes named. Raises Refused with every name that matches no node."""
    found = [node_called(source.devices, name) for name in names]
    problems = [each for each in found if isinstance(each, Diagnostic)]
    nodes = [each for each in found if isinstance(each, Node)]
    problems += [_no_device(source, node) for node in nodes if _is_bus(node)]
    if problems:
        raise Refused(problems)
    return nodes


def _is_bus(node: Node) -> bool:
    """Return whether `node` is no device by itself, but holds others."""
    compatible = node.known_compatible
    is_bus = not compatible or "simple-bus" in compatible
    return is_bus and bool(node.children) and _OF_A_DEVICE.isdisjoint(node.properties)


def _no_device(source: Host, node: Node) -> Diagnostic:
    masters = (master.path for master in source.devices.masters)
    below = [path for path in masters if path.startswith(f"{node.path}/")]
    hint = "`viommu list --passable` shows what a guest can have"
    return Diagnostic(
        id="device-without-region",
        what=f"{node.path} only holds other nodes: it has no registers, stream IDs or interrupts",
        hint=f"name a device below it: {' or '.join(below[:3])}" if below else hint,
        node=node.path,
        expected="a device",
        where=Where(source.name),
    )


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
