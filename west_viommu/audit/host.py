# SPDX-License-Identifier: Apache-2.0
"""The host of a set: what its nodes have of pages and lines, and arithmetic on what is given."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from west_viommu.host.devices import Device
from west_viommu.host.intervals import Interval, merged, met
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.holdings import Claim, Holdings
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.tree.node import name_of


class AuditedHost:
    """The claims of a host's nodes to pages and lines, for all domains of a set."""

    def __init__(self, holdings: Holdings, terms: Terms):
        self.holdings = holdings
        self.devices = holdings.devices
        self.terms = terms
        self.pages = holdings.all_pages()
        self._known: dict[str, Device | None] = {}
        self._own_pages: dict[str, list[Interval]] = {}

    def device(self, path: str) -> Device | None:
        """Return the device at `path`; None if there is none that can be read."""
        if path not in self._known:
            try:
                self._known[path] = self.devices.device(path)
            except TreeError:
                self._known[path] = None
        return self._known[path]

    def find(self, path: str) -> str | None:
        """Return the host node that Xen finds by `path`: without regard to case
        (dt_find_node_by_path()), no alias, no slash at the end.
        """
        if self.devices.tree.node(path):
            return path if path != "/" else None
        return next(iter(self.devices.alike(path)), None)

    def near(self, path: str) -> str:
        """Return the host path that `path` may be a slip of; "" without one."""
        named = self.devices.named(name_of(path.rstrip("/")))
        if named:
            return self.devices.close_names(path, named, 1)[0] if len(named) > 1 else named[0]
        return next(iter(self.devices.close_names(path, self.devices.paths, 1)), "")

    def own_pages(self, path: str) -> list[Interval]:
        """Return the pages of a device, as Xen reads its node, and the windows of a bridge."""
        if path not in self._own_pages:
            self._own_pages[path] = self._pages_of(path)
        return self._own_pages[path]

    def _pages_of(self, path: str) -> list[Interval]:
        node = self.devices.tree.node(path)
        if node is None:
            return []
        index = self.devices.index
        regions = index.regions(node)
        if self.holdings.is_bridge(path):
            regions += index.windows(node)
        regions += tuple(extra.region for extra in self.terms.extra if extra.device == path)
        return [Interval(*in_pages(region).ends) for region in regions if region and region.size]

    def owners(self, intervals: Iterable[Interval]) -> dict[Interval, list[Claim]]:
        """Return the claims that have pages in common with each of `intervals`."""
        asked = [(each.first, each.last) for each in intervals]
        there = met(asked, self.pages, self.devices.steps.count)
        return {
            Interval(*interval): [self.pages[at] for at in places]
            for interval, places in there.items()
        }

    def is_protected(self, device: Device) -> bool:
        """Whether an IOMMU that the hypervisor drives confines the device."""
        master = device.master
        if master is None:
            return False
        paths = {stream.iommu for stream in master.streams}
        if self.terms.profile.programs_maps:
            paths |= {entry.iommu for entry in master.maps}
        return bool(paths) and all(
            self.holdings.driver(path) and self.devices.iommus[path].status == "okay"
            for path in paths
        )


class Cover:
    """Numbers that intervals have together, to be asked one interval after the other."""

    def __init__(self, intervals: Iterable[Interval]):
        self.parts = merged(intervals)
        self._lasts = [part.last for part in self.parts]

    def common(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return what of `intervals` is covered."""
        found = []
        for first, last in intervals:
            at = bisect_left(self._lasts, first)
            while at < len(self.parts) and self.parts[at].first <= last:
                part = self.parts[at]
                found.append(Interval(max(first, part.first), min(last, part.last)))
                at += 1
        return merged(found)

    def rest(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return what of `intervals` is not covered."""
        rest = []
        for first, last in merged(intervals):
            for part in self.common([Interval(first, last)]):
                if first < part.first:
                    rest.append(Interval(first, part.first - 1))
                first = part.last + 1
            if first <= last:
                rest.append(Interval(first, last))
        return rest

    def has(self, first: int, last: int) -> bool:
        """Whether all numbers from `first` to `last` are covered."""
        at = bisect_left(self._lasts, first)
        return at < len(self.parts) and self.parts[at].first <= first and last <= self._lasts[at]


def pages_text(interval: Interval) -> str:
    """Return the numbers of pages, for people."""
    first, last = interval.first // PAGE, interval.last // PAGE
    return f"page {first:#x}" if first == last else f"pages {first:#x}-{last:#x}"


def line_text(intid: int) -> str:
    return f"INTID {intid} (SPI {intid - FIRST_SPI})" if intid >= FIRST_SPI else f"INTID {intid}"
