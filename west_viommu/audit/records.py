# SPDX-License-Identifier: Apache-2.0
"""The resources in other people's files, as written: records, each with its place."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.guest.gic import NO_GIC, guest_gic, guest_interrupts
from west_viommu.guest.requests import FORCE
from west_viommu.guest.source import PASSTHROUGH, GuestTree, Locate
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.tree.addresses import AddressMap, Region, bus_cells
from west_viommu.tree.cells import TreeError, cells
from west_viommu.tree.node import Node

# The properties by which a node of a partial tree uses something of the host.
_USES = ("reg", "interrupts", "interrupts-extended", "iommus", "xen,path", "xen,reg")
# An address of 64 bits ends here: a page beyond it has no address.
MOST_PAGES = 1 << 52


class HostPath(NamedTuple):
    """A path of a host node, as a file has it."""

    path: str
    where: Where


class Line(NamedTuple):
    """An interrupt line that a file gives, by its INTID."""

    intid: int
    where: Where


class Pages(NamedTuple):
    """Host pages that a file maps, and their guest address. `node`: the node of a partial tree with
    this xen,reg, "" for an item of iomem. `text`: as it is written.
    """

    host: Region
    guest: int
    where: Where
    node: str
    text: str

    @property
    def moved(self) -> int:
        """The distance from the host address of the pages to their guest address."""
        return self.guest - self.host.base


class TreeNode(NamedTuple):
    """A node of a partial tree that uses something of the host. `regions`: its registers at guest
    addresses. `intids`: its lines on the guest's GIC; None if they cannot be read. `ids`: the
    stream IDs of its iommus. `has_parent`: the guest finds the controller of its interrupts, if it
    has any.
    """

    path: str
    xen_path: str | None
    regions: tuple[Region, ...]
    intids: tuple[int, ...] | None
    ids: tuple[int, ...]
    compatible: tuple[str, ...]
    is_enabled: bool
    is_forced: bool
    is_coherent: bool
    has_parent: bool


class SetDomain(NamedTuple):
    """The resources in the files of one domain. `is_xl`: xl takes all of them from the
    configuration; else Xen takes them from the partial tree. `has_tree`: its partial tree is among
    the files. `keys`: the place of the lists of an xl.cfg, by key. `unread`: the errors of the
    items that xl cannot read, by list. `locate`: for its partial tree. `marked`: the paths that
    ImageBuilder marks for it. `copied`: the subtrees of
    dt_passthrough_nodes. `memory`: in MiB, None if the files do not state it.
    """

    name: str
    where: Where
    is_xl: bool
    dtdev: tuple[HostPath, ...]
    lines: tuple[Line, ...]
    pages: tuple[Pages, ...]
    nodes: tuple[TreeNode, ...]
    has_tree: bool
    keys: Mapping[str, Where]
    unread: Mapping[str, tuple[Diagnostic, ...]]
    locate: Locate
    marked: tuple[HostPath, ...]
    copied: tuple[str, ...]
    memory: int | None


class SetMarks(NamedTuple):
    """The nodes of the host that get xen,passthrough besides those of its tree, each with its
    place, and whether this is all: without `is_known`, some other file may have more.
    """

    is_known: bool
    paths: tuple[HostPath, ...]


def copied_nodes(
    guest: GuestTree, roots: tuple[str, ...], problems: list[Diagnostic]
) -> Iterator[TreeNode]:
    """Yield the nodes at and below `roots` that use something of the host. Unreadable properties
    are left out, as Xen and libxl copy them without a check.
    """
    addresses = AddressMap(guest.tree)
    try:
        gic = guest_gic(guest)
    except TreeError:
        gic = NO_GIC
    pending = [node for root in reversed(roots) if (node := guest.tree.node(root))]
    while pending:
        node = pending.pop()
        pending += reversed(node.children)
        if node.path == PASSTHROUGH or not any(name in node.properties for name in _USES):
            continue
        regions: tuple[Region | None, ...] = ()
        intids: tuple[int, ...] | None = None
        with suppress(TreeError):
            regions = addresses.regions(node)
        with suppress(TreeError):
            intids = tuple(each.intid for each in guest_interrupts(guest, gic, node))
        yield TreeNode(
            path=node.path,
            xen_path=_xen_path(guest, node, problems),
            regions=tuple(region for region in regions if region and region.size),
            intids=intids,
            ids=_ids(node),
            compatible=node.known_compatible,
            is_enabled=_is_enabled(guest, node),
            is_forced=FORCE in node.properties,
            is_coherent=any("dma-coherent" in n.properties for n in guest.tree.lineage(node)),
            has_parent="interrupts" not in node.properties or _has_parent(guest, node),
        )


def mapped_by_tree(
    guest: GuestTree,
    roots: tuple[str, ...],
    problems: list[Diagnostic],
    unread: list[Diagnostic],
) -> Iterator[Pages]:
    """Yield the mappings in the xen,reg of the nodes below `roots`, in the cells of the parent; Xen
    drops a rest (handle_passthrough_prop() in domain_build.c, 4.17 to 4.22).
    """
    pending = [node for root in reversed(roots) if (node := guest.tree.node(root))]
    while pending:
        node = pending.pop()
        pending += reversed(node.children)
        value = node.properties.get("xen,reg")
        bus = guest.tree.parent(node)
        if value is None or bus is None:
            continue
        where = guest.locate(node.path, "xen,reg") or Where("")
        try:
            address_cells, size_cells = bus_cells(bus)
        except TreeError as error:
            problems.append(error.diagnostic._replace(where=where))
            continue
        size = 4 * (2 * address_cells + size_cells)
        rest = len(value) % size if size else len(value)
        if rest:
            unread.append(
                Diagnostic(
                    id="wrong",
                    what="xen,reg has a rest, which Xen drops",
                    hint="write <host size guest> in the cells of the parent: "
                    f"{address_cells} + {size_cells} + {address_cells}",
                    node=node.path,
                    found=f"{rest // 4} cells",
                    where=where,
                )
            )
        for at in range(0, len(value) - rest if size else 0, size):
            row = value[at : at + size]
            host = int.from_bytes(row[: 4 * address_cells], "big")
            length = int.from_bytes(row[4 * address_cells : size - 4 * address_cells], "big")
            there = int.from_bytes(row[size - 4 * address_cells :], "big")
            text = f"{host:#x} {length:#x} {there:#x}"
            if host % PAGE or length % PAGE or there % PAGE:
                problems.append(
                    Diagnostic(
                        id="wrong",
                        what="xen,reg is not in whole pages: Xen panics",
                        hint="write multiples of 0x1000",
                        node=node.path,
                        found=text,
                        where=where,
                    )
                )
            if length:
                region = in_pages(Region(host, length))
                yield Pages(region, there // PAGE * PAGE, where, node.path, text)


def _is_enabled(guest: GuestTree, node: Node) -> bool:
    try:
        return guest.tree.status(node) == "okay"
    except TreeError:
        return False


def _has_parent(guest: GuestTree, node: Node) -> bool:
    """Return whether `node`, or a node above it that Xen copies, names a controller or is one: the
    root that Xen makes names none (prepare_dtb_domU(), 4.17).
    """
    copied = [above.properties for above in guest.tree.lineage(node) if above.path != "/"]
    return any("interrupt-parent" in properties for properties in copied) or any(
        "interrupt-controller" in properties for properties in copied[1:]
    )


def _ids(node: Node) -> tuple[int, ...]:
    """Return the stream IDs of pairs, with any number before each; () if iommus has no pairs."""
    try:
        numbers = cells(node.properties.get("iommus", b""), node.path, "iommus")
    except TreeError:
        return ()
    return () if len(numbers) % 2 else numbers[1::2]


def _xen_path(guest: GuestTree, node: Node, problems: list[Diagnostic]) -> str | None:
    if "xen,path" not in node.properties:
        return None
    try:
        paths = node.string_list("xen,path")
    except TreeError as error:
        where = guest.locate(node.path, "xen,path")
        problems.append(error.diagnostic._replace(where=where))
        return None
    return paths[0] if paths else ""
