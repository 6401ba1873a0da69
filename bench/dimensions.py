# SPDX-License-Identifier: Apache-2.0
"""Inputs that are large in one dimension each: so many of one thing, and no more of the rest than
that needs. bench/growth.py measures how the time of a command grows with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bench.generate import Writer, generated_host

_GIC, _SMMU, _CLOCK = 1, 2, 3
# Other phandles begin here.
_FREE = 16
_FIRST, _STEP = 0x10000000, 0x10000
_DTS = "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;"
_BUS = "#address-cells = <2>; #size-cells = <2>; ranges;"

# The properties of a node of a host; its children are Nodes in the same list.
Property = tuple[str, Sequence[int] | str]


class Node(NamedTuple):
    """A node of a host."""

    name: str
    parts: Sequence[Property | Node]


class Input(NamedTuple):
    """A host, a guest, a viommu.yml, and the command that gets them: `list`, `bind`, `extract`."""

    host: bytes
    guest: str = ""
    config: str = ""
    command: Sequence[str] = ("bind",)


class Dimension(NamedTuple):
    """`make`: the input with so many of it. `few`: how many take long enough to be measured."""

    few: int
    make: Callable[[int], Input]


def _host(nodes: Iterable[Node]) -> bytes:
    """A host with an SMMU, a GIC, a clock and `nodes`."""
    writer = Writer()

    def write(node: Node) -> None:
        with writer.node(node.name):
            for part in node.parts:
                if isinstance(part, Node):
                    write(part)
                elif isinstance(part[1], str):
                    writer.strings(part[0], *part[1].split()) if part[1] else writer.flag(part[0])
                else:
                    writer.cells(part[0], *part[1])

    gic = Node(
        "gic@1000",
        [
            ("compatible", "arm,gic-v3"),
            ("interrupt-controller", ""),
            ("#interrupt-cells", [3]),
            ("#address-cells", [0]),
            ("phandle", [_GIC]),
            ("reg", [0, 0x1000, 0, 0x1000]),
        ],
    )
    clock = Node("clock", [("#clock-cells", [1]), ("phandle", [_CLOCK])])
    head: list[Property | Node] = [
        ("#address-cells", [2]),
        ("#size-cells", [2]),
        ("interrupt-parent", [_GIC]),
        gic,
        clock,
        _smmu("smmu@4000", 0x4000, _SMMU),
    ]
    write(Node("", [*head, *nodes]))
    return writer.blob()


def _smmu(name: str, base: int, phandle: int) -> Node:
    return Node(
        name,
        [
            ("compatible", "arm,smmu-v3"),
            ("#iommu-cells", [1]),
            ("phandle", [phandle]),
            ("reg", [base >> 32, base & 0xFFFFFFFF, 0, 0x1000]),
        ],
    )


def _device(i: int, *parts: Property | Node, iommu: int = _SMMU) -> Node:
    """The `i`th device, with a page and a stream ID of its own."""
    base = _FIRST + _STEP * i
    own = [("reg", [base >> 32, base & 0xFFFFFFFF, 0, 0x1000]), ("iommus", [iommu, i + 1])]
    names = {part[0] for part in parts}
    # A node's children come last.
    return Node(f"m{i}", [*(each for each in own if each[0] not in names), *parts])


def _devices(count: int) -> bytes:
    return _host(_device(i) for i in range(count))


def _asking(i: int, more: str = "") -> str:
    """A guest's node for the `i`th device."""
    base = _FIRST + _STEP * i
    return (
        f'm{i} {{ xen,path = "/m{i}"; '
        f"reg = <{base >> 32:#x} {base & 0xFFFFFFFF:#x} 0 0x1000>; {more} }};"
    )


def _guest(nodes: Iterable[str], outside: Iterable[str] = ()) -> str:
    return f"{_DTS} {' '.join(outside)}\npassthrough {{ {_BUS}\n" + "\n".join(nodes) + "\n}; };\n"


def _regions(count: int, step: int = _STEP) -> list[int]:
    """`reg` of as many pages."""
    bases = (_FIRST + step * i for i in range(count))
    return [cell for base in bases for cell in (base >> 32, base & 0xFFFFFFFF, 0, 0x1000)]


