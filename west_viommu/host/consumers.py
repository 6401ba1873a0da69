# SPDX-License-Identifier: Apache-2.0
"""Who on the host is served by a node: clocks, DMA channels, PHYs and the like."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.node import Node, Tree

# A property that names providers, by a pattern for its whole name -> the property of the provider
# that says how many cells follow its phandle; "" for none. As in dtc's checks.c.
_REFERENCES = {
    r"clocks": "#clock-cells",
    r"resets": "#reset-cells",
    r"power-domains": "#power-domain-cells",
    r"dmas": "#dma-cells",
    r"phys": "#phy-cells",
    r"mboxes": "#mbox-cells",
    r"interconnects": "#interconnect-cells",
    r"hwlocks": "#hwlock-cells",
    r"pwms": "#pwm-cells",
    r"io-channels": "#io-channel-cells",
    r"thermal-sensors": "#thermal-sensor-cells",
    r"sound-dai": "#sound-dai-cells",
    r"msi-parent": "#msi-cells",
    r"interrupts-extended": "#interrupt-cells",
    r"([a-z0-9,-]+-)?gpios?": "#gpio-cells",
    r"[a-z0-9,-]+-supply|pinctrl-[0-9]+|nvmem-cells|phy-handle|interrupt-parent": "",
}
# Compiled when first asked for: `list` never does.
_TABLE = tuple(_REFERENCES.items())


def consumers(tree: Tree, providers: Collection[str]) -> Iterator[tuple[Node, str, str]]:
    """Each node outside of `providers` (paths) that one of them, or a node below one, serves; the
    property that says so; and which serves it.
    """
    serving = {
        node.path: node.properties["phandle"]
        for node in tree.nodes()
        if "phandle" in node.properties and _is_at_or_below(node.path, providers)
    }
    phandles = frozenset(serving.values())
    for node in tree.nodes() if phandles else ():
        for name, value in node.properties.items():
            counted_by = _counted_by(name)
            if counted_by is not None and not phandles.isdisjoint(_words(value)):
                if _is_at_or_below(node.path, providers):
                    break
                for provider in _named(tree, node, name, counted_by):
                    if provider in serving:
                        yield node, name, provider


@lru_cache(1024)
def _counted_by(name: str) -> str | None:
    """What the table has of property `name`; None where it names no providers."""
    return next((found for pattern, found in _TABLE if re.fullmatch(pattern, name)), None)


def _words(value: bytes) -> Iterator[bytes]:
    return (value[at : at + 4] for at in range(0, len(value), 4))


def _is_at_or_below(path: str, paths: Collection[str]) -> bool:
    while path:
        if path in paths:
            return True
        path = path[: path.rfind("/")]
    return False


def _named(tree: Tree, node: Node, name: str, counted_by: str) -> Iterator[str]:
    """The providers that property `name` of `node` names; none where it is malformed: that is the
    business of who asks for the node.
    """
    try:
        numbers = cells(node.properties[name], node.path, name)
        at = 0
        while at < len(numbers):
            provider = tree.with_phandle(numbers[at])
            at += 1
            if provider:
                yield provider.path
                at += provider.number(counted_by, 0) if counted_by else 0
    except TreeError:
        return
