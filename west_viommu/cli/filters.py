# SPDX-License-Identifier: Apache-2.0
"""Which masters `viommu list` is asked for, and what is told of a word that means none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.extract.lookup import no_such_node, nodes_called
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Inventory, Master
from west_viommu.tree.node import Tree, is_at_or_below, name_of

if TYPE_CHECKING:
    from west_viommu.cli.list import Options

_GLOB = frozenset("*?[")
# Of what is near, more would hide the nearest.
_MOST_NEAR = 4
_ALL = "`viommu list` shows all masters"


class Filters(NamedTuple):
    """The `tests` that a master must pass, and the `problems` of words that no master fits."""

    tests: tuple[Callable[[Master], bool], ...]
    problems: tuple[Diagnostic, ...]


class _Host(NamedTuple):
    """A host: its nodes, and what is in it."""

    devices: Devices
    inventory: Inventory

    def problem(self, what: str, hint: str, found: str, node: str = "") -> Diagnostic:
        return Diagnostic(
            id="unknown-host-node",
            what=what,
            hint=hint,
            node=node,
            found=found,
            where=Where(self.devices.host_name),
        )


def filters(options: Options, devices: Devices, found: Inventory) -> Filters:
    """What the words of the command line filter, of the host of `devices`."""
    host, tree = _Host(devices, found), devices.tree
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
    return Filters(tuple(tests), tuple(problems))


def _some(masters: Iterable[Master], tests: Sequence[Callable[[Master], bool]]) -> bool:
    return any(all(test(master) for test in tests) for master in masters)


def _called(tree: Tree, word: str) -> Callable[[str], bool]:
    """Whether the node at a path is one that `word` means: as `extract` does, or, with a *, by its
    path or its name.
    """
    if _GLOB.isdisjoint(word):
        paths = {node.path for node in nodes_called(tree, word)}
        return paths.__contains__
    return lambda path: fnmatchcase(path, word) or fnmatchcase(name_of(path), word)


def _fits(glob: str) -> Callable[[str], bool]:
    return lambda text: fnmatchcase(text, glob)


def _no_master(host: _Host, word: str) -> Diagnostic:
    """Why no master is meant by `word`."""
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
    """Why no master has a compatible like `word`."""
    for node in host.devices.tree.nodes():
        if any(map(fits, node.compatible)):
            what = "what is compatible with this is not a master: it has neither `iommus` nor"
            return host.problem(f"{what} `iommu-map`", _ALL, word, node.path)
    known = [each for master in host.inventory.masters for each in master.compatible]
    near = _near(host, word, known)
    hint = f"did you mean {near}?" if near else _ALL
    return host.problem("no master of this host is compatible with this", hint, word)


def _not_behind(host: _Host, word: str, is_meant: Callable[[str], bool]) -> Diagnostic:
    """Why no master is behind an IOMMU called `word`."""
    paths = [iommu.path for iommu in host.inventory.iommus]
    meant = next(filter(is_meant, paths), "")
    if meant:
        return host.problem("no master is behind this IOMMU", _ALL, word, meant)
    near = _near(host, word, paths)
    hint = f"did you mean {near}?" if near else f"this host has {_listed(paths) or 'none'}"
    return host.problem("no IOMMU of this host has this name", hint, word)


def _near(host: _Host, word: str, known: Sequence[str]) -> str:
    """Those of `known`, paths or compatibles, that `word` may be a slip of: whole, or the last part
    of a path, with its unit address or without.
    """
    for shorter in (str, name_of, _bare):
        if close := host.devices.close_names(word.strip("*/@"), dict.fromkeys(map(shorter, known))):
            return _listed(close)
    return ""


def _bare(path: str) -> str:
    return name_of(path).partition("@")[0]


def _listed(words: Sequence[str]) -> str:
    """`words` as alternatives, the first of them."""
    return " or ".join(dict.fromkeys(words[:_MOST_NEAR]))
