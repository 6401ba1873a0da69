# SPDX-License-Identifier: Apache-2.0
"""Malformed properties of a guest, as problems at their places in its source.

Misspelt names of the properties that make a request are found here as well.
"""

from collections.abc import Collection, Iterable, Iterator

from west_viommu.diagnostics import Diagnostic, Severity, close_matches
from west_viommu.guest.entries import STREAM_IDS
from west_viommu.guest.gic import (
    LINUX_CELLS,
    LINUX_EDGE,
    LINUX_LEVEL,
    ZEPHYR_CELLS,
    interrupt_entry,
)
from west_viommu.guest.source import BASE, PASSTHROUGH, GuestTree, is_below_passthrough
from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.interrupts import SPI, XEN_GICS
from west_viommu.tree.node import Node

_OKAY = (b"okay\0", b"ok\0")
_OURS = (
    "iommus",
    "iommu-map",
    "iommu-map-mask",
    "xen,path",
    "xen,reg",
    "xen,force-assign-without-iommu",
    STREAM_IDS,
)


def misspelt(guest: GuestTree, asking: Collection[str]) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each property below /passthrough with a name one edit away from one of
    ours: a letter more, less or different, or two letters swapped. It is a warning if the node or a
    node above it is `asking` anyway, and an error if the node would otherwise ask for nothing.
    """
    for node in guest.tree.nodes():
        if is_below_passthrough(node.path):
            for name in node.properties:
                meant = next((ours for ours in _OURS if is_slip(name, ours)), None)
                if meant and name not in _OURS:
                    above = (ancestor.path for ancestor in guest.tree.lineage(node))
                    is_asking = any(path in asking for path in above)
                    yield Diagnostic(
                        id="malformed",
                        what=f"nothing reads {name}"
                        + ("" if is_asking else ", so that the node asks for no device"),
                        hint=f"did you mean {meant}?",
                        node=node.path,
                        expected=meant,
                        found=name,
                        where=guest.locate(node.path, name),
                        severity=Severity.WARNING if is_asking else Severity.ERROR,
                    )


def is_slip(name: str, meant: str) -> bool:
    """Return whether one edit turns `name` into `meant`."""
    if abs(len(name) - len(meant)) > 1 or name == meant:
        return False
    same = 0
    while same < min(len(name), len(meant)) and name[same] == meant[same]:
        same += 1
    rest, other = name[same:], meant[same:]
    return (
        rest[1:] == other[1:]
        or rest[1:] == other
        or rest == other[1:]
        or (rest[:2] == other[1::-1] and rest[2:] == other[2:])
    )


COPY_HINT = "copy the stream IDs of the host node, and write 0x0 in place of its SMMU"
# The form of these depends on something outside of the node, so all nodes have the same mistake.
_OF_MANY = ("reg", "xen,reg", "interrupts", "interrupt-parent")
_ZEPHYRS = "<GIC_SPI number IRQ_TYPE_LEVEL IRQ_DEFAULT_PRIORITY>"
# A longer line is not for pasting from a message.
_MOST_ENTRIES = 8
# One message names at most this many further nodes.
_MOST_NAMED = 3


def malformed(guest: GuestTree, error: TreeError, node: Node) -> Diagnostic:
    """Return the diagnostic of `error` in `node`, at its place in the guest's source. A node that
    stands in for a base tree is named by its label in the source.
    """
    wrong = error.diagnostic
    is_zephyr = "4 cells" in wrong.expected
    hints = {
        "iommus": COPY_HINT,
        "xen,path": "write the path of the host node, as `viommu list` shows it",
        "reg": f"give {PASSTHROUGH} #address-cells = <2>, #size-cells = <2> and `ranges;`, and "
        "write reg = <0x0 ADDRESS 0x0 SIZE>",
        STREAM_IDS: "write the stream IDs of the host node, one cell each",
        "xen,reg": "write <host-address size guest-address> for each region",
        "interrupts": f"Zephyr's GIC has 4 cells: write {_of_linux(node) or _ZEPHYRS}"
        if is_zephyr
        else "write <0 number flags>; or give the .dts of the guest's GIC as well",
        "interrupt-parent": "refer to the guest's own controller: interrupt-parent = <&gic>; if "
        "its label is another, give the base .dts first",
        "interrupts-extended": "write `interrupts`, for the guest's GIC",
    }
    hint = hints.get(wrong.prop, "correct the property")
    if wrong.expected.startswith("IRQ_TYPE_"):
        hint = f"write one of those in place of {wrong.found}: the trigger of the device's line"
    if wrong.found.startswith("type 1"):
        hint = (
            "no device of a guest has a PPI: write GIC_SPI, which is 0, as the type, and the "
            "host's SPI number: the INTID of `viommu list` minus 32"
        )
    return wrong._replace(
        what=wrong.what.replace(f"{BASE}/", "&"),
        hint=hint,
        node=node.path if wrong.node.startswith(BASE) else wrong.node,
        expected=wrong.expected.replace(f"{BASE}/", "&"),
        found=wrong.found.replace(f"{BASE}/", "&"),
        where=guest.locate(wrong.node, wrong.prop) or guest.locate(node.path, wrong.prop),
    )


def _of_linux(node: Node) -> str:
    """Return the `interrupts` of `node` as Zephyr has them, if they have Linux's form; else ""."""
    try:
        numbers = cells(node.properties.get("interrupts", b""), node.path, "interrupts")
    except TreeError:
        return ""
    rows = list(zip(*[iter(numbers)] * LINUX_CELLS, strict=False))
    if len(numbers) % LINUX_CELLS or not all(
        kind == SPI and flags in (LINUX_EDGE, LINUX_LEVEL) for kind, _, flags in rows
    ):
        return ""
    entries = [interrupt_entry(ZEPHYR_CELLS, number, flags) for _, number, flags in rows]
    return f"interrupts = {', '.join(entries)};" if len(entries) <= _MOST_ENTRIES else ""


