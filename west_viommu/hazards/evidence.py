# SPDX-License-Identifier: Apache-2.0
"""Which host device a request means, by all that it says: path, stream IDs, registers, interrupts,
name and compatible.

A request whose parts do not agree is refused, whatever comes out here. This tells only which part
is the odd one out, so that one mistake makes one message, and that points at what is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.guest.requests import Request
from west_viommu.hazards.wanted import Wanted
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Master
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import unit_address

# What the parts of a request are called in a message.
PATH, IDS, REG, INTERRUPTS = "xen,path", "stream IDs", "reg", "interrupts"
_ADDRESS, _NAME, _COMPATIBLE = "unit address", "name", "compatible"
_HARD = (PATH, IDS, REG, INTERRUPTS)
# How much a part says that fits a device wholly, or in part, or as it fits others of its kind too.
_FIRM, _WEAK = 2, 1
# A part that fits more devices than these tells none of them apart.
_MOST_ALIKE = 64
# Of each part, so much is looked at: real devices have less.
_MOST_COMPARED = 256


class Verdict(NamedTuple):
    """The host device that most of a request speaks for; None where several, the `rivals`, have as
    much for them, or none has anything.
    """

    device: Device | None
    rivals: tuple[str, ...] = ()


class Evidence:
    """What a request says of host devices. `wanted` are its stream IDs."""

    def __init__(self, request: Request, wanted: Sequence[Wanted], devices: Devices):
        self._request = request
        self._devices = devices
        self._wanted = wanted[:_MOST_COMPARED]
        self._regions = [pair.host for pair in request.regions if pair.host][:_MOST_COMPARED]
        self._intids = request.intids[:_MOST_COMPARED]
        self._unit_address = unit_address(request.name)
        self._found = {path: self._parts_for(path) for path in dict.fromkeys(self._named())}

    def verdict(self, taken: Collection[str] = ()) -> Verdict:
        """Which device is meant; none of those `taken` by other requests, if it can be another."""
        weights = {path: sum(parts.values()) for path, parts in self._found.items()}
        free = {path: weight for path, weight in weights.items() if path not in taken}
        if max(free.values(), default=0) >= _FIRM:
            weights = free
        most = max(weights.values(), default=0)
        best = tuple(path for path, weight in weights.items() if weight == most)
        if most < _FIRM or len(best) > 1:
            return Verdict(None, best if most >= _FIRM else ())
        return Verdict(self._device(best[0]))

    def others(self, part: str, device: Device) -> frozenset[str]:
        """The devices, beside `device`, that `part` speaks for."""
        return frozenset(
            path for path, parts in self._found.items() if path != device.path and part in parts
        )

    def parts(self, device: Device, odd: str = "") -> tuple[str, ...]:
        """The parts that speak for `device`, without an `odd` one; the soft ones only where there
        is no second hard one.
        """
        parts = tuple(part for part in self._found.get(device.path, ()) if part != odd)
        hard = tuple(part for part in parts if part in _HARD)
        # Whoever copies an address has it in both.
        is_said = REG in parts
        return (
            hard
            if len(hard) > 1
            else tuple(part for part in parts if part != _ADDRESS or not is_said)
        )

    @property
    def fits(self) -> bool:
        """Whether some of it must be of this host: a number alone may be alike by chance."""
        return any(
            PATH in parts or REG in parts or sum(parts.values()) > _FIRM
            for parts in self._found.values()
            if len(parts) > 1 or PATH in parts
        )

    @property
    def missing(self) -> int:
        """How many of its hard parts are of no device of this host; 0 where neither a path nor an
        address is among them, as numbers are mistyped.
        """
        there = {part for parts in self._found.values() for part in parts}
        told = {part for parts in self._found.values() for part in parts if parts[part] == _FIRM}
        missing = {PATH} if self._request.xen_path is not None and PATH not in there else set()
        missing |= {REG} if self._regions and REG not in there else set()
        numbers = {IDS} if self._wanted and IDS not in told else set()
        numbers |= {INTERRUPTS} if self._intids and INTERRUPTS not in there else set()
        return len(missing | numbers) if missing else 0

    def _named(self) -> Iterator[str]:
        """The devices that a part by itself may mean."""
        if self._request.xen_path is not None:
            yield self._request.xen_path
        for stream_id, iommu in self._wanted:
            owners = self._devices.owners(stream_id)[:_MOST_ALIKE]
            yield from (owner.path for owner, behind in owners if iommu in (None, behind))
        bases = [region.base for region in self._regions]
        for base in (*bases, self._unit_address):
            yield from self._devices.at(base)[:_MOST_ALIKE] if base is not None else ()
        yield from self._devices.named(self._request.name)[:_MOST_ALIKE]

    def _device(self, path: str) -> Device | None:
        try:
            return self._devices.device(path)
        except TreeError:
            # What it is cannot be told: nothing speaks for it.
            return None

    def _parts_for(self, path: str) -> dict[str, int]:
        """The parts that speak for the device at `path`, and how much each says."""
        device = self._device(path)
        if device is None:
            return {}
        bases = {region.base for region in device.regions if region}
        of_reg = _weight(region in device.regions for region in self._regions)
        parts = {
            PATH: _FIRM if self._request.xen_path == path else 0,
            IDS: self._of_ids(device.master),
            REG: of_reg or _WEAK * any(region.base in bases for region in self._regions),
            INTERRUPTS: _weight(intid in device.intids for intid in self._intids),
            _ADDRESS: _WEAK * (self._unit_address in bases),
            _NAME: _WEAK * (_stem(self._request.name) == _stem(device.name)),
            _COMPATIBLE: _WEAK * self._is_compatible(path),
        }
        return {part: weight for part, weight in parts.items() if weight}

    def _of_ids(self, master: Master | None) -> int:
        if master is None:
            return 0
        if not master.streams:
            # A PCIe root often maps every small number, also a mistyped one.
            paths = (m.path for i, _ in self._wanted for m, _ in self._devices.owners(i))
            return _WEAK * (master.path in paths)
        listed = {(stream.id, iommu) for stream in master.streams for iommu in (stream.iommu, None)}
        return _weight((entry.id, entry.iommu) in listed for entry in self._wanted)

    def _is_compatible(self, path: str) -> bool:
        node = self._devices.tree.node(path)
        return node is not None and not set(self._request.compatible).isdisjoint(
            node.known_compatible
        )


def _weight(fits: Iterable[bool]) -> int:
    verdicts = list(fits)
    return (_FIRM if all(verdicts) else _WEAK) if any(verdicts) else 0


def _stem(name: str) -> str:
    return name.partition("@")[0]
