# SPDX-License-Identifier: Apache-2.0
"""`viommu list`: the IOMMUs and masters of a host, and which masters could go to a guest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.cli.console import Console, columns, tell
from west_viommu.cli.run import DONE, REFUSED, UsageError, settings_of_host
from west_viommu.diagnostics import Diagnostic, Where, refusal
from west_viommu.host.collisions import Meeting, Selection, selection
from west_viommu.host.devices import Devices
from west_viommu.host.intervals import TooManyIntervals
from west_viommu.host.inventory import Inventory, Master, is_unfilled
from west_viommu.host.lookup import no_such_node, nodes_called
from west_viommu.names import RELEASED
from west_viommu.read.settings import Settings, terms_of_host
from west_viommu.read.tree import inventory_of, read_host_tree
from west_viommu.tree.node import Node, Tree, is_at_or_below, name_of

if TYPE_CHECKING:
    from west_viommu.hypervisor.assignment import Terms
    from west_viommu.plan.host_devices import DeviceReport

_WIDTH = 80
_GLOB = frozenset("*?[")
# More suggestions would hide the nearest.
_MOST_NEAR = 4
_ALL = "`viommu list` shows all masters"
# Hazards that a Xen without a vSMMU does not have, and that its other drivers may lift.
_OF_VSMMU = frozenset({"vsid-range", "vsid-clash"})
_NOT_DRIVEN = "unsupported-iommu"
# Less than this for hosts with 20,000 devices.
_SHORT = 1 << 20
_TIMES = 16
# The bytes that a node or a property of a blob has besides its name and value.
_HEAD = 12


class Options(NamedTuple):
    """The arguments of the command."""

    patterns: list[str]
    host: str | None
    compatible: str | None
    iommu: str | None
    passable: bool
    all: bool
    why: bool
    config: str | None
    xen_version: str | None
    profile: str | None
    include: list[str]
    define: list[str]
    format: str


def run(options: Options, console: Console) -> int:
    """Read the host, take its inventory, print the selected masters. Return 1 if no master is
    selected.
    """
    if options.why and options.format != "table":
        raise UsageError("--why is for the table: the other formats have the hazards anyway")
    chosen = settings_of_host(options, options.patterns, console)
    host = chosen.host or ""
    default = "" if chosen.profile else "default"
    if options.passable and default:
        # As assign, whose devices it lists.
        chosen, default = chosen._replace(profile=RELEASED), "as assign by default"
    agreed = terms_of_host(chosen) if chosen.profile or not chosen.has_dom0 else None
    tree = read_host_tree(host, options.include, options.define)
    found = inventory_of(host, tree)
    if agreed:
        from west_viommu.plan.host_devices import as_driven

        found = as_driven(found, agreed.profile)
    devices = Devices(host, tree, found)
    listed = _Host(
        found, devices, chosen, agreed, default, with_all=options.all, with_why=options.why
    )
    found = listed.inventory
    tests, problems = _filters(options, listed)
    passable = [listed.is_passable] if options.passable else []
    try:
        selected = selection(found, (*tests, *passable))
    except TooManyIntervals:
        what = "the stream IDs of this host overlap in more ways than can be listed"
        hint = "correct the iommu-map of its masters: on real hosts few IDs are shared"
        raise refusal("malformed", what, hint, host) from None
    if _is_endless(selected, tree):
        what = "a list of this host would be many times as long as the host"
        hint = "correct the paths and the iommus of its nodes, or name the devices to list"
        raise refusal("malformed", what, hint, host)
    console.report(problems)
    is_empty = selected.is_filtered and not selected.inventory.masters
    if is_empty and not problems:
        left = [m for m in found.masters if all(test(m) for test in tests)]
        console.note(_nothing(left, listed))
    if is_empty and options.format == "table":
        return REFUSED
    if options.format == "table":
        console.result(_table(selected, listed, console))
    else:
        tell(_FORMATS[options.format](selected, listed))
    return REFUSED if is_empty or problems else DONE


class _Host:
    """The host that is listed, and the terms by which its devices are judged (None: those of the
    default profile). `default` says whose default the profile is, "" if the user chose it.
    """

    def __init__(
        self,
        inventory: Inventory,
        devices: Devices,
        chosen: Settings,
        terms: Terms | None,
        default: str,
        *,
        with_all: bool,
        with_why: bool,
    ):
        self.devices = devices
        self.default = default
        self._chosen = chosen
        self._terms = terms
        self.with_why = with_why
        self.unlisted: frozenset[str] = frozenset()
        self.inventory = self._with_unlisted(inventory) if with_all else inventory

    @property
    def terms(self) -> Terms:
        """The terms by which the reports are made."""
        if self._terms is None:
            self._terms = terms_of_host(self._chosen)
        return self._terms

    @cached_property
    def reports(self) -> dict[str, DeviceReport]:
        """The report of each device of the inventory, by its path."""
        from west_viommu.plan.host_devices import device_reports

        masters = self.inventory.masters
        return device_reports(self.devices, self.terms, masters, with_findings=self.with_why)

    def taken(self, masters: Iterable[Master]) -> frozenset[str]:
        """Return the paths of the `masters` that are refused, but accepted by a released Xen."""
        if self.terms.profile.name == RELEASED:
            return frozenset()
        refused = {master: set(self.reports[master.path].refused) for master in masters}
        numbered = {m.path for m, hazards in refused.items() if hazards and hazards <= _OF_VSMMU}
        others = [master for master, hazards in refused.items() if _NOT_DRIVEN in hazards]
        if not others:
            return frozenset(numbered)
        from west_viommu.plan.host_devices import as_driven, device_reports

        released = terms_of_host(self._chosen._replace(profile=RELEASED))
        iommus = as_driven(self.inventory, released.profile).iommus
        driven = {iommu.path for iommu in iommus if iommu.supported}
        others = [master for master in others if not driven.isdisjoint(master.iommus)]
        found = device_reports(self.devices, released, others) if others else {}
        return frozenset(numbered).union(
            path for path, report in found.items() if not report.refused
        )

    def _with_unlisted(self, inventory: Inventory) -> Inventory:
        """Return `inventory` with the devices that are not masters, in tree order."""
        from west_viommu.plan.host_devices import unlisted

        more = {master.path: master for master in unlisted(self.devices, self.terms)}
        self.unlisted = frozenset(more)
        known = {master.path: master for master in inventory.masters} | more
        paths = (node.path for node in self.devices.tree.nodes())
        return inventory._replace(masters=tuple(known[path] for path in paths if path in known))

    def is_passable(self, master: Master) -> bool:
        """Return whether a guest of Xen could have it as it is."""
        return not self.reports[master.path].refused

    def problem(self, what: str, hint: str, found: str, node: str = "") -> Diagnostic:
        """Return the problem that the word `found` of the command line matches no master."""
        return Diagnostic(
            id="unknown-host-node",
            what=what,
            hint=hint,
            node=node,
            found=found,
            where=Where(self.devices.host_name),
        )


def _nothing(left: Sequence[Master], host: _Host) -> str:
    """Return the reason why nothing is listed: the hazards of the masters `left` by the filters."""
    if not left:
        return f"this host has no master: no node has `iommus` or `iommu-map`{_no_iommu(host)}"
    counts: dict[str, int] = {}
    for master in left:
        for hazard in host.reports[master.path].refused:
            counts[hazard] = counts.get(hazard, 0) + 1
    if len(left) == 1:
        what = f"{left[0].path} cannot go to a guest of Xen as is: {', '.join(counts)}"
    else:
        why = ", ".join(f"{hazard} ({count})" for hazard, count in counts.items())
        what = f"none of the {len(left)} masters can go to a guest of Xen as is: {why}"
    about = "`viommu explain HAZARD` says why, and what to do"
    taken = host.taken(left)
    more = f". A released Xen takes {len(taken)} of them: --profile {RELEASED}" if taken else ""
    return f"{what}. {about}{more}"


def _no_iommu(host: _Host) -> str:
    return "" if host.inventory.iommus else ", and none is an IOMMU"


def _table(selected: Selection, host: _Host, console: Console) -> Iterable[str]:
    from west_viommu.write.inventory_table import Shown, inventory_table

    name = host.terms.profile.name
    masters = selected.inventory.masters
    shown = Shown(
        known=host.reports,
        terms=f"{name} ({host.default})" if host.default else name,
        profile=RELEASED,
        taken=host.taken(masters),
        why=_why(masters, host) if host.with_why else {},
        unlisted=host.unlisted,
        unbehind=_unbehind(masters, host),
    )
    has_colour = console.has_colour(sys.stdout)
    return inventory_table(selected, shown, columns(1) or _WIDTH, colour=has_colour)


def _unbehind(masters: Iterable[Master], host: _Host) -> dict[str, str]:
    """Return the reason why each of `masters` is behind no IOMMU, if there is a special one."""
    devices, why = host.devices, {}
    for master in masters:
        node = None if master.iommus else devices.tree.node(master.path)
        if node and master.path in devices.faults:
            why[master.path] = f"malformed: {devices.faults[master.path].diagnostic.what}"
        elif node and is_unfilled(devices.tree, node):
            why[master.path] = "the boot loader fills in its iommu-map: give the tree that it makes"
    return why


def _why(masters: Iterable[Master], host: _Host) -> dict[str, list[str]]:
    """Return the lines on each of `masters`: why it cannot be passed through, and its further
    needs.
    """
    from west_viommu.host.needs import Needs

    paths = [master.path for master in masters]
    needs = Needs(host.devices.tree, paths)
    lines: dict[str, list[str]] = {}
    for path in paths:
        of_this = lines.setdefault(path, [])
        for finding in host.reports[path].findings:
            of_this += [f"{finding.id}: {finding.what}", f"hint: {finding.hint}"]
        for need in needs.of(path):
            of_this.append("; ".join(filter(None, (f"needs {need}", need.sharing))))
    return lines


def _lines(selected: Selection, host: _Host) -> Iterable[str]:
    from west_viommu.write.inventory_table import inventory_lines

    return inventory_lines(selected, host.reports)


def _json(selected: Selection, host: _Host) -> Iterable[str]:
    from west_viommu.write.inventory_json import inventory_json

    return inventory_json(selected, host.reports)


def _dot(selected: Selection, host: _Host) -> Iterable[str]:
    from west_viommu.write.inventory_dot import inventory_dot

    return [inventory_dot(selected, host.reports)]


def _svg(selected: Selection, host: _Host) -> Iterable[str]:
    from west_viommu.write.graphviz import svg
    from west_viommu.write.inventory_dot import inventory_dot

    return [svg(inventory_dot(selected, host.reports))]


# Each yields the text in pieces, and refuses, if at all, before the first.
_FORMATS = {"lines": _lines, "json": _json, "dot": _dot, "svg": _svg}


def _filters(
    options: Options, host: _Host
) -> tuple[Sequence[Callable[[Master], bool]], Sequence[Diagnostic]]:
    """Return the tests that a master must pass to be listed, and a problem for each word that no
    master fits.
    """
    if not (options.patterns or options.compatible or options.iommu):
        return (), ()
    if not host.inventory.masters:
        return (lambda master: True,), ()
    found, tree = host.inventory, host.devices.tree
    tests: list[Callable[[Master], bool]] = []
    problems: list[Diagnostic] = []
    if options.patterns:
        named = {word: _called(tree, word) for word in options.patterns}
        tests.append(lambda master: any(test(master.path) for test in named.values()))
        for word, test in named.items():
            if not any(test(master.path) for master in found.masters):
                problems.append(_no_master(host, word))
    if options.compatible:
        fits = _fits(options.compatible)
        tests.append(lambda master: any(map(fits, master.compatible)))
        if not any(fits(each) for master in found.masters for each in master.compatible):
            problems.append(_not_compatible(host, options.compatible, fits))
    if options.iommu:
        is_meant = _called(tree, options.iommu)
        tests.append(lambda master: any(map(is_meant, master.iommus)))
        if not any(is_meant(path) for master in found.masters for path in master.iommus):
            problems.append(_not_behind(host, options.iommu, is_meant))
    if tests and not problems and not _some(found.masters, tests):
        words = [*options.patterns, options.compatible or "", options.iommu or ""]
        what = "each of these fits some master, but no master fits all of them"
        problems.append(host.problem(what, _ALL, " ".join(filter(None, words))))
    return tests, problems


def _some(masters: Iterable[Master], tests: Sequence[Callable[[Master], bool]]) -> bool:
    return any(all(test(master) for test in tests) for master in masters)


def _called(tree: Tree, word: str) -> Callable[[str], bool]:
    """Return a test whether `word` means the node at a path: as for `extract`, or, with a *, by its
    path or its name.
    """
    if _GLOB.isdisjoint(word):
        paths = {node.path for node in nodes_called(tree, word)}
        return paths.__contains__
    return lambda path: fnmatchcase(path, word) or fnmatchcase(name_of(path), word)


def _fits(glob: str) -> Callable[[str], bool]:
    return lambda text: fnmatchcase(text, glob)


def _no_master(host: _Host, word: str) -> Diagnostic:
    """Return the reason why `word` means no master."""
    masters = [master.path for master in host.inventory.masters]
    nodes = nodes_called(host.devices.tree, word) if _GLOB.isdisjoint(word) else []
    if not nodes:
        if near := _near(host, word, masters):
            what = "no master of this host has this name"
            return host.problem(what, f"did you mean {near}?", word)
        if _GLOB.isdisjoint(word):
            return no_such_node(host.devices, word)
        return host.problem("no master of this host has such a name", _ALL, word)
    path = nodes[0].path
    if any(iommu.path == path for iommu in host.inventory.iommus):
        hint = f"--iommu {path} lists the masters behind it"
        return host.problem("this is an IOMMU, not a master", hint, word, path)
    around = [each for each in masters if is_at_or_below(each, path) or is_at_or_below(path, each)]
    what = "this node is not a master: it has neither `iommus` nor `iommu-map`"
    hint = f"did you mean {_listed(around)}?" if around else _ALL
    return host.problem(what, hint, word, path)


def _not_compatible(host: _Host, word: str, fits: Callable[[str], bool]) -> Diagnostic:
    """Return the reason why no master has a compatible like `word`."""
    for node in host.devices.tree.nodes():
        if any(map(fits, node.compatible)):
            what = "the node compatible with this is not a master: it has neither `iommus` nor"
            return host.problem(f"{what} `iommu-map`", _ALL, word, node.path)
    known = [each for master in host.inventory.masters for each in master.compatible]
    near = _near(host, word, known)
    hint = f"did you mean {near}?" if near else _ALL
    return host.problem("no master of this host is compatible with this", hint, word)


def _not_behind(host: _Host, word: str, is_meant: Callable[[str], bool]) -> Diagnostic:
    """Return the reason why no master is behind an IOMMU called `word`."""
    paths = [iommu.path for iommu in host.inventory.iommus]
    meant = next(filter(is_meant, paths), "")
    if meant:
        return host.problem("no master is behind this IOMMU", _ALL, word, meant)
    near = _near(host, word, paths)
    hint = f"did you mean {near}?" if near else f"this host has {_listed(paths) or 'none'}"
    return host.problem("no IOMMU of this host has this name", hint, word)


def _near(host: _Host, word: str, known: Sequence[str]) -> str:
    """Return the `known` paths or compatibles that resemble `word`: whole, or the last part of a
    path, with its unit address or without.
    """
    for shorter in (str, name_of, _bare):
        if close := host.devices.close_names(word.strip("*/@"), dict.fromkeys(map(shorter, known))):
            return _listed(close)
    return ""


def _bare(path: str) -> str:
    return name_of(path).partition("@")[0]


def _listed(words: Sequence[str]) -> str:
    """Return the first of `words`, as alternatives."""
    return " or ".join(dict.fromkeys(words[:_MOST_NEAR]))


def _is_endless(selected: Selection, tree: Tree) -> bool:
    """Return whether the list of a host would be many times as long as the host `tree`: a few bytes
    of `iommus` can refer to a path of any length.
    """
    length = sum(_of_master(master, tree) for master in selected.inventory.masters)
    length += sum(map(_of_meeting, selected.collisions))
    length += sum(_of_meeting(meeting) for _, meeting in selected.shared)
    return length > _SHORT and length > _TIMES * sum(map(_size, tree.nodes()))


def _of_master(master: Master, tree: Tree) -> int:
    """Return the characters of paths, and of the text that each IOMMU's row repeats."""
    length = len(master.path)
    if len(master.iommus) > 1:
        node = tree.node(master.path)
        length = (length + (_size(node) if node else 0)) * len(master.iommus)
    length += sum(len(stream.iommu) for stream in master.streams)
    return length + sum(len(entry.iommu) for entry in master.maps)


def _of_meeting(meeting: Meeting) -> int:
    return sum(map(len, meeting.paths))


def _size(node: Node) -> int:
    """Return the bytes of `node` in a blob, without its children."""
    of_properties = sum(_HEAD + len(value) for value in node.properties.values())
    return _HEAD + len(node.name) + of_properties
