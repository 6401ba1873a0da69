# SPDX-License-Identifier: Apache-2.0
"""Limits of the tree that Xen itself makes for a guest (dom0less): its size, and the cells of the
buses with assigned devices.

prepare_dtb_domU() and handle_passthrough_prop(): arch/arm/domain_build.c of 4.17, later
common/device-tree/dom0less-build.c. xl has no such limits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity, Where
from west_viommu.guest.requests import FORCE, SHARED_MEMORY
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.host.devices import Devices
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.profile import Profile, TreeRoom, spoken
from west_viommu.plan.partial import PartialTree
from west_viommu.plan.plan import Plan
from west_viommu.tree.addresses import bus_cells
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node

# handle_prop_pfdt() withholds these from the guest.
_TAKEN = ("xen,reg", "xen,path", FORCE)
# The header, 8 bytes of alignment, an empty reserve map, and the end of the structure.
_BYTES_OF_ALL = 40 + 8 + 16 + 4
# The nodes that Xen adds to the devices, with the bytes of each value: as many as any version
# writes (make_chosen_node(), make_psci_node(), make_memory_node(), make_gicv3_domU_node(),
# make_timer_node(), make_vpl011_uart_node()).
_OF_XEN: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("", {"#address-cells": 4, "#size-cells": 4}),
    ("chosen", {"linux,initrd-start": 8, "linux,initrd-end": 8}),
    ("psci", {"compatible": 35, "method": 4, "cpu_off": 4, "cpu_on": 4}),
    ("cpus", {"#address-cells": 4, "#size-cells": 4}),
    ("memory@40000000", {"device_type": 7, "reg": 32}),
    (
        "interrupt-controller@3001000",
        {
            "#address-cells": 4,
            "#interrupt-cells": 4,
            "interrupt-controller": 0,
            "compatible": 12,
            "#redistributor-regions": 4,
            "reg": 32,
            "linux,phandle": 4,
            "phandle": 4,
        },
    ),
    (
        "timer",
        {"compatible": 16, "interrupts": 36, "interrupt-parent": 4, "clock-frequency": 4},
    ),
    (
        "sbsa-uart@22000000",
        {"compatible": 14, "reg": 16, "interrupts": 12, "interrupt-parent": 4, "current-speed": 4},
    ),
)
_OF_VSMMU = {
    "compatible": 12,
    "reg": 16,
    "phandle": 4,
    "#iommu-cells": 4,
    "interrupt-names": 9,
    "interrupts": 12,
    "interrupt-parent": 4,
}
_OF_SHARED = {"compatible": 21, "reg": 16, "xen,id": 16, "xen,offset": 8}
_OF_SHARED_PARENT = {"ranges": 0, "#address-cells": 4, "#size-cells": 4}


class Limits(NamedTuple):
    """The problems of a tree that exceeds limits, and the reason if no possible version of the
    hypervisor makes it, else "". `tree_bytes`: its size with one virtual CPU, None if no limit is
    known.
    """

    problems: tuple[Diagnostic, ...]
    hindered: str
    tree_bytes: int | None


def limits(
    tree: PartialTree, guest: GuestTree, devices: Devices, terms: Terms, *, is_only: bool
) -> Limits:
    """Return the limits of the hypervisor that the guest's tree, with the partial `tree` of
    dom0less, exceeds. `is_only`: no other toolstack can create the domain.
    """
    judge = _Judge(terms, is_only=is_only)
    size = None
    if terms.profile.tree_rooms:
        size = _tree_bytes(tree, guest, devices, terms.profile)
        total = size + (terms.cpus - 1) * _cpu_bytes(devices)
        judge.size(total, _module_bytes(tree), guest.locate(PASSTHROUGH, ""))
    if terms.profile.cell_limits:
        for node in _below(tree.root):
            judge.cells(node, guest)
    return Limits(tuple(judge.problems), judge.hindered, size)


def too_large(
    plan: Plan,
    terms: Terms,
    devices: Devices,
    *,
    bootargs: str,
    module: int,
    is_only: bool,
    where: Where,
) -> Iterator[Diagnostic]:
    """Yield a problem if the tree of a domain is too large: with this `plan`, the CPUs of `terms`,
    the command line `bootargs` and a partial tree of `module` bytes.
    """
    if plan.tree_bytes is not None and terms.profile.tree_rooms:
        judge = _Judge(terms, is_only=is_only)
        total = plan.tree_bytes + (terms.cpus - 1) * _cpu_bytes(devices)
        total += 12 + _aligned(len(bootargs.encode()) + 1) if bootargs else 0
        judge.size(total, module, where)
        yield from judge.problems


class _Judge:
    """Collects the violations of limits of a profile's versions."""

    def __init__(self, terms: Terms, *, is_only: bool):
        self._terms = terms
        self._is_only = is_only
        self._known = terms.profile.versions or ("",)
        self.problems: list[Diagnostic] = []
        self.hindered = ""

    def size(self, total: int, module: int, where: Where | None) -> None:
        """Judge a tree of `total` bytes, made with a partial tree of `module` bytes."""
        rooms = {
            version: max(
                (room.bytes + (module if room.adds_module else 0) for room in self._rooms(version)),
                default=total,
            )
            for version in self._known
        }
        too_small = [version for version, room in rooms.items() if room < total]
        cpus = self._terms.cpus
        room = min(rooms.values())
        fewer = ", or give it fewer CPUs" if cpus > 1 else ""
        self._add(
            too_small,
            Diagnostic(
                id="tree-size",
                what='the tree of this guest is too large for {}, which panics ("Device tree '
                'generation failed")',
                hint=f"leave out properties and nodes that the guest does not need{fewer}{{}}; its "
                "bootargs come on top",
                node=PASSTHROUGH,
                expected=f"at most {room} bytes",
                found=f"{total} bytes with {cpus} CPU{'s' if cpus > 1 else ''}",
                where=where,
            ),
            f"the guest's tree has {total} bytes, and there is room for {room}",
        )

    def cells(self, node: Node, guest: GuestTree) -> None:
        """Judge the bus of an assigned device, or of a raw mapping."""
        bus = guest.tree.node(node.path.rpartition("/")[0])
        if "xen,reg" not in node.properties or bus is None:
            return
        try:
            address, size = bus_cells(bus)
        except TreeError:
            return
        profile = self._terms.profile
        refusing = [
            version
            for version in self._known
            for limit in profile.cell_limits
            if profile.covers(limit.versions, version)
            and not (1 <= address <= limit.most and 1 <= size <= limit.most)
        ]
        if refusing:
            most = min(limit.most for limit in profile.cell_limits)
            self._add(
                refusing,
                Diagnostic(
                    id="bus-cells",
                    what=f"{{}} takes no device on a bus with these cells, {bus.path}",
                    hint="give the bus #address-cells = <2> and #size-cells = <2>, and its `reg` "
                    "and `ranges` as many{}",
                    node=node.path,
                    expected=f"1 to {most} cells for an address, and for a size",
                    found=f"{address} and {size}",
                    where=guest.locate(bus.path, "#address-cells") or guest.locate(node.path, ""),
                ),
                f"{bus.path} has {address} address cells and {size} size cells",
            )

    def _rooms(self, version: str) -> list[TreeRoom]:
        profile = self._terms.profile
        return [each for each in profile.tree_rooms if profile.covers(each.versions, version)]

    def _add(self, refusing: Sequence[str], problem: Diagnostic, why: str) -> None:
        """Add a problem of the versions `refusing`, if any of them is possible. It refuses the
        guest if every possible version refuses, and no other toolstack could create it.
        """
        versions = [version for version in self._terms.versions if version in refusing]
        if not versions:
            return
        profile = self._terms.profile
        who = f"Xen {spoken(versions, profile.versions)}" if profile.versions else "this Xen"
        others = [version for version in profile.versions if version not in refusing]
        way_out = f", or take Xen {spoken(others, profile.versions)}" if others else ""
        if not self._is_only:
            way_out += ", or have xl create the guest"
        is_all = len(versions) == len(self._terms.versions)
        self.problems.append(
            problem._replace(
                what=problem.what.format(who),
                hint=problem.hint.format(way_out),
                severity=Severity.ERROR if is_all and self._is_only else Severity.WARNING,
            )
        )
        if is_all and not self.hindered:
            self.hindered = why


