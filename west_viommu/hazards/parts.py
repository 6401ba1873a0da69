# SPDX-License-Identifier: Apache-2.0
"""The parts of a request, and the host devices that each part fits."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity
from west_viommu.guest.requests import Request
from west_viommu.guest.source import GuestTree
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import covered_by
from west_viommu.host.inventory import Master, StreamId, map_intervals
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import unit_address


def problem(
    hazard: str,
    finding: Diagnostic,
    path: str,
    guest: GuestTree,
    severity: Severity = Severity.ERROR,
) -> Diagnostic:
    """Return the diagnostic of `finding` for the guest node at `path`, at its own place, or at that
    of the property it names, else of a property of the request.
    """
    place = finding.where
    for prop in (finding.prop, "iommus", "xen,path", ""):
        place = place or guest.locate(path, prop)
    return finding._replace(id=hazard, node=path, where=place, severity=severity)


def as_allowed(hazard: str, device: str) -> str:
    """Return the line of viommu.yml that allows `hazard` for `device`, except for its reason."""
    # YAML's quotes, as a path may have characters with a meaning in YAML.
    return f'allow: [{{hazard: {hazard}, device: "{device}", reason: "..."}}]'


def listed(ids: Iterable[int]) -> str:
    """Return stream IDs as text: "0x0 0x1 0x8"."""
    return " ".join(f"{stream_id:#x}" for stream_id in ids)


# The hard parts of a request, as messages name them: each must fit the device.
PATH, IDS, REG, INTERRUPTS = "xen,path", "stream IDs", "reg", "interrupts"
_HARD = (PATH, IDS, REG, INTERRUPTS)
# The soft parts may be the guest's own: they only show which node it was copied from.
_ADDRESS, _NAME, _COMPATIBLE = "unit address", "name", "compatible"
# Parts that fit more devices than this distinguish none of them.
_MOST_CANDIDATES = 64


class Wanted(NamedTuple):
    """A stream ID of a request. `iommu` is the host SMMU that an unmodified copy still names."""

    id: StreamId
    iommu: str | None


class Table:
    """The parts of a request with the stream IDs `wanted`, and the host devices that they fit.

    It only decides which part a message calls the odd one: a request with parts that do not agree
    is refused in any case.
    """

    def __init__(self, request: Request, wanted: Sequence[Wanted], devices: Devices):
        self._request = request
        self._wanted = wanted
        self._devices = devices
        self._regions = [pair.host for pair in request.regions if pair.host]
        self._unit_address = unit_address(request.name)
        named = islice(dict.fromkeys(self._named()), _MOST_CANDIDATES)
        self._rows = {path: self._row(path) for path in named}

    def best(self, taken: Collection[str] = ()) -> tuple[str, ...]:
        """Return the devices that the most hard parts fit wholly, and of those the ones that the
        most parts fit at all; without devices `taken` by another request, if there is a choice.

        A single one is the device that the request means. Several have equal support.
        """
        likely = {
            path: (sum(row.values()), len(row))
            for path, row in self._rows.items()
            if len(row) > 1 or any(part in _HARD for part in row)
        }
        counts = {path: count for path, count in likely.items() if path not in taken} or likely
        most = max(counts.values(), default=(0, 0))
        best = tuple(path for path, count in counts.items() if count == most)
        return best if most[0] or len(best) == 1 else ()

    def agreeing(self, path: str, odd: str = "") -> tuple[str, ...]:
        """Return the parts that fit the device at `path`, without an `odd` one; soft parts only if
        there is no second hard one.
        """
        parts = tuple(part for part in self._rows.get(path, ()) if part != odd)
        hard = tuple(part for part in parts if part in _HARD)
        if len(hard) > 1:
            return hard
        # A copied address is in the name as well.
        return tuple(part for part in parts if part != _ADDRESS or REG not in parts)

    def others(self, part: str, path: str) -> frozenset[str]:
        """Return the devices, besides the one at `path`, that `part` fits."""
        return frozenset(
            other for other, row in self._rows.items() if other != path and part in row
        )

    @property
    def is_of_host(self) -> bool:
        """True if some part must be of this host. A single number may match by chance."""
        return any(
            PATH in row or len(row) > 2 or (len(row) == 2 and (REG in row or any(row.values())))
            for row in self._rows.values()
        )

    @property
    def is_of_another_host(self) -> bool:
        """True if two hard parts, one of them a path or an address, fit no device at all. This is
        no typing mistake, as only numbers are mistyped.
        """
        request = self._request
        stated = {
            PATH: bool(request.xen_path),
            IDS: bool(self._wanted),
            REG: bool(self._regions),
            INTERRUPTS: bool(request.interrupts),
        }
        fitting = {
            part
            for row in self._rows.values()
            for part, is_whole in row.items()
            if is_whole or part != IDS
        }
        lost = {part for part, is_stated in stated.items() if is_stated} - fitting
        return len(lost) > 1 and not lost.isdisjoint((PATH, REG))

    def _named(self) -> Iterator[str]:
        """Yield the devices that a part by itself may mean."""
        if self._request.xen_path is not None:
            yield self._request.xen_path
        bases = [region.base for region in self._regions]
        for base in (*bases, self._unit_address):
            yield from self._devices.at(base) if base is not None else ()
        yield from self._devices.named(self._request.name)
        for stream_id, iommu in self._wanted:
            owners = self._devices.owners(stream_id)
            yield from (owner.path for owner, behind in owners if iommu in (None, behind))

    def _row(self, path: str) -> dict[str, bool]:
        """Return the parts that fit the device at `path`, and whether each is a hard part that fits
        it wholly.
        """
        try:
            device = self._devices.device(path)
        except TreeError:
            device = None
        if device is None:
            # Nothing fits a malformed node.
            return {}
        regions = frozenset(region for region in device.regions if region)
        bases = frozenset(region.base for region in regions)
        node = self._devices.tree.node(path)
        compatible = frozenset(node.known_compatible if node else ())
        reg = _fit(self._regions, regions)
        fits = {
            PATH: True if self._request.xen_path == path else None,
            IDS: _fit_of_ids(self._wanted, device.master),
            REG: _soft(region.base in bases for region in self._regions) if reg is None else reg,
            INTERRUPTS: _fit(self._request.intids, frozenset(device.intids)),
            _ADDRESS: _soft([self._unit_address in bases]),
            _NAME: _soft([_stem(self._request.name) == _stem(device.name)]),
            _COMPATIBLE: _soft(name in compatible for name in self._request.compatible),
        }
        return {part: is_whole for part, is_whole in fits.items() if is_whole is not None}


def _fit(values: Collection[Hashable], own: frozenset[Hashable]) -> bool | None:
    """Return whether all of the `values` are a device's `own`; None if no value is."""
    return None if own.isdisjoint(values) else own.issuperset(values)


