# SPDX-License-Identifier: Apache-2.0
"""Finds the host node that a user means: by path, unique name, alias or label."""

from collections.abc import Iterator

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.host.devices import Devices
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree


def node_called(devices: Devices, called: str) -> Node | Diagnostic:
    """Return the only node that `called` means; a diagnostic if it means no node, or several."""
    nodes = nodes_called(devices.tree, called)
    if not nodes:
        return no_such_node(devices, called)
    if len(nodes) == 1:
        return nodes[0]
    return Diagnostic(
        id="unknown-host-node",
        what=f"{len(nodes)} host nodes have this name",
        hint="give the path of the one that you mean",
        expected="one of " + ", ".join(node.path for node in nodes[:8]),
        found=called,
        where=Where(devices.host_name),
    )


def nodes_called(tree: Tree, called: str) -> list[Node]:
    """Return the nodes that `called` means, a path, a name, an alias or a label: several if they
    have the same name.

    A name may omit the unit address. An alias is a property of /aliases; labels come from the
    source, or from /__symbols__, which dtc -@ writes.
    """
    by_path = tree.node(called)
    if by_path and by_path is not tree.root:
        return [by_path]
    label = called.removeprefix("&")
    of_source = tree.labels.get(label)
    for path in (_entry(tree, "/aliases", called), of_source, _entry(tree, "/__symbols__", label)):
        target = tree.node(path) if path else None
        if target:
            return [target]
    if not called:
        return []
    return [node for node in tree.nodes() if called in (node.name, node.name.split("@")[0])]


def no_such_node(devices: Devices, called: str) -> Diagnostic:
    """Return the diagnostic of `called` if `nodes_called` finds no node."""
    close = devices.close_names(called, _known(devices.tree))
    return Diagnostic(
        id="unknown-host-node",
        what="the host tree has no node of this path, name, alias or label",
        hint=f"did you mean {' or '.join(close)}?" if close else _elsewhere(devices.tree),
        found=called,
        where=Where(devices.host_name),
    )


def _elsewhere(tree: Tree) -> str:
    hint = "`viommu list` shows the host nodes with stream IDs"
    if tree.source or tree.node("/__symbols__"):
        return hint
    return f"{hint}; this tree has no labels, as it was compiled without symbols (dtc -@)"


def _entry(tree: Tree, directory: str, name: str) -> str | None:
    node = tree.node(directory)
    try:
        return next(iter(node.string_list(name)), None) if node else None
    except TreeError:
        return None


def _known(tree: Tree) -> Iterator[str]:
    for directory in ("/aliases", "/__symbols__"):
        node = tree.node(directory)
        yield from node.properties if node else ()
    yield from tree.labels
    for node in tree.nodes():
        if node is not tree.root:
            yield node.path
            yield node.name


def labels(tree: Tree) -> dict[str, str]:
    """Return path -> the first label that the source, or /__symbols__, has for the node."""
    by_path: dict[str, str] = {}
    for label, path in tree.labels.items():
        by_path.setdefault(path, label)
    symbols = tree.node("/__symbols__")
    for label in symbols.properties if symbols else ():
        path_of = _entry(tree, "/__symbols__", label)
        if path_of:
            by_path.setdefault(path_of, label)
    return by_path
