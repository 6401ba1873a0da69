# SPDX-License-Identifier: Apache-2.0
"""Xen's partial tree, for one toolstack: what it may have of the guest's /passthrough,
and the properties from which Xen learns what to map (Xen, docs/misc/arm/passthrough.txt).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import pack
from types import MappingProxyType
from typing import NamedTuple

from west_viommu.guest.gic import LINUX_EDGE, LINUX_LEVEL, Gic, guest_interrupts
from west_viommu.guest.requests import VSMMU_PHANDLE
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.hypervisor.assignment import PlannedDevice
from west_viommu.hypervisor.links import REPLACED, Links
from west_viommu.hypervisor.pages import PAGE
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import BLOB_MARK
from west_viommu.problems import Problem
from west_viommu.tree.addresses import AddressMap, bus_cells
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI, SPI
from west_viommu.tree.node import Node, Tree

# The root of every guest that Xen makes (GUEST_ROOT_ADDRESS_CELLS, GUEST_ROOT_SIZE_CELLS).
_ROOT_CELLS = (2, 2)
# GUEST_PHANDLE_GIC is 65000, and Xen keeps one below it.
_LAST_PHANDLE = 64998
Properties = dict[str, bytes]


class PartialTree(NamedTuple):
    """The tree for one toolstack. `references`: path of a node -> property -> those of its cells
    that refer to a node, by their index. `left_out`: path of a guest node -> the properties that
    refer to nodes that the guest of Xen lacks.
    """

    toolstack: str
    root: Node
    references: Mapping[str, Mapping[str, Mapping[int, Node]]]
    left_out: Mapping[str, tuple[str, ...]]


def partial_tree(
    toolstack: str, devices: Sequence[PlannedDevice], gic: Gic, guest: GuestTree, profile: Profile
) -> tuple[PartialTree, tuple[Problem, ...]]:
    """The partial tree that gives `devices` to `guest`, for `toolstack`, and what of the guest it
    cannot have. `gic`: the guest's.
    """
    return _Builder(toolstack, devices, gic, guest, profile).tree()


class _Builder:
    """Makes one tree, and remembers what it left out."""

    def __init__(
        self,
        toolstack: str,
        devices: Sequence[PlannedDevice],
        gic: Gic,
        guest: GuestTree,
        profile: Profile,
    ):
        self._toolstack = toolstack
        self._guest = guest
        self._gic = gic
        self._keeps_ids = not profile.renumbers
        self._has_viommu = profile.viommu is not None
        self._devices = {device.assignment.request.path: device for device in devices}
        self._left_out: dict[str, tuple[str, ...]] = {}
        self._problems: list[Problem] = []
        bus = guest.tree.node(PASSTHROUGH) or guest.tree.root
        self._bus = bus
        self._links = Links(guest)
        used = {node.number("phandle", 0) for node in self._links.below}
        free = (number for number in range(1, _LAST_PHANDLE) if number not in used)
        self._gic_phandle, self._smmu_phandle = next(free), next(free)

    def tree(self) -> tuple[PartialTree, tuple[Problem, ...]]:
        """The whole tree: /passthrough first, as Xen counts stream IDs in document order."""
        root: Properties = {
            "#address-cells": pack(">I", _ROOT_CELLS[0]),
            "#size-cells": pack(">I", _ROOT_CELLS[1]),
            "model": BLOB_MARK.encode() + b"\0",
        }
        if self._toolstack == "libxl":
            # Not copied: the nodes get their parent from the root of the guest, and dtc from here.
            root["interrupt-parent"] = pack(">I", self._gic_phandle)
        children = [
            _node(PASSTHROUGH, self._bus_properties(), self._children(self._bus)),
            *self._aliases(),
            *self._stubs(),
        ]
        whole = Tree(_node("/", root, tuple(children)))
        references = {node.path: self._links.cells(whole, node) for node in whole.nodes()}
        tree = PartialTree(self._toolstack, whole.root, references, self._left_out)
        return tree, tuple(self._problems)

    def _bus_properties(self) -> Properties:
        cells = bus_cells(self._bus)
        ranges = AddressMap(self._guest.tree).ranges(self._bus) or ()
        if ranges or cells != _ROOT_CELLS:
            # An empty one would need the cells of the root.
            entries = [(each.child, each.parent, each.size) for each in ranges]
            # In pages, as a whole address space does not fit the cells of a size.
            largest = (1 << 32 * min(cells[1], 2)) - PAGE
            entries = entries or [(0, 0, largest)]
            widths = (cells[0], _ROOT_CELLS[0], cells[1])
        else:
            entries, widths = [], (0, 0, 0)
        return {
            "compatible": b"simple-bus\0",
            "#address-cells": pack(">I", cells[0]),
            "#size-cells": pack(">I", cells[1]),
            "ranges": b"".join(
                _cells(number, width)
                for entry in entries
                for number, width in zip(entry, widths, strict=True)
            ),
        }

    def _children(self, parent: Node) -> tuple[Node, ...]:
        return tuple(
            _node(child.path, self._tried(child), self._children(child))
            for child in parent.children
        )

    def _tried(self, node: Node) -> Properties:
        try:
            return self._properties(node)
        except TreeError as error:
            what, hint, prop = error.what, f"correct {error.prop}", error.prop
            facts = (error.expected, error.found)
        except OverflowError:
            what, prop = "the bus has too few cells for the host's address", "xen,reg"
            hint = "give the bus #address-cells = <2> and #size-cells = <2>"
            facts = ("", "")
        where = self._guest.locate(node.path, prop)
        self._problems.append(Problem("malformed", what, hint, node.path, *facts, where))
        return {}

    def _properties(self, node: Node) -> Properties:
        left_out = self._links.dangling(node)
        kept = {
            name: value
            for name, value in node.properties.items()
            if name not in REPLACED and not name.startswith("xen,") and name not in left_out
        }
        kept |= self._phandle(node) | self._interrupts(node)
        device = self._devices.get(node.path)
        if device:
            kept |= self._assigned(node, device)
        if left_out:
            self._left_out[node.path] = left_out
        return kept

    def _phandle(self, node: Node) -> Properties:
        if node.path not in self._links.targets:
            return {}
        phandle = node.number("phandle", 0)
        # That of the vSMMU has its own message.
        if phandle > _LAST_PHANDLE and phandle != VSMMU_PHANDLE:
            self._problems.append(
                Problem(
                    "malformed",
                    "Xen does not take so large a phandle",
                    "give the node another one, or none: the compiler finds one",
                    node.path,
                    f"at most {_LAST_PHANDLE}",
                    str(phandle),
                    self._guest.locate(node.path, "phandle"),
                )
            )
        return {"phandle": pack(">I", phandle)}

    def _interrupts(self, node: Node) -> Properties:
        """Those on the GIC, in the three cells of Xen's; or those on a controller that comes along.
        dom0less gives the root no interrupt-parent, and libxl gives it one.
        """
        found = [
            each
            for each in guest_interrupts(self._guest, self._gic, node)
            if each.intid >= FIRST_SPI
        ]
        names = node.string_list("interrupt-names")
        if found:
            triggers = {True: LINUX_EDGE, False: LINUX_LEVEL}
            cells = b"".join(
                pack(">III", SPI, each.intid - FIRST_SPI, triggers[each.is_edge]) for each in found
            )
            kept: Properties = {"interrupts": cells}
            if self._toolstack == "dom0less":
                kept = {"interrupt-parent": pack(">I", self._gic_phandle), **kept}
            # Which of the names are left cannot be told where an interrupt was dropped.
            if len(names) == len(found):
                kept["interrupt-names"] = node.properties["interrupt-names"]
            return kept
        parent = self._links.local_parent(node)
        if parent is None:
            return {}
        copied = ("interrupts", "interrupt-names")
        return {
            "interrupt-parent": parent.properties["phandle"],
            **{name: node.properties[name] for name in copied if name in node.properties},
        }

    def _assigned(self, node: Node, device: PlannedDevice) -> Properties:
        """What makes it an assigned device. xen,reg goes with xen,path even where it is empty."""
        address, size = bus_cells(self._guest.tree.parent(node) or self._bus)
        # libxl rewrites only direct children; where IDs stay, what it would write can be given.
        is_rewritten = self._toolstack != "libxl" or node.path.count("/") == 2
        phandle = self._smmu_phandle
        if not is_rewritten and self._keeps_ids:
            phandle = VSMMU_PHANDLE
        # A guest without vSMMU has nothing that they could refer to.
        streams = device.streams if self._has_viommu else ()
        iommus = b"".join(pack(">II", phandle, stream.pmaster) for stream in streams)
        triples = b"".join(
            _cells(host.base, address) + _cells(host.size, size) + _cells(guest.base, address)
            for host, guest in device.mapped
        )
        return {
            **({"iommus": iommus} if iommus else {}),
            "xen,reg": triples,
            "xen,path": device.assignment.device.path.encode() + b"\0",
            **({} if device.is_protected else {"xen,force-assign-without-iommu": b""}),
        }

    def _aliases(self) -> Iterator[Node]:
        """The guest's aliases for nodes below /passthrough."""
        aliases = self._guest.tree.node("/aliases")
        kept = {
            name: value
            for name, value in (aliases.properties.items() if aliases else ())
            if value.startswith(f"{PASSTHROUGH}/".encode())
        }
        if kept:
            yield _node("/aliases", kept, ())

    def _stubs(self) -> Iterator[Node]:
        """What the phandles above mean to dtc, and to Xen's check of interrupt-parent."""
        gic = {
            "interrupt-controller": b"",
            "#interrupt-cells": pack(">I", 3),
            "#address-cells": pack(">I", 0),
            "phandle": pack(">I", self._gic_phandle),
        }
        yield _node("/gic", gic, ())
        smmu = {"#iommu-cells": pack(">I", 1), "phandle": pack(">I", self._smmu_phandle)}
        yield _node("/smmu", smmu, ())


def _node(path: str, properties: Properties, children: tuple[Node, ...]) -> Node:
    name = path.rpartition("/")[2]
    return Node(path, name, MappingProxyType(properties), children)


def _cells(number: int, count: int) -> bytes:
    """`number` in `count` cells. Raises OverflowError where it does not fit."""
    return number.to_bytes(4 * count, "big")