def misplaced(guest: GuestTree, node: Node) -> Iterator[Diagnostic]:
    """Yield a diagnostic if `node` is a request that Xen would not see, as it is not below
    /passthrough. The `iommus` of a request has a placeholder or a phandle of the host; the `iommus`
    of any other node refers to a node of this tree.
    """
    phandle = int.from_bytes(node.properties.get("iommus", b"\0")[:4], "big")
    is_request = (
        "iommus" in node.properties
        and 0 not in guest.links.get(node.path, {})
        and guest.tree.with_phandle(phandle) is None
    )
    if "xen,path" in node.properties or is_request:
        prop = "xen,path" if "xen,path" in node.properties else "iommus"
        hint = f"move the node below {PASSTHROUGH}"
        if node.path == PASSTHROUGH:
            hint = f"give each device a node of its own below {PASSTHROUGH}, and move {prop} there"
        elif close_matches(top := node.path.split("/")[1], [PASSTHROUGH[1:]]):
            hint = f"rename /{top} to {PASSTHROUGH}, the name that Xen looks for"
        elif node.path.startswith(BASE):
            hint += f"; in an overlay, write &{{{PASSTHROUGH}}} {{ ... }} or the full path"
        yield Diagnostic(
            id="malformed",
            what=f"a passthrough request outside of {PASSTHROUGH}"
            if node.path != PASSTHROUGH
            else f"{PASSTHROUGH} itself is no device, and has {prop}",
            hint=hint,
            node=node.path.replace(f"{BASE}/", "&"),
            where=guest.locate(node.path, prop),
        )


def halves(guest: GuestTree, node: Node) -> Iterator[Diagnostic]:
    """Yield the mistakes of a node below /passthrough that asks for no device: xen,reg alone is
    -EINVAL (handle_prop_pfdt() of Xen), and a copy of a GIC stays in the guest's tree beside Xen's.
    """
    lineage = list(guest.tree.lineage(node))
    is_on = all(each.properties.get("status", _OKAY[0]) in _OKAY for each in lineage)
    # A misspelt property has its own message.
    is_misspelt = any(is_slip(name, ours) for name in node.properties for ours in _OURS)
    if "xen,reg" in node.properties and is_on and not is_misspelt:
        yield Diagnostic(
            id="malformed",
            what="xen,reg asks for memory of the host, and the node names no device",
            hint='add xen,path = "HOST-NODE"; or, for memory of no device, '
            "xen,force-assign-without-iommu",
            node=node.path,
            expected="xen,path beside xen,reg",
            where=guest.locate(node.path, "xen,reg"),
        )
    if "interrupt-controller" in node.properties and not XEN_GICS.isdisjoint(node.known_compatible):
        yield Diagnostic(
            id="malformed",
            what="a copy of a GIC: Xen makes the guest's GIC itself, and the guest would have two",
            hint="remove the node; the interrupts of devices are those of the guest's own GIC",
            node=node.path,
            expected="no GIC below /passthrough",
            where=guest.locate(node.path, ""),
        )


def told_once(problems: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield `problems`; several nodes with the same mistake make one diagnostic."""
    by_what: dict[object, tuple[Diagnostic, dict[str, None]]] = {}
    for problem in problems:
        is_shared = problem.prop in _OF_MANY and problem.node
        key = (problem.prop, problem.what, problem.expected) if is_shared else problem
        _, nodes = by_what.setdefault(key, (problem, {}))
        nodes[problem.node] = None
    for problem, (_, *others) in by_what.values():
        some = " ".join([*others[:_MOST_NAMED], "..."] if len(others) > _MOST_NAMED else others)
        what = f"{problem.what}; the same goes for {some}" if others else problem.what
        yield problem._replace(what=what)
