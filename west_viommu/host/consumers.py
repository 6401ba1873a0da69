# SPDX-License-Identifier: Apache-2.0
"""Who on the host is served by a node: clocks, DMA channels, PHYs and the like."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.node import Node, Tree

# A property that names providers -> the property of the provider that says how many cells follow
# its phandle; "" for none. As in dtc's checks.c.
_BY_NAME = {
    "clocks": "#clock-cells",
    "resets": "#reset-cells",
    "power-domains": "#power-domain-cells",
    "dmas": "#dma-cells",
    "phys": "#phy-cells",
    "mboxes": "#mbox-cells",
    "interconnects": "#interconnect-cells",
    "hwlocks": "#hwlock-cells",
    "pwms": "#pwm-cells",
    "io-channels": "#io-channel-cells",
    "thermal-sensors": "#thermal-sensor-cells",
    "sound-dai": "#sound-dai-cells",
    "msi-parent": "#msi-cells",
    "interrupts-extended": "#interrupt-cells",
    "nvmem-cells": "",
    "phy-handle": "",
    "interrupt-parent": "",
}
# The same by a pattern for the whole name.
_BY_PATTERN = {
    r"([a-z0-9,-]+-)?gpios?": "#gpio-cells",
    r"[a-z0-9,-]+-supply|pinctrl-[0-9]+": "",
}


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
    """What the tables have of property `name`; None where it names no providers."""
    patterns = _BY_PATTERN.items()
    of_pattern = (counted_by for pattern, counted_by in patterns if re.fullmatch(pattern, name))
    return _BY_NAME[name] if name in _BY_NAME else next(of_pattern, None)


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