def _soft(fits: Iterable[bool]) -> bool | None:
    """Return False, as for parts that fit partly, if any value fits; else None."""
    return False if any(fits) else None


def _fit_of_ids(wanted: Sequence[Wanted], master: Master | None) -> bool | None:
    if master is None or not wanted:
        return None
    left = len(strange(master, wanted))
    # A PCIe root often maps every small number, also a mistyped one.
    return None if left == len(wanted) else not left and bool(master.streams)


def _stem(name: str) -> str:
    return name.partition("@")[0]


def candidates(wanted: Sequence[Wanted], devices: Devices) -> list[Master]:
    """Return the masters that have every one of the IDs, by `iommus` or by iommu-map."""
    left: dict[str, Master] | None = None
    for stream_id, iommu in wanted:
        owners = {m.path: m for m, behind in devices.owners(stream_id) if iommu in (None, behind)}
        left = owners if left is None else {path: left[path] for path in left if path in owners}
    return list(left.values()) if left else []


def strange(master: Master, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return the IDs that `master` does not list; if it lists none, those outside its iommu-map."""
    if master.streams:
        own = {(stream.id, iommu) for stream in master.streams for iommu in (stream.iommu, None)}
        return [entry for entry in wanted if entry not in own]
    is_mapped = covered_by(
        interval for entry in master.maps for interval in map_intervals(entry, master.map_mask)
    )
    return [entry for entry in wanted if not is_mapped(entry.id, entry.id)]


def has_all(master: Master | None, wanted: Sequence[Wanted]) -> bool:
    """Return whether all the IDs belong to `master`."""
    return master is not None and not strange(master, wanted)
