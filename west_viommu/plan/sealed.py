# SPDX-License-Identifier: Apache-2.0
"""The content of viommu.json as records: a plan as whoever comes later finds it.

The field names are the keys of the file, whose schema is schemas/plan.json.
"""

from __future__ import annotations

from typing import NamedTuple

from west_viommu.guest.regions import Mapped
from west_viommu.host.intervals import Interval
from west_viommu.hypervisor.assignment import PlannedDevice
from west_viommu.hypervisor.profile import Viommu
from west_viommu.plan.records import Plan
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.digest import digest
from west_viommu.tree.node import Tree


class SealedHost(NamedTuple):
    """The host tree that the plan is for: the `model` of its root, and its sum
    (tree/digest.py).
    """

    model: str | None
    sha256: str


class SealedViommu(NamedTuple):
    """The vSMMU of the guest."""

    node: str
    compatible: str
    base: int
    size: int
    intids: tuple[int, ...]


class SealedRegion(NamedTuple):
    """`size` bytes of the host, and where the guest sees them."""

    host: int
    guest: int
    size: int

    @property
    def on_host(self) -> Region:
        """Where it is on the host."""
        return Region(self.host, self.size)

    @property
    def in_guest(self) -> Region:
        """Where the guest sees it."""
        return Region(self.guest, self.size)


class SealedStream(NamedTuple):
    """A stream ID behind the IOMMU at that path and address, and the one that the guest uses."""

    iommu: str
    iommu_base: int
    pmaster: int
    vmaster: int


class SealedOmission(NamedTuple):
    """A stream ID of the host node that the guest does not have."""

    iommu: str
    pmaster: int


class SealedMap(NamedTuple):
    """An entry of the host node's iommu-map, for a hypervisor that programs it."""

    iommu: str
    rid: int
    pmaster: int
    vmaster: int
    length: int


class SealedCompatible(NamedTuple):
    """The compatible of the two nodes of a device."""

    host: tuple[str, ...]
    guest: tuple[str, ...]


class SealedDevice(NamedTuple):
    """A device that the guest gets. `pages`: what the hypervisor maps of it."""

    node: str
    host: str
    compatible: SealedCompatible
    status: str
    regions: tuple[SealedRegion, ...]
    pages: tuple[SealedRegion, ...]
    intids: tuple[int, ...]
    streams: tuple[SealedStream, ...]
    omitted: tuple[SealedOmission, ...]
    maps: tuple[SealedMap, ...]

    @property
    def is_protected(self) -> bool:
        """Whether the hypervisor confines its DMA."""
        return bool(self.streams or self.maps)

    @property
    def ids_by_iommu(self) -> dict[str, list[str]]:
        """The stream IDs that it has behind each IOMMU, as a person reads them."""
        ids: dict[str, list[str]] = {}
        for stream in self.streams:
            ids.setdefault(stream.iommu, []).append(f"{stream.pmaster:#x}")
        for entry in self.maps:
            span = Interval(entry.pmaster, entry.pmaster + entry.length - 1)
            ids.setdefault(entry.iommu, []).append(str(span))
        return ids


class SealedRaw(NamedTuple):
    """A guest node that maps host memory without a host device."""

    node: str
    regions: tuple[SealedRegion, ...]


class SealedExtra(NamedTuple):
    """Registers that a device has besides those of its host node, by viommu.yml: `size` bytes of
    the host at `host`, and why.
    """

    device: str
    host: int
    size: int
    reason: str


class SealedPermission(NamedTuple):
    """A permission of viommu.yml that was needed."""

    hazard: str
    device: str
    reason: str


class SealedMark(NamedTuple):
    """A host node that host.overlay keeps from dom0, for which device, and why."""

    node: str
    device: str
    why: str


class SealedPlan(NamedTuple):
    """What viommu.json says, but for the number of its schema."""

    profile: str
    vsid: str
    host: SealedHost
    domain: tuple[str, ...]
    viommu: SealedViommu | None
    devices: tuple[SealedDevice, ...]
    raw: tuple[SealedRaw, ...]
    extra: tuple[SealedExtra, ...]
    unasked: tuple[str, ...]
    allowed: tuple[SealedPermission, ...]
    marks: tuple[SealedMark, ...]
    memory_limit: int | None
    files: dict[str, str]


class Origins(NamedTuple):
    """What a plan is made of: both trees, and what else the domain has."""

    host: Tree
    guest: Tree
    domain: frozenset[str]


def as_sealed(plan: Plan, origins: Origins) -> SealedPlan:
    """What viommu.json says of `plan` itself, with no files."""
    profile = plan.profile
    return SealedPlan(
        profile=profile.name,
        vsid=profile.policy,
        host=SealedHost(_model(origins.host), digest(origins.host)),
        domain=tuple(sorted(origins.domain)),
        viommu=_viommu(profile.viommu) if profile.viommu and plan.has_viommu else None,
        devices=tuple(_device(device, origins) for device in plan.devices),
        raw=tuple(SealedRaw(raw.path, tuple(map(_mapped, raw.mapped))) for raw in plan.raw),
        extra=tuple(
            SealedExtra(each.device, each.region.base, each.region.size, each.reason)
            for each in plan.extra
        ),
        unasked=plan.unasked,
        allowed=tuple(SealedPermission(e.hazard, e.device, e.reason) for e in plan.allowed),
        marks=tuple(SealedMark(each.path, each.device, each.why) for each in plan.marks),
        memory_limit=plan.memory_limit,
        files={},
    )


def _viommu(viommu: Viommu) -> SealedViommu:
    return SealedViommu(
        f"/{viommu.node_name}",
        viommu.compatible,
        viommu.base,
        viommu.size,
        tuple(interrupt.intid for interrupt in viommu.interrupts),
    )


def _device(planned: PlannedDevice, origins: Origins) -> SealedDevice:
    request, device = planned.assignment.request, planned.assignment.device
    used = set(planned.assignment.ids)
    return SealedDevice(
        node=request.path,
        host=device.path,
        compatible=SealedCompatible(
            _compatible(origins.host, device.path), _compatible(origins.guest, request.path)
        ),
        status=_status(origins.guest, request.path),
        regions=tuple(_region(pair.host, pair.guest) for pair in request.regions if pair.host),
        pages=tuple(map(_mapped, planned.mapped)),
        intids=request.intids,
        streams=tuple(
            SealedStream(stream.iommu, stream.iommu_base, stream.pmaster, stream.vmaster)
            for stream in planned.streams
        ),
        omitted=tuple(
            SealedOmission(stream.iommu, stream.id)
            for stream in (device.master.streams if device.master else ())
            if stream.id is not None and stream.id not in used
        ),
        maps=tuple(
            SealedMap(entry.iommu, entry.rid, entry.id, entry.id, entry.length)
            for entry in planned.maps
            if entry.id is not None
        ),
    )


def _mapped(mapped: Mapped) -> SealedRegion:
    return _region(mapped.host, mapped.guest)


def _region(host: Region, guest: Region) -> SealedRegion:
    return SealedRegion(host.base, guest.base, host.size)


def _model(tree: Tree) -> str | None:
    try:
        return next(iter(tree.root.string_list("model")), None)
    except TreeError:
        return None


def _compatible(tree: Tree, path: str) -> tuple[str, ...]:
    node = tree.node(path)
    return node.known_compatible if node else ()


def _status(tree: Tree, path: str) -> str:
    node = tree.node(path)
    try:
        return tree.status(node) if node else "okay"
    except TreeError:
        return "malformed"
