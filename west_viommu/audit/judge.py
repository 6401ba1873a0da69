# SPDX-License-Identifier: Apache-2.0
"""The domains of a set together: each compared with the host, planned as bind plans it so that
every hazard applies, and held against the others and against the marks of the host tree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.audit.domain import Audit, SetDevice, audit_domain
from west_viommu.audit.host import AuditedHost
from west_viommu.audit.records import HostPath, Pages, SetDomain, SetMarks
from west_viommu.diagnostics import Diagnostic, Severity, Where, first_few
from west_viommu.guest.gic import NO_GIC, GuestInterrupt
from west_viommu.guest.regions import RegionPair
from west_viommu.guest.requests import Asked, Guest, Request
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.permissions import AllowList
from west_viommu.host.devices import Devices, Host
from west_viommu.host.intervals import Interval, covered_by, meetings
from west_viommu.hypervisor.assignment import Permission, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import in_pages
from west_viommu.plan.planning import Planned, planned
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node, Tree, name_of, paths_above

# Told by the comparison, or by one warning for the set.
_TOLD = frozenset({"unprotected", "map-only", "streams-omitted"})
_MARK = "xen,passthrough"
# Linux's <dt-bindings/interrupt-controller/irq.h>: both edges.
_EDGES = 3


class AuditedDomain(NamedTuple):
    """A domain of the set and what came of it."""

    domain: SetDomain
    audit: Audit


class _Mapped(NamedTuple):
    """An entry of the domain of that number."""

    number: int
    entry: Pages


class AuditedSet(NamedTuple):
    """The set and all that is wrong with it."""

    domains: tuple[AuditedDomain, ...]
    problems: tuple[Diagnostic, ...]
    notes: tuple[str, ...]


def audit_set(
    domains: Sequence[SetDomain],
    marks: SetMarks,
    source: Host,
    terms_of: Callable[[SetDomain], Terms],
    with_tree: Callable[[Tree], Host],
) -> AuditedSet:
    """Judge `domains` on the host `source`. `terms_of` gives the terms of each; `with_tree` makes
    the host as another tree has it.
    """
    judge = _SetJudge(domains, marks, source, terms_of, with_tree)
    if domains:
        judge.judge()
    return AuditedSet(
        domains=tuple(judge.audited),
        problems=tuple(judge.problems),
        notes=tuple(dict.fromkeys(judge.notes)),
    )


class _SetJudge:
    """Judges the domains of one set."""

    def __init__(
        self,
        domains: Sequence[SetDomain],
        marks: SetMarks,
        source: Host,
        terms_of: Callable[[SetDomain], Terms],
        with_tree: Callable[[Tree], Host],
    ):
        self._domains = domains
        self._marks = marks
        self._terms_of = terms_of
        self._with_tree = with_tree
        self._tree = source.devices.tree
        self.problems: list[Diagnostic] = []
        self.notes: list[str] = []
        self.audited: list[AuditedDomain] = []
        # Those of ImageBuilder are told with their domain.
        told = {mark for domain in domains for mark in domain.marked}
        beside = [mark for mark in marks.paths if mark not in told]
        self.problems += _unknown_marks(beside, source.devices)
        self._marked = [mark for mark in marks.paths if self._tree.node(mark.path)]
        if self._marked:
            source = with_tree(with_marks(self._tree, {mark.path for mark in self._marked}))
        self._source = source

    def judge(self) -> None:
        """Compare each domain with the host, then with the others, the marks, and Xen's rules."""
        devices = self._source.devices
        permissions = self._terms_of(self._domains[0]).permissions
        allowed = AllowList(permissions)
        for domain in self._domains:
            terms = self._terms_of(domain)
            host = AuditedHost(_holdings(devices, terms), terms)
            audit = audit_domain(domain, host, allowed)
            self.audited.append(AuditedDomain(domain=domain, audit=audit))
            self.problems += audit.problems
            self.notes += audit.notes
        self.problems += _between(self.audited, allowed)
        used = {(entry.hazard, entry.device) for entry in allowed.used}
        plans = list(self._plans(self._source))
        for found in plans:
            used |= {(entry.hazard, entry.device) for entry in found.plan.allowed}
            self.problems += self._told_of(found, permissions)
        if self._marks.is_known:
            self.problems += self._judge_marks(plans)
        else:
            self.notes.append(
                "the marks (xen,passthrough) are not judged: name the host.overlay, or the tree "
                "that Xen boots, as a FILE too"
            )
        self.problems += self._unprotected()
        for entry in permissions:
            if (entry.hazard, entry.device) not in used:
                self.notes.append(f"nothing to allow: {entry.hazard} of {entry.device}")

    def _plans(self, source: Host) -> Iterator[Planned]:
        """Yield the plan of each domain, with the devices of the others marked."""
        for each in self.audited:
            others = {
                device.device.path
                for other in self.audited
                if other is not each
                for device in other.audit.devices
            }
            host = source
            if others:
                host = self._with_tree(with_marks(source.devices.tree, others))
            yield planned(host, _guest(each), self._terms_of(each.domain))

    def _told_of(self, found: Planned, permissions: Sequence[Permission]) -> Iterator[Diagnostic]:
        """Yield the hazards of a plan, but for what the comparison says better."""
        places = {entry.where for entry in permissions}
        for problem in found.problems:
            is_of_marks = self._marks.is_known and problem.id == "marked-for-another"
            if problem.id not in _TOLD and problem.where not in places and not is_of_marks:
                yield problem

    def _judge_marks(self, plans: Iterable[Planned]) -> Iterator[Diagnostic]:
        """Yield the nodes that must be marked and are not, and those that are marked for nobody."""
        needed = {mark.node: mark for found in plans for mark in found.plan.marks}
        devices = [device for each in self.audited for device in each.audit.devices]
        places = {device.device.path: device.where for device in devices}
        tree = self._source.devices.tree
        first = next((mark.where for mark in self._marks.paths), None)
        for path, mark in needed.items():
            node = tree.node(path)
            if node and _MARK not in node.properties:
                why = f", and it {mark.why}" if mark.why else ""
                yield Diagnostic(
                    id="missing",
                    what=f"{path} has no xen,passthrough: dom0 gets it{why}",
                    hint="add xen,passthrough to the node of the tree that Xen boots",
                    expected=f"xen,passthrough on {path}",
                    where=places.get(path) or places.get(mark.device) or first,
                )
        is_whole = all(each.domain.has_tree or each.domain.is_xl for each in self.audited)
        is_known = {
            mark: each.domain.has_tree for each in self.audited for mark in each.domain.marked
        }
        left = [
            mark
            for mark in self._marked
            if mark.path not in needed and is_known.get(mark, is_whole)
        ]
        if not left:
            return
        # What is in the way of a device only if it is not marked.
        without = with_marks(tree, (), {mark.path for mark in left})
        for found in self._plans(self._with_tree(without)):
            needed.update((mark.node, mark) for mark in found.plan.marks)
        for extra in left:
            if extra.path not in needed:
                yield Diagnostic(
                    id="extra",
                    what=f"{extra.path} is marked with xen,passthrough, and no domain is given it",
                    hint="nobody gets it: give it to a domain, or remove the mark",
                    found=f"xen,passthrough on {extra.path}",
                    where=extra.where,
                )

    def _unprotected(self) -> Iterator[Diagnostic]:
        """Yield one warning of all devices behind no IOMMU."""
        paths: dict[str, Where] = {}
        for each in self.audited:
            for device in each.audit.devices:
                if device.device.master is None:
                    paths.setdefault(device.device.path, device.where)
        if paths:
            names = ", ".join(first_few(paths))
            verb = "is" if len(paths) == 1 else "are"
            yield Diagnostic(
                id="unprotected",
                what=f"{names} {verb} behind no IOMMU: nothing confines DMA",
                hint="if it is a DMA master, its guest can reach all memory",
                where=next(iter(paths.values())),
                severity=Severity.WARNING,
            )


