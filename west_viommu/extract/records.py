# SPDX-License-Identifier: Apache-2.0
"""The guest node that is made of a host device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from west_viommu.hypervisor.links import LeftOut as LeftOut


class Property(NamedTuple):
    """A property of the guest node. `form` tells how to write it best: "" by its value,
    "interrupts" (type, number, Linux's flags) or "iommus". `cells`: those that refer to a node
    which comes along, index -> path of the host's.
    """

    name: str
    value: bytes
    form: str = ""
    cells: Mapping[int, str] = {}


class Copied(NamedTuple):
    """A node for the guest, with the host node that it stands for. `remarks` are for its reader."""

    name: str
    host: str
    properties: tuple[Property, ...]
    left_out: tuple[LeftOut, ...]
    children: tuple[Copied, ...]
    remarks: tuple[str, ...] = ()

    def nodes(self) -> Iterator[Copied]:
        """It and all below it."""
        yield self
        for child in self.children:
            yield from child.nodes()

    @property
    def targets(self) -> list[str]:
        """The host nodes that it refers to, each once."""
        paths = (
            path
            for node in self.nodes()
            for prop in node.properties
            for path in prop.cells.values()
        )
        return list(dict.fromkeys(paths))
