# SPDX-License-Identifier: Apache-2.0
"""The host devices that a domain of a set gets, and the problems found with them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from west_viommu.audit.host import AuditedHost, as_written, pages_text, xl_pages
from west_viommu.audit.records import HostPath, Pages, SetDomain, TreeNode
from west_viommu.audit.slips import Slip, slip_of
from west_viommu.diagnostics import Diagnostic, Severity, Where, first_few
from west_viommu.guest.source import is_below_passthrough
from west_viommu.hazards.permissions import AllowList
from west_viommu.host.devices import Device, grouped
from west_viommu.host.intervals import Cover, Interval, Spans
from west_viommu.host.needs import consumers
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE
from west_viommu.tree.interrupts import FIRST_SPI
from west_viommu.tree.node import is_at_or_below, paths_above

T = TypeVar("T")
# This number of unknown paths below one bus means another tree.
OF_ANOTHER_TREE = 3
# Properties of nodes that serve others, and have no lines of their own.
_PROVIDES = (
    *("#clock-cells", "#reset-cells", "#power-domain-cells", "#phy-cells", "#mbox-cells"),
    *("#interconnect-cells", "#pinctrl-cells", "#nvmem-cell-cells"),
)

_MOST_IDLE = 4


class Unknown(NamedTuple):
    """A path that the host does not have, the key or property that has it, the node of a partial
    tree that contains it ("" for a list), and the host paths that it may mean.
    """

    named: HostPath
    key: str
    node: str
    meant: tuple[str, ...]


class Given:
    """The resources that one domain gets: `nodes` of its partial tree and entries of `dtdev`, by
    the path of the host device; `found`: all its devices, each with the place that shows it;
    `given` pages and `intids`. `wrong`: the devices with a problem. `doubted`: the devices for
    which two facts disagree, so that they are not judged further. A path that the host does not
    have counts as the one that it means.
    """

    def __init__(self, domain: SetDomain, host: AuditedHost, allowed: AllowList):
        self.host = host
        self.allowed = allowed
        self.problems: list[Diagnostic] = []
        self.notes: list[str] = []
        self.nodes: dict[str, list[TreeNode]] = {}
        self.dtdev: dict[str, HostPath] = {}
        self.found: dict[str, Where] = {}
        self.wrong: set[str] = set()
        self.doubted: set[str] = set()
        self.meant: set[str] = set()
        self.elsewhere: dict[str, str] = {}
        slips = {entry: slip for entry in domain.pages if (slip := slip_of(entry, host))}
        self.slips = frozenset(slip.meant for slip in slips.values())
        entries = (slips[each].meant if each in slips else each for each in domain.pages)
        self.domain = domain._replace(pages=tuple(entries))
        self.given = Cover(Interval(*each.host.ends) for each in self.domain.pages)
        self._seen = Spans(
            (each.guest, each.guest + each.host.size - 1, each) for each in self.domain.pages
        )
        self._by_node = grouped((each.node, each) for each in self.domain.pages)
        self.intids = {line.intid for line in domain.lines}
        self._unknown: list[Unknown] = []
        self._of_devices: set[str] = set()
        self._idle: list[str] = []
        for slip in slips.values():
            self._tell_slip(slip)
        self._identify()
        self.problems += unknown_paths(self._unknown)
        if self._idle:
            names = ", ".join(self._idle[:_MOST_IDLE])
            more = len(self._idle) - _MOST_IDLE
            names += f" and {more} more" if more > 0 else ""
            self.notes.append(f"the tree has {names}, of which no page and no interrupt is given")

    def _tell_slip(self, slip: Slip) -> None:
        pages = Interval(*slip.meant.host.ends)
        is_beyond = slip.written.host.base == pages.first and slip.written.host.end > pages.last
        verb = "is" if slip.meant.host.size == PAGE else "are"
        self.add(
            "wrong",
            f"this range goes beyond {pages_text(pages)} of {slip.path}"
            if is_beyond
            else f"{pages_text(pages)} of {slip.path} {verb} not given",
            slip.hint,
            slip.written.where,
            slip.written.node,
            expected=as_written(slip.meant),
            found=slip.written.text,
            path=slip.path,
        )

    def _identify(self) -> None:
        """Find the host node of each path, and of each node that the guest copies."""
        for named in self.domain.dtdev:
            is_there = self.host.find(named.path) is not None
            for path in self._paths(named, "dtdev"):
                if path in self.dtdev and not is_there:
                    continue
                if path in self.dtdev:
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
            self._identify_node(node)
        for path, nodes in self.nodes.items():
            # Several nodes for one device, such as a host bridge and its endpoint: the guest
            # drives those that are enabled.
            self.nodes[path] = [node for node in nodes if node.is_enabled] or nodes
        for path, named in self.dtdev.items():
            is_device = self.has_streams_at(path)
            if path not in self.found and self._has_anything(path, is_device=is_device):
                self.found[path] = named.where

    @cached_property
    def _buses_of_another_tree(self) -> frozenset[str]:
        """The buses with so many unknown paths that no single one is mistyped."""
        names = [named.path for named in self.domain.dtdev]
        names += [node.xen_path for node in self.domain.nodes if node.xen_path]
        buses = Counter(_bus(name) for name in {*names} if self.host.find(name) is None)
        return frozenset(bus for bus, count in buses.items() if count >= OF_ANOTHER_TREE)

    def _paths(self, named: HostPath, key: str, node: TreeNode | None = None) -> tuple[str, ...]:
        """Return the host path that is named; if the host does not have it, the likely meaning: the
        device with the node's pages or place, else a similar path.
        """
        path = self.host.find(named.path)
        if path is not None:
            return (path,)
        there = (self.by_pages(node) or self._by_place(node)) if node else None
        paths: tuple[str, ...] = (there,) if there else ()
        if not there and _bus(named.path) not in self._buses_of_another_tree:
            paths = self.host.meant_by(named.path, self._has_anything)
        name = node.path if node else ""
        self._unknown.append(Unknown(named=named, key=key, node=name, meant=paths))
        self.wrong.update(paths)
        self.meant.update(paths)
        return paths

    def _identify_node(self, node: TreeNode) -> None:
        """Find the host device of a node of the partial tree."""
        where = self.at(node.path, "reg")
        path: str | None = None
        if node.xen_path is not None:
            where = self.at(node.path, "xen,path")
            named = HostPath(node.xen_path, where)
            path = next(iter(self._paths(named, "xen,path", node)), None)
        elif self.domain.is_xl:
            path = self._by_place(node)
            if path and not (path in self.dtdev or self._has_anything(path, is_device=False)):
                is_alone = is_below_passthrough(node.path) and not self._is_part(node)
                if is_alone and self._is_driven_by(path, node):
                    self._nothing_given(path, node, where)
                else:
                    if node.regions or node.intids:
                        self._idle.append(node.path)
                    path = None
        elif self.entries_of(node):
            if not node.is_forced:
                path = self.by_pages(node)
                self._without_path(path, node)
        elif node.regions and all(self.on_host(region.base) is None for region in node.regions):
            path = self._by_place(node)
            if path is None or not self._is_driven_by(path, node):
                path = None
            elif self._is_part(node):
                self._idle.append(node.path)
                path = None
            else:
                self._nothing_given(path, node, where)
        if path:
            self._of_devices.add(node.path)
            self.nodes.setdefault(path, []).append(node)
            self.found.setdefault(path, where)

    def _is_part(self, node: TreeNode) -> bool:
        """Return whether a node is below the node of one of the domain's devices: that device's
        driver knows of it.
        """
        return not self._of_devices.isdisjoint(paths_above(node.path))

    def _without_path(self, path: str | None, node: TreeNode) -> None:
        """Report a node with xen,reg that Xen refuses because it lacks xen,path."""
        hint = "name the host node: xen,path; or, for memory without a device, "
        hint += "xen,force-assign-without-iommu"
        self.add(
            "wrong",
            "xen,reg without xen,path: Xen panics (handle_passthrough_prop())",
            f'add xen,path = "{path}"' if path else hint,
            self.at(node.path, "xen,reg"),
            node.path,
            expected=path or "",
            path=path or "",
        )

    def _nothing_given(self, path: str, node: TreeNode, where: Where) -> None:
        """Report a node for a device of which the guest gets nothing."""
        missing = f'xen,path = "{path}" and xen,reg'
        if self.domain.is_xl:
            pages = (xl_pages(each) for each in self.host.own_pages(path))
            missing = f"iomem {' '.join(first_few(pages))}"
            if lines := self.own_lines(path):
                missing += f", irqs {', '.join(first_few(map(str, lines)))}"
            if self.is_protected(path):
                missing += f', dtdev "{path}"'
        self.add(
            "missing",
            f"the guest sees {path} in its tree, and nothing of it is given",
            f"add {missing}; or take the node out of the tree",
            where,
            node.path,
            expected=missing,
            path=path,
        )
        self.doubted.add(path)

    def entries_of(self, node: TreeNode) -> list[Pages]:
        """Return the mappings in the xen,reg of a node."""
        return self._by_node.get(node.path, [])

    def by_pages(self, node: TreeNode) -> str | None:
        """Return the host device that has the pages of all entries of a node."""
        given = [Interval(*each.host.ends) for each in self.entries_of(node)]
        owners = [{c.path for c in claims} for claims in self.host.owners(given).values()]
        common = set.intersection(*owners) if owners else set()
        return min((p for p in common if not self.host.holdings.role(p)), default=None)

    def _by_place(self, node: TreeNode) -> str | None:
        """Return the host device of a node that does not name it: the one at its native path, else
        the one with its registers at the node's guest address.
        """
        native = self.host.devices.tree.node(node.path)
        if native and not is_below_passthrough(node.path):
            return node.path
        for region in node.regions:
            on_host = self.on_host(region.base)
            paths = self.host.devices.at(region.base if on_host is None else on_host)
            devices = [path for path in paths if not self.host.holdings.role(path)]
            if devices:
                return max(devices, key=lambda path: self._is_alike(path, node))
        return None

    def _is_driven_by(self, path: str, node: TreeNode) -> bool:
        """Return whether the guest would drive the host device at `path` by this node."""
        return node.is_enabled and self._is_alike(path, node)

    def _is_alike(self, path: str, node: TreeNode) -> bool:
        on_host = self.host.devices.tree.node(path)
        return on_host is not None and not set(on_host.known_compatible).isdisjoint(node.compatible)

    def _has_anything(self, path: str, *, is_device: bool = True) -> bool:
        """Return whether the domain gets any page or line of a node; `is_device`: the result for a
        node without either.
        """
        pages = self.host.own_pages(path)
        lines = self.own_lines(path)
        if not pages and not lines:
            return is_device
        return any(intid in self.intids for intid in lines) or bool(self.given.common(pages))

    def find_owners(self) -> None:
        """Add the host nodes that no file names, but with pages and lines in the files, as
        devices.
        """
        if not self.domain.is_xl:
            return
        own = [pages for path in self.found for pages in self.host.own_pages(path)]
        left = Cover(own).rest(self.given.parts)
        explained = {intid for path in self.found for intid in self.own_lines(path)}
        rest = self.intids - explained
        by_page = {c.path for claims in self.host.owners(left).values() for c in claims}
        claims = self.host.holdings.all_lines if rest else []
        by_line = {claim.path for claim in claims if claim.first in rest}
        above = {path for each in self.found for path in paths_above(each)}
        whole: dict[str, Where] = {}
        for node in self.host.devices.tree.nodes():
            path = node.path
            if path not in by_page and path not in by_line:
                continue
            if path in self.found or self.host.holdings.role(path):
                continue
            pages, lines = self.host.own_pages(path), self.own_lines(path)
            where = self._place_of(pages) or self._place_of_line(lines) or self.domain.where
            if not lines:
                if self._is_whole_and_alone(path, pages):
                    whole[path] = where
                continue
            has_lines = any(intid in self.intids for intid in lines)
            if path in above or not has_lines or (pages and not self.given.common(pages)):
                continue
            self.found[path] = where
            above.update(paths_above(path))
        with_them = {*self.found, *whole}
        serving = {
            served_by
            for user, _, served_by in consumers(self.host.devices.tree, whole)
            if self.host.holdings.standing(user.path) is Standing.STAYS
            and with_them.isdisjoint((user.path, *paths_above(user.path)))
        }
        for path, where in whole.items():
            if not any(is_at_or_below(served_by, path) for served_by in serving):
                self.found[path] = where

    def _is_whole_and_alone(self, path: str, pages: Sequence[Interval]) -> bool:
        """Return whether the domain gets all pages of a node without lines, by a range that begins
        there, and the node serves no others.
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

    def tell_unread(
        self,
        key: str,
        missing: list[T],
        is_meant: Callable[[Diagnostic, T], bool],
        right: Callable[[T], str],
        path: Callable[[T], str],
    ) -> None:
        """Report the items of a list that cannot be read, each with the items of `missing` that it
        seems to mean, and remove these from `missing`.
        """
        for unread in self.domain.unread.get(key, ()):
            meant = [each for each in missing if is_meant(unread, each)]
            if not meant and not unread.node:
                meant = missing[:1]
            for each in meant:
                missing.remove(each)
                self.wrong.add(path(each))
            expected = ", ".join(first_few(map(right, meant)))
            hint = f"write {expected}; {unread.hint}" if expected else unread.hint
            self.problems.append(unread._replace(expected=expected, hint=hint))

    def own_lines(self, path: str) -> list[int]:
        node = self.host.devices.tree.node(path)
        lines = self.host.holdings.lines(node) if node else ()
        return [intid for intid in dict.fromkeys(lines) if intid >= FIRST_SPI]

    def is_protected(self, path: str) -> bool:
        device = self.host.device(path)
        return device is not None and self.host.is_protected(device)

    def has_streams_at(self, path: str) -> bool:
        device = self.host.device(path)
        return device is not None and self.has_streams(device)

    def has_streams(self, device: Device) -> bool:
        master = device.master
        maps = self.host.terms.profile.programs_maps
        return master is not None and bool(master.streams or (maps and master.maps))

    def on_host(self, address: int) -> int | None:
        """Return the host address that the guest sees at an address."""
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