def _as_cells(numbers: Iterable[int]) -> str:
    return " ".join(map(hex, numbers))


_LIST = ("list",)


def _devices_beside_each_other(count: int) -> Input:
    return Input(generated_host(count), command=_LIST)


def _smmus(count: int) -> Input:
    smmus = (_smmu(f"s{i}", (i + 1) << 32, _FREE + i) for i in range(count))
    masters = (_device(i, iommu=_FREE + i) for i in range(count))
    return Input(_host([*smmus, *masters]), _guest([_asking(0)]))


def _tiny_nodes(count: int) -> Input:
    nodes = (Node(f"n{i}", []) for i in range(count))
    return Input(_host([_device(0), *nodes]), _guest([_asking(0)]))


def _properties(count: int) -> Input:
    many = Node("n", [(f"p{i}", [i]) for i in range(count)])
    return Input(_host([_device(0), many]), _guest([_asking(0)]))


def _streams(count: int) -> Input:
    master = _device(0, ("iommus", [cell for i in range(count) for cell in (_SMMU, i)]))
    return Input(_host([master]), _guest([_asking(0)]))


def _streams_asked_for(count: int) -> Input:
    master = _device(0, ("iommus", [cell for i in range(count) for cell in (_SMMU, i)]))
    pairs = " ".join(f"0 {i}" for i in range(count))
    return Input(_host([master]), _guest([_asking(0, f"iommus = <{pairs}>;")]))


