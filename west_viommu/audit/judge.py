# SPDX-License-Identifier: Apache-2.0
"""The domains of a set together: each compared with the host, planned as bind plans it so that
every hazard applies, and compared with the others and with the marks of the host tree.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from west_viommu.audit.domain import Audit, SetDevice, audits
from west_viommu.audit.given import Given, Unknown, unknown_paths
from west_viommu.audit.host import AuditedHost
from west_viommu.audit.records import HostPath, SetDomain, SetMarks
from west_viommu.diagnostics import Diagnostic, Severity, Where, first_few
from west_viommu.guest.gic import NO_GIC, GuestInterrupt
from west_viommu.guest.regions import Mapped, RegionPair
from west_viommu.guest.requests import Asked, Guest, Request
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.permissions import AllowList
from west_viommu.host.devices import Devices, Host, ram
from west_viommu.host.intervals import Interval, covered_by
from west_viommu.host.lookup import labels, nodes_called
from west_viommu.hypervisor.assignment import Assigned, Permission, RawMapping, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import in_pages
from west_viommu.hypervisor.sweep import Conflicts, conflicts
from west_viommu.plan.planning import Planned, planned
from west_viommu.system.between import between, once, shown
from west_viommu.system.judge import beyond_memory, together
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid
from west_viommu.tree.node import Node, Tree, is_at_or_below, name_of, paths_above

# The comparison reports these, or one warning for the set does.
_OF_AUDIT = frozenset({"unprotected", "map-only", "streams-omitted", "parts-omitted"})
_WITHOUT_IOMMU = frozenset({"iommu-disabled", "unsupported-iommu"})
_MARK = "xen,passthrough"
_OF_IMAGEBUILDER = "DOMU_PASSTHROUGH_PATHS"
# Linux's <dt-bindings/interrupt-controller/irq.h>: both edges.
_EDGES = 3


class AuditedSet(NamedTuple):
    """The set and all its problems."""

    domains: tuple[Audit, ...]
    problems: tuple[Diagnostic, ...]
    notes: tuple[str, ...]


def audit_set(
    domains: Sequence[SetDomain],
    marks: SetMarks,
    memory: Sequence[tuple[int, Where]],
    source: Host,
    terms_of: Callable[[SetDomain], Terms],
    with_tree: Callable[[Tree], Host],
) -> AuditedSet:
    """Judge `domains` on the host `source`. `memory`: the memory of each, in MiB, with its place,
    if it is known. `terms_of` returns the terms of each; `with_tree` makes the host with another
    tree.
    """
    judge = _SetJudge(domains, marks, source, terms_of, with_tree)
    if domains:
        judge.judge()
    return AuditedSet(
        domains=tuple(judge.audited),
        problems=(*judge.problems, *together(memory, ram(source.devices))),
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
        self._terms_of = terms_of
        self._with_tree = with_tree
        self.problems: list[Diagnostic] = []
        self.notes: list[str] = []
        self.audited: list[Audit] = []
        self._marks_known = marks.is_known
        tree = source.devices.tree
        paths = [self._by_label(mark, tree) for mark in marks.paths]
        self._marks = [mark for mark in paths if tree.node(mark.path)]
        self._unknown = [mark for mark in paths if not tree.node(mark.path)]
        self._source = self._unmarked = source
        if self._marks:
            marked = {mark.path for mark in self._marks}
            self._source = with_tree(with_marks(tree, marked))
            self._unmarked = with_tree(with_marks(tree, (), marked))

    def _by_label(self, mark: HostPath, tree: Tree) -> HostPath:
        """Return a mark by its path if it is at a label of the host."""
        if not mark.path.startswith("&"):
            return mark
        label, slash, rest = mark.path.partition("/")
        if not labels(tree) and self._marks_known:
            self._marks_known = False
            self.notes.append(
                f"the marks are not judged: they are at labels ({label}), and the host tree has "
                "none, as it was compiled without symbols (dtc -@)"
            )
        found = nodes_called(tree, label)
        return mark._replace(path=f"{found[0].path}{slash}{rest}") if found else mark

    def judge(self) -> None:
        """Compare each domain with the host, then with the others, the marks, and Xen's rules."""
        permissions = self._terms_of(self._domains[0]).permissions
        allowed = AllowList(permissions)
        self.audited = audits(
            [Given(domain, self._host_of(domain), allowed) for domain in self._domains]
        )
        for each in self.audited:
            self.problems += each.problems
            self.notes += each.notes
        self.problems += self._between(allowed)
        used = {(entry.hazard, entry.device) for entry in allowed.used}
        for each in self.audited:
            found = self._planned(each)
            used |= {(entry.hazard, entry.device) for entry in found.plan.allowed}
            self.problems += self._hazards(found, each, permissions)
        if self._marks_known:
            self.problems += self._judge_marks()
        elif not self._marks:
            self.notes.append(
                "the marks (xen,passthrough) are not judged: name the host.overlay, or the tree "
                "that Xen boots, as a FILE too"
            )
        self.problems += self._unprotected()
        for entry in permissions:
            if (entry.hazard, entry.device) not in used:
                self.notes.append(f"nothing to allow: {entry.hazard} of {entry.device}")

    def _host_of(self, domain: SetDomain) -> AuditedHost:
        terms = self._terms_of(domain)
        return AuditedHost(_holdings(self._source.devices, terms), terms)

    def _planned(self, each: Audit) -> Planned:
        """Return the plan of a domain, with the devices of the others marked."""
        others = {
            device.device.path
            for other in self.audited
            if other is not each
            for device in other.devices
        }
        host = self._source
        if others:
            host = self._with_tree(with_marks(host.devices.tree, others))
        return planned(host, _guest(each, host.devices), self._terms_of(each.domain))

    def _hazards(
        self, found: Planned, each: Audit, permissions: Sequence[Permission]
    ) -> Iterator[Diagnostic]:
        """Yield the hazards of a plan, except those that the comparison reports better."""
        places = {entry.where for entry in permissions}
        need = set(_needing_an_iommu(each))
        is_given = covered_by(Interval(*pages.host.ends) for pages in each.domain.pages)
        # Xen maps the windows of a bridge to a guest only by iomem or xen,reg.
        unmapped = {
            str(window)
            for device in each.devices
            for window in self._sweep[2].windows(device.device.path)
            if not is_given(*in_pages(window).ends)
        }
        for problem in found.problems:
            if problem.id in _WITHOUT_IOMMU and need.isdisjoint(
                (problem.node, *problem.what.replace(",", " ").split())
            ):
                problem = problem._replace(severity=Severity.WARNING)
            is_of_marks = self._marks_known and problem.id == "marked-for-another"
            is_moot = is_of_marks or problem.id in _OF_AUDIT or self._has_memory(problem, each)
            is_moot |= problem.id == "guest-overlap" and problem.found in unmapped
            if not is_moot and problem.where not in places:
                yield problem
        domain, limit = each.domain, found.plan.memory_limit
        if domain.memory is not None:
            yield from beyond_memory(domain.name, domain.memory, limit, domain.where)

    def _has_memory(self, problem: Diagnostic, each: Audit) -> bool:
        """Return whether `problem` is of reserved memory that the set maps."""
        if problem.id != "needs-memory":
            return False
        memory = [
            region
            for found in each.devices
            if problem.what.startswith(f"{found.device.path} ")
            for regions in self._sweep[2].reserved_for(found.device.path).values()
            for region in regions
        ]
        is_mapped = covered_by(Interval(*entry.host.ends) for entry in each.domain.pages)
        return bool(memory) and all(is_mapped(*region.ends) for region in memory)

    @cached_property
    def _sweep(self) -> tuple[list[Assigned | RawMapping], Conflicts, Holdings]:
        """The holders of all domains, their conflicts, and the owners of host resources if nothing
        of the set were marked.
        """
        holdings = _holdings(self._unmarked.devices, self._terms_of(self._domains[0]))
        holders = [holder for each in self.audited for holder in _holders(each)]
        first = once(holders)
        assigned = [holder for holder in first if isinstance(holder, Assigned)]
        mappings = [holder for holder in first if isinstance(holder, RawMapping)]
        return holders, conflicts(assigned, holdings, mappings), holdings

    def _between(self, allowed: AllowList) -> Iterator[Diagnostic]:
        """Yield the conflicts between two domains, as system judges them."""
        if len(self.audited) < 2:
            return
        holders, swept, holdings = self._sweep
        places = {each.domain.name: place for place, each in enumerate(self.audited)}
        for later, earlier, problem in between(holders, swept, places, holdings):
            if bool(later.host) != bool(earlier.host) or later.guest == earlier.guest:
                # The comparison of the second domain reports these pages, as they belong to no
                # device of it.
                continue
            where, other = (self._place_of(holder, problem.id) for holder in (later, earlier))
            names = {name for each in (later, earlier) for name in (shown(each), each.node)}
            reason = allowed.use(problem.id, names) if problem.id == "shared-page" else None
            line = f":{other.line}" if other.line else ""
            yield problem._replace(
                what=f"{problem.what} ({other.file}{line})",
                hint=reason or problem.hint.removesuffix(", and bind that again"),
                where=where,
                severity=Severity.WARNING if reason else Severity.ERROR,
            )

    def _place_of(self, holder: Assigned | RawMapping, hazard: str) -> Where:
        each = next(each for each in self.audited if each.domain.name == holder.guest)
        node = holder.node.partition(":")[2]
        prop = {"shared-page": "reg", "interrupt-clash": "interrupts"}.get(hazard, "")
        if not holder.host:
            return next(e.where for e in each.others if e.host == holder.pages[0].host)
        return _locate(each, node, prop)

    def _judge_marks(self) -> Iterator[Diagnostic]:
        """Yield the nodes that lack a mark, and those that are marked without a guest."""
        _, swept, holdings = self._sweep
        needed = {mark.node: mark for mark in swept.marks}
        places = {d.device.path: d.where for each in self.audited for d in each.devices}
        first = next((mark.where for mark in (*self._marks, *self._unknown)), None)
        marked = {mark.path for mark in self._marks}
        host = AuditedHost(holdings, self._terms_of(self._domains[0]))
        of_script = {mark for domain in self._domains for mark in domain.marked}
        unknown = [
            Unknown(
                named=mark,
                key=_OF_IMAGEBUILDER if mark in of_script else "a mark",
                node="",
                meant=host.meant_by(mark.path, lambda path: path in needed and path not in marked),
            )
            for mark in self._unknown
        ]
        yield from unknown_paths(unknown)
        open_ones = {path for each in self.audited for path in each.doubted}
        open_ones |= {path for each in unknown for path in each.meant}
        tree = self._source.devices.tree
        for path, mark in needed.items():
            node = tree.node(path)
            if mark.why.startswith("below") and not self._has_resources(path):
                # Xen gives dom0 the lines of the GIC alone (handle_device_interrupts()).
                continue
            if node and _MARK not in node.properties and path not in open_ones:
                verb = "it is" if mark.why.startswith(("below", "on")) else "it"
                why = f", and {verb} {mark.why}" if mark.why else ""
                yield Diagnostic(
                    id="missing",
                    what=f"{path} has no xen,passthrough: dom0 gets it{why}",
                    hint="add xen,passthrough to the node of the tree that Xen boots",
                    expected=f"xen,passthrough on {path}",
                    where=places.get(path) or places.get(mark.device) or first,
                )
        is_whole = all(each.has_tree or each.is_xl for each in self._domains)
        has_tree = {mark: each.has_tree for each in self._domains for mark in each.marked}
        copied = [root for each in self._domains for root in each.copied]
        in_the_way = {each.other for of in (swept.streams, swept.pages, swept.lines) for each in of}
        for mark_ in self._marks:
            path = mark_.path
            is_beside = path in in_the_way or any(
                is_at_or_below(path, given) or is_at_or_below(given, path) for given in places
            )
            if path in needed or path in open_ones or is_beside:
                continue
            is_copied = any(is_at_or_below(path, root) for root in copied)
            if is_copied and not self._has_resources(path):
                # Such as a clock, of which the guest has the node alone.
                continue
            if has_tree.get(mark_, is_whole):
                yield Diagnostic(
                    id="extra",
                    what=f"{path} is marked with xen,passthrough, and no domain is given it",
                    hint="nobody gets it: give it to a domain, or remove the mark",
                    found=f"xen,passthrough on {path}",
                    where=mark_.where,
                )

    def _has_resources(self, path: str) -> bool:
        """Return whether a node has a page or a line."""
        holdings = self._sweep[2]
        node = holdings.devices.tree.node(path)
        regions = holdings.devices.index.regions(node) if node else ()
        return any(regions) or (node is not None and bool(holdings.lines(node)))

    def _unprotected(self) -> Iterator[Diagnostic]:
        """Yield one warning for all devices behind no IOMMU."""
        paths: dict[str, Where] = {}
        for each in self.audited:
            for device in each.devices:
                is_refused = any(
                    f"{device.device.path} is behind no IOMMU" in problem.what
                    for problem in each.problems
                )
                if device.device.master is None and not is_refused:
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


