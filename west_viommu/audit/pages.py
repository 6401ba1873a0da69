# SPDX-License-Identifier: Apache-2.0
"""The comparison of a domain's pages with its devices."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.audit.extras import Extra, tell_extras
from west_viommu.audit.given import Given
from west_viommu.audit.host import as_written, pages_text, xl_pages
from west_viommu.audit.records import Pages, TreeNode
from west_viommu.diagnostics import Diagnostic, Severity, first_few
from west_viommu.guest.faults import is_slip
from west_viommu.host.intervals import Cover, Interval, merged
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.tree.addresses import Region

_NEIGHBOURS = 1 << 20
_HEX = re.compile("[0-9a-fA-F]{1,16}")


class _MissingPages(NamedTuple):
    """Pages of a device that no file gives."""

    path: str
    pages: Interval


def swapped(given: Given) -> list[Interval]:
    """Report nodes that name one device and map another; return the pages that this explains."""
    return _Pages(given).swapped()


def judge_pages(given: Given, explained: Sequence[Interval]) -> list[Pages]:
    """Report pages of the devices that are missing, and pages of others. Return the entries of
    others, except the pages `explained`.
    """
    judge = _Pages(given)
    missing = [part for path in given.found for part in judge.missing_pages(path)]
    return judge.judge(missing, explained)


class _Pages:
    """Judges the pages of one domain."""

    def __init__(self, given: Given):
        self._set = given
        self._moved: list[Pages | None] = []

    def swapped(self) -> list[Interval]:
        """Report nodes that name one device and map another; return the pages that this
        explains.
        """
        told: list[Interval] = []
        for path, nodes in [*self._set.nodes.items()]:
            for node in nodes:
                own = self._set.host.own_pages(path)
                given = [Interval(*each.host.ends) for each in self._set.entries_of(node)]
                if self._set.domain.is_xl or not own or Cover(own).common(given):
                    continue
                other = self._set.by_pages(node)
                if other is None:
                    continue
                self._set.add(
                    "wrong",
                    f"xen,path names {path}, and xen,reg maps the pages of {other}: Xen gives the "
                    f"guest the interrupts and streams of {path}",
                    f'write xen,path = "{other}", or the pages of {path} into xen,reg',
                    self._set.at(node.path, "xen,path"),
                    node.path,
                    expected=other,
                    found=path,
                    path=path,
                )
                self._set.doubted |= {path, other}
                told += [*own, *given]
        return told

    def missing_pages(self, path: str) -> Iterator[_MissingPages]:
        """Yield the pages that the guest needs of a device, and does not get."""
        if path in self._set.doubted:
            return
        wanted = list(self._wanted_regions(path))
        for interval in self._set.given.rest(wanted):
            yield _MissingPages(path=path, pages=interval)

    def _wanted_regions(self, path: str) -> Iterator[Interval]:
        """Yield the pages of the registers that the guest's tree lists; without a tree, of all."""
        device = self._set.host.device(path)
        on_host = [r for r in (device.regions if device else ()) if r and r.size]
        memory = [each for of in self._set.host.holdings.reserved_for(path).values() for each in of]
        listed = [
            (node, region)
            for node in self._set.nodes.get(path, ())
            for region in node.regions
            if not any(each.contains(self._set.on_host(region.base) or 0) for each in memory)
        ]
        if not listed:
            yield from (Interval(*in_pages(region).ends) for region in on_host)
            return
        for at, (node, region) in enumerate(listed):
            seen = self._set.on_host(region.base)
            expected = stands_for(region, at, len(listed), on_host)
            if seen is not None:
                is_shifted = (
                    expected is not None
                    and expected.size == region.size
                    and expected.base // PAGE != seen // PAGE
                )
                if not is_shifted and any(in_pages(r).contains(seen) for r in on_host):
                    pages = Interval(*in_pages(Region(seen, region.size)).ends)
                    yield from Cover(self._set.host.own_pages(path)).common([pages])
                    self._judge_size(path, node, region, pages)
                    self._judge_end(node, region, seen)
                    continue
                if not on_host:
                    continue
                self._seen_elsewhere(path, node, region, seen, expected)
            elif expected and self._set.given.has(*in_pages(expected).ends):
                self._mapped_elsewhere(path, node, region, expected)
            if expected:
                size = min(expected.size, region.size) if seen is None else expected.size
                yield Interval(*in_pages(Region(expected.base, size)).ends)

    def _judge_size(self, path: str, node: TreeNode, region: Region, pages: Interval) -> None:
        """Report registers that extend beyond the device's, to addresses where nothing is
        mapped.
        """
        own = Cover(self._set.host.own_pages(path))
        beyond = self._set.given.rest(own.rest([pages]))
        if beyond:
            size = beyond[0].first - pages.first
            self._set.add(
                "wrong",
                f"{node.path} has more registers than {path} at {region.base:#x}",
                f"write the size of the host node, at most {size:#x}",
                self._set.at(node.path, "reg"),
                node.path,
                expected=f"at most {size:#x}",
                found=f"{region.size:#x}",
                path=path,
            )

    def _judge_end(self, node: TreeNode, region: Region, seen: int) -> None:
        """Report registers with a later page mapped elsewhere than the first page implies."""
        last = region.end - 1
        end = self._set.on_host(last)
        if end is not None and end != seen + region.size - 1:
            entry = self._set.entry_at(last)
            self._set.add(
                "wrong",
                f"{node.path} has registers that go on in another place of the host",
                "map the pages of a region side by side",
                entry.where if entry else self._set.at(node.path, "reg"),
                node.path,
                expected=f"{seen + region.size - 1:#x} at {last:#x}",
                found=f"{end:#x}",
            )

    def _seen_elsewhere(
        self, path: str, node: TreeNode, region: Region, seen: int, expected: Region | None
    ) -> None:
        entry = self._set.entry_at(region.base)
        claims = self._set.host.owners([Interval(seen, seen)])
        owners = sorted({claim.path for found in claims.values() for claim in found})
        whose = f", {', '.join(first_few(owners))}" if owners else ""
        self._set.add(
            "wrong",
            f"the guest sees {seen:#x}{whose} where {node.path} has registers of {path}",
            "map the pages of the device there",
            entry.where if entry else self._set.at(node.path, "reg"),
            node.path,
            expected=f"{expected} at {region.base:#x}" if expected else f"a region of {path}",
            found=f"{seen:#x}",
        )
        self._set.wrong.add(path)

    def _mapped_elsewhere(
        self, path: str, node: TreeNode, region: Region, expected: Region
    ) -> None:
        entry = next((e for e in self._set.domain.pages if e.host.contains(expected.base)), None)
        there = entry.guest + expected.base - entry.host.base if entry else 0
        before = in_pages(expected).base - entry.host.base if entry else 0
        right = (in_pages(region).base - before) // PAGE
        if entry in self._moved:
            return
        self._moved.append(entry)
        self._set.add(
            "wrong",
            f"the registers of {path} are mapped to {there:#x}, and {node.path} has them at "
            f"{region.base:#x}",
            f"map them there: @{right:x}" if self._set.domain.is_xl else "correct xen,reg, or reg",
            entry.where if entry else self._set.at(node.path, "reg"),
            node.path,
            expected=f"{region.base:#x}",
            found=f"{there:#x}",
        )
        self._set.wrong.add(path)

    def judge(self, missing: Sequence[_MissingPages], explained: Sequence[Interval]) -> list[Pages]:
        """Report missing pages, pages of others, and mistyped entries that are both."""
        own = [*explained, *(p for path in self._set.found for p in self._set.host.own_pages(path))]
        extras = list(self._extras(own))
        others = [extra.given for extra in extras]
        twice = list(self._twice())
        left = list(missing)
        key = "iomem" if self._set.domain.is_xl else "xen,reg"
        self._set.tell_unread(key, left, self._is_meant, self._right, lambda part: part.path)
        is_only = len(left) == len(extras) == 1
        for extra in [*extras]:
            part = _meant(extra, left, is_only=is_only)
            if part:
                left.remove(part)
                extras.remove(extra)
                self._wrong_pages(part, extra.given, extra.owners)
        for part in [*left]:
            again = self._adjacent(part, twice)
            entry = None if again else self._adjacent(part, self._set.domain.pages)
            if entry:
                left.remove(part)
                self._wrong_pages(part, entry, (), is_short=True)
                continue
            size = part.pages.last + 1 - part.pages.first
            again = again or next((each for each in twice if each.host.size == size), None)
            if again:
                left.remove(part)
                twice.remove(again)
                self._wrong_pages(part, again, (), is_twice=True)
        for path in dict.fromkeys(part.path for part in left):
            parts = [part.pages for part in left if part.path == path]
            self._missing(path, parts)
        tell_extras(extras, self._set)
        self._judge_guest_side()
        self._judge_raw_nodes()
        for entry in twice:
            self._set.add(
                "wrong",
                "these pages are mapped twice",
                "remove one of the two",
                entry.where,
                entry.node,
                found=entry.text,
                severity=Severity.WARNING,
            )
        return others

    def _is_meant(self, unread: Diagnostic, part: _MissingPages) -> bool:
        """Return whether an item that cannot be read may be the one for `part`."""
        if unread.node:
            return any(node.path == unread.node for node in self._set.nodes.get(part.path, ()))
        first = part.pages.first
        return any(int(n, 16) in (first, first // PAGE) for n in _HEX.findall(unread.found))

    def _extras(self, own: Sequence[Interval]) -> Iterator[Extra]:
        """Yield the pages in the files that are not among the devices' `own` pages, in whole
        entries.
        """
        devices = Cover(own)
        entries = self._set.domain.pages
        left = {each: devices.rest([Interval(*each.host.ends)]) for each in entries}
        claims = self._set.host.owners(part for parts in left.values() for part in parts)
        for each, parts in left.items():
            for part in parts:
                owners = dict.fromkeys(claim.path for claim in claims[part])
                yield Extra(given=each, pages=part, owners=tuple(owners))

    def _twice(self) -> Iterator[Pages]:
        """Yield the entries with only pages that earlier ones map; in a tree, earlier ones of the
        same node, or at another guest address.
        """
        entries = self._set.domain.pages
        covered = sum(last + 1 - first for first, last in self._set.given.parts)
        if sum(each.host.size for each in entries) == covered:
            return
        for number, each in enumerate(entries):
            self._set.host.devices.steps.count(steps=number)
            before = [
                Interval(*other.host.ends)
                for other in entries[:number]
                if other.node == each.node or other.moved != each.moved
            ]
            if before and Cover(before).has(*each.host.ends):
                yield each

    def _judge_guest_side(self) -> None:
        """Report pages of the guest that two entries map to different pages of the host."""
        entries = sorted(self._set.domain.pages, key=lambda each: each.guest)
        reach: Pages | None = None
        for each in entries:
            if reach and each.guest < reach.guest + reach.host.size:
                later = max(each, reach, key=self._set.domain.pages.index)
                there = each.host.base - each.guest != reach.host.base - reach.guest
                if there:
                    self._set.add(
                        "wrong",
                        f"the guest's page at {each.guest:#x} is mapped to two places of the host",
                        "remove one of the two",
                        later.where,
                        later.node,
                        found=f"{each.text} and {reach.text}",
                    )
            if reach is None or each.guest + each.host.size > reach.guest + reach.host.size:
                reach = each

    def _judge_raw_nodes(self) -> None:
        """Report registers of nodes without a device, at addresses where nothing is mapped."""
        for node in () if self._set.domain.is_xl else self._set.domain.nodes:
            is_raw = node.is_forced and node.is_enabled and node.xen_path is None
            unseen = [each for each in node.regions if self._set.on_host(each.base) is None]
            if is_raw and unseen:
                self._set.add(
                    "wrong",
                    f"{node.path} has registers at {unseen[0].base:#x}, where nothing is mapped",
                    "write xen,reg = <host size guest> with this guest address",
                    self._set.at(node.path, "xen,reg"),
                    node.path,
                    expected=f"{unseen[0].base:#x}",
                    found="nothing",
                )

    def _adjacent(self, part: _MissingPages, entries: Iterable[Pages]) -> Pages | None:
        """Return the first of `entries` that has other pages of the same region."""
        for region in merged(self._set.host.own_pages(part.path)):
            if region.first <= part.pages.first <= region.last:
                for each in entries:
                    self._set.host.devices.steps.count()
                    if each.host.base <= region.last and region.first < each.host.end:
                        return each
        return None

    def _wrong_pages(
        self,
        part: _MissingPages,
        entry: Pages,
        owners: Sequence[str],
        *,
        is_short: bool = False,
        is_twice: bool = False,
    ) -> None:
        verb = "is" if part.pages.last - part.pages.first < PAGE else "are"
        what = f"{pages_text(part.pages)} of {part.path} {verb} not given"
        right = self._right(part)
        if is_short:
            first = min(entry.host.base, part.pages.first)
            last = max(entry.host.end - 1, part.pages.last)
            whole = entry._replace(
                host=Region.between(first, last), guest=entry.guest + first - entry.host.base
            )
            right = as_written(whole)
        if owners:
            what += f", and what is belongs to {', '.join(first_few(owners))}"
        elif is_twice:
            what += ", and these pages are given twice"
        elif is_short:
            what += ": the range is too short"
        self._set.add(
            "wrong",
            what,
            f"write {right}",
            entry.where,
            entry.node,
            expected=right,
            found=entry.text,
            path=part.path,
        )

    def _missing(self, path: str, parts: Sequence[Interval]) -> None:
        """Report pages of a device that no file gives, at the list that lacks them."""
        node = self._set.nodes[path][0].path if path in self._set.nodes else ""
        where = self._set.domain.keys.get("iomem")
        if not self._set.domain.is_xl and node:
            where = self._set.domain.locate(node, "xen,reg")
        items = [self._right(_MissingPages(path=path, pages=part)) for part in parts]
        right = " ".join(first_few(items))
        key = "iomem" if self._set.domain.is_xl else "xen,reg"
        pages = ", ".join(first_few(map(pages_text, parts)))
        verb = "is" if len(parts) == 1 and parts[0].last - parts[0].first < PAGE else "are"
        self._set.add(
            "missing",
            f"{pages} of {path} {verb} not given",
            f"add to {key}: {right}",
            where or self._set.found[path],
            node if not self._set.domain.is_xl else "",
            expected=right,
        )
        self._set.wrong.add(path)

    def _right(self, part: _MissingPages) -> str:
        """Return the correct entry for `part`, as its file would have it."""
        first = part.pages.first
        there = self._guest_of(part)
        if self._set.domain.is_xl:
            return xl_pages(part.pages, there)
        return f"<{first:#x} {part.pages.last + 1 - first:#x} {there:#x}>"

    def _guest_of(self, part: _MissingPages) -> int:
        """Return the guest address of missing pages: by its tree, else the same as on the host."""
        device = self._set.host.device(part.path)
        on_host = [r for r in (device.regions if device else ()) if r and r.size]
        listed = [r for node in self._set.nodes.get(part.path, ()) for r in node.regions]
        for at, region in enumerate(listed):
            expected = stands_for(region, at, len(listed), on_host)
            if expected and in_pages(expected).contains(part.pages.first):
                return in_pages(region).base + part.pages.first - in_pages(expected).base
        return part.pages.first


def stands_for(region: Region, at: int, count: int, on_host: Sequence[Region]) -> Region | None:
    """Return the host region that the guest's region number `at` of `count` means."""
    if count == len(on_host):
        return on_host[at]
    if region in on_host:
        return region
    around = next((r for r in on_host if r.contains(region.base)), None)
    if around:
        return Region(region.base, min(region.size, around.end - region.base))
    return next((r for r in on_host if r.size == region.size), None)


def _meant(
    extra: Extra, missing: Sequence[_MissingPages], *, is_only: bool
) -> _MissingPages | None:
    """Return the missing pages that an entry with others may mean; `is_only`: nothing else is
    missing, and no other entry has pages of others.
    """
    size = extra.given.host.size
    alike = [
        part
        for part in missing
        if part.pages.last + 1 - part.pages.first == size
        and ((is_only and not extra.owners) or _are_alike(part.pages.first, extra.given.host.base))
    ]
    if alike and extra.pages.last + 1 - extra.pages.first == size:
        return min(alike, key=lambda part: abs(part.pages.first - extra.pages.first))
    beside = (extra.pages.first - 1, extra.pages.last + 1)
    for part in missing:
        if part.pages.last + 1 == extra.given.host.base:
            return part
        if part.pages.first in beside or part.pages.last in beside:
            return part
    return None


def _are_alike(address: int, other: int) -> bool:
    """Return whether one address is a mistyped form of the other, or both belong to neighbours: an
    entry for any other device is a separate mistake.
    """
    return abs(address - other) < _NEIGHBOURS or is_slip(f"{address:x}", f"{other:x}")