def _streams_again(count: int) -> Input:
    """Each ID twice."""
    master = _device(0, ("iommus", [cell for i in range(count) for cell in (_SMMU, i // 2)]))
    return Input(_host([master]), _guest([_asking(0)]))


def _rows_of_a_map(count: int) -> Input:
    rows = [cell for i in range(count) for cell in (2 * i, _SMMU, 2 * i, 1)]
    return Input(_host([_device(0), _device(1, ("iommu-map", rows))]), _guest([_asking(0)]))


def _masters_on_one_id(count: int) -> Input:
    masters = (_device(i, ("iommus", [_SMMU, 7])) for i in range(count))
    return Input(_host(masters), _guest([_asking(0)]))


def _regions_of_a_device(count: int) -> Input:
    host = _host([_device(0, ("reg", _regions(count)))])
    return Input(
        host, _guest([f'm0 {{ xen,path = "/m0"; reg = <{_as_cells(_regions(count))}>; }};'])
    )


def _other_regions(count: int) -> Input:
    """None of the guest's regions is one of the host's."""
    host = _host([_device(0, ("reg", _regions(count)))])
    reg = _as_cells(_regions(count, 0x11000))
    return Input(host, _guest([f'm0 {{ xen,path = "/m0"; reg = <{reg}>; }};']))


def _triples(count: int, page: int = 0x1000) -> Input:
    """As many regions, each with its triple of xen,reg."""
    host = _host([_device(0, ("reg", _regions(count)))])
    bases = [_FIRST + _STEP * i for i in range(count)]
    triples = _as_cells(
        cell for base in bases for cell in (base >> 32, base & 0xFFFFFFFF, 0, page, 0x90, base)
    )
    reg = _as_cells(cell for base in bases for cell in (0x90, base, 0, 0x1000))
    return Input(
        host, _guest([f'm0 {{ xen,path = "/m0"; reg = <{reg}>; xen,reg = <{triples}>; }};'])
    )


def _triples_over_each_other(count: int) -> Input:
    """As many, and each triple reaches over eight more."""
    return _triples(count, 8 * _STEP + 0x1000)


def _regions_of_two(count: int) -> Input:
    """Two requests with as many regions each."""
    regs = [_regions(2 * count)[: 4 * count], _regions(2 * count)[4 * count :]]
    host = _host(_device(i, ("reg", reg)) for i, reg in enumerate(regs))
    nodes = (
        f'm{i} {{ xen,path = "/m{i}"; reg = <{_as_cells(reg)}>; }};' for i, reg in enumerate(regs)
    )
    return Input(host, _guest(nodes))


def _two_over_each_other(count: int) -> Input:
    """Two requests with the same regions of the guest, and others of the host."""
    regs = [_regions(2 * count)[: 4 * count], _regions(2 * count)[4 * count :]]
    host = _host(_device(i, ("reg", reg)) for i, reg in enumerate(regs))
    bases = [_FIRST + _STEP * i for i in range(2 * count)]
    triples = _as_cells(
        cell
        for i, base in enumerate(bases[count:])
        for cell in (base >> 32, base & 0xFFFFFFFF, 0, 0x1000, 0, bases[i])
    )
    nodes = (
        f'm{i} {{ xen,path = "/m{i}"; reg = <{_as_cells(regs[0])}>; {more} }};'
        for i, more in enumerate(("", f"xen,reg = <{triples}>;"))
    )
    return Input(host, _guest(nodes))


def _interrupts_of_a_device(count: int) -> Input:
    numbers = [cell for i in range(count) for cell in (0, i % 900, 4)]
    cells = _as_cells(cell for i in range(count) for cell in (0, i % 900, 4))
    host = _host([_device(0, ("interrupts", numbers))])
    return Input(host, _guest([_asking(0, f"interrupts = <{cells}>;")]))


def _extended_interrupts(count: int) -> Input:
    numbers = [cell for i in range(count) for cell in (_GIC, 0, i % 900, 4)]
    host = _host([_device(0, ("interrupts-extended", numbers))])
    return Input(host, _guest([_asking(0)]))


def _interrupts_through_a_map(count: int) -> Input:
    rows = [cell for i in range(count) for cell in (i, _GIC, 0, i % 900, 4)]
    nexus = Node(
        "nexus",
        [
            ("#interrupt-cells", [1]),
            ("#address-cells", [0]),
            ("phandle", [_FREE]),
            ("interrupt-map", rows),
        ],
    )
    user = _device(0, ("interrupt-parent", [_FREE]), ("interrupts", list(range(count))))
    return Input(_host([nexus, user]), _guest([_asking(0)]))


def _devices_on_one_interrupt(count: int) -> Input:
    devices = (_device(i, ("interrupts", [0, 7, 4])) for i in range(count))
    return Input(_host(devices), _guest([_asking(0, "interrupts = <0 7 4>;")]))


def _ranges(count: int, size: int = 0x10000) -> Input:
    rows = [cell for i in range(count) for cell in (0x10000 * i, 0, _FIRST + 0x18000 * i, size)]
    own = [cell for i in range(count) for cell in (0x10000 * i, 0x1000)]
    device = Node("m0", [("reg", own), ("iommus", [_SMMU, 1])])
    parts: list[Property | Node] = [
        ("#address-cells", [1]),
        ("#size-cells", [1]),
        ("ranges", rows),
        device,
    ]
    bus = Node("bus", parts)
    return Input(_host([bus]), _guest(['m0 { xen,path = "/bus/m0"; };']))


def _ranges_over_each_other(count: int) -> Input:
    return _ranges(count, 0x7FFFFFFF)


def _devices_on_one_page(count: int) -> Input:
    devices = (_device(i, ("reg", [0, _FIRST, 0, 0x1000])) for i in range(count))
    return Input(_host(devices), _guest([_asking(0)]))


def _consumers(count: int) -> Input:
    """As many devices that each serve a node which stays."""
    devices = (_device(i, ("phandle", [_FREE + i]), ("#clock-cells", [0])) for i in range(count))
    users = (Node(f"u{i}", [("clocks", [_FREE + i])]) for i in range(count))
    return Input(_host([*devices, *users]), _guest(map(_asking, range(count))))


def _children(count: int) -> Input:
    """A device with as many nodes below it that hold something."""
    below = [Node(f"c{i}", [("interrupts", [0, i % 900, 4])]) for i in range(count)]
    return Input(_host([_device(0, *below)]), _guest([_asking(0)]))


def _masters_below(count: int) -> Input:
    """A device with as many masters below it, that nobody asks for."""
    below = [Node(f"c{i}", [("iommus", [_SMMU, i + 2])]) for i in range(count)]
    return Input(_host([_device(0, *below)]), _guest([_asking(0)]))


def _requests(count: int) -> Input:
    return Input(_devices(count), _guest(map(_asking, range(count))))


def _requests_by_id(count: int) -> Input:
    return Input(
        _devices(count), _guest(f"m{i} {{ iommus = <0 {i + 1}>; }};" for i in range(count))
    )


def _requests_refused(count: int) -> Input:
    """Each has the stream ID of another device."""
    nodes = (_asking(i, f"iommus = <0 {(i + 1) % count + 1}>;") for i in range(count))
    return Input(_devices(count), _guest(nodes))


def _requests_for_one(count: int) -> Input:
    nodes = (f'n{i} {{ xen,path = "/m0"; }};' for i in range(count))
    return Input(_devices(1), _guest(nodes))


def _requests_by_place(count: int) -> Input:
    """Those of nodes with an iommu-map alone."""
    host = _host(_device(i, ("iommus", []), ("iommu-map", [0, _SMMU, i, 1])) for i in range(count))
    nodes = (
        f"m{i} {{ reg = <0 {_FIRST + _STEP * i:#x} 0 0x1000>; iommu-map = <0 0 {i} 1>; }};"
        for i in range(count)
    )
    return Input(host, _guest(nodes))


def _disabled_requests(count: int) -> Input:
    nodes = (_asking(i, 'status = "disabled";') for i in range(1, count))
    return Input(_devices(count), _guest([_asking(0), *nodes]))


def _requests_with_interrupts(count: int) -> Input:
    host = _host(_device(i, ("interrupts", [0, i % 900, 4])) for i in range(count))
    return Input(host, _guest(_asking(i, f"interrupts = <0 {i % 900} 4>;") for i in range(count)))


def _raw_mappings(count: int) -> Input:
    nodes = (
        f"r{i} {{ xen,reg = <0x20 {_STEP * i:#x} 0 0x1000 0x20 {_STEP * i:#x}>; "
        "xen,force-assign-without-iommu; };"
        for i in range(count)
    )
    return Input(_devices(1), _guest([_asking(0), *nodes]))


def _labels(count: int) -> Input:
    nodes = (f"l{i}: n{i} {{ }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0)], nodes))


def _labels_below(count: int) -> Input:
    nodes = (f"l{i}: n{i} {{ }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0), *nodes]))


def _open_labels(count: int) -> Input:
    """An overlay that extends labels of a base tree that is not given."""
    extended = "".join(f'&l{i} {{ status = "okay"; }};\n' for i in range(count))
    inside = f"passthrough {{ {_BUS} {_asking(0)} }};"
    return Input(_devices(1), f"/ {{ {inside} }};\n{extended}")


def _open_references(count: int) -> Input:
    uses = " ".join(f"&l{i}" for i in range(count))
    inside = f"passthrough {{ {_BUS} {_asking(0)} }};"
    return Input(_devices(1), f"/ {{ {inside} n {{ p = <{uses}>; }}; }};\n")


def _references(count: int) -> Input:
    """As many properties below /passthrough that refer to a node there."""
    nodes = (f"n{i} {{ clocks = <&c>; }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0), "c: c { #clock-cells = <0>; };", *nodes]))


def _references_in_one(count: int) -> Input:
    uses = " ".join(f"&c{i}" for i in range(count))
    nodes = (f"c{i}: c{i} {{ #clock-cells = <0>; }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0, f"clocks = <{uses}>;"), *nodes]))


def _references_out(count: int) -> Input:
    """Those to nodes that do not come along."""
    uses = " ".join(f"&c{i}" for i in range(count))
    nodes = (f"c{i}: c{i} {{ #clock-cells = <0>; }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0, f"clocks = <{uses}>;")], nodes))


def _aliases(count: int) -> Input:
    names = " ".join(f"a{i} = &l;" for i in range(count))
    node = _asking(0).replace("m0 {", "l: m0 {", 1)
    return Input(_devices(1), _guest([node], [f"aliases {{ {names} }};"]))


def _aliases_of_labels(count: int) -> Input:
    names = " ".join(f"a{i} = &l{i};" for i in range(count))
    nodes = (f"l{i}: n{i} {{ }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0), *nodes], [f"aliases {{ {names} }};"]))


def _nodes_of_the_guest(count: int) -> Input:
    """Nodes with registers of their own, and an interrupt."""
    gic = (
        'gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <4>; '
        "#address-cells = <0>; };"
    )
    nodes = (
        f"n{i} {{ reg = <0x30 {_STEP * i:#x} 0 0x1000>; interrupts = <0 {i % 900} 4 0>; }};"
        for i in range(count)
    )
    return Input(_devices(1), _guest([_asking(0)], ["interrupt-parent = <&gic>;", gic, *nodes]))


def _nodes_over_the_device(count: int) -> Input:
    """Nodes of the guest at the device's address."""
    nodes = (f"n{i} {{ reg = <0 {_FIRST:#x} 0 0x1000>; }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0)], nodes))


def _unasked(count: int) -> Input:
    """Nodes below a request, with registers."""
    nodes = " ".join(f"n{i} {{ reg = <0 {_FIRST + i:#x} 0 1>; }};" for i in range(count))
    return Input(_devices(1), _guest([_asking(0, f"{_BUS} {nodes}")]))


def _extended_requests(count: int) -> Input:
    """A request in as many parts."""
    parts = "".join(f"&{{/passthrough/m0}} {{ p{i % 500} = <{i}>; }};\n" for i in range(count))
    return Input(_devices(1), _guest([_asking(0)]) + parts)


def _explicit(count: int) -> Input:
    """As many requests, and the numbers of each in viommu.yml."""
    numbers = ", ".join(f'"/m{i}": [{i}]' for i in range(count))
    config = f"vsid: explicit\nvsids: {{{numbers}}}\n"
    return Input(_devices(count), _guest(map(_asking, range(count))), config)


def _permissions(count: int) -> Input:
    """As many requests with a hazard, and the permission for each in viommu.yml."""
    allowed = ", ".join(
        f'{{hazard: unprotected, device: /m{i}, reason: "r"}}' for i in range(count)
    )
    host = _host(Node(f"m{i}", [("reg", _regions(i + 1)[-4:])]) for i in range(count))
    return Input(host, _guest(map(_asking, range(count))), f"allow: [{allowed}]\n")


def _far(node: Node) -> Node:
    """`node` below others with long names."""
    for _ in range(3):
        node = Node("x" * 240, [node])
    return node


_FAR_NEXUS: list[Property | Node] = [("#interrupt-cells", [1]), ("phandle", [_FREE])]


def _references_to_one(count: int) -> Input:
    """A property that refers so often to a node with a long path, which does not come along."""
    names = ["x" * 240] * 3
    node = f"{' { '.join(names)} {{ c: c {{ }}; {'}; ' * len(names)}"
    uses = " ".join(["&c"] * count)
    return Input(_devices(1), _guest([_asking(0, f"foo = <{uses}>;")], [node]))


def _interrupts_below(count: int) -> Input:
    """Nodes with an interrupt each below a request with as many."""
    rows = " ".join(f"0 {i % 900} 4" for i in range(count))
    below = " ".join(f"n{i} {{ interrupts = <0 {i % 900} 4>; }};" for i in range(count))
    host = _host([_device(0, ("interrupts", [0, 0, 4]))])
    return Input(host, _guest([_asking(0, f"interrupts = <{rows}>; {below}")]))


def _mistyped(count: int) -> Input:
    """Requests for nodes that the host does not have, of names like those of many."""
    nodes = (f'm{i} {{ xen,path = "/m{i}x"; }};' for i in range(count))
    return Input(_devices(2000), _guest(nodes))


def _children_of_extracted(count: int) -> Input:
    below = [
        Node(f"c{i}", [("reg", [0, i, 0, 1]), ("interrupts", [0, i % 900, 4])])
        for i in range(count)
    ]
    return Input(_host([_device(0, *below)]), command=("extract", "/m0"))


def _interrupts_of_extracted(count: int) -> Input:
    """Those that go to a controller with a long path."""
    far = _far(Node("c", [*_FAR_NEXUS, ("interrupt-controller", "")]))
    user = _device(0, ("interrupt-parent", [_FREE]), ("interrupts", list(range(count))))
    return Input(_host([far, user]), command=("extract", "/m0"))


def _interrupts_without_a_row(count: int) -> Input:
    far = _far(Node("c", [*_FAR_NEXUS, ("#address-cells", [0]), ("interrupt-map", [])]))
    user = _device(0, ("interrupt-parent", [_FREE]), ("interrupts", list(range(count))))
    return Input(_host([far, user]), command=("list",))


DIMENSIONS = {
    "devices of a host (list)": Dimension(5000, _devices_beside_each_other),
    "SMMUs": Dimension(10000, _smmus),
    "nodes of a host": Dimension(50000, _tiny_nodes),
    "properties of a node": Dimension(6000, _properties),
    "stream IDs of a device": Dimension(10000, _streams),
    "stream IDs in iommus of a guest": Dimension(5000, _streams_asked_for),
    "stream IDs listed twice": Dimension(5000, _streams_again),
    "rows of iommu-map": Dimension(40000, _rows_of_a_map),
    "masters on one stream ID": Dimension(3000, _masters_on_one_id),
    "regions of a device": Dimension(3000, _regions_of_a_device),
    "regions that are not the device's": Dimension(3000, _other_regions),
    "triples of xen,reg": Dimension(2000, _triples),
    "triples of xen,reg over each other": Dimension(2000, _triples_over_each_other),
    "regions of two requests": Dimension(2000, _regions_of_two),
    "regions of two requests over each other": Dimension(2000, _two_over_each_other),
    "interrupts of a device": Dimension(10000, _interrupts_of_a_device),
    "interrupts-extended of a device": Dimension(30000, _extended_interrupts),
    "rows of interrupt-map": Dimension(15000, _interrupts_through_a_map),
    "devices on one interrupt": Dimension(3000, _devices_on_one_interrupt),
    "rows of ranges": Dimension(7000, _ranges),
    "rows of ranges over each other": Dimension(7000, _ranges_over_each_other),
    "devices on one page": Dimension(3000, _devices_on_one_page),
    "devices that serve others": Dimension(500, _consumers),
    "nodes below a device": Dimension(30000, _children),
    "masters below a device": Dimension(15000, _masters_below),
    "requests": Dimension(500, _requests),
    "requests by stream ID": Dimension(1000, _requests_by_id),
    "requests that are refused": Dimension(500, _requests_refused),
    "requests for one device": Dimension(500, _requests_for_one),
    "requests with iommu-map": Dimension(500, _requests_by_place),
    "disabled requests": Dimension(500, _disabled_requests),
    "requests with interrupts": Dimension(500, _requests_with_interrupts),
    "raw mappings": Dimension(500, _raw_mappings),
    "labels": Dimension(2000, _labels),
    "labels below /passthrough": Dimension(1000, _labels_below),
    "open labels": Dimension(1000, _open_labels),
    "references to open labels": Dimension(5000, _open_references),
    "references": Dimension(1000, _references),
    "references of a property": Dimension(1000, _references_in_one),
    "references that do not come along": Dimension(1000, _references_out),
    "aliases": Dimension(300, _aliases),
    "aliases of labels": Dimension(250, _aliases_of_labels),
    "nodes of a guest": Dimension(1000, _nodes_of_the_guest),
    "nodes of a guest over a device": Dimension(1000, _nodes_over_the_device),
    "nodes below a request": Dimension(1000, _unasked),
    "parts of a request": Dimension(500, _extended_requests),
    "explicit numbers": Dimension(500, _explicit),
    "permissions": Dimension(200, _permissions),
    "references to one far node": Dimension(20000, _references_to_one),
    "interrupts below a request": Dimension(2000, _interrupts_below),
    "mistyped paths": Dimension(20, _mistyped),
    "children of what is extracted": Dimension(5000, _children_of_extracted),
    "interrupts of what is extracted": Dimension(20000, _interrupts_of_extracted),
    "interrupts without a row (list)": Dimension(20000, _interrupts_without_a_row),
}
