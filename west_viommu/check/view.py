# SPDX-License-Identifier: Apache-2.0
"""A guest's finished tree, from any source: its vSMMU and devices as the check compares them, and
its requests.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.gic import NO_GIC, Gic, GuestInterrupt, guest_gic, guest_interrupts
from west_viommu.guest.requests import Asked, Entry, Request
from west_viommu.guest.source import PASSTHROUGH, GuestTree, is_below_passthrough
from west_viommu.host.inventory import StreamId, is_smmuv3
from west_viommu.names import VSMMU_COMPATIBLE
from west_viommu.plan.plan import PlanDevice
from west_viommu.tree.addresses import AddressMap, Region
from west_viommu.tree.cells import TreeError, cells, counted
from west_viommu.tree.node import Node

T = TypeVar("T")
# An entry of iommu-map: a requester ID, the first stream ID, and the number of IDs.
MapEntry = tuple[int, int, int]


class NodeView(NamedTuple):
    """The vSMMU or a node below /passthrough, as the guest sees it. `iommu_cells` and `phandle`
    are the vSMMU's; `streams` and `maps` a device's, on the vSMMU.
    """

    path: str
    compatible: tuple[str, ...]
    status: str
    regions: tuple[Region | None, ...]
    interrupts: tuple[GuestInterrupt, ...]
    interrupt_names: tuple[str, ...]
    iommu_cells: int = 0
    phandle: int = 0
    streams: tuple[int, ...] = ()
    maps: tuple[MapEntry, ...] = ()

    @property
    def intids(self) -> tuple[int, ...]:
        """The INTIDs of its interrupts, in order."""
        return tuple(interrupt.intid for interrupt in self.interrupts)


class View(NamedTuple):
    """A tree as the check compares it, and the faults in the tree itself."""

    vsmmu: NodeView | None
    devices: Mapping[str, NodeView]
    faults: tuple[Diagnostic, ...]


def view(guest: GuestTree) -> View:
    """Return the view of `guest`. A fault does not hide the rest."""
    return _Viewer(guest).view()


class _Viewer:
    """Reads one tree, and collects its faults."""

    def __init__(self, guest: GuestTree):
        self._guest = guest
        self._tree = guest.tree
        self._addresses = AddressMap(guest.tree)
        self._faults: list[Diagnostic] = []
        self._gic = self._tried(guest.tree.root, lambda: guest_gic(guest), NO_GIC)

    def view(self) -> View:
        self._phandles()
        # A hypervisor puts its own vSMMU below the root, regardless of /passthrough.
        vsmmus = sorted(filter(is_smmuv3, self._tree.nodes()), key=_depth)
        for second in vsmmus[1:]:
            self._fault(second, "a second vSMMU", f"one, {vsmmus[0].path}", second.path)
        vsmmu = self._vsmmu(vsmmus[0]) if vsmmus else None
        # One text for thousands of entries: the path may be long.
        self._entries = f"entries of {vsmmu.path}" if vsmmu else "a vSMMU in the tree"
        devices = {
            node.path: self._device(node, vsmmu)
            for node in self._tree.nodes()
            if is_below_passthrough(node.path) and not is_smmuv3(node)
        }
        bus = self._tree.node(PASSTHROUGH)
        if bus is None:
            self._fault(self._tree.root, "no passthrough", f"a node {PASSTHROUGH}", "none")
        elif "iommus" in bus.properties:
            self._fault(bus, "iommus", "none on the bus itself", "iommus")
        return View(vsmmu, devices, tuple(self._faults))

    def _phandles(self) -> None:
        owners: dict[bytes, str] = {}
        for node in self._tree.nodes():
            for name in ("phandle", "linux,phandle"):
                value = node.properties.get(name)
                first = owners.setdefault(value, node.path) if value else node.path
                if value and first != node.path:
                    self._fault(node, "phandle", "one of its own", f"0x{value.hex()} of {first}")

    def _vsmmu(self, node: Node) -> NodeView:
        cells = self._tried(node, lambda: node.number("#iommu-cells", 0), 0)
        phandle = self._tried(node, lambda: node.number("phandle", 0), 0)
        vsmmu = self._node(node)
        given = tuple(name for name in vsmmu.compatible if name != VSMMU_COMPATIBLE)
        return vsmmu._replace(iommu_cells=cells, phandle=phandle, compatible=given)

    def _device(self, node: Node, vsmmu: NodeView | None) -> NodeView:
        return self._node(node)._replace(
            streams=tuple(self._tried(node, lambda: list(self._streams(node, vsmmu)), [])),
            maps=tuple(self._tried(node, lambda: list(self._maps(node, vsmmu)), [])),
        )

    def _node(self, node: Node) -> NodeView:
        return NodeView(
            node.path,
            self._strings(node, "compatible"),
            self._status(node),
            self._regions(node),
            self._interrupts(node, self._gic),
            self._strings(node, "interrupt-names"),
        )

    def _strings(self, node: Node, prop: str) -> tuple[str, ...]:
        none: tuple[str, ...] = ()
        return self._tried(node, lambda: node.string_list(prop), none)

    def _status(self, node: Node) -> str:
        return self._tried(node, lambda: self._tree.status(node), "malformed")

    def _streams(self, node: Node, vsmmu: NodeView | None) -> Iterator[int]:
        numbers = cells(node.properties.get("iommus", b""), node.path, "iommus")
        if len(numbers) % 2:
            found = counted(len(numbers), "cell")
            self._fault(node, "iommus", "pairs of the vSMMU and a stream ID", found)
        for phandle, stream_id in zip(numbers[::2], numbers[1::2], strict=False):
            if self._is_bound(node, "iommus", phandle, stream_id, vsmmu):
                yield stream_id

    def _maps(self, node: Node, vsmmu: NodeView | None) -> Iterator[MapEntry]:
        numbers = cells(node.properties.get("iommu-map", b""), node.path, "iommu-map")
        if len(numbers) % 4:
            found = counted(len(numbers), "cell")
            self._fault(node, "iommu-map", "entries of 4 cells, as the vSMMU has 1", found)
        for i in range(0, len(numbers) - len(numbers) % 4, 4):
            rid, phandle, stream_id, length = numbers[i : i + 4]
            if self._is_bound(node, "iommu-map", phandle, stream_id, vsmmu):
                yield rid, stream_id, length

    def _is_bound(
        self, node: Node, prop: str, phandle: int, stream_id: int, vsmmu: NodeView | None
    ) -> bool:
        target = self._tree.with_phandle(phandle)
        if vsmmu and target and target.path == vsmmu.path:
            return True
        # Without a vSMMU, it is unknown which program wrote the number.
        said = ", not rewritten" if vsmmu else ""
        self._fault(node, prop, self._entries, f"<{phandle:#x} {stream_id:#x}>{said}")
        return False

    def _regions(self, node: Node) -> tuple[Region | None, ...]:
        none: tuple[Region | None, ...] = ()
        return self._tried(node, lambda: self._addresses.regions(node), none)

    def _interrupts(self, node: Node, gic: Gic) -> tuple[GuestInterrupt, ...]:
        none: tuple[GuestInterrupt, ...] = ()
        return self._tried(
            node, lambda: guest_interrupts(self._guest, gic, node, is_finished=True), none
        )

    def _tried(self, node: Node, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except TreeError as error:
            wrong = error.diagnostic
            self._fault(node, f"{wrong.prop}: {wrong.what}", wrong.expected, wrong.found)
            return otherwise

    def _fault(self, node: Node, what: str, expected: str, found: str) -> None:
        self._faults.append(Diagnostic(node=node.path, what=what, expected=expected, found=found))


def _depth(node: Node) -> int:
    return node.path.count("/")


def physical(
    asked: Asked, guest: GuestTree, devices: Sequence[PlanDevice] | None, policy: str
) -> Asked:
    """Return `asked` with the host's stream IDs in place of the guest's: from the `devices` of
    viommu.json; if those are not known, unchanged under the policy identity, and under any other
    from the host node that xen,path names.
    """
    planned = {device.node: device for device in devices or ()}
    requests, problems = [], list(asked.problems)
    for request in asked.requests:
        if request.path in planned:
            requests.append(_as_planned(request, planned[request.path]))
        elif policy == "identity" or devices is not None:
            requests.append(request)
        elif request.xen_path:
            requests.append(request._replace(entries=()))
        else:
            problems.append(_unknown(request, guest))
    return asked._replace(requests=tuple(requests), problems=tuple(problems))


def _as_planned(request: Request, device: PlanDevice) -> Request:
    entries = (Entry(None, StreamId(stream.pmaster)) for stream in device.streams)
    return request._replace(entries=tuple(entries), xen_path=request.xen_path or device.host)


def _unknown(request: Request, guest: GuestTree) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what="its stream IDs are the guest's, and nothing says which host device they stand for",
        hint="give the build directory with its viommu.json (-d), or add xen,path to the node",
        node=request.path,
        where=guest.locate(request.path, "iommus"),
    )