def _below(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield child
        yield from _below(child)


def _tree_bytes(tree: PartialTree, guest: GuestTree, devices: Devices, profile: Profile) -> int:
    """Return the size of the guest's tree with one virtual CPU, without bootargs and ramdisk."""
    names: set[str] = set()
    total = _cpu_bytes(devices)
    own = list(_OF_XEN)
    if profile.viommu:
        flags = dict.fromkeys(profile.viommu.flags, 0)
        own.append((profile.viommu.node_name, {**_OF_VSMMU, **flags}))
    shared = [node for node in guest.tree.nodes() if SHARED_MEMORY in node.known_compatible]
    own += [("reserved-memory", _OF_SHARED_PARENT)] if shared else []
    own += [(node.name, _OF_SHARED) for node in shared]
    for name, lengths in own:
        total += _node_bytes(name, lengths.values())
        names.update(lengths)
    names.update(("enable-method", "linux,initrd-start", "bootargs"))
    for node in _below(tree.root):
        # Xen copies only these two.
        if node.path.startswith((PASSTHROUGH, "/aliases")):
            kept = {name: len(v) for name, v in node.properties.items() if name not in _TAKEN}
            total += _node_bytes(node.name, kept.values())
            names.update(kept)
    return total + _BYTES_OF_ALL + _bytes_of(names)


def _cpu_bytes(devices: Devices) -> int:
    """Return the bytes of the node of a virtual CPU: it has the compatible of the host's first CPU
    (make_cpus_node()).
    """
    cpus = devices.tree.node("/cpus")
    children = cpus.children if cpus else ()
    values = [
        len(node.properties.get("compatible", b""))
        for node in children
        if node.properties.get("device_type") == b"cpu\0"
    ]
    lengths = {"compatible": values[0] if values else 16, "device_type": 4, "reg": 4}
    lengths |= {"clock-frequency": 4, "enable-method": 5}
    return _node_bytes("cpu@100", lengths.values())


def _module_bytes(tree: PartialTree) -> int:
    """Return the size of the blob of a partial tree."""
    nodes = [tree.root, *_below(tree.root)]
    names = {name for node in nodes for name in node.properties}
    values = (_node_bytes(node.name, map(len, node.properties.values())) for node in nodes)
    return sum(values) + _BYTES_OF_ALL - 8 + _bytes_of(names)


def _bytes_of(names: Iterable[str]) -> int:
    return sum(len(name.encode()) + 1 for name in names)


def _node_bytes(name: str, lengths: Iterable[int]) -> int:
    """Return the bytes of a node in a blob, without its children and the names of properties."""
    return 8 + _aligned(len(name.encode()) + 1) + sum(12 + _aligned(each) for each in lengths)


def _aligned(length: int) -> int:
    return -(-length // 4) * 4
