# SPDX-License-Identifier: Apache-2.0
"""Which devices of the host a domain of a set is given, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence

from west_viommu.audit.host import AuditedHost, Cover
from west_viommu.audit.records import HostPath, Pages, SetDomain, TreeNode
from west_viommu.diagnostics import Diagnostic, Severity, Where, first_few
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.hazards.permissions import AllowList
from west_viommu.host.devices import Device
from west_viommu.host.intervals import Interval, Spans
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.tree.node import paths_above

# So many unknown paths below one bus are of another tree.
_OF_ANOTHER_TREE = 3
# Nodes that serve others by their nature, and have no lines of their own.
_PROVIDES = (
    *("#clock-cells", "#reset-cells", "#power-domain-cells", "#phy-cells", "#mbox-cells"),
    *("#interconnect-cells", "#pinctrl-cells", "#nvmem-cell-cells"),
)


class Given:
    """What one domain is given: `nodes` of its partial tree and entries of `dtdev`, by the path of
    the host device; `found`: all its devices, each with the place that shows it; `given` pages and
    `intids`. `wrong` are the devices that a problem is about.
    """

    def __init__(self, domain: SetDomain, host: AuditedHost, allowed: AllowList):
        self.domain = domain
        self.host = host
        self.allowed = allowed
        self.problems: list[Diagnostic] = []
        self.notes: list[str] = []
        self.nodes: dict[str, list[TreeNode]] = {}
        self.dtdev: dict[str, HostPath] = {}
        self.found: dict[str, Where] = {}
        self.wrong: set[str] = set()
        # What a path that the host does not have may mean.
        self.meant: set[str] = set()
        self.given = Cover(Interval(*each.host.ends) for each in domain.pages)
        self._seen = Spans(
            (each.guest, each.guest + each.host.size - 1, each) for each in domain.pages
        )
        self.intids = {line.intid for line in domain.lines}
        self._identify()

    def _identify(self) -> None:
        """Find the host node of each path, and of each node that the guest copies."""
        unknown: list[tuple[HostPath, str, str]] = []
        for named in self.domain.dtdev:
            path = self.host.find(named.path)
            if path is None:
                unknown.append((named, "dtdev", ""))
            elif path in self.dtdev:
                self.add(
                    "wrong",
                    f"{path} is in dtdev twice: Xen refuses the second",
                    "remove one",
                    named.where,
                    path,
                )
            else:
                self.dtdev[path] = named
        for node in self.domain.nodes:
            if node.xen_path is not None:
                where = self.at(node.path, "xen,path")
                path = self.host.find(node.xen_path)
                if path is None:
                    unknown.append((HostPath(node.xen_path, where), "xen,path", node.path))
            else:
                where = self.at(node.path, "reg")
                path = self._by_place(node) if self.domain.is_xl else None
                if path and not (path in self.dtdev or self._has_anything(path)):
                    self.notes.append(f"{node.path}: no page and no line of {path} is given")
                    path = None
                if not self.domain.is_xl:
                    self._judge_raw(node)
            if path:
                self.nodes.setdefault(path, []).append(node)
                self.found.setdefault(path, where)
        for named in self.domain.marked:
            if self.host.find(named.path) is None:
                unknown.append((named, "DOMU_PASSTHROUGH_PATHS", ""))
        self._tell_unknown(unknown)
        for path, named in self.dtdev.items():
            if path not in self.found and self._has_anything(path):
                self.found[path] = named.where

    def _by_place(self, node: TreeNode) -> str | None:
        """Return the host device of a node that does not name it: the one at its native path, else
        the one whose registers the guest sees there.
        """
        tree = self.host.devices.tree
        native = tree.node(node.path)
        if native and not node.path.startswith(f"{PASSTHROUGH}/"):
            return node.path
        for region in node.regions:
            on_host = self.on_host(region.base)
            paths = self.host.devices.at(region.base if on_host is None else on_host)
            paths = tuple(path for path in paths if not self.host.holdings.role(path))
            for path in paths:
                host_node = tree.node(path)
                if host_node and set(host_node.known_compatible) & set(node.compatible):
                    return path
            if paths:
                return paths[0]
        return None

    def _has_anything(self, path: str) -> bool:
        """Whether any page or line of a device is given, or it has neither."""
        pages = self.host.own_pages(path)
        lines = self.own_lines(path)
        if not pages and not lines:
            return True
        return any(intid in self.intids for intid in lines) or bool(self.given.common(pages))

    def find_owners(self) -> None:
        """Take the nodes for devices whose pages and lines are given, and nothing names them."""
        if not self.domain.is_xl:
            return
        own = [pages for path in self.found for pages in self.host.own_pages(path)]
        left = Cover(own).rest(self.given.parts)
        explained = {intid for path in self.found for intid in self.own_lines(path)}
        rest = self.intids - explained
        by_page = {c.path for claims in self.host.owners(left).values() for c in claims}
        wanted = frozenset(rest)
        claims = self.host.holdings.all_lines(wanted) if wanted else []
        by_line = {claim.path for claim in claims if claim.first in rest}
        above = {path for each in self.found for path in paths_above(each)}
        for node in self.host.devices.tree.nodes():
            path = node.path
            if path not in by_page and path not in by_line:
                continue
            if path in self.found or self.host.holdings.role(path):
                continue
            pages, lines = self.host.own_pages(path), self.own_lines(path)
            has_lines = any(intid in self.intids for intid in lines)
            if path in above or (lines and not has_lines):
                continue
            if not lines and not self._is_whole_and_alone(path, pages):
                continue
            if pages and not self.given.common(pages):
                continue
            where = self._place_of(pages) or self._place_of_line(lines) or self.domain.where
            self.found[path] = where
            above.update(paths_above(path))

    def _is_whole_and_alone(self, path: str, pages: Sequence[Interval]) -> bool:
        """Whether all pages of a node without lines are given, by a range that begins there, and it
        serves no other by nature.
        """
        node = self.host.devices.tree.node(path)
        begin = {each.host.base for each in self.domain.pages}
        return (
            node is not None
            and not self.host.holdings.is_for_all(path)
            and not any(name in node.properties for name in _PROVIDES)
            and any(interval.first in begin for interval in pages)
            and all(self.given.has(*interval) for interval in pages)
        )

    def _tell_unknown(self, unknown: Sequence[tuple[HostPath, str, str]]) -> None:
        """Report paths that the host does not have; several of one bus once."""
        by_bus: dict[str, list[tuple[HostPath, str, str]]] = {}
        for each in unknown:
            by_bus.setdefault(each[0].path.rpartition("/")[0], []).append(each)
        for bus, together in by_bus.items():
            if len(together) >= _OF_ANOTHER_TREE:
                names = ", ".join(first_few(each[0].path for each in together))
                self.add(
                    "unknown-host-node",
                    f"the host has none of {len(together)} nodes below {bus or '/'}: the set was "
                    "made for another tree",
                    "give the tree that Xen is booted with, or write the paths of this one",
                    together[0][0].where,
                    found=names,
                )
                continue
            for named, key, node in together:
                near = self.host.near(named.path)
                if key == "dtdev":
                    self.meant.add(near)
                self.add(
                    "unknown-host-node",
                    f"the host has no node {named.path}, which {key} names",
                    f"did you mean {near}?"
                    if near
                    else "write the path of a node of the host: no alias, no slash at its end",
                    named.where,
                    node,
                    expected=near,
                    found=named.path,
                )

    def _judge_raw(self, node: TreeNode) -> None:
        """Report a node with xen,reg that Xen refuses for want of xen,path."""
        if node.is_forced or not any(pages.node == node.path for pages in self.domain.pages):
            return
        self.add(
            "wrong",
            "xen,reg without xen,path: Xen panics (handle_passthrough_prop())",
            "name the host node: xen,path; or, for memory without a device, "
            "xen,force-assign-without-iommu",
            self.at(node.path, "xen,reg"),
            node.path,
        )

    def own_lines(self, path: str) -> list[int]:
        node = self.host.devices.tree.node(path)
        lines = self.host.holdings.lines(node) if node else ()
        return [intid for intid in dict.fromkeys(lines) if intid >= FIRST_SPI]

    def is_protected(self, path: str) -> bool:
        device = self.host.device(path)
        return device is not None and self.host.is_protected(device)

    def has_streams(self, device: Device) -> bool:
        master = device.master
        maps = self.host.terms.profile.programs_maps
        return master is not None and bool(master.streams or (maps and master.maps))

    def on_host(self, address: int) -> int | None:
        """Return what of the host the guest sees at an address."""
        entry = self.entry_at(address)
        return None if entry is None else entry.host.base + address - entry.guest

    def entry_at(self, address: int) -> Pages | None:
        return next(self._seen.around(address), None)

    def _place_of(self, pages: Sequence[Interval]) -> Where | None:
        for entry in self.domain.pages:
            self.host.devices.steps.count()
            if any(first < entry.host.end and entry.host.base <= last for first, last in pages):
                return entry.where
        return None

    def _place_of_line(self, lines: Sequence[int]) -> Where | None:
        return next((line.where for line in self.domain.lines if line.intid in lines), None)

    def at(self, node: str, prop: str) -> Where:
        locate = self.domain.locate
        return locate(node, prop) or locate(node, "") or self.domain.where

    def add(
        self,
        id: str,
        what: str,
        hint: str,
        where: Where,
        node: str = "",
        *,
        expected: str = "",
        found: str = "",
        severity: Severity = Severity.ERROR,
        path: str = "",
    ) -> None:
        if path:
            self.wrong.add(path)
        self.problems.append(
            Diagnostic(
                id=id,
                what=what,
                hint=hint,
                node=node,
                expected=expected,
                found=found,
                where=where,
                severity=severity,
            )
        )
