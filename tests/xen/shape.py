# SPDX-License-Identifier: Apache-2.0
"""Rules of the partial tree's shape: its top-level nodes, phandles and references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.xen.case import Case
from tests.xen.guest import GUEST_PHANDLE_VSMMU
from tests.xen.host import GICS, compatible
from tests.xen.nodes import Node

LAST_PHANDLE = 64998
XEN_PHANDLES = range(0xFDE8, 0xFDEB)
REWRITTEN = ("iommus", "xen,reg", "xen,path", "xen,force-assign-without-iommu")

# Property -> the provider's property that counts an entry's cells; "" where there are none.
PROVIDERS = {
    "assigned-clock-parents": "#clock-cells",
    "assigned-clocks": "#clock-cells",
    "clocks": "#clock-cells",
    "cooling-device": "#cooling-cells",
    "dmas": "#dma-cells",
    "gpios": "#gpio-cells",
    "hwlocks": "#hwlock-cells",
    "interconnects": "#interconnect-cells",
    "interrupts-extended": "#interrupt-cells",
    "io-channels": "#io-channel-cells",
    "mboxes": "#mbox-cells",
    "memory-region": "",
    "mmc-pwrseq": "",
    "msi-parent": "#msi-cells",
    "mux-controls": "#mux-control-cells",
    "next-level-cache": "",
    "nvmem-cells": "#nvmem-cell-cells",
    "operating-points-v2": "",
    "phy": "",
    "phy-handle": "",
    "phys": "#phy-cells",
    "power-domains": "#power-domain-cells",
    "pwms": "#pwm-cells",
    "remote-endpoint": "",
    "resets": "#reset-cells",
    "sound-dai": "#sound-dai-cells",
    "thermal-sensors": "#thermal-sensor-cells",
}
MAPS = ("iommu-map", "msi-map")


def first_child(case: Case) -> Iterator[str]:
    """ "Keep /passthrough before /aliases" and before all else: "/passthrough first"."""
    if case.partial.children[0] is not case.passthrough:
        yield "/passthrough is not the first child of the root"


def one_of_a_name(case: Case) -> Iterator[str]:
    """Xen writes what it reads, so two nodes of one name reach the guest as two."""
    for path, count in Counter(node.path for node in case.partial.below()).items():
        if count > 1:
            yield f"{path}: {count} nodes of this name"


def bus(case: Case) -> Iterator[str]:
    """ "Absolute addresses go through every ancestor's `ranges`: absent = not translatable"; the
    guest looks for devices below a simple-bus only.
    """
    if "simple-bus" not in case.passthrough.strings("compatible"):
        yield "/passthrough: compatible has no simple-bus"
    for name in ("ranges", "#address-cells", "#size-cells"):
        if name not in case.passthrough.props:
            yield f"/passthrough: no {name}"


def nothing_on_passthrough(case: Case) -> Iterator[str]:
    """ "`iommus` on /passthrough itself is left alone": the guest gets it as it stands."""
    for name in REWRITTEN:
        if name in case.passthrough.props:
            yield f"/passthrough: {name} on the node itself"


def aliases(case: Case) -> Iterator[str]:
    """ "Children of `/aliases` are walked as well and share the counter in document order: keep
    /passthrough before /aliases, and no such property there."
    """
    node = case.partial.child("aliases")
    if node is None:
        return
    places = [child.name for child in case.partial.children]
    if places.index("aliases") < places.index("passthrough"):
        yield "/aliases stands before /passthrough"
    for child in node.children:
        yield f"{child.path}: a child of /aliases takes vSIDs"
    known = {device.path for device in case.devices}
    for name in node.props:
        if name in REWRITTEN:
            yield f"/aliases: {name} there"
        elif (node.strings(name) or [""])[0] not in known:
            yield f"/aliases: {name} names no node below /passthrough"


def no_vsmmu(case: Case) -> Iterator[str]:
    """The partial tree "must not contain a vSMMU node": one "inside /passthrough is copied beside
    Xen's own".
    """
    for node in case.devices:
        if "arm,smmu-v3" in node.strings("compatible") or node.name == "iommu@4040000":
            yield f"{node.path}: a vSMMU node, Xen brings its own"


def one_gic(case: Case) -> Iterator[str]:
    """Xen makes the guest's GIC: a copy of it below /passthrough is a second one."""
    for node in case.devices:
        if "interrupt-controller" in node.props and compatible(node, GICS):
            yield f"{node.path}: a second GIC beside Xen's own"


def phandles(case: Case) -> Iterator[str]:
    """ "Phandles <= 64998"; "GIC is 65000, xen,grant-dma IOMMU 65001", vSMMU 65002; "nothing
    detects a second node or device with phandle 0xfdea, or a /gic with it".
    """
    owners: dict[int, str] = {}
    for node in case.partial.below():
        for phandle in node.phandles():
            if phandle in XEN_PHANDLES:
                yield f"{node.path}: phandle {phandle:#x} is one of Xen's own"
            elif not 0 < phandle <= LAST_PHANDLE:
                yield f"{node.path}: phandle {phandle} is not in 1..{LAST_PHANDLE}"
            if phandle in owners:
                yield f"{node.path}: phandle {phandle:#x} is also that of {owners[phandle]}"
            owners[phandle] = node.path


def gic(case: Case) -> Iterator[str]:
    """ "Reads /gic": interrupt-parent in the guest's timer, GIC and vSMMU is its phandle."""
    node = case.partial.child("gic")
    if node is None:
        yield "no /gic"
    elif not node.phandles():
        yield "/gic: no phandle"


def references(case: Case) -> Iterator[str]:
    """Only /passthrough and /aliases reach the guest: a reference to another node dangles there.

    iommus is not one of these (its phandle is never looked at), interrupt-parent has a rule of
    its own.
    """
    known = {phandle: node for node in case.devices for phandle in node.phandles()}
    for node in [case.passthrough, *case.devices]:
        for name in node.props:
            if name in MAPS:
                yield from _map(node, name, known)
            elif (count := _cells_name(name)) is not None:
                yield from _references(node, name, count, known)


def _cells_name(name: str) -> str | None:
    if name.startswith("pinctrl-") and name[8:].isdigit() or name.endswith("-supply"):
        return ""
    if name.endswith(("-gpios", "-gpio")):
        return "#gpio-cells"
    return PROVIDERS.get(name)


def _references(node: Node, name: str, count: str, known: dict[int, Node]) -> Iterator[str]:
    values = node.cells(name)
    while values:
        phandle = values.pop(0)
        if not phandle:  # a gap in the list, by the bindings of clocks and gpios
            continue
        if phandle not in known:
            yield f"{node.path}: {name} refers to {phandle:#x}, which is not below /passthrough"
            return
        del values[: known[phandle].cell(count, 0)]


def _map(node: Node, name: str, known: dict[int, Node]) -> Iterator[str]:
    """ "`iommu-map` is untouched": the host's phandle would reach the guest."""
    for phandle in node.cells(name)[1::4]:
        if phandle not in known and (name, phandle) != ("iommu-map", GUEST_PHANDLE_VSMMU):
            yield f"{node.path}: {name} refers to {phandle:#x}, which is not below /passthrough"


def short_paths(case: Case) -> Iterator[str]:
    """libxl of v3 keeps the path of each node that it rewrites in 128 bytes, NUL included, and
    gives up on a longer one.
    """
    for node in case.passthrough.children:
        if "iommus" in node.props and len(node.path) > 127:
            yield f"{node.path}: path of more than 127 bytes"
