# SPDX-License-Identifier: Apache-2.0
"""The correct lists of an xl.cfg: the items that stay, and those to add."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from west_viommu.audit.given import Given
from west_viommu.audit.host import AuditedHost, xl_pages
from west_viommu.audit.lines import missing_lines
from west_viommu.audit.pages import stands_for
from west_viommu.audit.records import Pages, SetDomain
from west_viommu.hazards.permissions import AllowList
from west_viommu.host.intervals import Cover, Interval
from west_viommu.hypervisor.pages import in_pages
from west_viommu.tree.addresses import Region


class RightLists(NamedTuple):
    """The items of each list that stay, as they are written, each once; and the items to add, by
    key.
    """

    intids: frozenset[int]
    pages: frozenset[str]
    paths: frozenset[str]
    added: Mapping[str, tuple[str, ...]]


class _Wanted(NamedTuple):
    """Host pages that a guest needs, and their guest address; None if its tree does not state
    it.
    """

    pages: Interval
    guest: int | None


def right_lists(domain: SetDomain, host: AuditedHost) -> RightLists:
    """Return the correct lists of the configuration of `domain`."""
    given = Given(domain, host, AllowList(()))
    given.find_owners()
    wanted = [each for path in given.found for each in _wanted(given, path)]
    own = Cover(p for path in given.found for p in host.own_pages(path))
    kept = [
        each
        for each in given.domain.pages
        if each not in given.slips and own.has(*each.host.ends) and _fits(each, wanted)
    ]
    added = list(_missing(wanted, kept))
    intids = frozenset(i for path in given.found for i in given.own_lines(path))
    paths: dict[str, str] = {}
    for each in domain.dtdev:
        path = host.find(each.path)
        device = host.device(path) if path in given.found else None
        if path and device and given.has_streams(device):
            paths.setdefault(path, each.path)
    dtdev = [f'"{path}"' for path in given.found if path not in paths and given.is_protected(path)]
    missing = dict.fromkeys(i for path in given.found for i in missing_lines(given, path))
    return RightLists(
        intids=intids,
        pages=frozenset(each.text for each in kept),
        paths=frozenset(paths.values()),
        added={"dtdev": tuple(dtdev), "irqs": tuple(map(str, missing)), "iomem": tuple(added)},
    )


def _wanted(given: Given, path: str) -> Iterator[_Wanted]:
    device = given.host.device(path)
    on_host = [r for r in (device.regions if device else ()) if r and r.size]
    listed = [r for node in given.nodes.get(path, ()) for r in node.regions]
    if not listed:
        for region in on_host:
            yield _Wanted(pages=Interval(*in_pages(region).ends), guest=None)
    for at, region in enumerate(listed):
        seen = given.on_host(region.base)
        is_own = seen is not None and any(in_pages(r).contains(seen) for r in on_host)
        expected = stands_for(region, at, len(listed), on_host)
        if is_own and seen is not None and (expected is None or expected.size != region.size):
            expected = Region(seen, region.size)
        if expected:
            pages = in_pages(Region(expected.base, min(expected.size, region.size)))
            yield _Wanted(pages=Interval(*pages.ends), guest=in_pages(region).base)


def _fits(entry: Pages, wanted: list[_Wanted]) -> bool:
    """Return whether an entry maps no page to another address than in the guest's tree."""
    meant = [w for w in wanted if w.guest is not None and _meets(entry, w.pages)]
    return not meant or any(
        w.guest is not None and entry.guest - entry.host.base == w.guest - w.pages.first
        for w in meant
    )


def _meets(entry: Pages, pages: Interval) -> bool:
    return entry.host.base <= pages.last and pages.first < entry.host.end


def _missing(wanted: list[_Wanted], kept: list[Pages]) -> Iterator[str]:
    """Yield the items for the wanted pages that no kept entry maps."""
    done: list[Interval] = []
    for pages, guest in dict.fromkeys(wanted):
        there = [
            Interval(*each.host.ends)
            for each in kept
            if guest is None or each.guest - each.host.base == guest - pages.first
        ]
        for first, last in Cover([*there, *done]).rest([pages]):
            at = first if guest is None else guest + first - pages.first
            yield xl_pages(Interval(first, last), at)
            if guest is None or at == first:
                done.append(Interval(first, last))