def _bus(path: str) -> str:
    return path.rpartition("/")[0]


def unknown_paths(unknown: Sequence[Unknown]) -> Iterator[Diagnostic]:
    """Yield a problem for paths that the host does not have; one for several of one bus."""
    by_bus: dict[str, list[Unknown]] = {}
    for each in unknown:
        by_bus.setdefault(_bus(each.named.path), []).append(each)
    for bus, together in by_bus.items():
        if len(together) >= OF_ANOTHER_TREE:
            yield Diagnostic(
                id="unknown-host-node",
                what=f"the host has none of {len(together)} nodes below {bus or '/'}: the set was "
                "made for another tree",
                hint="give the tree that Xen is booted with, or write the paths of this one",
                found=", ".join(first_few(each.named.path for each in together)),
                where=together[0].named.where,
            )
            continue
        for named, key, node, meant in together:
            near = " and ".join(meant)
            hint = "write the path of a node of the host: no alias, no slash at its end"
            if len(meant) > 1:
                hint = "write each path as a string of its own"
                if key not in ("dtdev", "xen,path"):
                    hint = "write blanks between the paths"
            elif meant:
                hint = f"did you mean {near}?"
            yield Diagnostic(
                id="unknown-host-node",
                what=f"the host has no node {named.path}, which {key} names",
                hint=hint,
                node=node,
                expected=near,
                found=named.path,
                where=named.where,
            )