def with_marks(tree: Tree, paths: Collection[str], without: Collection[str] = ()) -> Tree:
    """Return `tree` with xen,passthrough on the nodes at `paths`, and on none of `without`."""
    changed = [*paths, *without]
    above = {"/", *(each for path in changed for each in paths_above(path))}

    def rebuilt(node: Node) -> Node:
        if node.path in paths:
            node = node._replace(properties={**node.properties, _MARK: b""})
        elif node.path in without:
            left = {name: value for name, value in node.properties.items() if name != _MARK}
            node = node._replace(properties=left)
        if node.path in above:
            node = node._replace(children=tuple(map(rebuilt, node.children)))
        return node

    return Tree(rebuilt(tree.root), tree.source, tree.memreserve)


def _holdings(devices: Devices, terms: Terms) -> Holdings:
    return Holdings(devices, terms.profile, has_dom0=terms.has_dom0)


def _unknown_marks(marks: Iterable[HostPath], devices: Devices) -> Iterator[Diagnostic]:
    """Yield the marks of nodes that the host does not have."""
    for mark in marks:
        if devices.tree.node(mark.path):
            continue
        named = devices.named(name_of(mark.path))
        near = next(iter(named or devices.close_names(mark.path, devices.paths, 1)), "")
        yield Diagnostic(
            id="unknown-host-node",
            what=f"the host has no node {mark.path}, which is marked",
            hint=f"did you mean {near}?" if near else "remove the mark",
            expected=near,
            found=mark.path,
            where=mark.where,
        )