def _needing_an_iommu(each: Audit) -> Iterator[str]:
    """Yield the names of the devices that Xen gives only behind an IOMMU that it drives: those in
    dtdev, and for dom0less those without xen,force-assign-without-iommu.
    """
    forced = {node.path for node in each.domain.nodes if node.is_forced}
    for device in each.devices:
        if device.has_dtdev and (each.domain.is_xl or device.node not in forced):
            yield device.device.path
            yield device.node


def _holders(each: Audit) -> Iterator[Assigned | RawMapping]:
    """Yield the holders of a domain's resources for the sweep."""
    name = each.domain.name
    for device in each.devices:
        regions = (Region.between(*pages) for pages in device.pages)
        yield Assigned(
            guest=name,
            node=f"{name}:{device.device.path}",
            device=device.device,
            pages=tuple(Mapped(region, region) for region in regions),
            intids=tuple(map(Intid, device.lines)),
            ids=(),
            streams=None,
        )
    for entry in each.others:
        yield RawMapping(name, f"{name}:{entry.text}", (Mapped(entry.host, entry.host),))


def with_marks(tree: Tree, paths: Collection[str], without: Collection[str] = ()) -> Tree:
    """Return `tree` with xen,passthrough added to the nodes at `paths`, and removed from the nodes
    `without`.
    """
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


