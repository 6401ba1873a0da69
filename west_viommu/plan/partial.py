# SPDX-License-Identifier: Apache-2.0
"""Xen's partial tree, for one toolstack: the parts of the guest's /passthrough that it may contain,
and the properties from which Xen learns the mappings (Xen, docs/misc/arm/passthrough.txt).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from struct import pack
from types import MappingProxyType
from typing import NamedTuple

from west_viommu.diagnostics import MOST_ALIKE, Diagnostic, first_few
from west_viommu.guest.entries import VSMMU_PHANDLE
from west_viommu.guest.gic import XEN_GIC_PHANDLE, Gic
from west_viommu.guest.regions import xen_reg
from west_viommu.guest.requests import FORCE, is_raw
from west_viommu.guest.source import PASSTHROUGH, GuestTree, is_below_passthrough
from west_viommu.hypervisor.links import REPLACED, LeftOut, Links, phandle_of
from west_viommu.hypervisor.partial import Kept, bus_ranges, kept_interrupts
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import BLOB_MARK
from west_viommu.plan.plan import PlanDevice, PlanRegion
from west_viommu.tree.addresses import AddressMap, bus_cells
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree, name_of

# The root of every guest that Xen makes (GUEST_ROOT_ADDRESS_CELLS, GUEST_ROOT_SIZE_CELLS).
_ROOT_CELLS = (2, 2)
# GUEST_PHANDLE_GIC is 65000, and Xen keeps one below it.
_LAST_PHANDLE = 64998
# Different property names, with their ends; whole hosts have up to 5 KiB. dtc compares each with
# every place in those before it (stringtable_insert in its flattree.c).
_MOST_OF_NAMES = 1 << 13
Properties = dict[str, bytes]


class PartialTree(NamedTuple):
    """The tree for one toolstack. `references`: path of a node -> property -> its cells that refer
    to a node, by their index. `left_out`: path of a guest node -> its properties that refer to
    nodes which the guest of Xen lacks, or that cannot be read.
    """

    toolstack: str
    root: Node
    references: Mapping[str, Mapping[str, Mapping[int, Node]]]
    left_out: Mapping[str, tuple[LeftOut, ...]]

    def told(self) -> Iterator[tuple[str, str]]:
        """Yield the first nodes of `left_out`, each with the first properties that it lacks, as
        text.
        """
        for path, those in islice(self.left_out.items(), MOST_ALIKE):
            yield path, "; ".join(first_few(map(str, those)))
        more = len(self.left_out) - MOST_ALIKE
        if more > 0:
            yield f"{more:,} more nodes", "properties like these"


def partial_tree(
    toolstack: str, devices: Sequence[PlanDevice], gic: Gic, guest: GuestTree, profile: Profile
) -> tuple[PartialTree, tuple[Diagnostic, ...]]:
    """Return the partial tree that gives `devices` to `guest`, for `toolstack`, and the problems of
    guest nodes that it cannot have. `gic`: the guest's.
    """
    return _Builder(toolstack, devices, gic, guest, profile).tree()


class _Builder:
    """Makes one tree, and records the properties that it leaves out."""

    def __init__(
        self,
        toolstack: str,
        devices: Sequence[PlanDevice],
        gic: Gic,
        guest: GuestTree,
        profile: Profile,
    ):
        self._toolstack = toolstack
        self._guest = guest
        self._gic = gic
        self._keeps_ids = not profile.renumbers
        self._has_viommu = profile.viommu is not None
        self._devices = {device.node: device for device in devices}
        self._left_out: dict[str, tuple[LeftOut, ...]] = {}
        self._problems: list[Diagnostic] = []
        # Path of a node -> property -> its phandle cells, by their index.
        self._phandles: dict[str, dict[str, dict[int, int]]] = {}
        self._addresses = AddressMap(guest.tree)
        bus = guest.tree.node(PASSTHROUGH) or guest.tree.root
        self._bus = bus
        self._links = Links(guest, gic)
        used = {phandle_of(node) for node in self._links.below}
        free = (number for number in range(1, _LAST_PHANDLE) if number not in used)
        self._gic_phandle, self._smmu_phandle = next(free), next(free)

    def tree(self) -> tuple[PartialTree, tuple[Diagnostic, ...]]:
        """Return the whole tree: /passthrough first, as Xen counts stream IDs in document order."""
        root: Properties = {
            "#address-cells": pack(">I", _ROOT_CELLS[0]),
            "#size-cells": pack(">I", _ROOT_CELLS[1]),
            "model": BLOB_MARK.encode() + b"\0",
        }
        if self._toolstack == "libxl":
            # Not copied: in the guest, the nodes inherit their parent from its root; for dtc, from
            # this one.
            root["interrupt-parent"] = pack(">I", self._gic_phandle)
        children = [
            _node(PASSTHROUGH, self._bus_properties(), self._children(self._bus)),
            *self._aliases(),
            *self._stubs(),
        ]
        whole = Tree(_node("/", root, tuple(children)))
        references = {node.path: self._references(whole, node) for node in whole.nodes()}
        tree = PartialTree(self._toolstack, whole.root, references, self._left_out)
        return tree, (*self._problems, *self._too_many_names(whole))

    def _too_many_names(self, whole: Tree) -> Iterator[Diagnostic]:
        """Yield a problem for a tree that dtc would take long to compile, at the node with the most
        names.
        """
        names = {name for node in whole.nodes() for name in node.properties}
        if sum(len(name) + 1 for name in names) > _MOST_OF_NAMES:
            node = max(whole.nodes(), key=lambda each: len(each.properties))
            yield Diagnostic(
                id="malformed",
                what="the partial tree for Xen would have too many property names for dtc",
                hint="leave out those that the guest does not need",
                node=node.path,
                expected=f"at most {_MOST_OF_NAMES >> 10} KiB of different names below "
                f"{PASSTHROUGH} and in /aliases",
                where=self._guest.locate(node.path, ""),
            )

    def _bus_properties(self) -> Properties:
        try:
            cells = bus_cells(self._bus)
            ranges = bus_ranges(self._bus, cells, _ROOT_CELLS, self._addresses, self._links.below)
        except TreeError as error:
            self._malformed(error, self._bus)
            return {}
        return {
            "compatible": b"simple-bus\0",
            "#address-cells": pack(">I", cells[0]),
            "#size-cells": pack(">I", cells[1]),
            **({} if ranges is None else {"ranges": ranges}),
        }

    def _children(self, parent: Node) -> tuple[Node, ...]:
        return tuple(
            _node(child.path, self._properties(child), self._children(child))
            for child in parent.children
        )

    def _properties(self, node: Node) -> Properties:
        left_out = list(self._links.left_out(node))
        gone = {name for lost in left_out for name in lost.names}
        kept = {
            name: value
            for name, value in node.properties.items()
            if name not in REPLACED and not name.startswith("xen,") and name not in gone
        }
        kept |= self._phandle(node)
        device = self._devices.get(node.path)
        try:
            of_interrupts = self._interrupts(node)
            kept |= of_interrupts.properties
            self._phandles[node.path] = of_interrupts.phandles
            left_out += of_interrupts.left_out
            if device:
                kept |= self._assigned(node, device)
            elif is_raw(node) and self._guest.tree.status(node) == "okay":
                kept |= self._raw(node)
        except TreeError as error:
            if device or is_raw(node):
                self._malformed(error, node)
            else:
                # The node makes no request: its readable properties do no harm.
                left_out.append(LeftOut((error.diagnostic.prop,), error.diagnostic.what))
        except OverflowError:
            hint = "give the bus #address-cells = <2> and #size-cells = <2>"
            what = "the bus has too few cells for the host's address"
            where = self._guest.locate(node.path, "xen,reg")
            self._problems.append(
                Diagnostic(id="malformed", what=what, hint=hint, node=node.path, where=where)
            )
        if left_out:
            self._left_out[node.path] = tuple(left_out)
        return kept

    def _malformed(self, error: TreeError, node: Node) -> None:
        prop = error.diagnostic.prop
        where = self._guest.locate(error.diagnostic.node, prop)
        self._problems.append(
            error.diagnostic._replace(hint=f"correct {prop}", node=node.path, where=where)
        )

    def _phandle(self, node: Node) -> Properties:
        """Return the phandle of a node that another refers to, or to which its user gave one, as a
        number in a property that no table has may mean it.
        """
        phandle = phandle_of(node)
        is_target = node.path in self._links.targets
        if not is_target and (not self._guest.tree.is_numbered(node) or phandle > _LAST_PHANDLE):
            return {}
        # The phandle of the vSMMU has its own message.
        if phandle > _LAST_PHANDLE and phandle != VSMMU_PHANDLE:
            self._problems.append(
                Diagnostic(
                    id="malformed",
                    what="Xen does not accept a phandle as large as this",
                    hint="give the node another one, or none: the compiler then chooses one",
                    node=node.path,
                    expected=f"at most {_LAST_PHANDLE}",
                    found=str(phandle),
                    where=self._guest.locate(node.path, "phandle"),
                )
            )
        return {"phandle": pack(">I", phandle)} if phandle else {}

    def _interrupts(self, node: Node) -> Kept:
        is_libxl = self._toolstack == "libxl"
        # libxl's own GIC has Xen's phandle; dom0less uses the phandle of the stub.
        number = XEN_GIC_PHANDLE if is_libxl else self._gic_phandle
        return kept_interrupts(
            self._guest, self._gic, self._links, node, number, is_named=not is_libxl
        )

    def _references(self, whole: Tree, node: Node) -> dict[str, dict[int, Node]]:
        """Return the cells of `node` that are phandles of nodes in the `whole` tree."""
        by_property: dict[str, dict[int, Node]] = {}
        if is_below_passthrough(node.path):
            origin = self._guest.tree.node(node.path) or node
            for name, cells in self._links.kept(origin).items():
                targets = {i: target for i, path in cells.items() if (target := whole.node(path))}
                by_property[name] = targets
        numbers = {**self._phandles.get(node.path, {})}
        for name, step in (("interrupt-parent", 1), ("iommus", 2)):
            value = node.properties.get(name, b"")
            indexes = range(0, len(value) // 4, step)
            numbers[name] = {i: int.from_bytes(value[4 * i : 4 * i + 4], "big") for i in indexes}
        for name, of_cells in numbers.items():
            for i, number in of_cells.items():
                if target := whole.with_phandle(number):
                    by_property.setdefault(name, {})[i] = target
        return by_property

    def _raw(self, node: Node) -> Properties:
        """Return the property with the mappings of a node without a host device, in whole pages."""
        pages = [
            PlanRegion(host.base, guest.base, host.size).whole_pages
            for host, guest in xen_reg(self._guest, node)
        ]
        return {"xen,reg": self._triples(node, pages), FORCE: b""}

    def _triples(self, node: Node, regions: Sequence[PlanRegion]) -> bytes:
        address, size = bus_cells(self._guest.tree.parent(node) or self._bus)
        return b"".join(
            _cells(host, address) + _cells(length, size) + _cells(guest, address)
            for host, guest, length in regions
        )

    def _assigned(self, node: Node, device: PlanDevice) -> Properties:
        """Return the properties that make it an assigned device. xen,reg accompanies xen,path even
        if it is empty.
        """
        # libxl rewrites only direct children; if IDs are unchanged, the tree can have them as libxl
        # would write them.
        is_rewritten = self._toolstack != "libxl" or node.path.count("/") == 2
        phandle = self._smmu_phandle
        if not is_rewritten and self._keeps_ids:
            phandle = VSMMU_PHANDLE
        # A guest without vSMMU has no node to which they could refer.
        streams = device.streams if self._has_viommu else ()
        iommus = b"".join(pack(">II", phandle, stream.pmaster) for stream in streams)
        return {
            **({"iommus": iommus} if iommus else {}),
            "xen,reg": self._triples(node, device.pages),
            "xen,path": device.host.encode() + b"\0",
            **({} if device.is_protected else {FORCE: b""}),
        }

    def _aliases(self) -> Iterator[Node]:
        """Yield the guest's aliases for nodes below /passthrough."""
        aliases = self._guest.tree.node("/aliases")
        kept = {
            name: value
            for name, value in (aliases.properties.items() if aliases else ())
            if value.startswith(f"{PASSTHROUGH}/".encode())
        }
        if kept:
            yield _node("/aliases", kept, ())

    def _stubs(self) -> Iterator[Node]:
        """Yield the nodes that the phandles above refer to, for dtc and for Xen's check of
        interrupt-parent.
        """
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
    return Node(path, name_of(path), MappingProxyType(properties), children)


def _cells(number: int, count: int) -> bytes:
    """Return `number` in `count` cells. Raises OverflowError if it does not fit."""
    return number.to_bytes(4 * count, "big")