def _guest(each: AuditedDomain) -> Guest:
    """Return a guest that asks for the devices of a domain, each at its place in the set."""
    domain = each.domain
    nodes = {node.path: node for node in domain.nodes}
    places: dict[str, SetDevice] = {}
    requests = []
    occupied: list[tuple[str, Region]] = []
    is_given = covered_by(Interval(*pages.host.ends) for pages in domain.pages)
    for device in each.audit.devices:
        path = device.node if device.node and device.node not in places else device.device.path
        places[path] = device
        node = nodes.get(device.node)
        pairs = []
        for region in device.device.regions:
            if region and region.size and is_given(*in_pages(region).ends):
                guest = _guest_region(domain, region)
                pairs.append(RegionPair(guest=guest, host=region))
                occupied.append((path, guest))
        flags = dict(device.device.interrupts)
        requests.append(
            Request(
                path=path,
                name=name_of(path),
                xen_path=device.device.path,
                entries=(),
                regions=tuple(pairs),
                mapped=(),
                interrupts=tuple(
                    GuestInterrupt(Intid(intid), bool(flags.get(Intid(intid), 0) & _EDGES))
                    for intid in device.lines
                    if intid in flags
                ),
                has_map=False,
                malformed_ids=None,
                is_coherent=node.is_coherent if node else False,
                compatible=node.compatible if node else (),
            )
        )

    def locate(path: str, prop: str) -> Where | None:
        device = places.get(path)
        if device is None:
            return domain.where
        pages = [Interval(*region.ends) for region in device.device.regions if region]
        if prop in ("reg", "xen,reg"):
            for entry in domain.pages:
                if any(entry.host.overlaps(Region.between(*page)) for page in pages):
                    return entry.where
        if prop == "interrupts":
            for line in domain.lines:
                if line.intid in device.lines:
                    return line.where
        return device.where

    asked = Asked(
        requests=tuple(requests),
        problems=(),
        gic=NO_GIC,
        root_cells=(2, 2),
        bus_compatible=(),
        occupied=tuple(occupied),
        unasked=(),
        unrouted=(),
    )
    empty = Tree(Node("/", "", {}, ()))
    tree = GuestTree(empty, frozenset(), {}, locate)
    return Guest(names=(domain.where.file,), tree=tree, asked=asked)


def _guest_region(domain: SetDomain, region: Region) -> Region:
    for entry in domain.pages:
        if entry.host.contains(region.base):
            return Region(entry.guest + region.base - entry.host.base, region.size)
    return region


def _between(audited: Sequence[AuditedDomain], allowed: AllowList) -> Iterator[Diagnostic]:
    """Yield what two domains are given both: each device once, then pages and lines of others."""
    first: dict[str, tuple[AuditedDomain, SetDevice]] = {}
    told: set[tuple[str, str]] = set()
    for each in audited:
        for device in each.audit.devices:
            path = device.device.path
            other, before = first.setdefault(path, (each, device))
            if other is not each:
                told.add((each.domain.name, other.domain.name))
                yield _both(
                    "duplicate-assignment", f"{path}", each, device.where, other, before.where
                )
    lines: dict[int, tuple[AuditedDomain, Where]] = {}
    for each in audited:
        for intid, where in _lines_of(each):
            other, place = lines.setdefault(intid, (each, where))
            if other is not each and (each.domain.name, other.domain.name) not in told:
                yield _both("interrupt-clash", f"INTID {intid}", each, where, other, place)
    claims = [
        (entry.host.base, entry.host.end - 1, _Mapped(number=number, entry=entry))
        for number, each in enumerate(audited)
        for entry in each.domain.pages
    ]
    for mine, theirs, low, high in meetings(claims, claims) if len(audited) > 1 else ():
        later, earlier = audited[mine.number], audited[theirs.number]
        names = later.domain.name, earlier.domain.name
        if mine.number <= theirs.number or names in told:
            continue
        told.add(names)
        paths = {
            given.device.path
            for either in (later, earlier)
            for given in either.audit.devices
            if any(interval.first <= high and low <= interval.last for interval in given.pages)
        }
        paths |= {mine.entry.node, theirs.entry.node} - {""}
        reason = allowed.use("shared-page", paths)
        what = f"the memory {low:#x}-{high:#x}"
        problem = _both("shared-page", what, later, mine.entry.where, earlier, theirs.entry.where)
        if reason:
            problem = problem._replace(severity=Severity.WARNING, hint=reason)
        yield problem


def _lines_of(each: AuditedDomain) -> Iterator[tuple[int, Where]]:
    if each.domain.is_xl:
        yield from each.domain.lines
        return
    for device in each.audit.devices:
        for intid in device.lines:
            yield intid, device.where


def _both(
    hazard: str,
    what: str,
    each: AuditedDomain,
    where: Where,
    other: AuditedDomain,
    place: Where,
) -> Diagnostic:
    line = f":{place.line}" if place.line else ""
    return Diagnostic(
        id=hazard,
        what=f"{each.domain.name} is given {what}, which {other.domain.name} is given as well "
        f"({place.file}{line})",
        hint="leave it to one of the two: Xen gives a line, a stream and a device to one domain",
        where=where,
    )
