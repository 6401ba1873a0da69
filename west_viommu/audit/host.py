# SPDX-License-Identifier: Apache-2.0
"""The host of a set: the pages and lines of its nodes."""

import re
from collections.abc import Callable, Iterable
from functools import cached_property

from west_viommu.audit.records import Pages
from west_viommu.diagnostics import Diagnostic
from west_viommu.host.devices import Device
from west_viommu.host.intervals import Cover, Interval, met
from west_viommu.host.lookup import nodes_called
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.holdings import Claim, Holdings
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.hypervisor.roles import MEMORY, RESERVED
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.tree.node import name_of, unit_address

# Paths in one string: a path begins with / and a name has no blank.
_BETWEEN_PATHS = re.compile(r"(?:\s|[,;])+(?=/)|\s+")
_MOST_CLOSE = 8


class AuditedHost:
    """The claims of a host's nodes to pages and lines, for all domains of a set."""

    def __init__(self, holdings: Holdings, terms: Terms):
        self.holdings = holdings
        self.devices = holdings.devices
        self.terms = terms
        self.pages = holdings.all_pages()
        self._known: dict[str, Device | None] = {}
        self._own_pages: dict[str, list[Interval]] = {}
        self.malformed: dict[str, Diagnostic] = {}

    def device(self, path: str) -> Device | None:
        """Return the device at `path`; None if there is no readable one."""
        if path not in self._known:
            try:
                self._known[path] = self.devices.device(path)
            except TreeError as error:
                self._known[path] = None
                self.malformed[path] = error.diagnostic._replace(
                    what=f"the host node is malformed: {error.diagnostic.what}",
                    hint="correct the host tree, or leave the device out",
                )
        return self._known[path]

    def find(self, path: str) -> str | None:
        """Return the host node that Xen finds by `path`, ignoring case (dt_find_node_by_path()); no
        alias, no slash at the end.
        """
        if self.devices.tree.node(path):
            return path if path != "/" else None
        return next(iter(self.devices.alike(path)), None)

    def meant_by(self, path: str, is_likely: Callable[[str], bool]) -> tuple[str, ...]:
        """Return the host paths that a mistyped `path` may mean: several if it is a list in one
        string, else the closest one, of the likely ones if there are any.
        """
        words = _BETWEEN_PATHS.split(path.strip())
        if len(words) > 1:
            return tuple(each for word in words for each in self.meant_by(word, is_likely)[:1])
        word = words[0].rstrip("/")
        found = self.find(word)
        if found:
            return (found,)
        called = self.devices.named(name_of(word))
        if not called:
            called = [node.path for node in nodes_called(self.devices.tree, word)]
        if not called:
            base = unit_address(name_of(word))
            stem = name_of(word).partition("@")[0]
            there = self.devices.at(base) if base is not None else ()
            called = [each for each in there if name_of(each).partition("@")[0] == stem]
        if not called:
            called = self.devices.close_names(word, self.devices.paths, _MOST_CLOSE)
        elif len(called) > 1:
            called = self.devices.close_names(word, called, _MOST_CLOSE) or called
        return tuple(sorted(called, key=is_likely, reverse=True)[:1])

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

    @cached_property
    def regions(self) -> dict[Interval, str]:
        """The registers of the host's nodes in whole pages, each with its first node; no RAM."""
        found: dict[Interval, str] = {}
        for claim in self.pages:
            if self.holdings.role(claim.path) not in (MEMORY, RESERVED):
                region = in_pages(Region.between(claim.first, claim.last))
                found.setdefault(Interval(*region.ends), claim.path)
        return found

    @cached_property
    def registers(self) -> Cover:
        """All pages with registers."""
        return Cover(self.regions)

    @cached_property
    def set_aside(self) -> Cover:
        """The pages of reserved memory."""
        return Cover(
            Interval(claim.first, claim.last)
            for claim in self.pages
            if self.holdings.role(claim.path) == RESERVED
        )

    def owners(self, intervals: Iterable[Interval]) -> dict[Interval, list[Claim]]:
        """Return the claims that have pages in common with each of `intervals`."""
        asked = [(each.first, each.last) for each in intervals]
        there = met(asked, self.pages, self.devices.steps.count)
        return {
            Interval(*interval): [self.pages[at] for at in places]
            for interval, places in there.items()
        }

    def is_protected(self, device: Device) -> bool:
        """Return whether an IOMMU that the hypervisor drives confines the device."""
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


def pages_text(interval: Interval) -> str:
    """Return the numbers of pages as text."""
    first, last = interval.first // PAGE, interval.last // PAGE
    return f"page {first:#x}" if first == last else f"pages {first:#x}-{last:#x}"


def line_text(intid: int) -> str:
    return f"INTID {intid} (SPI {intid - FIRST_SPI})" if intid >= FIRST_SPI else f"INTID {intid}"


def xl_pages(interval: Interval, there: int | None = None) -> str:
    """Return the item of iomem that maps pages, to the guest address `there`."""
    first, count = interval.first // PAGE, (interval.last + 1 - interval.first) // PAGE
    at = "" if there is None or there == interval.first else f"@{there // PAGE:x}"
    return f'"{first:x},{count:x}{at}"'


def as_written(pages: Pages) -> str:
    """Return an entry as its file would have it."""
    host, there = pages.host, pages.guest
    if pages.node:
        return f"<{host.base:#x} {host.size:#x} {there:#x}>"
    return xl_pages(Interval(*host.ends), there)
