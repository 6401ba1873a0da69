# SPDX-License-Identifier: Apache-2.0
"""The domains in a host tree, or in an overlay for one: marks, and nodes in /chosen."""

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
# The properties that a domain must have, their least size, and one that is right.
_NEEDED = (
    ("memory", _BYTES_OF_MEMORY, "memory = <0x0 0x20000>; (in KiB: 128 MiB)"),
    ("cpus", 4, "cpus = <1>;"),
)


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
                        what=f"Xen does not know {name}, and ignores it",
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


def unusable_domains(domains: Iterable[Node], guest: GuestTree, file: str) -> Iterator[Diagnostic]:
    """Yield the properties without which Xen panics as it creates a domain at boot
    (construct_domU() and create_domUs(), 4.17 to 4.22). A domain without a kernel is left to
    U-Boot, which adds to it.
    """
    for node in domains:
        is_whole = any("multiboot,kernel" in child.known_compatible for child in node.children)
        for name, size, right in _NEEDED:
            value = node.properties.get(name)
            if len(value or b"") >= size or (value is None and not is_whole):
                continue
            yield Diagnostic(
                id="missing" if value is None else "wrong",
                what=f"Xen panics on {node.path}, which has no {name}"
                if value is None
                else f"Xen panics on {node.path}: its {name} has {len(value) * 8} bits",
                hint=f"write {right}",
                node=node.path,
                expected=f"{name} of {size * 8} bits",
                found="none" if value is None else f"{len(value) * 8} bits",
                where=guest.locate(node.path, name if value is not None else "") or Where(file),
            )


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