def _guest(each: Audit, devices: Devices) -> Guest:
    """Return a guest that requests the devices of a domain, each at its place in the set."""
    domain = each.domain
    nodes = {node.path: node for node in domain.nodes}
    places: dict[str, SetDevice] = {}
    requests = []
    occupied: list[tuple[str, Region]] = []
    is_given = covered_by(Interval(*pages.host.ends) for pages in domain.pages)
    for device in each.devices:
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
        # Without a node, the guest's side is not known.
        on_host = devices.tree.node(device.device.path)
        above = devices.tree.lineage(on_host) if on_host else ()
        is_on_host = any("dma-coherent" in each.properties for each in above)
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
                is_coherent=node.is_coherent if node else is_on_host,
                compatible=node.compatible if node else (),
            )
        )

    def locate(path: str, prop: str) -> Where | None:
        device = places.get(path)
        return _place(domain, device, prop) if device else domain.where

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


def _locate(each: Audit, path: str, prop: str) -> Where:
    """Return the place in the files of the host device at `path`."""
    devices = (device for device in each.devices if device.device.path == path)
    return next((_place(each.domain, d, prop) for d in devices), each.domain.where)


def _place(domain: SetDomain, device: SetDevice, prop: str) -> Where:
    """Return the first place of the pages (reg) or lines (interrupts) of a device, else its own."""
    if prop in ("reg", "xen,reg"):
        pages = [in_pages(region) for region in device.device.regions if region]
        for entry in domain.pages:
            if any(entry.host.overlaps(page) for page in pages):
                return entry.where
    if prop == "interrupts":
        for line in domain.lines:
            if line.intid in device.lines:
                return line.where
    return device.where


def _guest_region(domain: SetDomain, region: Region) -> Region:
    for entry in domain.pages:
        if entry.host.contains(region.base):
            return Region(entry.guest + region.base - entry.host.base, region.size)
    return region
