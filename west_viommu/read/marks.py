# SPDX-License-Identifier: Apache-2.0
"""The domains in a host tree, or in an overlay for one: marks, and nodes in /chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from west_viommu.audit.records import HostPath
from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.guest.source import BASE, GuestTree
from west_viommu.read.dtb import MAGIC
from west_viommu.read.plain_file import content
from west_viommu.tree.node import Node

MARK = "xen,passthrough"
_LIKE_A_MARK = "xen,pass"
_TARGET = re.compile(r'target-path\s*=\s*"([^"\n]*)"')
_BYTES_OF_MEMORY = 8


def marks_in(file: str, guest: GuestTree, problems: list[Diagnostic]) -> Iterator[HostPath]:
    """Yield the nodes that the tree of `file` marks: by path, or as &label for a label of the host.
    A misspelt mark counts, and is added to the `problems`.
    """
    nodes = [node for node in guest.tree.nodes() if any(map(_is_like_a_mark, node.properties))]
    lines = _mark_lines(file) if nodes else {}
    for node in nodes:
        path = node.path.replace(f"{BASE}/", "&", 1)
        for name in filter(_is_like_a_mark, node.properties):
            if name != MARK:
                problems.append(
                    Diagnostic(
                        id="wrong",
                        what=f"Xen does not know {name}, and passes over it",
                        hint=f"write {MARK}",
                        node=path,
                        expected=MARK,
                        found=name,
                        where=guest.locate(node.path, name) or Where(file),
                    )
                )
        where = guest.locate(node.path, MARK) or Where(file)
        if where.line is None and node.path in lines:
            where = Where(file, lines[node.path])
        yield HostPath(path, where)


def _is_like_a_mark(name: str) -> bool:
    return name.startswith(_LIKE_A_MARK)


def domain_nodes(guest: GuestTree) -> list[Node]:
    """Return the nodes of the domains in /chosen that Xen creates at boot."""
    chosen = guest.tree.node("/chosen")
    children = chosen.children if chosen else ()
    return [node for node in children if "xen,domain" in node.known_compatible]


def memory_of(domains: Iterable[Node], guest: GuestTree, file: str) -> Iterator[tuple[int, Where]]:
    """Yield the memory of domains in /chosen, in MiB; the tree has 64 bits, in KiB (booting.txt of
    Xen).
    """
    for node in domains:
        value = node.properties.get("memory", b"")
        if len(value) == _BYTES_OF_MEMORY:
            where = guest.locate(node.path, "memory") or Where(file)
            yield int.from_bytes(value, "big") >> 10, where


def _mark_lines(file: str) -> dict[str, int]:
    """Return the line of the mark of each target-path of an overlay in source."""
    text = content(file)
    if text.startswith(MAGIC):
        return {}
    found: dict[str, int] = {}
    target = None
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        match = _TARGET.search(line)
        if match:
            target = match[1]
        if MARK in line and target:
            found.setdefault(target, number)
            target = None
    return found
