# SPDX-License-Identifier: Apache-2.0
"""Rules of xen,path, xen,reg and reg: what is assigned and where it appears."""

from __future__ import annotations

from collections.abc import Iterator

from tests.xen.case import PAGE, Case, Triple, forced, host_pages, triple_cells, triples
from tests.xen.nodes import Node, Span, absolute, covered, regions, rows

# The vSMMU, and the virtual GIC of each version, are in every guest; of redistributors, one for
# each CPU, at least the first.
VSMMU = (0x4040000, 0x4080000)
GIC_V2 = ((0x3001000, 0x3002000), (0x3002000, 0x3004000))
GIC_V3 = ((0x3001000, 0x3011000), (0x3020000, 0x3040000))


def pair(case: Case) -> Iterator[str]:
    """ "xen,reg and xen,path must come together (or xen,path's absence excused by
    xen,force-assign-without-iommu)". A device without registers has an empty xen,reg.
    """
    for node in case.devices:
        if "xen,path" in node.props and "xen,reg" not in node.props:
            yield f"{node.path}: xen,path without xen,reg"
        if "xen,reg" in node.props and "xen,path" not in node.props and not forced(node):
            yield f"{node.path}: xen,reg without xen,path"


def host_nodes(case: Case) -> Iterator[str]:
    """xen,path = "/host/path" is looked up in the host's tree; a device is assigned once."""
    seen: dict[str, str] = {}
    for node in case.devices:
        if "xen,path" not in node.props:
            continue
        names = node.strings("xen,path")
        if len(names) != 1 or not node.props["xen,path"].endswith(b"\0"):
            yield f"{node.path}: xen,path is not one string"
        elif names[0] not in case.hosts:
            yield f"{node.path}: xen,path {names[0]} is no node of the host"
        elif names[0] in seen:
            yield f"{node.path}: {names[0]} is already assigned by {seen[names[0]]}"
        else:
            seen[names[0]] = node.path


def aligned(case: Case) -> Iterator[str]:
    """ "xen,reg = <host size guest ...>"; "all addresses page aligned". Xen drops a remainder
    without a word, and a region of size 0 maps nothing.
    """
    for node in case.devices:
        length, unit = len(node.props.get("xen,reg", b"")), 4 * triple_cells(node) or 4
        if length % unit:
            yield f"{node.path}: xen,reg has {length} bytes, not a multiple of {unit}"
        for entry in triples(node):
            if any(part % PAGE for part in (entry.host, entry.size, entry.guest)):
                yield f"{node.path}: xen,reg {entry} is not page aligned"
            if not entry.size:
                yield f"{node.path}: xen,reg {entry} has size 0"


def host_side(case: Case) -> Iterator[str]:
    """What is mapped must be the device: pages of the host node's own regions and no others."""
    for node, host in case.assigned():
        spans = host_pages(host)
        for entry in triples(node):
            if not covered(entry.host, entry.host + entry.size, spans):
                yield f"{node.path}: xen,reg maps {entry.host:#x}, not all of it {host.path}'s"


def guest_side(case: Case) -> Iterator[str]:
    """The guest's reg must lie where xen,reg puts the device: Xen compares the two never."""
    for node in case.devices:
        assert node.parent is not None
        spans = [span for above in node.ancestors() for span in _guest_spans(above)]
        for base, size in rows(node.parent, node.cells("reg")):
            start = absolute(node.parent, base, size)
            if start is None and "xen,reg" in node.props:
                yield f"{node.path}: reg {base:#x} does not translate to a guest address"
            elif start is not None and not covered(start, start + size, spans):
                yield f"{node.path}: reg {start:#x} is not covered by xen,reg"


def _guest_spans(node: Node) -> list[Span]:
    if node.parent is None:
        return []
    return [(entry.guest, entry.guest + entry.size) for entry in triples(node)]


def registers(case: Case) -> Iterator[str]:
    """A page may hold other registers before the device's: reg must start inside a region of the
    host node once it is followed back through xen,reg.
    """
    for node, host in case.assigned():
        for base, _ in regions(node):
            for entry in triples(node):
                back = entry.host + base - entry.guest
                if entry.guest <= base < entry.guest + entry.size and not any(
                    low <= back < low + size for low, size in regions(host)
                ):
                    yield f"{node.path}: reg {base:#x} is {back:#x}, no register of {host.path}"


def collisions(case: Case) -> Iterator[str]:
    """One guest page shows one host page: a second mapping replaces the first in silence."""
    seen: list[Triple] = []
    for node in case.devices:
        for entry in triples(node):
            if any(_clash(entry, other) for other in seen):
                yield f"{node.path}: xen,reg {entry} takes a guest page twice"
            seen.append(entry)


def _clash(one: Triple, other: Triple) -> bool:
    """Devices on one host page may map it twice to the same place."""
    together = one.guest < other.guest + other.size and other.guest < one.guest + one.size
    return together and one.guest - one.host != other.guest - other.host


def xen_windows(case: Case) -> Iterator[str]:
    """The guest map: "GUEST_VSMMUV3_BASE / SIZE 0x04040000 / 0x40000", "GICD 0x03001000 (v2 4K,
    v3 64K); GICC 0x03002000/8K", a redistributor of 0x20000 at 0x03020000. What is mapped there
    hides them.
    """
    v3 = any("arm,gic-v3" in node.strings("compatible") for node in case.hosts.values())
    for node in case.devices:
        for start, end in _guest_spans(node):
            for low, high in (VSMMU, *(GIC_V3 if v3 else GIC_V2)):
                if start < high and low < end:
                    yield f"{node.path}: guest {start:#x} hides Xen's own at {low:#x}"
